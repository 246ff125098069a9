import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { intervalOf } from "../../quant/grid.js";
import { fixedOutput } from "../../targets/fixed-outputs.js";
import { fixProducerEncoding } from "./activation-types.js";
import { encodeAnew, quantizedProducer } from "./producer-encoding.js";
import { addQdq, codeRange, type Encoding, encodingAt, encodingOf, recoded } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { insertPair } from "./separate-output.js";

/** The output of a Softmax is between 0 and 1: the smallest code is 0, the largest what it was, 1 at most. */
function softmaxEncoding(encoding: Encoding): Encoding {
	const { min, max } = codeRange(encoding.dtype);
	const { hi } = intervalOf(encoding);
	return encodingOf(encoding.dtype, Math.min(hi, 1) / (max - min), min);
}

/** A Softmax in codes from 0 to 1. */
export const encodeSoftmax: Remedy = ({ outputs: [output] }, { names }) => {
	const quantize = output?.moved?.node;
	const encoding = quantize && encodingAt(quantize);
	return encoding !== undefined && encodeAnew(quantize!, softmaxEncoding(encoding), names);
};

/** What makes the activation of a product, in the codes that the kernel reads it in. */
export const encodeProducer: Remedy = ({ node, weight }, { names }) => {
	const site = weight!.site;
	const index = 1 - site.input;
	const found = quantizedProducer(node.inputs[index]);
	if (found === undefined || !isOnnxOp(found.producer, "Softmax")) return fixProducerEncoding(site, names);
	const encoding = encodingAt(found.quantize);
	return encoding !== undefined && encodeAnew(found.quantize, softmaxEncoding(encoding), names, { node, index });
};

/**
 * Cuts off once more, with an operator, what a quantizer cuts off that the compiler leaves out; of 8 bits with a quantizer of
 * 16 in front of it.
 */
export const clampInputs: Remedy = ({ node }, { names }) => {
	let done = false;
	for (const [index, input] of node.inputs.entries()) {
		const encoding = input?.producer && encodingAt(input.producer);
		if (encoding === undefined || !isOnnxOp(input!.producer!, "DequantizeLinear") || intervalOf(encoding).lo !== 0)
			continue;
		const quantizer = input!.producer!.inputs[0]!.producer;
		if (bitsPerElement(encoding.dtype) === 8 && quantizer !== undefined) widenFirst(quantizer, encoding, names);
		else node.setInput(index, clamped(node, input!, encoding, names));
		done = true;
	}
	return done;
};

/** `Q` -> `Q -> DQ -> Q` with UINT16 first. */
function widenFirst(quantizer: Node, encoding: Encoding, names: NameScope): void {
	const [value] = quantizer.inputs;
	quantizer.setInput(0, addQdq(quantizer.graph!, value!, recoded(encoding, DataType.UINT16), names, quantizer));
}

/** `input`, a Relu and the same codes again. */
function clamped(node: Node, input: Value, encoding: Encoding, names: NameScope): Value {
	const graph = node.graph!;
	const positive = graph.createValue(names.fresh(`${input.name}_positive`), input.type);
	const name = names.fresh(`${input.name}_Relu`);
	graph.createNode({ op: "Relu", name, inputs: [input], outputs: [positive] }, node);
	return addQdq(graph, positive, encoding, names, node);
}

/** `Sigmoid -> Q -> codes` -> `Sigmoid -> Q -> DQ -> Q -> codes` with the encoding first that the compiler gives it. */
export const encodeAsGiven: Remedy = ({ node, outputs: [output] }, { model, names }) => {
	const dtype = output?.moved?.dtype;
	const given = dtype === undefined ? undefined : fixedOutput(isOnnxOp(node, "Tanh") ? "Tanh" : "Sigmoid", dtype);
	if (given === undefined) return false;
	insertPair(model, output!.value, encodingOf(dtype!, given.scale, given.zeroPoint), names);
	return true;
};
