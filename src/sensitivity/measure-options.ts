import type { SampleSource } from "../calibration/calibration.js";
import type { ImageOptions } from "../calibration/sources/image-source.js";
import type { ErrorSum } from "../quant/measure.js";
import type { Finding } from "../targets/check-model.js";
import type { Target } from "../targets/target.js";
import type { CandidateNoise } from "./isolated-noise.js";
import type { OutputNoise } from "./output-noise.js";

export interface MeasureOptions {
	readonly input: string;
	/** Lengths of dynamic dimensions. */
	readonly dim: readonly string[];
	/** Inputs that always are the same, `sr=16000`. */
	readonly inputValues: readonly string[];
	readonly target: Target | undefined;
	/** How images became the samples; undefined where there are none. */
	readonly images?: ImageOptions | undefined;
	/** As passes take it: a file or a name. */
	readonly recipe: string;
	readonly products: "auto" | "16x16" | "16x8";
	readonly fit: "max" | "search" | "gptq";
	/** By what part of them the ranges of activations reach further than what was seen. */
	readonly headroom: number;
	/** Folder for what is measured, which a later analysis may go on with. */
	readonly folder: string;
	readonly isResumed: boolean;
	readonly signal: AbortSignal | undefined;
	readonly onProgress: (step: string, done: number, total: number) => void;
}

/** Samples to measure with, and those that are held back. */
export interface MeasureSamples {
	/** What the model is calibrated with: the first ones. */
	readonly source: SampleSource;
	/** All that are not held back, which `qgraph quantize` calibrates with. */
	readonly calibration: SampleSource;
	/** All of them. */
	readonly all: SampleSource;
	/**
	 * Number of the first one that noise is measured with, and how many. With GPTQ these are not among those calibrated with:
	 * on its own samples it looks better than it is.
	 */
	readonly firstMeasured: number;
	readonly measured: number;
	/** Number of the first one held back; 0 where there are too few to hold any back. */
	readonly firstHeldOut: number;
	/** How many there are to judge by. */
	readonly heldOut: number;
}

/** What was seen of one unit, JSON. */
export interface IsolatedUnit {
	readonly candidates: readonly CandidateNoise[];
	readonly notFinite: number;
	/** What may make it sensitive, in words. */
	readonly causes: readonly string[];
}

/** What the model quantized throughout loses, JSON. */
export interface QuantizedNoise {
	/** By the operator's label, for each sample. */
	readonly operators: Readonly<Record<string, readonly (ErrorSum | null)[]>>;
	/** At the outputs, on held-out samples. */
	readonly outputs: OutputNoise | null;
	readonly findings: readonly Finding[];
	/** Of its file, weights included. */
	readonly bytes: number;
}
