import type { Budget } from "../analysis/budget.js";
import type { ObserverName } from "../calibration/calibration-encodings.js";
import type { ImageOptions } from "../calibration/sources/image-source.js";
import type { Diagnostic } from "../diagnostics.js";
import type { WeightEntry } from "../passes/infra/report.js";
import type { Verification } from "../runtime/verification.js";
import type { Finding } from "../targets/check-model.js";
import type { Target } from "../targets/target.js";
import type { Gain } from "./gains.js";
import type { OperatorPrecision } from "./operator-precisions.js";

export interface QuantizeOptions {
	/** A recipe file, a built-in recipe's name, or a precision; default 16a8w. */
	readonly recipe?: string | undefined;
	/** Instead: precisions are chosen within it. */
	readonly budget?: Budget | undefined;
	/** Samples to calibrate with, as `openSamples` takes them. */
	readonly data?: readonly string[] | undefined;
	/** How images become samples. */
	readonly images?: ImageOptions | undefined;
	/** Instead of samples: an encodings file with the ranges of values. */
	readonly encodings?: string | undefined;
	readonly target?: Target | undefined;
	/** Lengths of dynamic dimensions, `batch=1`; where they are left open, those of the first sample. */
	readonly dim?: readonly string[] | undefined;
	/** Inputs that always are the same, `sr=16000`, as `fix-inputs` takes them. */
	readonly inputValues?: readonly string[] | undefined;
	/** Samples that are not calibrated with but judged by; default a tenth, 8 at most. */
	readonly holdOut?: number | undefined;
	readonly observer?: ObserverName | undefined;
	/** By what part of them ranges reach further than what was seen; default a quarter where activations have 16 bits. */
	readonly headroom?: number | undefined;
	/** Choose codes of 4 and 8 bits by GPTQ on the samples; default true. */
	readonly gptq?: boolean | undefined;
	/**
	 * Look at the inputs of weights of 4 bits again as earlier ones are codes already, layer by layer, so that later ones make
	 * good what these got wrong; where GPTQ is used, default true.
	 */
	readonly compensate?: boolean | undefined;
	/** Make and run the model without GPTQ, too, and say what GPTQ gained; default true. */
	readonly gptqGain?: boolean | undefined;
	/** Make and run the model with a scale a channel where it has blocks, too, and say what blocks gained, also where codes are
	 * rounded to the nearest; default true. */
	readonly blockGain?: boolean | undefined;
	/** Bits of both sides of products of two activations that no rule of the recipe names; default `auto`. */
	readonly products?: "auto" | "16x16" | "16x8" | undefined;
	/** Inputs and outputs of the model: float as they are, or codes; default float. */
	readonly io?: "float" | "integer" | undefined;
	/** Activations that the model has in 8 bits: as they are, or UINT16 with the same values among its own; default `keep`. */
	readonly existing?: "keep" | "widen" | undefined;
	/** Write the model although the target would refuse it or compute it wrong. */
	readonly allowIllegal?: boolean | undefined;
	/** Run the result on the CPU and on the target's emulator; default true. */
	readonly verify?: boolean | undefined;
	readonly minSqnrDb?: number | undefined;
	readonly htpHome?: string | undefined;
	/** Replace the output if it exists. */
	readonly overwrite?: boolean | undefined;
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: ((step: string, done: number, total: number) => void) | undefined;
}

/** What came of quantizing a model. */
export interface Quantization {
	/** Name of the recipe, or what was planned. */
	readonly recipe: string;
	readonly target: string | null;
	/** Samples calibrated with. */
	readonly samples: number;
	/** Samples that it was judged by and not calibrated with. */
	readonly heldOut: number;
	readonly bytesBefore: number;
	readonly bytesAfter: number;
	readonly operators: readonly OperatorPrecision[];
	readonly weights: readonly WeightEntry[];
	readonly diagnostics: readonly Diagnostic[];
	readonly findings: readonly Finding[];
	/** Against the input on the CPU; null where nothing was run. */
	readonly onCpu: Verification | null;
	readonly onTarget: Verification | null;
	/** Why it did not run on the target's emulator. */
	readonly notOnTarget: string | null;
	/** Null where nothing was run, or GPTQ had no part in it. */
	readonly gptqGain: Gain | null;
	/** Null where nothing was run, or no weight is in blocks. */
	readonly blockGain: Gain | null;
	/** Of blocks and GPTQ together, over a scale a channel without GPTQ; null where one of them was not measured. */
	readonly bothGain: Gain | null;
	/**
	 * Over blocks with codes rounded to the nearest on min-max scales, as AIMET makes them by default; null where blocks were not
	 * compared.
	 */
	readonly nearestGain: Gain | null;
	/** Over a scale a channel with codes rounded to the nearest on min-max scales; null as {@link nearestGain}. */
	readonly nearestChannelGain: Gain | null;
}
