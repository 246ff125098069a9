import type { ImageOptions } from "../calibration/sources/image-source.js";
import type { Setting } from "../recipe/recipe.js";
import type { Target } from "../targets/target.js";
import type { Analysis } from "./analysis.js";
import type { SensitivityUnit } from "./find-sensitivity-units.js";
import type { IsolatedUnit, QuantizedNoise } from "./measure-options.js";
import type { TokenData } from "./recipe-perplexity.js";
import type { Suggestion } from "./suggest-precisions.js";

export interface AnalyzeOptions {
	/** The base recipe: a file, a built-in recipe's name, or a precision; default 16a4w_block. What it keeps stays float. */
	readonly recipe?: string | undefined;
	/** Samples, as `openSamples` takes them; without any only the weights are looked at. */
	readonly data?: readonly string[] | undefined;
	/** How images become samples. */
	readonly images?: ImageOptions | undefined;
	/** Lengths of dynamic dimensions, `batch=1`; where they are left open, those of the first sample. */
	readonly dim?: readonly string[] | undefined;
	/** Inputs that always are the same, `sr=16000`, as `fix-inputs` takes them. */
	readonly inputValues?: readonly string[] | undefined;
	readonly target?: Target | undefined;
	/** Promote what is below so many dB; default 10. */
	readonly thresholdDb?: number | undefined;
	/** What is promoted together: groups of layers as ExecuTorch makes them (default), or each unit by itself. */
	readonly grouping?: "executorch" | "unit" | undefined;
	/** Instead of a threshold: the best recipe of a size, `4.5bpw` (of the weights that the base recipe quantizes), `90MB`. */
	readonly budget?: string | undefined;
	/** What weights may become; blocks of 16 to 128, int4 and int8 a channel where left out. */
	readonly candidates?: readonly Setting[] | undefined;
	/** How much the noise of heads, embeddings and what makes an output counts; default 1 with samples, 4 without. */
	readonly headWeight?: number | undefined;
	/** How candidates are quantized; default gptq with samples, as `quantizeModel` does it, else search. */
	readonly fit?: "max" | "search" | "gptq" | undefined;
	/** `isolated`: nothing but each unit's own noise as the base recipe quantizes it. Default all. */
	readonly measures?: "all" | "isolated" | undefined;
	/** Units nearest to the decision that are run end to end by themselves; default 128. */
	readonly endToEndUnits?: number | undefined;
	/** Samples that are not measured with but judged by; default a tenth, 8 at most. */
	readonly holdOut?: number | undefined;
	readonly products?: "auto" | "16x16" | "16x8" | undefined;
	/** Token data for a language model: the perplexity of it, of the base recipe's model and of each suggested one. */
	readonly perplexity?: TokenData | undefined;
	/** A folder for what is measured; with `resume` what an interrupted analysis left there is taken over. */
	readonly workFolder?: string | undefined;
	readonly resume?: boolean | undefined;
	/** Ends the work: the result is partial then. */
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: ((step: string, done: number, total: number) => void) | undefined;
}

export const DEFAULT_THRESHOLD_DB = 10;
export interface AssembleOptions extends AnalyzeOptions {
	readonly recipe: string;
	readonly measures: "all" | "isolated";
	readonly headWeight: number;
	readonly settingsOf: (unit: SensitivityUnit) => NonNullable<AnalyzeOptions["candidates"]>;
}

/** What was measured until the end, or until it was interrupted. */
export interface Measured {
	isolated: ReadonlyMap<string, IsolatedUnit>;
	base: QuantizedNoise | undefined;
	suggestion: Suggestion | undefined;
}

/** What came of an analysis. */
export interface SensitivityAnalysis {
	readonly analysis: Analysis;
	/** Texts by file names: the suggested recipes, and ExecuTorch's CSV and Python recipe. */
	readonly files: ReadonlyMap<string, string>;
}
