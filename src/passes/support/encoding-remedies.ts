import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { codeOf } from "../../quant/grid.js";
import type { OperandFacts } from "../../targets/operator-facts.js";
import { operatorKey, rightTypes } from "../../targets/operator-outcome.js";
import { vectorAddsBehind } from "../../targets/readers.js";
import { isView } from "../../weights/activation.js";
import { addConstant } from "../../weights/constant.js";
import {
	addParameters,
	addQdq,
	addQuantizedConstant,
	codesTensor,
	type Encoding,
	encodingAt,
	recoded,
	sameEncoding,
} from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { insertPair } from "./separate-output.js";
import { smallConstantOf } from "./small-constant.js";

/** The encoding of an operand that is quantized, with one scale. */
export function encodingOfOperand(operand: OperandFacts | undefined): Encoding | undefined {
	return operand?.quantization && encodingAt(operand.quantization.node);
}

/** As {@link encodingOfOperand}, with views in between. */
function movedEncoding(operand: OperandFacts | undefined): Encoding | undefined {
	return operand?.moved && encodingAt(operand.moved.node);
}

/** What an operator makes in the encoding of what it reads first, which its own follows. */
export const keepCodes: Remedy = ({ inputs: [input], outputs: [output] }, { model, names }) => {
	const encoding = encodingOfOperand(input);
	if (encoding === undefined) return false;
	insertPair(model, output!.value, encoding, names);
	return true;
};

/**
 * The same for codes of another zero point. Of 8 bits with a pair of 16 in between: ONNX Runtime makes one pair of two of a type.
 */
export const keepZeroPoint: Remedy = (operator, tools) => {
	const { inputs, outputs } = operator;
	const encoding = encodingOfOperand(inputs[0]);
	if (encoding === undefined) return false;
	if (bitsPerElement(encoding.dtype) === 8)
		insertPair(tools.model, outputs[0]!.value, recoded(encoding, DataType.UINT16), tools.names);
	return keepCodes(operator, tools);
};

/** Types between which the operator is right, each operand in the encoding that it had, in those types. */
export const retype: Remedy = ({ node, inputs, outputs }, { model, names, architecture }) => {
	const encodings = inputs.map(movedEncoding);
	const results = outputs.map(movedEncoding);
	const isNarrow = [...encodings, ...results].every((one) => one === undefined || bitsPerElement(one.dtype) === 8);
	const types = rightTypes(operatorKey(node), isNarrow, architecture);
	if (types === undefined || encodings.every((one) => one === undefined) || results[0] === undefined) return false;
	let done = false;
	for (const [index, encoding] of encodings.entries()) {
		if (encoding === undefined || encoding.dtype === types.input) continue;
		const value = node.inputs[index]!;
		const constant = smallConstantOf(value);
		const made =
			constant === undefined
				? addQdq(node.graph!, value, recoded(encoding, types.input), names, node)
				: addQuantizedConstant(node.graph!, value.name, { ...constant, dtype: types.input }, names, node);
		node.setInput(index, made);
		done = true;
	}
	for (const [index, encoding] of results.entries()) {
		if (encoding === undefined || encoding.dtype === types.output) continue;
		insertPair(model, outputs[index]!.value, recoded(encoding, types.output), names);
		done = true;
	}
	return done;
};

/** `DQ -> op -> Q` of one type -> `DQ -> op -> Q -> DQ -> Q` with another of 16 bits first: the operator on floats. */
export const retypeResult: Remedy = ({ outputs: [output] }, { model, names }) => {
	const encoding = movedEncoding(output);
	if (encoding === undefined) return false;
	const dtype = encoding.dtype === DataType.UINT16 ? DataType.INT16 : DataType.UINT16;
	insertPair(model, output!.value, recoded(encoding, dtype), names);
	return true;
};

/** Codes of 8 bits -> UINT16 of the same values first. */
export const widenResults: Remedy = ({ outputs }, { model, names }) => {
	let done = false;
	for (const output of outputs) {
		const encoding = encodingOfOperand(output);
		if (encoding === undefined || bitsPerElement(encoding.dtype) !== 8) continue;
		insertPair(model, output.value, recoded(encoding, DataType.UINT16), names);
		done = true;
	}
	return done;
};

/** What a convolution reads as UINT16 of the same values, and INT16 that it makes. */
export const unsign: Remedy = ({ node, inputs: [input], outputs: [output] }, { model, names }) => {
	const [before, behind] = [encodingOfOperand(input), encodingOfOperand(output)];
	if (before === undefined) return false;
	node.setInput(0, addQdq(node.graph!, input!.value, recoded(before, DataType.UINT16), names, node));
	if (behind?.dtype === DataType.INT16) insertPair(model, output!.value, recoded(behind, DataType.UINT16), names);
	return true;
};

/**
 * What an operator reads and makes as unsigned codes of as many bits, of the same values; a view of what is not quantized in
 * front of it as what is behind it.
 */
