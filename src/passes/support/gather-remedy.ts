import { intAttribute, intOf, intsAttribute } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import { numbersOf } from "../../weights/numbers.js";
import { NodeWriter } from "./node-writer.js";
import type { Remedy } from "./remedy.js";

/**
 * `Gather(data, indices)` -> `GatherND(data, Unsqueeze(indices))`, the axis brought to the front and back by Transposes.
 */
export const gatherPoints: Remedy = ({ node, inputs }, { names }) => {
	const [data, indices] = inputs;
	const [rank, depth] = [data?.shape?.length, indices?.shape?.length];
	if (!isOnnxOp(node, "Gather") || data?.dtype !== DataType.FLOAT || rank === undefined || depth === undefined)
		return false;
	const stated = intOf(node, "axis", 0);
	const axis = stated < 0 ? stated + rank : stated;
	const writer = new NodeWriter(node, names);
	const transposed = (value: (typeof node.inputs)[number], perm: readonly number[], label: string) =>
		writer.emit("Transpose", [value], { perm: intsAttribute(perm) }, label);

	const [source, places] = node.inputs;
	const others = Array.from({ length: rank }, (_, at) => at).filter((at) => at !== axis);
	const front = axis === 0 ? source : transposed(source, [axis, ...others], "front");
	const wide =
		indices!.dtype === DataType.INT64
			? places
			: writer.emit("Cast", [places], { to: intAttribute(DataType.INT64) }, "places");
	const points = writer.emit("Unsqueeze", [wide, writer.constant("axes", int64Tensor([1], [-1]))], {}, "points");
	const gathered = writer.emit("GatherND", [front, points], {}, "gathered");
	const back = [
		...others.slice(0, axis).map((_, at) => depth + at),
		...Array.from({ length: depth }, (_, at) => at),
		...others.slice(axis).map((_, at) => depth + axis + at),
	];
	writer.give(0, axis === 0 ? gathered : transposed(gathered, back, "back"));
	writer.finish();
	return true;
};

/** `GatherND(data, places)` of one number each -> `Gather(data, places)` along the first axis; places are constants. */
export const gatherImages: Remedy = ({ node, inputs: [, places] }, { names }) => {
	const stored = places?.constant;
	if (stored === undefined) return false;
	const writer = new NodeWriter(node, names);
	const indices = writer.constant("indices", int64Tensor(stored.shape.slice(0, -1), Array.from(numbersOf(stored))));
	writer.give(0, writer.emit("Gather", [node.inputs[0], indices], { axis: intAttribute(0) }, "images"));
	writer.finish();
	return true;
};
