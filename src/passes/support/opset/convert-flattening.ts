import { intAttribute } from "../../../ir/attribute.js";
import type { Dimension } from "../../../ir/types.js";
import { type NodeDraft, type Operand, refuse } from "./node-draft.js";
import { newIntegers, newNode } from "./operands.js";

/* Operators that took tensors as matrices or as rows. */

/**
 * Softmax, LogSoftmax, Hardmax 13. Before, all axes from `axis` (default 1) on are one axis; from then on `axis` (default
 * -1) is one. Where only one of these is longer than 1 that is the same; else `Flatten -> Softmax -> Reshape`.
 */
export function splitSoftmaxAxes(draft: NodeDraft): void {
	const input = draft.requiredInput(0);
	const attribute = draft.take("axis") ?? intAttribute(1);
	const shape = draft.shapeOf(input);
	const axis = attribute.kind === "int" ? singleAxis(Number(attribute.value), shape) : undefined;
	draft.attributes.set("axis", intAttribute(axis ?? -1));
	if (axis !== undefined) return;
	draft.setInput(0, newNode("flat", "Flatten", [input], { axis: attribute }));
	draft.finish = backToShape(input, shape);
}

/** The axis that alone is what all axes from `axis` on are together; undefined where there is none, or nobody knows. */
function singleAxis(axis: number, shape: readonly Dimension[] | undefined): number | undefined {
	if (axis === -1) return axis;
	if (shape === undefined) return undefined;
	const first = axis < 0 ? axis + shape.length : axis;
	const long = shape.map((_, index) => index).filter((index) => index >= first && shape[index] !== 1);
	if (long.length > 1 || first >= shape.length) return undefined;
	return long[0] ?? first;
}

/** The node that gives a tensor the shape of `like`. */
function backToShape(like: Operand, shape: readonly Dimension[] | undefined) {
	return newNode("unflat", "Reshape", [shapeOperand(like, shape)]);
}

/** The shape as a constant where Reshape can find out the rest, else computed. */
function shapeOperand(like: Operand, shape: readonly Dimension[] | undefined): Operand {
	const sizes = shape?.map((dimension) => (typeof dimension === "number" ? dimension : -1));
	const isConstant = sizes !== undefined && !sizes.includes(0) && sizes.filter((size) => size === -1).length <= 1;
	return isConstant ? newIntegers("shape", [sizes.length], sizes) : newNode("shape", "Shape", [like]);
}

/** BatchNormalization 9: with `spatial` 0 each element of a row, and not each channel, has its own statistics. */
export function flattenBatchNormalization(draft: NodeDraft): void {
	const isSpatial = draft.integer("spatial", 1) !== 0;
	draft.take("spatial");
	if (isSpatial) return;
	if (draft.outputs.slice(1).some(({ name }) => name !== "")) refuse("it trains statistics with 'spatial' 0");
	const input = draft.requiredInput(0);
	draft.setInput(0, newNode("flat", "Flatten", [input], { axis: intAttribute(1) }));
	const vector = newIntegers("vector", [1], [-1]);
	for (const [index, name] of [undefined, "scale", "bias", "mean", "variance"].entries()) {
		if (name === undefined) continue;
		draft.setInput(index, newNode(name, "Reshape", [draft.requiredInput(index), vector]));
	}
	draft.outputs = draft.outputs.slice(0, 1);
	draft.finish = backToShape(input, draft.shapeOf(input));
}

/** BatchNormalization 14: whether it trains is said by an attribute, not by the outputs; two of these went away. */
export function sayBatchNormalizationTrains(draft: NodeDraft): void {
	if (draft.isOutputUsed(3) || draft.isOutputUsed(4)) {
		refuse("its outputs 'saved_mean' and 'saved_var' are used, which are gone since");
	}
	const trains = draft.outputs.slice(1).some(({ name }) => name !== "");
	if (trains) draft.attributes.set("training_mode", intAttribute(1));
	draft.outputs = draft.outputs.slice(0, trains ? 3 : 1);
}

/** GroupNormalization 21: scale and bias, one a group before, are one a channel. */
export function spreadGroupParameters(draft: NodeDraft): void {
	const groups = draft.integer("num_groups", 0);
	if (groups < 1) refuse(`attribute 'num_groups' is ${groups}, expected 1 or more`);
	const input = draft.requiredInput(0);
	const channels = draft.shapeOf(input)?.[1];
	const repeats =
		typeof channels === "number"
			? newIntegers("repeats", [1], [channels / groups])
			: newNode("repeats", "Div", [
					newNode("channels", "Shape", [input], { start: intAttribute(1), end: intAttribute(2) }),
					newIntegers("groups", [1], [groups]),
				]);
	const column = newIntegers("column", [2], [-1, 1]);
	const vector = newIntegers("vector", [1], [-1]);
	for (const [index, name] of [
		[1, "scale"],
		[2, "bias"],
	] as const) {
		const grouped = newNode(`${name}_column`, "Reshape", [draft.requiredInput(index), column]);
		const spread = newNode(`${name}_spread`, "Expand", [grouped, repeats]);
		draft.setInput(index, newNode(name, "Reshape", [spread, vector]));
	}
}