export const unsignBoth: Remedy = ({ node, inputs: [input], outputs: [output], result }, { model, names }) => {
	const behind = movedEncoding(output) ?? (result && encodingAt(result.node));
	const before = movedEncoding(input) ?? (isView(node) ? behind : undefined);
	if (before === undefined && behind === undefined) return false;
	if (before !== undefined && isSigned(before)) {
		node.setInput(0, addQdq(node.graph!, node.inputs[0]!, unsigned(before), names, node));
	}
	if (behind !== undefined && isSigned(behind)) insertPair(model, output!.value, unsigned(behind), names);
	return true;
};

function isSigned({ dtype }: Encoding): boolean {
	return dtype === DataType.INT16 || dtype === DataType.INT8;
}

function unsigned(encoding: Encoding): Encoding {
	return recoded(encoding, bitsPerElement(encoding.dtype) === 16 ? DataType.UINT16 : DataType.UINT8);
}

/**
 * Updates of a ScatterElements in the encoding of its data, where that is the result's; else a result of another type, with
 * which all is computed on floats.
 */
export const encodeAlike: Remedy = (operator, tools) => {
	const { node, inputs, outputs } = operator;
	const data = encodingOfOperand(inputs[0]);
	const result = encodingOfOperand(outputs[0]);
	if (data === undefined || result === undefined) return false;
	if (!sameEncoding(result, data)) return tools.architecture !== "v68" && retypeResult(operator, tools);
	node.setInput(2, inEncoding(node, node.inputs[2]!, data, tools.names));
	return true;
};

/** Constants of nothing but 0 that an Add or Sub reads, in steps of the result. */
export const encodeZeros: Remedy = ({ node, inputs, outputs: [output] }, { names }) => {
	const result = encodingOfOperand(output);
	let done = false;
	for (const [index, input] of inputs.entries()) {
		const encoding = encodingOfOperand(input);
		if (encoding === undefined || encoding.dtype !== result?.dtype || encoding.scale <= result.scale) continue;
		const values = smallConstantOf(input!.value)?.values;
		if (values === undefined || !Array.from(values).every((value) => value === 0)) continue;
		node.setInput(index, inEncoding(node, input!.value, result, names));
		removeUnused(input!.value);
		done = true;
	}
	return done;
};

/** What `value` stands for in another encoding: codes where it is constant. */
function inEncoding(node: Node, value: Value, encoding: Encoding, names: NameScope): Value {
	const graph = node.graph!;
	const constant = smallConstantOf(value);
	if (constant === undefined) return addQdq(graph, value, encoding, names, node);
	const codes = Array.from(constant.values, (number) => codeOf(number, encoding));
	const stored = codesTensor(encoding.dtype, constant.shape, codes);
	const codesValue = addConstant(graph, names.fresh(`${value.name}_codes`), stored, node);
	const inputs = [codesValue, ...addParameters(graph, value.name, encoding, names, node)];
	const made = graph.createValue(names.fresh(`${value.name}_dq`));
	graph.createNode({ op: "DequantizeLinear", name: names.fresh(`${value.name}_DQ`), inputs, outputs: [made] }, node);
	return made;
}

/** The vector as first operand of the Add. */
export const exchangeOperands: Remedy = (operator) => {
	const adds = vectorAddsBehind(operator);
	for (const add of adds) {
		const [first, second] = add.inputs;
		add.setInput(0, second);
		add.setInput(1, first);
	}
	return adds.length > 0;
};

/** `Mul(x, factor)` or `Div(x, 1 / factor)` with a float factor -> `Mul(x, DQ(largest code))`, as x is quantized. */
export const encodeFactor: Remedy = ({ node, inputs, outputs: [output] }, { model, names }) => {
	const at = inputs.findIndex((input) => input?.constant !== undefined);
	const values = inputs.find((input) => encodingOfOperand(input) !== undefined);
	const dtype = encodingOfOperand(values)?.dtype;
	const result = encodingOfOperand(output);
	const constant = smallConstantOf(node.inputs[at]);
	if (dtype === undefined || result === undefined || constant?.values.length !== 1) return false;
	const isDiv = isOnnxOp(node, "Div");
	const factor = isDiv ? 1 / constant.values[0]! : constant.values[0]!;
	if (!Number.isFinite(factor) || Math.abs(factor) < SMALLEST_FACTOR) return false;
	const { shape } = constant;
	const made = addQuantizedConstant(
		node.graph!,
		node.inputs[at]!.name,
		{ shape, values: [factor], dtype },
		names,
		node,
	);
	if (isDiv) {
		const product = node.graph!.createValue(names.fresh(`${output!.value.name}_product`), output!.value.type);
		node.graph!.createNode(
			{ op: "Mul", name: names.fresh(`${node.name}_Mul`), inputs: [values!.value, made], outputs: [product] },
			node,
		);
		output!.value.replaceUsesWith(product);
		node.remove();
		if (result.dtype !== dtype) insertPair(model, product, recoded(result, dtype), names);
		return true;
	}
	node.setInput(at, made);
	if (result.dtype !== dtype) insertPair(model, output!.value, recoded(result, dtype), names);
	return true;
};

/** With which a scale of one code still has all digits of a float32. */
const SMALLEST_FACTOR = 2 ** -100;
