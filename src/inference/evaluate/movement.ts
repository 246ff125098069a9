import type { Dimension } from "../../ir/types.js";
import { elementsOfTensor, MAX_ELEMENTS } from "../constant.js";
import { frontAxis, isStatic, unknownShape } from "../dimension.js";
import type { Elements } from "../fact.js";
import type { Evaluator, OperatorCall } from "../operator-call.js";
import { clampIndex, knownAxes } from "../rules/shape.js";
import { broadcastTo } from "./elementwise.js";
import { elementOf } from "./number.js";

const unchanged: Evaluator = (call) => call.elements(0);

/** The static shape of an input. */
function lengths(call: OperatorCall, index: number): readonly number[] | undefined {
	const shape = call.shape(index);
	return isStatic(shape) ? shape : undefined;
}

function count(shape: readonly number[]): number {
	return shape.reduce((product, length) => product * length, 1);
}

/** [elements in front of the axis, along it, behind it]. */
function around(shape: readonly number[], axis: number): [number, number, number] {
	return [count(shape.slice(0, axis)), shape[axis]!, count(shape.slice(axis + 1))];
}

/** Elements of a tensor of `shape` with those at `places` of one axis, in that order. */
function take(elements: Elements, shape: readonly number[], axis: number, places: readonly Dimension[]): Elements {
	const [outer, length, inner] = around(shape, axis);
	const result: Dimension[] = [];
	for (let block = 0; block < outer; block++) {
		for (const place of places) {
			const start = (block * length + (typeof place === "number" ? place : Number.NaN)) * inner;
			for (let at = 0; at < inner; at++) result.push(elements[start + at]);
		}
	}
	return result;
}

const gather: Evaluator = (call) => {
	const [elements, shape, indices] = [call.elements(0), lengths(call, 0), call.elements(1)];
	const axis = shape && frontAxis(call.int("axis") ?? 0, shape.length);
	if (elements === undefined || shape === undefined || indices === undefined || axis === undefined) return undefined;
	return take(
		elements,
		shape,
		axis,
		indices.map((index) => (typeof index === "number" ? frontAxis(index, shape[axis]!) : undefined)),
	);
};

const slice: Evaluator = (call) => {
	let [elements, shape] = [call.elements(0), lengths(call, 0)];
	const [starts, ends] = [call.inputOrInts(1, "starts"), call.inputOrInts(2, "ends")];
	if (elements === undefined || shape === undefined || !isStatic(starts) || !isStatic(ends)) return undefined;
	const hasAxes = call.has(3) || call.ints("axes") !== undefined;
	const axes = hasAxes ? knownAxes(call.inputOrInts(3, "axes"), shape.length) : starts.map((_, axis) => axis);
	const steps = call.has(4) ? call.numbers(4) : starts.map(() => 1);
	if (axes === undefined || steps === undefined) return undefined;
	for (const [index, axis] of axes.entries()) {
		const [length, step] = [shape[axis]!, steps[index]!];
		if (step === 0) return undefined;
		const [from, to] = [clampIndex(starts[index]!, length, step), clampIndex(ends[index]!, length, step)];
		const places = Array.from({ length: Math.max(0, Math.ceil((to - from) / step)) }, (_, at) => from + at * step);
		elements = take(elements, shape, axis, places);
		shape = shape.with(axis, places.length);
	}
	return elements;
};

function unknownElements(call: OperatorCall, index: number): Elements | undefined {
	const shape = lengths(call, index);
	return shape && count(shape) <= MAX_ELEMENTS ? unknownShape(count(shape)) : undefined;
}

const concat: Evaluator = (call, { shape }) => {
	const axis = frontAxis(call.int("axis") ?? 1, shape.length);
	if (axis === undefined) return undefined;
	const outer = count(shape.slice(0, axis));
	const parts = Array.from(
		{ length: call.inputCount },
		(_, index) => call.elements(index) ?? unknownElements(call, index),
	);
	const result: Dimension[] = [];
	for (let block = 0; block < outer; block++) {
		for (const part of parts) {
			if (part === undefined) return undefined;
			const size = part.length / outer;
			result.push(...part.slice(block * size, (block + 1) * size));
		}
	}
	return result;
};

const transpose: Evaluator = (call, { shape }) => {
	const [elements, input] = [call.elements(0), lengths(call, 0)];
	if (elements === undefined || input === undefined) return undefined;
	const order = call.ints("perm") ?? input.map((_, axis) => input.length - 1 - axis);
	const steps = input.map((_, axis) => count(input.slice(axis + 1)));
	return elements.map((_, flat) => {
		let rest = flat;
		let at = 0;
		for (let axis = shape.length - 1; axis >= 0; axis--) {
			at += (rest % shape[axis]!) * steps[order[axis]!]!;
			rest = Math.floor(rest / shape[axis]!);
		}
		return elements[at];
	});
};

