import type { NumpyArray } from "../arrays/npz.js";
import type { Diagnostic } from "../diagnostics.js";
import type { BitHistogram } from "../quant/bit-histogram.js";

/** What a model is given once. */
export interface CalibrationSample {
	/** For messages: a file, and which sample of it. */
	readonly origin: string;
	/** By the name of the input. */
	readonly arrays: ReadonlyMap<string, NumpyArray>;
}

/** Where samples come from, one at a time. */
export interface SampleSource {
	/** undefined where it is not known before all are read. */
	readonly count: number | undefined;
	/** Are there made-up samples among them? */
	readonly isRandom: boolean;
	/** The samples from number `first` on; may be called again. */
	samples(first: number): AsyncIterable<CalibrationSample>;
}

/** What was seen of one value of a model over all samples. */
export interface ValueStatistics {
	readonly name: string;
	/** Finite elements that were seen. */
	readonly elements: number;
	/** The smallest and the largest finite element; 0 where there was none. */
	readonly min: number;
	readonly max: number;
	/** Moving averages of the samples' smallest and largest elements. */
	readonly averageMin: number;
	readonly averageMax: number;
	/** Elements that were infinite or no numbers. */
	readonly notFinite: number;
	/** undefined where only ranges were asked for. */
	readonly histogram: BitHistogram | undefined;
}

/** What samples tell of a model. */
export interface Calibration {
	readonly samples: number;
	/** Of the float values, by name, in the model's order. */
	readonly values: ReadonlyMap<string, ValueStatistics>;
	readonly diagnostics: readonly Diagnostic[];
}
