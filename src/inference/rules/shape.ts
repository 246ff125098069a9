import { DataType, type Dimension } from "../../ir/types.js";
import { broadcast, frontAxis, isStatic, MAX_RANK, product, quotient, sum, unknownShape } from "../dimension.js";
import { type Elements, type Shape, tensorFact } from "../fact.js";
import type { OperatorCall, Rule, RuleTable } from "../operator-call.js";

/** A rule of operators that keep the element type of input 0 and have one output. */
export function shaped(shapeOf: (call: OperatorCall) => Shape | undefined): Rule {
	return (call) => [tensorFact(call.elementType(0), shapeOf(call))];
}

/** The shape that a tensor of dimensions stands for, as far as it is known. */
export function shapeFromElements(call: OperatorCall, index: number): Shape | undefined {
	const elements = call.elements(index);
	const shape = call.shape(index);
	const rank = elements?.length ?? (shape?.length === 1 ? shape[0] : undefined);
	return typeof rank === "number" && rank <= MAX_RANK ? (elements ?? unknownShape(rank)) : undefined;
}

function reshape(call: OperatorCall): Shape | undefined {
	const input = call.shape(0);
	const target = call.has(1) ? shapeFromElements(call, 1) : call.ints("shape");
	if (target === undefined) return undefined;
	const copiesZero = call.int("allowzero") !== 1;
	const dimensions = target.map((wanted, axis) => {
		if (wanted === 0 && copiesZero) return input?.[axis];
		return wanted;
	});
	// An element that is not known may be -1, may be 0, may be what is left over: all the same if it is the only one.
	const open = target.flatMap((wanted, axis) => (wanted === -1 || wanted === undefined ? [axis] : []));
	const result = dimensions.map((dimension) => (dimension === -1 ? undefined : dimension));
	if (open.length !== 1 || input === undefined) return result;
	const others = result.filter((_, axis) => axis !== open[0]);
	return result.map((dimension, axis) => (axis === open[0] ? quotient(input, others) : dimension));
}

function transpose(call: OperatorCall): Shape | undefined {
	const input = call.shape(0);
	const order = call.ints("perm") ?? input?.map((_, axis) => input.length - 1 - axis);
	if (input === undefined) return order && unknownShape(order.length);
	return order?.map((axis) => input[axis]);
}

function squeeze(call: OperatorCall): Shape | undefined {
	const input = call.shape(0);
	if (input === undefined) return undefined;
	if (!call.has(1) && call.ints("axes") === undefined) {
		return isStatic(input) ? input.filter((dimension) => dimension !== 1) : undefined;
	}
	const axes = knownAxes(call.inputOrInts(1, "axes"), input.length);
	if (axes !== undefined) return input.filter((_, axis) => !axes.includes(axis));
	const [count] = call.shape(1) ?? [];
	return typeof count === "number" && count <= input.length ? unknownShape(input.length - count) : undefined;
}

function unsqueeze(call: OperatorCall): Shape | undefined {
	const input = call.shape(0);
	const wanted = call.inputOrInts(1, "axes") ?? shapeFromElements(call, 1);
	if (input === undefined || wanted === undefined) return undefined;
	const rank = input.length + wanted.length;
	const axes = knownAxes(wanted, rank);
	if (axes === undefined) return unknownShape(rank);
	const rest = [...input];
	return Array.from({ length: rank }, (_, axis) => (axes.includes(axis) ? 1 : rest.shift()));
}

/** Axes counted from the front; undefined where one is unknown or out of range. */
export function knownAxes(elements: Elements | undefined, rank: number): readonly number[] | undefined {
	if (!isStatic(elements)) return undefined;
	const axes = elements.map((axis) => frontAxis(axis, rank));
	return isStatic(axes) ? axes : undefined;
}

function flatten(call: OperatorCall): Shape | undefined {
	const input = call.shape(0);
	if (input === undefined) return unknownShape(2);
	const axis = call.int("axis") ?? 1;
	const at = axis < 0 ? axis + input.length : axis;
	return [product(input.slice(0, at)), product(input.slice(at))];
}

