import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { intervalOf } from "../../quant/grid.js";
import { isView } from "../../weights/activation.js";
import type { WeightSite } from "../../weights/weight-site.js";
import {
	addParameters,
	addQdq,
	coveringEncoding,
	type Encoding,
	encodingAt,
	encodingBehind,
	encodingOf,
	sameEncoding,
	widened,
} from "./qdq.js";
import { insertPair } from "./separate-output.js";

const { UINT8, INT8, UINT16, INT16 } = DataType;

/** Operators with the only encoding that the HTP's compiler gives their result in front of an LPBQ MatMul. */
const FIXED: Readonly<Record<string, Encoding>> = {
	Sigmoid: encodingOf(UINT16, 2 ** -16, 0),
	Tanh: encodingOf(UINT16, 2 ** -15, 2 ** 15),
};

/**
 * `Sigmoid -> Q -> DQ -> MatMul` gets the fixed encoding: in the pair itself, which loses nothing for other readers as it
 * is the finest there is, or where the codes are a graph output, in a pair of its own. Says whether it did anything.
 */
export function fixProducerEncoding({ node, scheme }: WeightSite, names: NameScope): boolean {
	const dequantize = node.inputs[0]?.producer;
	const quantize = dequantize?.inputs[0]?.producer;
	if (scheme !== "lpbq" || dequantize === undefined || quantize === undefined) return false;
	if (!isOnnxOp(dequantize, "DequantizeLinear") || !isOnnxOp(quantize, "QuantizeLinear")) return false;
	const producer = quantize.inputs[0]?.producer;
	const fixed = producer !== undefined && isOnnxOp(producer, "Sigmoid", "Tanh") ? FIXED[producer.op.type] : undefined;
	const found = encodingAt(quantize);
	if (fixed === undefined || found?.dtype !== UINT16 || sameEncoding(found, fixed)) return false;
	const codes = quantize.outputs[0]!;
	const readers = codes.uses.map((use) => use.node);
	const graph = node.graph!;
	if (
		codes.isGraphOutput ||
		!readers.every((reader) => isOnnxOp(reader, "DequantizeLinear") && reader.graph === graph)
	) {
		node.setInput(0, addQdq(graph, node.inputs[0]!, fixed, names, node));
		return true;
	}
	const parameters = addParameters(quantize.graph!, codes.name, fixed, names, quantize);
	for (const user of [quantize, ...readers]) {
		for (const [index, parameter] of parameters.entries()) user.setInput(index + 1, parameter);
	}
	return true;
}

/** The types of activations that the kernel takes. */
function takenTypes({ scheme }: WeightSite): readonly DataType[] {
	return scheme === "lpbq" ? [UINT16, INT16, UINT8] : [UINT16, INT16];
}

/**
 * Brings the input and the output of the MatMul at `site` to one type that the kernel takes: 8-bit inputs are widened to
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
