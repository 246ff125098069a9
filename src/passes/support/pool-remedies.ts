import { intAttribute, intsAttribute, intsOf, stringOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import type { Value } from "../../ir/value.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import type { OperatorFacts } from "../../targets/operator-facts.js";
import { NodeWriter } from "./node-writer.js";
import { addQdq, encodingBehind } from "./qdq.js";
import type { Remedy } from "./remedy.js";

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