function expand(call: OperatorCall): Shape | undefined {
	const target = shapeFromElements(call, 1);
	// What is not known of the target may be anything: only a dimension above 1 of the input says more.
	return broadcast([call.shape(0), target]);
}

function tile(call: OperatorCall): Shape | undefined {
	const repeats = call.version < 6 ? undefined : call.elements(1);
	const rank = call.shape(0)?.length ?? repeats?.length;
	if (rank === undefined) return undefined;
	return Array.from({ length: rank }, (_, axis) => product([call.shape(0)?.[axis], repeats?.[axis]]));
}

/** Tensors one after the other along an axis; what one does not know of the other axes, another may. */
export function concatShapes(shapes: readonly (Shape | undefined)[], along: number): Shape | undefined {
	const rank = shapes.find((shape) => shape !== undefined)?.length;
	if (rank === undefined) return undefined;
	const axis = frontAxis(along, rank);
	if (axis === undefined || shapes.some((shape) => shape !== undefined && shape.length !== rank)) return undefined;
	return Array.from({ length: rank }, (_, at) => {
		const dimensions = shapes.map((shape) => shape?.[at]);
		return at === axis ? sum(dimensions) : agreed(dimensions);
	});
}

/** What equal dimensions are: a number where one is, else a name. */
export function agreed(dimensions: Shape): Dimension {
	return (
		dimensions.find((dimension) => typeof dimension === "number") ??
		dimensions.find((dimension) => dimension !== undefined)
	);
}

const split: Rule = (call) => {
	const input = call.shape(0);
	const count = call.node.outputs.length;
	const axis = input && frontAxis(call.int("axis") ?? 0, input.length);
	if (input === undefined || axis === undefined) {
		return Array.from({ length: count }, () => tensorFact(call.elementType(0), input && unknownShape(input.length)));
	}
	const sizes = splitSizes(call, input[axis], count);
	return Array.from({ length: count }, (_, index) => tensorFact(call.elementType(0), input.with(axis, sizes?.[index])));
};

function splitSizes(call: OperatorCall, length: Dimension, count: number): Elements | undefined {
	const given = call.inputOrInts(1, "split");
	if (given !== undefined || call.has(1)) return given;
	if (typeof length !== "number") return count === 1 ? [length] : undefined;
	const size = Math.ceil(length / count);
	return Array.from({ length: count }, (_, index) => Math.max(0, Math.min(size, length - index * size)));
}

function slice(call: OperatorCall): Shape | undefined {
	const input = call.shape(0);
	if (input === undefined) return undefined;
	const starts = call.inputOrInts(1, "starts");
	const ends = call.inputOrInts(2, "ends");
	const steps = call.has(4) ? call.elements(4) : undefined;
	const hasAxes = call.has(3) || call.ints("axes") !== undefined;
	const count = starts?.length ?? ends?.length ?? shapeFromElements(call, 1)?.length;
	const axes = hasAxes
		? knownAxes(call.inputOrInts(3, "axes"), input.length)
		: Array.from({ length: count ?? 0 }, (_, axis) => axis);
	if (axes === undefined || count === undefined) return unknownShape(input.length);
	const result = [...input];
	for (const [index, axis] of axes.entries()) {
		const step = call.has(4) ? steps?.[index] : 1;
		result[axis] = slicedDimension(input[axis], starts?.[index], ends?.[index], step);
	}
	return result;
}

/** How many elements of `length` a slice takes; a name only where it takes all of them. */
export function slicedDimension(length: Dimension, start: Dimension, end: Dimension, step: Dimension): Dimension {
	if (length === undefined || typeof step !== "number" || step === 0) return undefined;
	if (step === 1 && start === 0 && (end === length || (typeof end === "number" && end >= 2 ** 31 - 1))) return length;
	if (typeof length !== "number" || typeof start !== "number" || typeof end !== "number") return undefined;
	const [from, to] = [clampIndex(start, length, step), clampIndex(end, length, step)];
	return Math.max(0, Math.ceil((to - from) / step));
}

