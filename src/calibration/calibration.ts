import type { NumpyArray } from "../arrays/npz.js";
import type { Diagnostic } from "../diagnostics.js";
import type { BitHistogram } from "../quant/bit-histogram.js";
import type { Interval } from "../quant/grid.js";

/** What a model is given once. */
export interface CalibrationSample {
	/** For messages: a file, and which sample of it. */
	readonly origin: string;
	/** By the name of the input. */
	readonly arrays: ReadonlyMap<string, NumpyArray>;
}

/** Where samples come from, one at a time. */
export interface SampleSource {
	/** For messages, and to know it again. */
	readonly name: string;
	/** How many samples there are. */
	readonly count: number;
	/** Are there made-up samples among them? */
	readonly isRandom: boolean;
	/** What there is to say of where they come from. */
	readonly remarks?: readonly Diagnostic[];
	/** The samples from number `first` on; may be called again, and gives the same then. */
	samples(first: number): AsyncIterable<CalibrationSample>;
}

/** What was seen of one value of a model over all samples. */
export interface ValueStatistics {
	readonly name: string;
	/** The smallest and the largest finite element; 0 where there was none. */
	readonly min: number;
	readonly max: number;
	/** The range over the samples that had no elements as large as masks; undefined where there were none. */
	readonly plain: Interval | undefined;
	/** Moving averages of the samples' smallest and largest elements. */
	readonly averageMin: number;
	readonly averageMax: number;
	/** Elements that were infinite or no numbers. */
	readonly notFinite: number;
	/** Does it lie in a body of control flow? There are ranges only then, without masks and what is not finite. */
	readonly isInside?: boolean;
	/** Is the range all that it can be, whatever the samples are? */
	readonly isKnown?: boolean;
	/** undefined where only ranges were asked for, and the value has neither very large elements nor such that are not finite. */
	readonly histogram: BitHistogram | undefined;
}

/** What samples tell of a model. */
export interface Calibration {
	readonly samples: number;
	/** Of the float values, by name, in the model's order. */
	readonly values: ReadonlyMap<string, ValueStatistics>;
	/** The mean square of each input channel of constant weights, by the weight's name; empty unless it was asked for. */
	readonly meanSquares: ReadonlyMap<string, Float64Array>;
	readonly diagnostics: readonly Diagnostic[];
}
