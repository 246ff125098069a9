import { encodingFor } from "../encodings/encode.js";
import type { Encodings, EncodingsVersion } from "../encodings/encoding.js";
import { headerOf } from "../encodings/write-encodings.js";
import { coveringGrid, type Grid, type Interval } from "../quant/grid.js";
import { rangeOfBits } from "../quant/range.js";
import type { Calibration, ValueStatistics } from "./calibration.js";

/** How an interval is made of what was seen. */
export const OBSERVERS = ["min-max", "moving-average"] as const;

export type ObserverName = (typeof OBSERVERS)[number];

export interface RangeOptions {
	/** Default `min-max`. */
	readonly observer?: ObserverName | undefined;
	/** Of the codes; default 16. */
	readonly bits?: 8 | 16 | undefined;
	/** As far below 0 as above it, with the zero point in the middle of the codes; default false. */
	readonly symmetric?: boolean | undefined;
}

export interface CalibrationEncodingsOptions extends RangeOptions {
	/** 1.0.0 unless another is named. */
	readonly version?: EncodingsVersion | undefined;
	/** Who the file says made it; qgraph unless another is named. */
	readonly producer?: { readonly package: string; readonly version: string } | undefined;
}

/** The interval that the codes of a value are to reach over; 0 lies within. */
export function calibratedInterval(statistics: ValueStatistics, { observer = "min-max" }: RangeOptions = {}): Interval {
	const { min, max, averageMin, averageMax } = statistics;
	const [lo, hi] = observer === "min-max" ? [min, max] : [averageMin, averageMax];
	return { lo: Math.min(lo, 0), hi: Math.max(hi, 0) };
}

/** Unsigned codes for a value, 0 exactly among what they stand for. */
export function calibratedGrid(statistics: ValueStatistics, options: RangeOptions = {}): Grid {
	const { bits = 16, symmetric = false } = options;
	const { min, max } = rangeOfBits(bits, false);
	const { lo, hi } = calibratedInterval(statistics, options);
	if (!symmetric) return coveringGrid({ lo, hi }, min, max);
	const middle = 2 ** (bits - 1);
	// the largest code lies half a step closer to the middle than the smallest
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