/** An index as Slice takes it: counted from the front and within what the direction of `step` allows. */
export function clampIndex(index: number, length: number, step: number): number {
	const front = index < 0 ? index + length : index;
	return step > 0 ? Math.min(Math.max(front, 0), length) : Math.min(Math.max(front, -1), length - 1);
}

function pad(call: OperatorCall): Shape | undefined {
	const input = call.shape(0);
	if (input === undefined) return undefined;
	const pads = call.has(1) ? call.elements(1) : (call.ints("pads") ?? call.ints("paddings"));
	const axes = call.has(3) ? knownAxes(call.elements(3), input.length) : input.map((_, axis) => axis);
	if (pads === undefined || axes === undefined) return unknownShape(input.length);
	const result = [...input];
	for (const [index, axis] of axes.entries()) {
		const [before, after] = [pads[index], pads[index + axes.length]];
		const isOpposite = typeof before === "number" && typeof after === "number" && before + after === 0;
		result[axis] = isOpposite
			? input[axis]
			: isStatic([before, after, input[axis]])
				? sum([before, input[axis], after])
				: undefined;
	}
	return result;
}

const shape: Rule = (call) => {
	const input = call.shape(0);
	if (input === undefined) return [tensorFact(DataType.INT64, [undefined])];
	const elements = input.slice(
		shapeBound(call.int("start") ?? 0, input.length),
		shapeBound(call.int("end") ?? input.length, input.length),
	);
	return [{ ...tensorFact(DataType.INT64, [elements.length]), elements }];
};

function shapeBound(index: number, rank: number): number {
	return clampIndex(index, rank, 1);
}

const size: Rule = (call) => {
	const input = call.shape(0);
	return [{ ...tensorFact(DataType.INT64, []), elements: input && [product(input)] }];
};

const constantOfShape: Rule = (call) => {
	const value = call.attribute("value");
	const elementType = value?.kind === "tensor" ? value.value.dtype : DataType.FLOAT;
	return [tensorFact(elementType, shapeFromElements(call, 0))];
};

function depthToSpace(call: OperatorCall): Shape | undefined {
	const [batch, channels, height, width] = call.shape(0) ?? [];
	const block = call.int("blocksize");
	if (block === undefined) return undefined;
	return [batch, quotient([channels], [block, block]), product([height, block]), product([width, block])];
}

function spaceToDepth(call: OperatorCall): Shape | undefined {
	const [batch, channels, height, width] = call.shape(0) ?? [];
	const block = call.int("blocksize");
	if (block === undefined) return undefined;
	return [batch, product([channels, block, block]), quotient([height], [block]), quotient([width], [block])];
}

const centerCropPad = (call: OperatorCall): Shape | undefined => {
	const input = call.shape(0);
	if (input === undefined) return undefined;
	const axes =
		call.ints("axes") === undefined ? input.map((_, axis) => axis) : knownAxes(call.ints("axes"), input.length);
	const target = shapeFromElements(call, 1);
	return input.map((dimension, axis) => {
		const index = axes?.indexOf(axis) ?? 0;
		return index < 0 ? dimension : axes && target?.[index];
	});
};

export const SHAPE_RULES: RuleTable = {
	Reshape: shaped(reshape),
	Transpose: shaped(transpose),
	Squeeze: shaped(squeeze),
	Unsqueeze: shaped(unsqueeze),
	Flatten: shaped(flatten),
	Expand: shaped(expand),
	Tile: shaped(tile),
	Concat: shaped((call) => concatShapes(call.shapes(), call.int("axis") ?? 1)),
	Split: split,
	Slice: shaped(slice),
	Pad: shaped(pad),
	Shape: shape,
	Size: size,
	ConstantOfShape: constantOfShape,
	DepthToSpace: shaped(depthToSpace),
	SpaceToDepth: shaped(spaceToDepth),
	CenterCropPad: shaped(centerCropPad),
};
