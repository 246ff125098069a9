import { intsOf, stringOf } from "../ir/attribute.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { numbersOf } from "../weights/numbers.js";
import type { OperatorFacts } from "./operator-facts.js";

/** Which elements of its input a Resize of mode `nearest` takes along one axis. */
export interface TakenElements {
	readonly axis: number;
	/** As ONNX says. */
	readonly asked: readonly number[];
	/** As the compiler takes them. */
	readonly done: readonly number[];
}

export function isNearestResize(node: Node): boolean {
	return isOnnxOp(node, "Resize") && (stringOf(node, "mode") ?? "nearest") === "nearest";
}

/** undefined where the Resize interpolates. */
export function nearestMode({ node }: Pick<OperatorFacts, "node">): string | undefined {
	return (stringOf(node, "mode") ?? "nearest") === "nearest"
		? (stringOf(node, "nearest_mode") ?? "round_prefer_floor")
		: undefined;
}

/** How the coordinates of a Resize are counted. */
export function coordinateMode({ node }: Pick<OperatorFacts, "node">): string {
	return stringOf(node, "coordinate_transformation_mode") ?? "half_pixel";
}

/** How the compiler rounds, whatever nearest_mode says, by coordinate_transformation_mode. */
export const COMPILER_ROUNDING: Readonly<Record<string, string>> = {
	half_pixel: "round_prefer_ceil",
	pytorch_half_pixel: "round_prefer_floor",
	align_corners: "round_prefer_ceil",
	asymmetric: "floor",
};

const ROUNDING: Readonly<Record<string, (x: number) => number>> = {
	round_prefer_floor: (x) => Math.ceil(x - 0.5),
	round_prefer_ceil: (x) => Math.floor(x + 0.5),
	floor: Math.floor,
	ceil: Math.ceil,
};

/** The place between `length` elements that element `at` of `count` is taken from, rounded as ONNX Runtime's floats are. */
function place(at: number, coordinates: string, length: number, count: number, scale: number): number {
	if (coordinates === "asymmetric") return Math.fround(at / scale);
	if (coordinates === "align_corners") return count === 1 ? 0 : Math.fround((at * (length - 1)) / (count - 1));
	if (coordinates === "pytorch_half_pixel" && count === 1) return 0;
	return Math.fround(Math.fround((at + 0.5) / scale) - 0.5);
}

/**
 * What a nearest Resize takes along the axes whose length it changes; undefined where that is not known, or it interpolates.
 * The compiler knows lengths only: scales that do not divide them are lost.
 */
export function takenElements(operator: OperatorFacts): TakenElements[] | undefined {
	const { node, inputs, outputs } = operator;
	const coordinates = coordinateMode(operator);
	const asked = ROUNDING[nearestMode(operator) ?? ""];
	const done = ROUNDING[COMPILER_ROUNDING[coordinates] ?? ""];
	const [from, to] = [inputs[0]?.shape, outputs[0]?.shape];
	if (from === undefined || to === undefined || asked === undefined || done === undefined) return undefined;
	const constant = inputs[2]?.constant;
	const scales = constant === undefined ? [] : Array.from(numbersOf(constant));
	const stated = intsOf(node, "axes").map((axis) => (axis < 0 ? axis + from.length : axis));
	const axes = stated.length === 0 ? [...from.keys()] : stated;
	const taken: TakenElements[] = [];
	for (const [axis, length] of from.entries()) {
		const count = to[axis];
		if (typeof length !== "number" || typeof count !== "number") return undefined;
		if (length === count) continue;
		const ratio = count / length;
		const scale = scales.length === axes.length ? (scales[axes.indexOf(axis)] ?? ratio) : ratio;
		const elements = (round: (x: number) => number, by: number) =>
			Array.from({ length: count }, (_, at) =>
				Math.min(Math.max(round(place(at, coordinates, length, count, by)), 0), length - 1),
			);
		taken.push({ axis, asked: elements(asked, scale), done: elements(done, ratio) });
	}
	return taken;
}
