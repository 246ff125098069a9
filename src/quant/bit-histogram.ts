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

/** The bins that are not empty, by number, and how many elements are in each. */
export interface FilledBins {
	readonly bins: Uint16Array<ArrayBuffer>;
	readonly counts: Float64Array<ArrayBuffer>;
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

	/** Counts all elements. */
	count(values: Float32Array): void {
		this.#reserve(values.length);
		const counts = this.#counts;
		const patterns = new Uint32Array(values.buffer, values.byteOffset, values.length);
		for (let index = 0; index < patterns.length; index++) counts[patterns[index]! >>> 16]!++;
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

	/** Adds counts of bins by their numbers, as {@link filled} gives them. */
	addCounts(bins: ArrayLike<number>, counts: ArrayLike<number>): void {
		this.#folded ??= new Float64Array(BIT_BINS);
		const folded = this.#folded;
		for (let index = 0; index < bins.length; index++) folded[bins[index]!]! += counts[index]!;
	}

	filled(): FilledBins {
		const [counts, folded] = [this.#counts, this.#folded];
		const bins = new Uint16Array(BIT_BINS);
		let length = 0;
		for (let bin = 0; bin < BIT_BINS; bin++) {
			if (counts[bin] !== 0 || (folded !== undefined && folded[bin] !== 0)) bins[length++] = bin;
		}
		const found = new Float64Array(length);
		for (let place = 0; place < length; place++) {
			const bin = bins[place]!;
			found[place] = counts[bin]! + (folded === undefined ? 0 : folded[bin]!);
		}
		return { bins: bins.slice(0, length), counts: found };
	}

	/** Finite numbers in ascending order, no bin reaching beyond `range`. */
	bins({ lo, hi }: Interval): Bins {
		const filled = this.filled();
		const size = filled.bins.length;
		const [lows, highs, counts] = [new Float64Array(size), new Float64Array(size), new Float64Array(size)];
		let length = 0;
		const add = (place: number, low: number, high: number) => {
			lows[length] = Math.min(Math.max(low, lo), hi);
			highs[length] = Math.max(Math.min(high, hi), lo);
			counts[length++] = filled.counts[place]!;
		};
		for (let place = size - 1; place >= 0; place--) {
			const bin = filled.bins[place]! - SIGN;
			if (bin >= 0 && bin < FIRST_NOT_FINITE) add(place, -EDGES[bin + 1]!, -EDGES[bin]!);
		}
		for (let place = 0; place < size && filled.bins[place]! < FIRST_NOT_FINITE; place++) {
			const bin = filled.bins[place]!;
			add(place, EDGES[bin]!, EDGES[bin + 1]!);
		}
		return { lows: lows.slice(0, length), highs: highs.slice(0, length), counts: counts.slice(0, length) };
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