const tile: Evaluator = (call) => {
	let [elements, shape] = [call.elements(0), lengths(call, 0)];
	const repeats = call.numbers(1);
	if (elements === undefined || shape === undefined || repeats?.length !== shape.length) return undefined;
	for (const [axis, times] of repeats.entries()) {
		const length = shape[axis]!;
		elements = take(
			elements,
			shape,
			axis,
			Array.from({ length: length * times }, (_, at) => at % length),
		);
		shape = shape.with(axis, length * times);
	}
	return elements;
};

const constantOfShape: Evaluator = (call, { shape }) => {
	const value = call.attribute("value");
	const element = value?.kind === "tensor" ? elementsOfTensor(value.value)?.[0] : 0;
	return new Array<Dimension>(count(shape)).fill(element);
};

const range: Evaluator = (call, { shape, elementType }) => {
	const [start, step] = [call.numbers(0)?.[0], call.numbers(2)?.[0]];
	if (start === undefined || step === undefined) return undefined;
	return Array.from({ length: count(shape) }, (_, index) => elementOf(elementType, start + index * step));
};

/** Reductions over all elements, and over all axes but one: what exporters do to shapes. */
function reduction(fold: (a: number, b: number) => number, start: number): Evaluator {
	return (call, { shape, elementType }) => {
		const [elements, input] = [call.elements(0), lengths(call, 0)];
		if (elements === undefined || input === undefined || count(shape) !== 1) return undefined;
		if (input.length > 0 && call.int("noop_with_empty_axes") === 1) return undefined;
		if (elements.length === 1) return elements;
		if (!isStatic(elements)) return undefined;
		return [
			elementOf(
				elementType,
				elements.reduce((all, element) => fold(all, element), start),
			),
		];
	};
}

const nonZero: Evaluator = (call, { shape }) => {
	const [elements, input] = [call.elements(0), lengths(call, 0)];
	if (!isStatic(elements) || input === undefined) return undefined;
	const places = elements.flatMap((element, index) => (element === 0 ? [] : [index]));
	const axes = input.length === 0 ? [1] : input;
	if (places.length !== shape[1]) return undefined;
	return axes.flatMap((length, axis) => {
		const step = count(axes.slice(axis + 1));
		return places.map((place) => Math.floor(place / step) % length);
	});
};

/** What of the data, or of an axis, the condition keeps. A condition may be shorter than the axis. */
const compress: Evaluator = (call) => {
	const [elements, kept, input] = [call.elements(0), call.numbers(1), lengths(call, 0)];
	const axis = call.int("axis");
	const at = axis === undefined || input === undefined ? undefined : frontAxis(axis, input.length);
	if (elements === undefined || kept === undefined || input === undefined) return undefined;
	if (axis === undefined) return elements.filter((_, index) => (kept[index] ?? 0) !== 0);
	if (at === undefined) return undefined;
	const inner = count(input.slice(at + 1));
	return elements.filter((_, index) => (kept[Math.floor(index / inner) % input[at]!] ?? 0) !== 0);
};

/** Replaces slices of the data, one a row of indices. */
const scatterNd: Evaluator = (call) => {
	const [data, indices, updates] = [call.elements(0), call.numbers(1), call.elements(2)];
	const [shape, indexShape] = [lengths(call, 0), lengths(call, 1)];
	const depth = indexShape?.at(-1);
	if (data === undefined || indices === undefined || updates === undefined || shape === undefined || !depth)
		return undefined;
	if ((call.string("reduction") ?? "none") !== "none") return undefined;
	const result = [...data];
	const size = count(shape.slice(depth));
	for (let row = 0; row < indices.length / depth; row++) {
		let start = 0;
		for (let axis = 0; axis < depth; axis++) {
			const place = frontAxis(indices[row * depth + axis]!, shape[axis]!);
			if (place === undefined) return undefined;
			start += place * count(shape.slice(axis + 1));
		}
		for (let at = 0; at < size; at++) result[start + at] = updates[row * size + at];
	}
	return result;
};

const cumulativeSum: Evaluator = (call, { shape, elementType }) => {
	const elements = call.elements(0);
	const isPlain = call.int("exclusive") !== 1 && call.int("reverse") !== 1;
	if (!isStatic(elements) || shape.length !== 1 || !isPlain) return undefined;
	let total = 0;
	return elements.map((element) => {
		total += element;
		return elementOf(elementType, total);
	});
};

export const MOVEMENT_EVALUATORS: Readonly<Record<string, Evaluator>> = {
	Identity: unchanged,
	Reshape: unchanged,
	Squeeze: unchanged,
	Unsqueeze: unchanged,
	Flatten: unchanged,
	Gather: gather,
	Slice: slice,
	Concat: concat,
	Transpose: transpose,
	Tile: tile,
	Expand: (call, { shape }) => broadcastTo(call, 0, shape),
	ConstantOfShape: constantOfShape,
	Range: range,
	ReduceProd: reduction((a, b) => a * b, 1),
	ReduceSum: reduction((a, b) => a + b, 0),
	ReduceMax: reduction(Math.max, Number.NEGATIVE_INFINITY),
	ReduceMin: reduction(Math.min, Number.POSITIVE_INFINITY),
	NonZero: nonZero,
	Compress: compress,
	ScatterND: scatterNd,
	CumSum: cumulativeSum,
};
