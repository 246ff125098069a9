import { fixedShape } from "../../targets/fixed-shape.js";
import { coordinateMode } from "../../targets/nearest-resize.js";
import { type InexactScale, inexactScales, isExactScale } from "../../targets/resize-scales.js";
import { Rewrite } from "./mode-remedies.js";
import { addQdq, encodingAt } from "./qdq.js";
import type { Remedy } from "./remedy.js";

/** By how many elements an axis is made longer at most. */
const MOST_REPEATED = 64;

/** Lengths that an axis can be given instead, of which the one times the scale is the other. */
interface Longer {
	readonly axis: number;
	readonly length: number;
	readonly count: number;
}

function longer({ axis, length, scale }: InexactScale): Longer | undefined {
	for (let more = length + 1; more <= length + MOST_REPEATED; more++) {
		const count = Math.round(more * scale);
		if (isExactScale(more, count, scale)) return { axis, length: more, count };
	}
	return undefined;
}

/** Scales that say no more than lengths do -> sizes. */
const stateSizes: Remedy = (operator, tools) => {
	const { node, outputs } = operator;
	const rewrite = new Rewrite(operator, tools);
	const attributes = new Map(node.attributes);
	attributes.delete("axes");
	const sizes = rewrite.integers("sizes", fixedShape(outputs[0]?.shape)!);
	const inputs = [node.inputs[0], undefined, undefined, sizes];
	return rewrite.finish(rewrite.writer.emit("Resize", inputs, Object.fromEntries(attributes), "resized"));
};

/**
 * A Resize by scales that do not divide the lengths -> a Gather along each axis that repeats the last element until they do,
 * Resize to sizes, Slice.
 */
export const resizeWhole: Remedy = (operator, tools) => {
	const { node, outputs } = operator;
	const inexact = inexactScales(operator);
	const to = fixedShape(outputs[0]?.shape);
	if (to !== undefined && coordinateMode(operator) === "align_corners") return stateSizes(operator, tools);
	const axes = inexact.map(longer);
	const isFirst = coordinateMode(operator) === "pytorch_half_pixel" && inexact.some(({ count }) => count === 1);
	if (to === undefined || isFirst || axes.some((axis) => axis === undefined)) return false;
	const rewrite = new Rewrite(operator, tools);
	let value = node.inputs[0]!;
	const sizes = [...to];
	for (const [at, { axis, length, count }] of (axes as Longer[]).entries()) {
		const last = inexact[at]!.length - 1;
		value = rewrite.elements(
			value,
			axis,
			Array.from({ length }, (_, index) => Math.min(index, last)),
		);
		sizes[axis] = count;
	}
	const attributes = new Map(node.attributes);
	attributes.delete("axes");
	const wanted = rewrite.integers("sizes", sizes);
	value = rewrite.writer.emit(
		"Resize",
		[value, undefined, undefined, wanted],
		Object.fromEntries(attributes),
		"resized",
	);
	const encoding = outputs[0]!.quantization && encodingAt(outputs[0]!.quantization.node);
	if (encoding !== undefined) value = addQdq(node.graph!, value, encoding, tools.names, node);
	const along = inexact.map(({ axis }) => axis);
	const ends = inexact.map(({ count }) => count);
	const zeros = ends.map(() => 0);
	const [starts, stops, on] = [
		["starts", zeros],
		["ends", ends],
		["axes", along],
	] as const;
	const bounds = [starts, stops, on].map(([label, numbers]) => rewrite.integers(label, numbers));
	return rewrite.finish(rewrite.writer.emit("Slice", [value, ...bounds], {}, "cut"));
};
