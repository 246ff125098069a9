/*
 * Which part of a distribution codes should reach over: the rest is clipped, so that what remains is rounded finer. All
 * of these take a histogram's bins as uniformly filled.
 */
import type { Bins } from "./bit-histogram.js";
import { type Grid, hull, type Interval, intervalOf } from "./grid.js";

/** The interval that holds `percent` of all elements, as many left out on either side. */
export function percentileInterval(bins: Bins, percent: number): Interval {
	const cut = (1 - percent / 100) / 2;
	return { lo: quantile(bins, cut), hi: quantile(bins, 1 - cut) };
}

/** The value below which a share of the elements lies. */
function quantile({ lows, highs, counts }: Bins, share: number): number {
	const total = counts.reduce((sum, count) => sum + count, 0);
	let below = 0;
	for (const [bin, count] of counts.entries()) {
		const wanted = total * share - below;
		if (wanted <= count) return lows[bin]! + (Math.max(0, wanted) / count) * (highs[bin]! - lows[bin]!);
		below += count;
	}
	return highs.at(-1) ?? 0;
}

/** Ends of an interval that are tried, as shares of the full one, and how finely the best one is improved. */
const SHRINK = Array.from({ length: 32 }, (_, step) => 2 ** (-step / 4));
const FINER = [2 ** (1 / 6), 2 ** (1 / 12), 2 ** (-1 / 12), 2 ** (-1 / 6)];

/** Each end is chosen with the other one fixed, so many times. */
const ROUNDS = 2;

/** An interval with so many times the error of the best one clips too much, and smaller ones clip more. */
const HOPELESS = 4;

/** Neighbouring bins that a search takes together. */
const MERGED_BINS = 4;

/**
 * The interval of least squared error, rounding and clipping together: each end is looked for among shares of `range`.
 *
 * @param gridOf the codes that would reach over an interval.
 */
export function leastErrorInterval(bins: Bins, range: Interval, gridOf: (interval: Interval) => Grid): Interval {
	const coarse = merged(bins);
	let best = range;
	let least = squaredError(coarse, gridOf(range));
	const tryOut = (interval: Interval): number => {
		if (interval.lo < range.lo || interval.hi > range.hi) return least;
		const error = squaredError(coarse, gridOf(interval));
		if (error < least) [least, best] = [error, interval];
		return error;
	};
	for (let round = 0; round < ROUNDS; round++) {
		for (const end of ["lo", "hi"] as const) {
			if (range[end] === 0) continue;
			for (const share of SHRINK) if (tryOut({ ...best, [end]: range[end] * share }) > HOPELESS * least) break;
			const found = best[end];
			for (const share of FINER) tryOut({ ...best, [end]: found * share });
		}
	}
	return best;
}

/** Bins on either side of 0 taken together, where they are neighbours. */
function merged({ lows, highs, counts }: Bins): Bins {
	const found = { lows: lows.slice(), highs: highs.slice(), counts: counts.slice() };
	let [last, taken] = [-1, 0];
	for (let bin = 0; bin < counts.length; bin++) {
		const low = lows[bin]!;
		if (last >= 0 && found.highs[last] === low && low !== 0 && taken < MERGED_BINS) {
			found.highs[last] = highs[bin]!;
			found.counts[last]! += counts[bin]!;
			taken++;
		} else {
			last++;
			found.lows[last] = low;
			found.highs[last] = highs[bin]!;
			found.counts[last] = counts[bin]!;
			taken = 1;
		}
	}
	const size = last + 1;
	return {
		lows: found.lows.subarray(0, size),
		highs: found.highs.subarray(0, size),
		counts: found.counts.subarray(0, size),
	};
}

/** The sum of squared errors of all elements, rounded to the nearest value of a grid. */
export function squaredError({ lows, highs, counts }: Bins, grid: Grid): number {
	const { lo, hi } = intervalOf(grid);
	const { scale } = grid;
	const whole = (scale * scale * scale) / 12;
	/** The integral from 0 to `value` of the squared error of rounding. */
	const rounding = (value: number) => {
		const steps = Math.round(value / scale);
		return steps * whole + cube(value - steps * scale) / 3;
	};
	const [first, last] = [lo - scale / 2, hi + scale / 2];
	let total = 0;
	// most bins begin where the one before ends
	let [edge, atEdge] = [Number.NaN, 0];
	for (let bin = 0; bin < counts.length; bin++) {
		const low = lows[bin]!;
		const high = highs[bin]!;
		if (high === low) {
			const off = low - Math.min(hi, Math.max(lo, Math.round(low / scale) * scale));
			total += counts[bin]! * off * off;
			continue;
		}
		let integral = 0;
		if (low < first) integral += (cube(lo - low) - cube(lo - Math.min(high, first))) / 3;
		if (high > last) integral += (cube(high - hi) - cube(Math.max(low, last) - hi)) / 3;
		const from = Math.max(low, first);
		const to = Math.min(high, last);
		if (from < to) {
			const before = from === edge ? atEdge : rounding(from);
			edge = to;
			atEdge = rounding(to);
			integral += atEdge - before;
		}
		total += (counts[bin]! * integral) / (high - low);
	}
	return total;
}

