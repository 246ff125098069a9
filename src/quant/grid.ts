import { roundHalfEven } from "./rounding.js";

/** The values from `lo` to `hi`. */
export interface Interval {
	readonly lo: number;
	readonly hi: number;
}

/** Evenly spaced values: (code - zeroPoint) * scale, for the integer codes from `min` to `max`. */
export interface Grid {
	readonly scale: number;
	readonly zeroPoint: number;
	readonly min: number;
	readonly max: number;
}

/** The smallest and the largest value of a grid. */
export function intervalOf({ scale, zeroPoint, min, max }: Grid): Interval {
	return { lo: (min - zeroPoint) * scale, hi: (max - zeroPoint) * scale };
}

/** The smallest interval that holds all of `intervals`; of none, nothing but 0. */
export function hull(...intervals: readonly Interval[]): Interval {
	if (intervals.length === 0) return { lo: 0, hi: 0 };
	return { lo: Math.min(...intervals.map(({ lo }) => lo)), hi: Math.max(...intervals.map(({ hi }) => hi)) };
}

/**
 * The finest grid of codes `min` to `max` that reaches over `interval` and has 0 among its values; its scale is a float32.
 * The ends of the interval may lie half a step outside, so that they round no worse than what is between them.
 */
export function coveringGrid(interval: Interval, min: number, max: number): Grid {
	const lo = Math.min(interval.lo, 0);
	const hi = Math.max(interval.hi, 0);
	const scale = Math.fround((hi - lo) / (max - min));
	if (!(scale >= SMALLEST_SCALE)) return { scale: STEP_OF_ZEROS, zeroPoint: min, min, max };
	return { scale, zeroPoint: Math.min(max, roundHalfEven(min - lo / scale)), min, max };
}

/** Of a grid for nothing but 0: a large step spoils the sums with other values that the HTP computes. */
const STEP_OF_ZEROS = 2 ** -20;

/** Below this a float32 loses digits. */
const SMALLEST_SCALE = 2 ** -126;

/** The code of the grid's value nearest to `value`, as ONNX's QuantizeLinear rounds. */
export function codeOf(value: number, { scale, zeroPoint, min, max }: Grid): number {
	return Math.max(min, Math.min(max, roundHalfEven(value / scale) + zeroPoint));
}
