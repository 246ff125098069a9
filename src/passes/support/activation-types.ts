import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { intervalOf } from "../../quant/grid.js";
import { fixedOutput } from "../../targets/fixed-outputs.js";
import { isView } from "../../weights/activation.js";
import type { WeightSite } from "../../weights/weight-site.js";
import { encodeAnew, quantizedProducer } from "./producer-encoding.js";
import { addQdq, coveringEncoding, encodingAt, encodingBehind, encodingOf, widened } from "./qdq.js";
import { insertPair } from "./separate-output.js";

const { UINT8, INT8, UINT16, INT16 } = DataType;

/**
 * `Sigmoid -> Q -> DQ -> MatMul` gets the encoding that the compiler gives it anyway: in the pair itself, which loses nothing
 * for other readers as it is the finest there is, or where the codes are a graph output, in a pair of its own. Says whether
 * it did anything.
 */
export function fixProducerEncoding({ node, input }: WeightSite, names: NameScope): boolean {
	const index = 1 - input;
	const found = quantizedProducer(node.inputs[index]);
	const dtype = found && encodingAt(found.quantize)?.dtype;
	if (found === undefined || dtype === undefined) return false;
	const fixed = fixedOutput(found.producer.op.type, dtype);
	if (fixed === undefined || !isOnnxOp(found.producer, "Sigmoid", "Tanh")) return false;
	return encodeAnew(found.quantize, encodingOf(dtype, fixed.scale, fixed.zeroPoint), names, { node, index });
}

/** The types of activations that the kernel takes. */
function takenTypes({ scheme, bits }: WeightSite): readonly DataType[] {
	if (scheme === "block") return [UINT16, INT16];
	const isWide = scheme !== "lpbq" && bits === 8;
	return isWide ? [UINT16, INT16, UINT8, INT8] : [UINT16, INT16, UINT8];
}

/**
 * Brings the input and the output of the operator at `site` to one type that the kernel takes: 8-bit inputs are widened to
 * UINT16, which is exact, and a pair in the input's type goes in front of a quantizer of another type.
 */
export function unifyTypes(model: Model, site: WeightSite, names: NameScope): boolean {
	const { node } = site;
	const input = encodingBehind(node.inputs[0]);
	if (input === undefined || ![UINT8, INT8, UINT16, INT16].some((dtype) => dtype === input.dtype)) return false;
	const end = quantizerBehind(node);
	const output = end && encodingAt(end.node);
	const isNarrow = input.dtype === UINT8 && (output?.dtype === UINT16 || output?.dtype === INT16);
	const isTaken = takenTypes(site).includes(input.dtype) && !isNarrow;
	const dtype = isTaken ? input.dtype : UINT16;
	if (!isTaken) node.setInput(0, addQdq(node.graph!, node.inputs[0]!, widened(input), names, node));
	if (end === undefined || output === undefined || output.dtype === dtype) return !isTaken;
	insertPair(model, end.value, coveringEncoding(dtype, intervalOf(output)), names);
	return true;
}

/** The quantizer that alone reads the output of `node`, views aside, and what it reads. */
export function quantizerBehind(node: Node): { readonly node: Node; readonly value: Value } | undefined {
	let value = node.outputs[0]!;
	for (;;) {
		const [use] = value.uses;
		if (use === undefined || value.uses.length > 1 || value.isGraphOutput || use.index !== 0) return undefined;
		if (isOnnxOp(use.node, "QuantizeLinear")) return { node: use.node, value };
		if (!isView(use.node)) return undefined;
		value = use.node.outputs[0]!;
	}
}