function cube(value: number): number {
	return value * value * value;
}

/** Bins of equal width that entropy is computed on. */
const LINEAR_BINS = 2048;

/** Thresholds that are tried lie so many bins apart. */
const THRESHOLD_STEP = 16;

/**
 * The interval, as far below 0 as above it but within `range`, whose elements keep most information: the threshold of least
 * Kullback-Leibler divergence between the clipped distribution and the same one rounded to the levels of the codes. With
 * more levels than bins nothing is lost by rounding, and the interval is all of `range`. Source: S. Migacz, 8-bit inference
 * with TensorRT, GTC 2017.
 */
export function entropyInterval(bins: Bins, range: Interval, bits: number): Interval {
	const limit = Math.max(-range.lo, range.hi);
	const levels = range.lo < 0 && range.hi > 0 ? 2 ** (bits - 1) : 2 ** bits;
	if (levels >= LINEAR_BINS || limit === 0) return range;
	const magnitudes = linearMagnitudes(bins, limit);
	let [best, least] = [LINEAR_BINS, Number.POSITIVE_INFINITY];
	const total = magnitudes.reduce((sum, count) => sum + count, 0);
	let inside = 0;
	for (let kept = 1; kept <= LINEAR_BINS; kept++) {
		inside += magnitudes[kept - 1]!;
		if (kept < levels || kept % THRESHOLD_STEP !== 0) continue;
		const divergence = clippedDivergence(magnitudes, kept, levels, inside, total);
		if (divergence >= least) continue;
		least = divergence;
		best = kept;
	}
	const threshold = (limit * best) / LINEAR_BINS;
	return { lo: Math.max(range.lo, -threshold), hi: Math.min(range.hi, threshold) };
}

/** Counts by magnitude, in bins of equal width from 0 to `limit`. */
function linearMagnitudes({ lows, highs, counts }: Bins, limit: number): Float64Array {
	const linear = new Float64Array(LINEAR_BINS);
	const width = limit / LINEAR_BINS;
	for (let bin = 0; bin < counts.length; bin++) {
		const ends = [Math.abs(lows[bin]!) / width, Math.abs(highs[bin]!) / width];
		const [low, high] = [Math.min(...ends), Math.min(LINEAR_BINS, Math.max(...ends))];
		const first = Math.min(LINEAR_BINS - 1, Math.floor(low));
		if (high <= first + 1) {
			linear[first]! += counts[bin]!;
			continue;
		}
		for (let at = first; at < high; at++) {
			const overlap = Math.min(high, at + 1) - Math.max(low, at);
			linear[at]! += (counts[bin]! * overlap) / (high - low);
		}
	}
	return linear;
}

/**
 * Divergence of the first `kept` bins, what lies beyond counted in the last one, from the same rounded to `levels`.
 *
 * @param inside how many elements of `total` lie in these bins.
 */
function clippedDivergence(counts: Float64Array, kept: number, levels: number, inside: number, total: number): number {
	if (inside === 0) return Number.POSITIVE_INFINITY;
	let divergence = 0;
	for (let level = 0; level < levels; level++) {
		const [start, end] = [Math.floor((level * kept) / levels), Math.floor(((level + 1) * kept) / levels)];
		let [sum, filled] = [0, 0];
		for (let bin = start; bin < end; bin++) {
			sum += counts[bin]!;
			if (counts[bin]! > 0) filled++;
		}
		for (let bin = start; bin < end; bin++) {
			const clipped = counts[bin]! + (bin === kept - 1 ? total - inside : 0);
			if (clipped === 0) continue;
			// outliers in a bin that is empty without them are infinitely unlike it
			if (counts[bin] === 0) return Number.POSITIVE_INFINITY;
			const [p, q] = [clipped / total, sum / filled / inside];
			divergence += p * Math.log(p / q);
		}
	}
	return divergence;
}

/** Elements below this, turned negative, may be masks: those for float16 are -1e4 or -65504. */
export const MASK_MAGNITUDE = 9.9e3;

/** How many times as large as all others masks are. */
const GAP = 8;

/** The range of the elements that are no masks, such as the -1e4, -1e9 or -3.4e38 that attention adds. */
export function unmaskedRange({ lows, highs, counts }: Bins): Interval {
	if (counts.length === 0) return hull();
	let first = 0;
	for (let bin = 1; bin < counts.length; bin++) {
		if (-highs[bin - 1]! >= MASK_MAGNITUDE && -lows[bin]! <= -highs[bin - 1]! / GAP) first = bin;
	}
	return { lo: lows[first]!, hi: highs.at(-1)! };
}
