import { computedData } from "../../ir/data.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { floatTensor, type Tensor, tensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { codeOf, type Interval } from "../../quant/grid.js";
import { sqnrDb } from "../../quant/measure.js";
import { readersAlike } from "../../targets/code-encodings.js";
import { strangeReaders } from "../../targets/stored-readers.js";
import { addConstant, constantOf } from "../../weights/constant.js";
import { eachNumber } from "../../weights/numbers.js";
import { dequantizedTensor } from "./encoded-constant.js";
import { addEncodedConstant } from "./encoded-table.js";
import { placedEncodingAt } from "./node-encoding.js";
import { coveringEncoding, type Encoding } from "./qdq.js";
import type { Remedy, Tools } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { type SmallConstant, smallConstantOf } from "./small-constant.js";

/** What a constant keeps of its precision where one scale is enough for all of it. */
const ENOUGH_DECIBELS = 50;

/**
 * What the DequantizeLinear `node` makes of constant codes with several scales, once more: as UINT16 with one scale, or as
 * FLOAT where that loses too much. undefined where its parameters are computed or do not fit.
 */
function withOneScale(node: Node, { names }: Tools): Value | undefined {
	const codes = constantOf(node.inputs[0]);
	if (codes === undefined || codes.overridable) return undefined;
	const { shape, dtype } = codes.tensor;
	const placed = placedEncodingAt(node, { shape, dtype, axes: undefined }, "any");
	if (typeof placed === "string") return undefined;
	const floats = dequantizedTensor(codes.tensor, placed);
	const encoding = coveringEncoding(DataType.UINT16, extentOf(floats));
	const graph = node.graph!;
	if (decibelsOf(floats, encoding) >= ENOUGH_DECIBELS) {
		return addEncodedConstant(graph, { ...codes, tensor: floats }, encoding, names, node);
	}
	return addConstant(graph, names.fresh(`${codes.value.name}_float`), floats, node);
}

export function extentOf(floats: Tensor): Interval {
	let [lo, hi] = [0, 0];
	eachNumber(floats, (value) => {
		if (value < lo) lo = value;
		else if (value > hi) hi = value;
		return true;
	});
	return { lo, hi };
}

function decibelsOf(floats: Tensor, encoding: Encoding): number {
	let [signal, error] = [0, 0];
	eachNumber(floats, (value) => {
		signal += value * value;
		error += (value - (codeOf(value, encoding) - encoding.zeroPoint) * encoding.scale) ** 2;
		return true;
	});
	return sqnrDb(signal, error);
}

/** A table with several scales as one with one scale. */
export const joinTableScales: Remedy = ({ inputs: [table] }, tools) => {
	const dequantize = table?.quantization?.node;
	const made = dequantize && withOneScale(dequantize, tools);
	if (made === undefined) return false;
	for (const { node, index } of [...table!.value.uses]) {
		if (isOnnxOp(node, "Gather") && index === 0) node.setInput(0, made);
	}
	removeUnused(table!.value);
	return true;
};

/** Codes with several scales that are no weight, as codes with one scale, for those readers that do not take them. */
export const joinScales: Remedy = (operator, tools) => {
	const uses = strangeReaders(operator).flatMap(({ use }) => use ?? []);
	const made = uses.length === 0 ? undefined : withOneScale(operator.node, tools);
	if (made === undefined) return false;
	for (const { node, index } of uses) node.setInput(index, made);
	removeUnused(operator.node.outputs[0]!);
	return true;
};

/** INT4 codes of a weight with one scale and a zero point as UINT4: 8 more, the zero point too. */
export const unsignInt4: Remedy = ({ node, weight }, { names }) => {
	const { dequantization, stored, input, indirect } = weight!.site;
	const zeroPoint = dequantization?.zeroPoint?.tensor;
	if (dequantization === undefined || zeroPoint === undefined || indirect !== undefined) return false;
	const graph = node.graph!;
	const before = node.inputs[input]!;
	const { name } = before;
	const inputs = [
		addConstant(graph, names.fresh(`${name}_uint4`), raised(stored.tensor), node),
		dequantization.node.inputs[1],
		addConstant(graph, names.fresh(`${name}_zero_point`), raised(zeroPoint), node),
	];
	const made = graph.createValue(names.fresh(`${name}_unsigned`));
	const label = names.fresh(`${name}_unsigned_DQ`);
	graph.createNode({ op: "DequantizeLinear", name: label, inputs, outputs: [made] }, node);
	node.setInput(input, made);
	removeUnused(before);
	return true;
};

/** Of a nibble: what 8 more turns around. */
const SIGN_BITS = 0x88;

/** INT4 numbers as UINT4 of 8 more. */
function raised({ shape, data }: Tensor): Tensor {
	const spare = elementCount(shape) % 2 === 1 ? data.byteLength - 1 : -1;
	const bytes = computedData(data.byteLength, (start, end) =>
		data.read(start, end).map((byte, index) => (start + index === spare ? (byte & 0x0f) ^ 0x08 : byte ^ SIGN_BITS)),
	);
	return tensor(DataType.UINT4, shape, bytes);
}

/** Quantized parameters as floats. */
export const floatParameters: Remedy = ({ node, inputs }, { names }) => {
	let done = false;
	for (const [index, input] of inputs.entries()) {
		const constant = index === 0 || input?.quantization === undefined ? undefined : smallConstantOf(input.value);
		if (constant === undefined) continue;
		node.setInput(index, addFloats(node, input!.value.name, constant, names));
		removeUnused(input!.value);
		done = true;
	}
	return done;
};

/** @param name of what the floats replace. */
export function addFloats(node: Node, name: string, { shape, values }: SmallConstant, names: NameScope): Value {
	const floats = floatTensor(shape, Float32Array.from(values));
	return addConstant(node.graph!, names.fresh(`${name}_float`), floats, node);
}

/** Codes that are read in several encodings: a copy for those readers that have the encoding of `node`. */
export const copyCodes: Remedy = ({ node }, { names }) => {
	const codes = constantOf(node.inputs[0]);
	if (codes === undefined || codes.overridable) return false;
	const readers = readersAlike(node);
	const copy = addConstant(codes.value.graph, names.fresh(`${codes.value.name}_copy`), codes.tensor, readers[0]);
	for (const reader of readers) reader.setInput(0, copy);
	return true;
};
