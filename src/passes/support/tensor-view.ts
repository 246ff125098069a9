import { type Attribute, intOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { type Tensor, tensor } from "../../ir/tensor.js";
import { elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { constantOf } from "../../weights/constant.js";
import { valuesOf } from "./small-constant.js";
import { permutedData } from "./transposed-data.js";

/**
 * What an operator such as Transpose or Squeeze makes of a tensor's axes: for each axis of the result the axis of the
 * source, or undefined for an inserted axis of length 1. Axes that do not occur have length 1.
 */
export type View = readonly (number | undefined)[];

/** `second` after `first`. */
export function composed(first: View, second: View): View {
	return second.map((axis) => (axis === undefined ? undefined : first[axis]));
}

/** The view that changes nothing. */
export function identityView(rank: number): View {
	return Array.from({ length: rank }, (_, axis) => axis);
}

export function isIdentity(view: View, rank: number): boolean {
	return view.length === rank && view.every((axis, index) => axis === index);
}

export function viewShape(view: View, shape: readonly number[]): number[] {
	return view.map((axis) => (axis === undefined ? 1 : shape[axis]!));
}

/** The tensor as the view shows it; its bytes are made when they are read. */
export function viewedTensor(view: View, { dtype, shape, data }: Tensor): Tensor {
	const kept = view.filter((axis) => axis !== undefined);
	const dropped = shape.map((_, axis) => axis).filter((axis) => !kept.includes(axis));
	return tensor(dtype, viewShape(view, shape), permutedData(data, dtype, shape, [...kept, ...dropped]));
}

/**
 * The view that `node` shows its first input of shape `shape` in; undefined where it is no view of axes: a Reshape that
 * joins or cuts axes, parameters that are not constants.
 */
export function viewOf(node: Node, shape: readonly number[]): View | undefined {
	const rank = shape.length;
	if (isOnnxOp(node, "Identity")) return identityView(rank);
	if (isOnnxOp(node, "Transpose")) {
		const permutation = intsOf(node.attributes.get("perm")) ?? identityView(rank).toReversed().map(Number);
		const complete = permutation.length === rank && new Set(permutation).size === rank;
		return complete && permutation.every((axis) => axis >= 0 && axis < rank) ? permutation : undefined;
	}
	if (isOnnxOp(node, "Squeeze")) return squeezed(node, shape);
	if (isOnnxOp(node, "Unsqueeze")) return unsqueezed(node, rank);
	return isOnnxOp(node, "Reshape") ? reshaped(node, shape) : undefined;
}

function squeezed(node: Node, shape: readonly number[]): View | undefined {
	const given = node.inputs[1] !== undefined || node.attributes.has("axes");
	const units = [...shape.keys()].filter((axis) => shape[axis] === 1);
	const axes = given ? axesOf(node, shape.length) : units;
	if (axes === undefined || axes.some((axis) => !units.includes(axis))) return undefined;
	return [...shape.keys()].filter((axis) => !axes.includes(axis));
}

function unsqueezed(node: Node, rank: number): View | undefined {
	const count = numbersOf(node.inputs[1])?.length ?? intsOf(node.attributes.get("axes"))?.length;
	if (count === undefined) return undefined;
	const axes = axesOf(node, rank + count);
	if (axes === undefined || new Set(axes).size !== count) return undefined;
	let next = 0;
	return Array.from({ length: rank + count }, (_, axis) => (axes.includes(axis) ? undefined : next++));
}

function reshaped(node: Node, shape: readonly number[]): View | undefined {
	const wanted = numbersOf(node.inputs[1]);
	if (wanted === undefined) return undefined;
	const copiesZeros = intOf(node, "allowzero", 0) === 0;
	const known = wanted.map((length, axis) => (length === 0 && copiesZeros ? (shape[axis] ?? 0) : length));
	const rest = elementCount(shape) / elementCount(known.filter((length) => length !== -1));
	return sameButUnits(
		shape,
		known.map((length) => (length === -1 ? rest : length)),
	);
}

/** The view that takes one shape to another which differs in axes of length 1 only. */
function sameButUnits(from: readonly number[], to: readonly number[]): View | undefined {
	const view: (number | undefined)[] = [];
	let at = 0;
	for (const length of to) {
		if (length !== 1) while (from[at] === 1) at++;
		view.push(at < from.length && from[at] === length ? at++ : undefined);
		if (view.at(-1) === undefined && length !== 1) return undefined;
	}
	return from.slice(at).every((length) => length === 1) ? view : undefined;
}

/** The axes that a Squeeze or Unsqueeze names, as input or, before operator set 13, as attribute; 0 or more. */
function axesOf(node: Node, rank: number): number[] | undefined {
	const axes = node.inputs[1] === undefined ? intsOf(node.attributes.get("axes")) : numbersOf(node.inputs[1]);
	const normalized = axes?.map((axis) => (axis < 0 ? axis + rank : axis));
	return normalized?.every((axis) => axis >= 0 && axis < rank) ? normalized : undefined;
}

function numbersOf(value: Value | undefined): number[] | undefined {
	const constant = constantOf(value);
	const values = constant === undefined || constant.overridable ? undefined : valuesOf(constant.tensor);
	return values && Array.from(values);
}

function intsOf(attribute: Attribute | undefined): number[] | undefined {
	return attribute?.kind === "ints" ? attribute.value.map(Number) : undefined;
}
