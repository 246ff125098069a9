import { intAttribute, intsAttribute, intsOf, stringAttribute, stringOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { floatTensor, int64Tensor } from "../../ir/tensor.js";
import { bitsPerElement, DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import type { OperatorFacts } from "../../targets/operator-facts.js";
import { poolPads } from "../../targets/pool-pads.js";
import { quantizerBehind } from "../../targets/readers.js";
import { rangeOf } from "../../targets/rules/operand-ranges.js";
import { constantOf } from "../../weights/constant.js";
import { numbersOf } from "../../weights/numbers.js";
import { keepCodes } from "./encoding-remedies.js";
import { largestAlong } from "./largest.js";
import { NodeWriter } from "./node-writer.js";
import { addQdq, encodingAt, encodingBehind, recoded, sameEncoding } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { insertPair } from "./separate-output.js";
import { smallConstantOf } from "./small-constant.js";

/** By spatial axis of a MaxPool, by tap of its kernel, which element each window takes; a tap beside the input takes another's of the window. */
function tapsOf({ node, inputs, outputs }: OperatorFacts): number[][][] | undefined {
	const [from, to] = [inputs[0], outputs[0]].map((operand) => fixedShape(operand?.shape)?.slice(2));
	const auto = stringOf(node, "auto_pad") ?? "NOTSET";
	if (from === undefined || to === undefined || (auto !== "NOTSET" && auto !== "VALID")) return undefined;
	const [kernel, strides, dilations, pads] = ["kernel_shape", "strides", "dilations", "pads"].map((name) =>
		intsOf(node, name),
	) as number[][];
	const axes = from.map((length, axis) => {
		const taps = Array.from({ length: kernel![axis]! }, (_, tap) => tap * (dilations![axis] ?? 1));
		const windows = Array.from({ length: to[axis]! }, (_, window) => {
			const start = window * (strides![axis] ?? 1) - (pads![axis] ?? 0);
			const places = taps.map((tap) => start + tap);
			const inside = places.filter((place) => place >= 0 && place < length);
			return places.map((place) => (inside.includes(place) ? place : inside[0]));
		});
		return taps.map((_, tap) => windows.map((window) => window[tap]));
	});
	const isCovered = axes.flat(2).every((place) => place !== undefined);
	return isCovered ? (axes as number[][][]) : undefined;
}

/** A MaxPool with dilations -> along each axis a Gather for each tap of the kernel and the Max of these. */
export const takeTaps: Remedy = (operator, { names }) => {
	const { node } = operator;
	const axes = tapsOf(operator);
	if (!isOnnxOp(node, "MaxPool") || node.outputs.length > 1 || axes === undefined) return false;
	const encoding = encodingBehind(node.inputs[0]);
	const writer = new NodeWriter(node, names);
	const rounded = (value: Value) =>
		encoding === undefined ? value : addQdq(node.graph!, value, encoding, names, node);
	let value = node.inputs[0]!;
	const isIdle = (taps: readonly (readonly number[])[]) =>
		taps.length === 1 && taps[0]!.every((at, index) => at === index);
	const worked = axes.flatMap((taps, axis) => (isIdle(taps) ? [] : [{ taps, axis: axis + 2 }]));
	for (const { taps, axis } of worked) {
		const taken = taps.map((places) => {
			const indices = writer.constant("places", int64Tensor([places.length], places));
			return writer.emit("Gather", [value, indices], { axis: intAttribute(axis) }, "tap");
		});
		value = taken.map(rounded).reduce((largest, tap) => rounded(writer.emit("Max", [largest, tap], {}, "largest")));
	}
	if (worked.length === 0) return false;
	const identity = writer.emit("Identity", [value]);
	writer.give(0, identity);
	writer.finish();
	return true;
};

/** A MaxPool with ceil_mode -> one with as many pads behind as its windows reach. */
export const padToWindows: Remedy = ({ node, inputs, outputs }) => {
	const [from, to] = [inputs[0], outputs[0]].map((operand) => fixedShape(operand?.shape)?.slice(2));
	const [kernel, strides, pads] = ["kernel_shape", "strides", "pads"].map((name) => intsOf(node, name)) as number[][];
	const auto = stringOf(node, "auto_pad") ?? "NOTSET";
	if (from === undefined || to === undefined || auto !== "NOTSET") return false;
	const ends = from.map((length, axis) => {
		const begin = pads![axis] ?? 0;
		return Math.max(0, (to[axis]! - 1) * (strides![axis] ?? 1) + kernel![axis]! - length - begin);
	});
	node.attributes.delete("ceil_mode");
	node.attributes.set("pads", intsAttribute([...from.map((_, axis) => pads![axis] ?? 0), ...ends]));
	return true;
};

/** The least float of 16 bits. */
const LEAST_HALF = -65504;

/** A MaxPool in an image -> Pad of the least number that its input can be, and a MaxPool without pads. */
export const padWithLeast: Remedy = (operator, { names }) => {
	const { node, inputs, outputs } = operator;
	const [from, to] = [inputs[0], outputs[0]].map((operand) => fixedShape(operand?.shape)?.slice(2));
	const [kernel, strides] = ["kernel_shape", "strides"].map((name) => intsOf(node, name)) as number[][];
	const pads = poolPads(operator);
	if (from === undefined || to === undefined || pads === undefined || node.outputs.length > 1) return false;
	const begins = pads.map(({ begin }) => begin);
	const ends = from.map((length, axis) =>
		Math.max(0, (to[axis]! - 1) * (strides![axis] ?? 1) + kernel![axis]! - length - begins[axis]!),
	);
	const writer = new NodeWriter(node, names);
	const amounts = [0, 0, ...begins, 0, 0, ...ends];
	const stored = writer.constant("pads", int64Tensor([amounts.length], amounts));
	const least = writer.constant("least", floatTensor([], [rangeOf(inputs[0])?.lo ?? LEAST_HALF]));
	const padded = writer.emit("Pad", [node.inputs[0]!, stored, least], {}, "padded");
	const encoding = encodingBehind(node.inputs[0]);
	const image = encoding === undefined ? padded : addQdq(node.graph!, padded, encoding, names, node);
	const attributes = {
		kernel_shape: intsAttribute(kernel!),
		strides: intsAttribute(strides!),
		auto_pad: stringAttribute("VALID"),
	};
	writer.give(0, writer.emit("MaxPool", [image], attributes, "largest"));
	writer.finish();
	return true;
};

/** A GlobalMaxPool -> ReduceMax over all positions. */
export const reducePositions: Remedy = ({ node, inputs, opset }, { names }) => {
	const rank = inputs[0]?.shape?.length;
	if (rank === undefined) return false;
	const writer = new NodeWriter(node, names);
	const axes = Array.from({ length: rank - 2 }, (_, axis) => axis + 2);
	writer.give(0, largestAlong(writer, node.inputs[0]!, axes, opset));
	writer.finish();
	return true;
};

/**
 * `node -> Q` -> `node -> Q -> DQ -> Q`, the new pair in the encoding of what the node reads. Not where the two quantizers
 * would differ in the zero point of one unsigned type: a v68 gets pads wrong then, too (32 dB).
 */
export const keepEncoding: Remedy = ({ node }, { names }) => {
	const encoding = encodingBehind(node.inputs[0]);
	const [output] = node.outputs;
	const behind = output && quantizerBehind(output);
	const last = behind && encodingAt(behind);
	if (encoding === undefined || output === undefined || last === undefined) return false;
	const isUnsigned = encoding.dtype === DataType.UINT16 || encoding.dtype === DataType.UINT8;
	if (isUnsigned && last.dtype === encoding.dtype && last.zeroPoint !== encoding.zeroPoint) return false;
	const uses = [...output.uses];
	const kept = addQdq(node.graph!, output, encoding, names, node.next);
	for (const { node: reader, index } of uses) reader.setInput(index, kept);
	return true;
};

/**
 * `node -> Q` -> `node -> Q -> DQ -> Q`, the new pair in the encoding of what the node reads; of 8 bits both as UINT16, since
 * ONNX Runtime makes one pair of two of these.
 */
export const keepWideCodes: Remedy = (operator, tools) => {
	const { node, outputs } = operator;
	const encoding = encodingBehind(node.inputs[0]);
	if (encoding === undefined) return false;
	if (bitsPerElement(encoding.dtype) === 16) return keepCodes(operator, tools);
	const wide = recoded(encoding, DataType.UINT16);
	node.setInput(0, addQdq(node.graph!, node.inputs[0]!, wide, tools.names, node));
	insertPair(tools.model, outputs[0]!.value, wide, tools.names);
	return true;
};

/** Two Pads of one constant, one behind the other -> one. */
export const joinPads: Remedy = ({ node }, { names }) => {
	const dequantizer = node.inputs[0]?.producer;
	const first = dequantizer && firstPad(dequantizer);
	if (first === undefined) return false;
	const [outer, inner] = [node, first].map((pad) => constantOf(pad.inputs[1])?.tensor);
	const encodings = [node.inputs[0], first.inputs[0]].map(encodingBehind);
	const behind = quantizerBehind(node.outputs[0]!);
	const last = behind && encodingAt(behind);
	const [middle, before] = encodings;
	if (outer === undefined || inner === undefined || middle === undefined) return false;
	const isSame = [before, last].some((encoding) => encoding !== undefined && sameEncoding(encoding, middle));
	if (!isSame || padValue(node) !== padValue(first) || padValue(node) === undefined) return false;
	const amounts = Array.from(numbersOf(outer));
	for (const [at, amount] of Array.from(numbersOf(inner)).entries()) amounts[at]! += amount;
	const writer = new NodeWriter(node, names);
	const pads = writer.constant("pads", int64Tensor([amounts.length], amounts));
	writer.give(
		0,
		writer.emit("Pad", [first.inputs[0], pads, ...node.inputs.slice(2)], Object.fromEntries(node.attributes)),
	);
	writer.finish();
	return true;
};

/** The Pad whose codes `dequantizer` reads. */
function firstPad(dequantizer: Node): Node | undefined {
	const pad = isOnnxOp(dequantizer, "DequantizeLinear")
		? dequantizer.inputs[0]?.producer?.inputs[0]?.producer
		: undefined;
	return pad !== undefined && isOnnxOp(pad, "Pad") ? pad : undefined;
}

/** What a Pad of all axes puts around; undefined where that is not known. */
function padValue({ inputs }: Node): number | undefined {
	if (inputs[3] !== undefined) return undefined;
	return inputs[2] === undefined ? 0 : smallConstantOf(inputs[2])?.values[0];
}
