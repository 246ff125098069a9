import type { Random } from "../quant/random.js";
import { codeRange, type Draw } from "./tensor-spec.js";

/* Where the elements of the data come from that kernels are tried on. */

/** From `lo` to just below `hi`. */
export const between = (lo: number, hi: number): Draw => {
	return (random) => lo + (hi - lo) * random.uniform();
};

/** Whole numbers from `lo` to `hi`, both included, times `unit`. */
export const whole = (lo: number, hi: number, unit = 1): Draw => {
	return (random) => wholeNumber(random, lo, hi) * unit;
};

/** 2^lo to 2^hi. */
export const powerOfTwo = (lo: number, hi: number): Draw => {
	return (random) => 2 ** wholeNumber(random, lo, hi);
};

/** Whole numbers from `lo` to `hi`, every fourth of them one of both ends. */
export const wholeWithEnds = (lo: number, hi: number): Draw => {
	return (random) => withEnds(random, lo, hi);
};

/** All codes of the activation's type, the ends more often. */
export const activationCodes: Draw = (random, { activation }) => {
	const { min, max } = codeRange(activation);
	return withEnds(random, min, max);
};

/** Codes in the middle half of the activation's range. */
export const middleCodes: Draw = (random, { activation }) => {
	const { min, max } = codeRange(activation);
	const quarter = (max - min + 1) / 4;
	return wholeNumber(random, min + quarter, max - quarter);
};

function wholeNumber(random: Random, lo: number, hi: number): number {
	return lo + Math.floor(random.uniform() * (hi - lo + 1));
}

function withEnds(random: Random, lo: number, hi: number): number {
	const chance = random.uniform();
	return chance < 1 / 8 ? lo : chance < 1 / 4 ? hi : wholeNumber(random, lo, hi);
}
