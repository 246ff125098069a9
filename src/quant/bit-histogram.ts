/*
 * A histogram whose bins are the upper halves of float32 patterns: sign, exponent and seven bits of the fraction, so that
 * every bin is 0.4 to 0.8 % of its values wide, at whatever magnitude. It needs no range before the first value is seen and
 * none of its counts ever moves; sums of histograms are exact and do not depend on the order.
 */
import type { Interval } from "./grid.js";

export const BIT_BINS = 2 ** 16;

/** Patterns from here on, the sign aside, are infinite or no numbers. */
const FIRST_NOT_FINITE = 0x7f80;
const SIGN = 0x8000;

/** Counts of one bin are folded into doubles before they can exceed this. */
const MAX_COUNT = 2 ** 32 - 1;

/** What is left of a histogram once empty bins are dropped: in ascending order, bin i from lows[i] to highs[i]. */
export interface Bins {
	readonly lows: Float64Array;
	readonly highs: Float64Array;
	readonly counts: Float64Array;
}

/** The smallest and the largest finite number among elements, and how many there are of either kind. */
export interface Seen {
	/** Infinity where there are none. */
	readonly min: number;
	readonly max: number;
	readonly finite: number;
	readonly notFinite: number;
}

/** Counts of float32 numbers by bin. */
export class BitHistogram {
	readonly #counts: Uint32Array;
	#folded: Float64Array | undefined;
	#pending = 0;

	/** @param counts place for {@link BIT_BINS} counts, all 0. */
	constructor(counts: Uint32Array = new Uint32Array(BIT_BINS)) {
		this.#counts = counts;
	}

	/** Counts all elements, and says what there is among them. */
	add(values: Float32Array): Seen {
		this.#reserve(values.length);
		const before = this.#notFinite();
		let { min, max } = countElements(values, this.#counts);
		const notFinite = this.#notFinite() - before;
		if (notFinite > 0) ({ min, max } = finiteRange(values));
		return { min, max, finite: values.length - notFinite, notFinite };
	}

	/** Adds counts of bins by their numbers, as {@link entries} gives them. */
	addCounts(bins: ArrayLike<number>, counts: ArrayLike<number>): void {
		this.#folded ??= new Float64Array(BIT_BINS);
		for (let index = 0; index < bins.length; index++) this.#folded[bins[index]!]! += counts[index]!;
	}

	/** The bins that are not empty, by number. */
	*entries(): Generator<[bin: number, count: number]> {
		for (let bin = 0; bin < BIT_BINS; bin++) {
			const count = this.#count(bin);
			if (count > 0) yield [bin, count];
		}
	}

	/** Finite numbers in ascending order, no bin reaching beyond `range`. */
	bins({ lo, hi }: Interval): Bins {
		const [lows, highs, counts]: [number[], number[], number[]] = [[], [], []];
		const add = (bin: number, low: number, high: number) => {
			const count = this.#count(bin);
			if (count === 0) return;
			lows.push(Math.min(Math.max(low, lo), hi));
			highs.push(Math.max(Math.min(high, hi), lo));
			counts.push(count);
		};
		for (let bin = FIRST_NOT_FINITE - 1; bin >= 0; bin--) add(bin + SIGN, -EDGES[bin + 1]!, -EDGES[bin]!);
		for (let bin = 0; bin < FIRST_NOT_FINITE; bin++) add(bin, EDGES[bin]!, EDGES[bin + 1]!);
		return {
			lows: Float64Array.from(lows),
			highs: Float64Array.from(highs),
			counts: Float64Array.from(counts),
		};
	}

	#count(bin: number): number {
		return this.#counts[bin]! + (this.#folded?.[bin] ?? 0);
	}

	#notFinite(): number {
		let count = 0;
		for (let bin = FIRST_NOT_FINITE; bin < SIGN; bin++) count += this.#counts[bin]! + this.#counts[bin + SIGN]!;
		return count;
	}

	#reserve(elements: number): void {
		if (this.#pending + elements > MAX_COUNT) this.#fold();
		this.#pending += elements;
	}

	#fold(): void {
		this.#folded ??= new Float64Array(BIT_BINS);
		for (let bin = 0; bin < BIT_BINS; bin++) this.#folded[bin]! += this.#counts[bin]!;
		this.#counts.fill(0);
		this.#pending = 0;
	}
}

/** Lower edges of the bins of positive numbers; the last one is infinite. */
const EDGES = Float64Array.from(
	new Float32Array(Uint32Array.from({ length: FIRST_NOT_FINITE + 1 }, (_, bin) => bin << 16).buffer),
);

function countElements(values: Float32Array, counts: Uint32Array): { min: number; max: number } {
	const patterns = new Uint32Array(values.buffer, values.byteOffset, values.length);
	let min = Number.POSITIVE_INFINITY;
	let max = Number.NEGATIVE_INFINITY;
	for (let index = 0; index < patterns.length; index++) {
		const value = values[index]!;
		if (value < min) min = value;
		if (value > max) max = value;
		counts[patterns[index]! >>> 16]!++;
	}
	return { min, max };
}

function finiteRange(values: Float32Array): { min: number; max: number } {
	let min = Number.POSITIVE_INFINITY;
	let max = Number.NEGATIVE_INFINITY;
	for (const value of values) {
		if (!Number.isFinite(value)) continue;
		if (value < min) min = value;
		if (value > max) max = value;
	}
	return { min, max };
}
