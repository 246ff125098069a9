import type { Target } from "../targets/target.js";
import type { SampleOptions } from "./samples.js";
import type { SessionFailure } from "./session.js";

/** What {@link verifyModels} is told. */
export interface VerifyOptions extends SampleOptions {
	/** Where the converted model runs: on the CPU (default), or compiled and emulated for an HTP. */
	readonly on?: "cpu" | Target | undefined;
	/** The lowest SQNR of an output to pass; default: none, only what is not finite or has another shape fails. */
	readonly minSqnrDb?: number | undefined;
	/** Do positions of outputs count that the sample's attention mask leaves out? Default true. */
	readonly countsPadding?: boolean | undefined;
	/** Also compare the values inside, which takes a second run of both models. */
	readonly perNode?: boolean | undefined;
	/** Options of the QNN execution provider, in addition to those of the target. */
	readonly providerOptions?: Readonly<Record<string, string>> | undefined;
	/** May nodes that the HTP does not take run on the CPU? Default: no. */
	readonly allowCpuFallback?: boolean | undefined;
	/** For every load and run of a model; default 1800. */
	readonly timeoutSeconds?: number | undefined;
	/** Folder of `setupHtp`. */
	readonly htpHome?: string | undefined;
	readonly signal?: AbortSignal | undefined;
	/** Called with what is being done, and how many samples of it are done. */
	readonly onProgress?: ((step: string, done: number, total: number) => void) | undefined;
}

/** One output, or one value inside, in both models: the worst of all samples. */
export interface ValueComparison {
	readonly name: string;
	/** 10 log10(signal / noise); null where both are equal. */
	readonly sqnrDb: number | null;
	/** The same of signal and noise of all samples together. */
	readonly overallSqnrDb: number | null;
	readonly maxAbsError: number;
	readonly shape: readonly number[];
	/** What makes it fail whatever its SQNR: another shape, elements that are not finite. */
	readonly problem: string | null;
}

/** A value inside the models. */
export interface InnerComparison extends ValueComparison {
	/** The node of the converted model that computes it. */
	readonly node: string;
	readonly op: string;
	/** How much lower its SQNR is than the worst of what it is computed from; null where nothing before it was compared. */
	readonly lostDb: number | null;
}

/** Why a model did not run to its end. */
export interface RunFailure extends SessionFailure {
	readonly model: "reference" | "converted";
}

/** What came of comparing two models. */
export interface Verification {
	readonly passed: boolean;
	/** `cpu` or the name of a target. */
	readonly on: string;
	readonly samples: number;
	readonly minSqnrDb: number | null;
	/** The lowest of all outputs; null where all are equal, or where there is a failure. */
	readonly worstSqnrDb: number | null;
	/** The lowest of all outputs, signal and noise of all samples taken together. */
	readonly overallSqnrDb: number | null;
	readonly outputs: readonly ValueComparison[];
	/** With `perNode`: in the order of the converted model. */
	readonly inner: readonly InnerComparison[];
	/** With `perNode`: the first value below `minSqnrDb` (where there is none, 30 dB). */
	readonly firstWrong: string | null;
	/** With `perNode`: why the values inside could not be had. */
	readonly innerFailure: RunFailure | null;
	readonly failure: RunFailure | null;
	/** Seconds that each model took to load (on an HTP: to compile) and to run. */
	readonly seconds: Readonly<Record<"referenceLoad" | "referenceRun" | "convertedLoad" | "convertedRun", number>>;
}
