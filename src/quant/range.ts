/*
 * How large the integers of a quantized product can become. A code times a code is a term, a sum of terms an accumulator;
 * hardware has so many bits for each: 8 for LPBQ's code times block scale, 32 for the sum.
 */
import { roundHalfEven } from "./rounding.js";

/** The whole numbers from `min` to `max`. */
export interface IntegerRange {
	readonly min: number;
	readonly max: number;
}

/** What integers of so many bits can be: -8..7 for 4, 0..255 for 8 unsigned ones. */
export function rangeOfBits(bits: number, isSigned = true): IntegerRange {
	return isSigned ? { min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 } : { min: 0, max: 2 ** bits - 1 };
}

/** Do signed integers of so many bits hold all of `range`? */
export function fitsBits({ min, max }: IntegerRange, bits: number): boolean {
	const limits = rangeOfBits(bits);
	return min >= limits.min && max <= limits.max;
}

/** What products of a number of each range can be. */
export function productRange(a: IntegerRange, b: IntegerRange): IntegerRange {
	const products = [a.min * b.min, a.min * b.max, a.max * b.min, a.max * b.max];
	return { min: Math.min(...products), max: Math.max(...products) };
}

/** What an activation's codes can be once its zero point is taken away. */
export function centered({ min, max }: IntegerRange, zeroPoint: number): IntegerRange {
	return { min: min - zeroPoint, max: max - zeroPoint };
}

/** A linear operator, as far as its integers go. */
export interface LinearRangeSpec {
	/** Terms of a sum: K, or the group size where scales are applied after every group. */
	readonly depth: number;
	/** Codes of the activation. */
	readonly activation: IntegerRange;
	/** Of the activation; default 0. */
	readonly zeroPoint?: number;
	/** Codes of the weight. */
	readonly weight: IntegerRange;
	/** Largest integer block scale of LPBQ, which weight codes are multiplied with; default 1. */
	readonly largestBlockScale?: number;
	/** `activation scale * weight scale / output scale`, the factor from the sum to the output's steps; default: no output. */
	readonly outputFactor?: number;
}

export interface LinearRange {
	/** Weight code times block scale. */
	readonly weight: IntegerRange;
	readonly weightFitsInt8: boolean;
	/** The sum, with the zero point taken from every code of the activation before. */
	readonly accumulator: IntegerRange;
	/** Signed integers that hold it. */
	readonly accumulatorBits: number;
	readonly accumulatorFitsInt32: boolean;
	/** The output before its zero point and its limits, in its steps; undefined where no factor was given. */
	readonly output: IntegerRange | undefined;
}

/**
 * The largest integers that can occur in a linear operator of these shapes, bits and scales, whatever its codes are:
 * `sum of depth terms (x - zeroPoint) * (q * blockScale)`. {@link accumulatorRange} is narrower where codes are known.
 */
export function linearRange(spec: LinearRangeSpec): LinearRange {
	const { depth, largestBlockScale = 1, outputFactor } = spec;
	const weight = productRange(spec.weight, { min: Math.min(1, largestBlockScale), max: largestBlockScale });
	const term = productRange(centered(spec.activation, spec.zeroPoint ?? 0), weight);
	const accumulator = { min: Math.min(0, depth * term.min), max: Math.max(0, depth * term.max) };
	return {
		weight,
		weightFitsInt8: fitsBits(weight, 8),
		accumulator,
		accumulatorBits: bitsFor(accumulator),
		accumulatorFitsInt32: fitsBits(accumulator, 32),
		output: outputFactor === undefined ? undefined : scaled(accumulator, outputFactor),
	};
}

/**
 * What `sum of x * w` can be for known weights, `positive` being the sum of those above 0 and `negative` of those below:
 * the worst activation has its largest value at all of one sign and its smallest at the others.
 *
 * @param activation what is multiplied with the weights, its zero point taken away.
 */
export function accumulatorRange(activation: IntegerRange, positive: number, negative: number): IntegerRange {
	const { min, max } = activation;
	return { min: min * positive + max * negative, max: max * positive + min * negative };
}

function bitsFor(range: IntegerRange): number {
	let bits = 1;
	while (!fitsBits(range, bits)) bits++;
	return bits;
}

function scaled({ min, max }: IntegerRange, factor: number): IntegerRange {
	return { min: roundHalfEven(min * factor), max: roundHalfEven(max * factor) };
}
