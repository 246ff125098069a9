import { encodingFor } from "../encodings/encode.js";
import type { Encodings, EncodingsVersion } from "../encodings/encoding.js";
import { headerOf } from "../encodings/write-encodings.js";
import {
	entropyInterval,
	leastErrorInterval,
	MASK_MAGNITUDE,
	percentileInterval,
	unmaskedRange,
} from "../quant/clipped-range.js";
import { coveringGrid, type Grid, hull, type Interval } from "../quant/grid.js";
import { rangeOfBits } from "../quant/range.js";
import type { Calibration, ValueStatistics } from "./calibration.js";

/** How an interval is made of what was seen; all but the first two need histograms. */
export const OBSERVERS = ["min-max", "moving-average", "percentile", "mse", "entropy"] as const;

export type ObserverName = (typeof OBSERVERS)[number];

export interface RangeOptions {
	/** Default `min-max`. */
	readonly observer?: ObserverName | undefined;
	/** Of the elements, that the interval of the observer `percentile` holds; default 99.99. */
	readonly percentile?: number | undefined;
	/** Of the codes; default 16. */
	readonly bits?: 8 | 16 | undefined;
	/** As far below 0 as above it, with the zero point in the middle of the codes; default false. */
	readonly symmetric?: boolean | undefined;
	/** By what part of themselves, at least of half the range, both ends lie further out than what was seen; default 0. */
	readonly headroom?: number | undefined;
}

const DEFAULT_PERCENTILE = 99.99;

/** Does an observer need histograms? */
export function needsHistograms(observer: ObserverName): boolean {
	return observer !== "min-max" && observer !== "moving-average";
}

export interface CalibrationEncodingsOptions extends RangeOptions {
	/** 1.0.0 unless another is named. */
	readonly version?: EncodingsVersion | undefined;
	/** Who the file says made it; qgraph unless another is named. */
	readonly producer?: { readonly package: string; readonly version: string } | undefined;
}

/** Of float32; the bin of a histogram that holds 0 reaches no further. */
const SMALLEST_NORMAL = 2 ** -126;

/** The range of the elements that are no masks. */
export function unmasked({ min, max, plain, histogram }: ValueStatistics): Interval {
	const range = { lo: min, hi: max };
	if (histogram === undefined || min > -MASK_MAGNITUDE) return range;
	const inner = unmaskedRange(histogram.bins(range));
	return plain === undefined ? inner : hull(inner, plain);
}

/** Is the value a mask by itself, with nothing but zeros beside what masks? */
export function isMask(statistics: ValueStatistics): boolean {
	const { lo, hi } = unmasked(statistics);
	return Math.max(-lo, hi) < SMALLEST_NORMAL && Math.max(-statistics.min, statistics.max) >= MASK_MAGNITUDE;
}

/**
 * The interval that the codes of a value are to reach over; 0 lies within. A known range stays as it is. Masks among other elements lie outside, so far
 * that e to the power of the distance is no more than a step of Softmax's result.
 *
 * @throws Error where the observer needs a histogram that the statistics do not have, though the value lies in no body of control flow.
 */
export function calibratedInterval(statistics: ValueStatistics, options: RangeOptions = {}): Interval {
	const { observer = "min-max", bits = 16, headroom = 0 } = options;
	const whole = { lo: Math.min(statistics.min, 0), hi: Math.max(statistics.max, 0) };
	// how far down a mask goes is for those to say who add it to something
	if (statistics.isKnown === true || isMask(statistics)) return whole;
	const inner = unmasked(statistics);
	const { lo, hi } = observed(statistics, { lo: Math.min(inner.lo, 0), hi: Math.max(inner.hi, 0) }, observer, options);
	const { lo: least, hi: most } = withRoom({ lo: Math.min(lo, 0), hi: Math.max(hi, 0) }, inner.hi, headroom);
	return { lo: least - (inner.lo > statistics.min ? bits : 0), hi: most };
}

/**
 * Both ends by `headroom` of their distance from 0 further out, and of half the range where that is more: the end at which
 * only few samples came beyond 0, as the largest of logits, is no surer than the other. What was never below 0 stays so.
 *
 * @param largest of all elements, which may lie below 0.
 */
function withRoom({ lo, hi }: Interval, largest: number, headroom: number): Interval {
	const room = (end: number) => headroom * Math.max(Math.abs(end), (Math.min(hi, largest) - lo) / 2);
	const isBelow = largest < 0 && headroom > 0;
	return {
		lo: lo < 0 ? lo - room(lo) : 0,
		hi: hi > 0 ? hi + room(hi) : isBelow ? Math.max(0, largest + (headroom * (largest - lo)) / 2) : 0,
	};
}

function observed(
	{ name, averageMin, averageMax, histogram, isInside }: ValueStatistics,
	range: Interval,
	observer: ObserverName,
	options: RangeOptions,
): Interval {
	if (observer === "min-max") return range;
	const within = ({ lo, hi }: Interval) => ({ lo: Math.max(lo, range.lo), hi: Math.min(hi, range.hi) });
	if (observer === "moving-average") return within({ lo: averageMin, hi: averageMax });
	if (histogram === undefined && isInside === true) return range;
	if (histogram === undefined) throw new Error(`observer '${observer}' needs a histogram of '${name}'`);
	const bins = histogram.bins(range);
	const { percentile = DEFAULT_PERCENTILE, bits = 16 } = options;
	if (observer === "percentile") return within(percentileInterval(bins, percentile));
	if (observer === "entropy") return entropyInterval(bins, range, bits);
	return leastErrorInterval(bins, range, (interval) => gridOver(interval, options));
}

/** Unsigned codes for a value, 0 exactly among what they stand for. */
export function calibratedGrid(statistics: ValueStatistics, options: RangeOptions = {}): Grid {
	return gridOver(calibratedInterval(statistics, options), options);
}

function gridOver({ lo, hi }: Interval, { bits = 16, symmetric = false }: RangeOptions): Grid {
	const { min, max } = rangeOfBits(bits, false);
	if (!symmetric) return coveringGrid({ lo, hi }, min, max);
	const middle = 2 ** (bits - 1);
	// the largest code lies one step closer to the middle than the smallest
	const { scale } = coveringGrid({ lo: 0, hi: Math.max(-lo, hi) }, 0, middle - 1);
	return { scale, zeroPoint: middle, min, max };
}

/** Encodings of all values of a calibration, as a file for `apply-encodings`, AIMET and QAIRT. */
export function calibrationEncodings(calibration: Calibration, options: CalibrationEncodingsOptions = {}): Encodings {
	const { version = "1.0.0", bits = 16, producer = { package: "qgraph", version: "" } } = options;
	const entries = [...calibration.values.values()].map((statistics) => {
		const { scale, zeroPoint } = calibratedGrid(statistics, options);
		return encodingFor(version, statistics.name, "activation", {
			kind: "affine",
			codes: { signed: false, bits },
			shape: [],
			channelAxis: undefined,
			blockAxis: undefined,
			blockSize: 0,
			scales: Float64Array.of(scale),
			zeroPoints: Float64Array.of(zeroPoint),
		});
	});
	return { version, entries, header: headerOf(producer), unknownFields: new Map() };
}
