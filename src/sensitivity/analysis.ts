import type { Diagnostic } from "../diagnostics.js";
import type { Setting } from "../recipe/recipe.js";
import type { Role } from "../recipe/role.js";
import type { Finding } from "../targets/check-model.js";

/*
 * What `analyzeSensitivity` finds out, which is also what analysis.json holds: plain objects, arrays, strings, finite
 * numbers, booleans and null, so that it survives JSON as it is. What readers of it may rely on:
 *
 * - `units` stand in the graph's order, and `name` is different for each; `units[i].candidates` are in the order of
 *   `candidates`, those left out that the unit cannot become.
 * - SQNRs are dB, of noise power averaged over all samples (never an average of dB), from `-NO_NOISE_DB` to `NO_NOISE_DB`,
 *   which stands for equal tensors. null: not measured.
 * - The same model, options and samples give the same bytes: there are no dates and no paths in it, file names only.
 * - After an interruption everything is there that was measured until then, the rest is null or an empty list, and
 *   `isPartial` is true. `units` are complete even then.
 */

/** The SQNR of tensors that are equal. Float32 has no more than some 150 dB. */
export const NO_NOISE_DB = 200;

/** Sensitivity of a model to quantization, and what to do about it. */
export interface Analysis {
	readonly schema: "qgraph-analysis";
	/** Rises when a field goes or changes its meaning. */
	readonly schemaVersion: 1;
	/** Of qgraph. */
	readonly version: string;
	readonly isPartial: boolean;
	readonly model: AnalyzedModel;
	readonly options: AnalysisSettings;
	/** What weights may become, from few bytes to many: the columns of a heat map. */
	readonly candidates: readonly CandidateName[];
	readonly units: readonly AnalyzedUnit[];
	/** The rows of the ExecuTorch-compatible CSV, the worst median first; empty without samples. */
	readonly groups: readonly SqnrGroup[];
	/** By rising bytes, those of `kind` "plan" also by rising SQNR. */
	readonly points: readonly ParetoEntry[];
	/** At least one, where the analysis is not partial; the first is the one to take. */
	readonly suggestions: readonly SuggestedRecipe[];
	/** What the target says of the model as the base recipe makes it; empty without a target. */
	readonly findings: readonly Finding[];
	readonly diagnostics: readonly Diagnostic[];
	/** null where no token data were given. */
	readonly perplexity: readonly PerplexityEntry[] | null;
}

export interface AnalyzedModel {
	/** Of its file, without folders. */
	readonly file: string;
	/** As it is, float, the graph included. */
	readonly bytes: number;
	/** Float weights in all units. */
	readonly parameters: number;
}

/** What was asked for, defaults filled in. */
export interface AnalysisSettings {
	/** Name of the base recipe. */
	readonly recipe: string;
	/** File names of the samples; empty in data-free mode. */
	readonly data: readonly string[];
	/** Samples that noise was measured with. */
	readonly samples: number;
	/** Samples that predictions are held against, which nothing was calibrated with; 0 where there are too few. */
	readonly heldOut: number;
	readonly target: string | null;
	readonly mode: AnalysisMode;
	/** How much the noise of the head, of embeddings and of units that make an output counts. */
	readonly headWeight: number;
	/**
	 * What end-to-end noise is: that of the outputs, or where an output is logits the divergence of their distribution
	 * (`klDivergence` of units is there then).
	 */
	readonly loss: "noise" | "kl-divergence";
}

export type AnalysisMode =
	| {
			readonly kind: "threshold";
			/** Groups with an average, median or least SQNR below this are promoted. */
			readonly thresholdDb: number;
			/** As ExecuTorch does it: buckets of layers; or every unit for itself. */
			readonly grouping: "executorch" | "unit";
	  }
	| { readonly kind: "budget" /** As it was given: `4.5bpw`, `90MB`. */; readonly budget: string };

/** A precision as `--recipe` takes it: `16a4w_block:32`, `16a8w`. */
export type CandidateName = string;

/**
 * `weight`: one constant of MatMul, Gemm or Conv. `fused`: query, key and value projections of one layer, which get one
 * setting. `tied`: a table that is also the weight of the head. `embedding`: the table of a Gather. `attention-product`: a
 * MatMul of two activations. `kv-cache`: keys and values of one layer.
 */
export type UnitKind = "weight" | "fused" | "tied" | "embedding" | "attention-product" | "kv-cache";

/** What is quantized as one. */
export interface AnalyzedUnit {
	/** Of its weight; of several weights what their names have in common, of units without weights the operator's. */
	readonly name: string;
	readonly kind: UnitKind;
	readonly role: Role | null;
	readonly layer: number | null;
	/** Operator types, each once. */
	readonly ops: readonly string[];
	/** Labels of its operators, or names of a cache's graph inputs. */
	readonly nodes: readonly string[];
	readonly weights: readonly { readonly name: string; readonly shape: readonly number[] }[];
	/** How many weights these are; 0 for products and caches, which take no bytes of the model. */
	readonly elements: number;
	readonly floatBytes: number;
	/** How much its noise counts: `headWeight` or 1. */
	readonly lossWeight: number;
	/** What the base recipe makes of it; null: it is kept. */
	readonly base: CandidateName | null;
	/** At its own output, it alone quantized as the base recipe says; in data-free mode that of the weights. */
	readonly isolatedSqnrDb: number | null;
	/** At its own output, everything quantized as the base recipe says: its own noise and what comes in with its input. */
	readonly cumulativeSqnrDb: number | null;
	/** At the model's outputs, it alone quantized as the base recipe says: measured where `endToEndMeasured`, else predicted. */
	readonly endToEndSqnrDb: number | null;
	readonly endToEndMeasured: boolean;
	/** Mean divergence of the logits in nats, it alone quantized; null where no output is logits, or it was not measured. */
	readonly klDivergence: number | null;
	readonly candidates: readonly UnitCandidate[];
	readonly suggestion: UnitSuggestion | null;
	/** Why it may be sensitive: `input channel 17 is 41 times as large as the median one`; often empty. */
	readonly causes: readonly string[];
	/** Samples whose noise was infinite or no number and is in no figure of this unit; 0 nearly always. */
	readonly notFiniteSamples: number;
	/** Of all its weights; null for units without weights, and where isolated noise alone was measured. */
	readonly weightHistogram: Histogram | null;
	/** Of the codes at the base recipe's and at the suggested precision (one entry where these are the same). */
	readonly codeHistograms: readonly CodeHistogram[];
}

/** One of the things that a unit may become. */
export interface UnitCandidate {
	readonly name: CandidateName;
	readonly setting: Setting;
	/** Of codes and scales. */
	readonly bytes: number;
	/** Of the weights themselves; null for units without weights. */
	readonly weightSqnrDb: number | null;
	/** At the unit's output, with the inputs of the float model. */
	readonly isolatedSqnrDb: number | null;
	/** At the model's outputs: measured where `endToEndMeasured`, else predicted from the noise at its own output. */
	readonly endToEndSqnrDb: number | null;
	readonly endToEndMeasured: boolean;
}

export interface UnitSuggestion {
	readonly name: CandidateName;
	readonly setting: Setting;
	/** Against the base recipe. */
	readonly change: "promoted" | "demoted" | "same";
	/** One sentence, with the figures that it rests on. */
	readonly reason: string;
}

/** Equal bins from `min` to `max`. */
export interface Histogram {
	readonly min: number;
	readonly max: number;
	readonly counts: readonly number[];
}

/** `counts[i]` codes lie from `first + i * step` to below `first + (i + 1) * step`. */
export interface CodeHistogram {
	readonly candidate: CandidateName;
	readonly first: number;
	readonly step: number;
	readonly counts: readonly number[];
}

/** SQNRs of the operators of some layers, as ExecuTorch's analyzer groups them. These are means of dB, as there. */
export interface SqnrGroup {
	readonly name: string;
	/** Names of the units in it. */
	readonly units: readonly string[];
	readonly avgDb: number;
	readonly medianDb: number;
	readonly minDb: number;
	readonly maxDb: number;
	readonly count: number;
	readonly isSensitive: boolean;
}

/** A choice of precisions for the whole model, by size and error. */
export interface ParetoEntry {
	/**
	 * `plan`: the best choice of its size by prediction; `single`: all units at one precision; `base`: the base recipe;
	 * `greedy`: the worst units promoted first, one after the other.
	 */
	readonly kind: "plan" | "single" | "base" | "greedy";
	/** `plan 4.31 bits a weight`, `16a8w`. */
	readonly label: string;
	/** Of the whole model as `qgraph quantize` writes it; without samples as `convert --recipe` does, up to the codes. */
	readonly bytes: number;
	readonly bitsPerWeight: number;
	/** At the model's outputs. */
	readonly predictedSqnrDb: number | null;
	/** On held-out samples, where there are any: its weights run, and the noise of activations added. */
	readonly measuredSqnrDb: number | null;
	/** By how many dB the two differ by the chance of the samples alone: a standard error; null where samples are too few. */
	readonly chanceDb: number | null;
	/** Is it what the first suggestion makes of the model? True of one point at most. */
	readonly isChosen: boolean;
}

export interface SuggestedRecipe {
	readonly name: string;
	/** In the output folder; `qgraph quantize --recipe` takes it. */
	readonly file: string;
	/** One sentence. */
	readonly description: string;
	readonly bytes: number;
	readonly bitsPerWeight: number;
	readonly predictedSqnrDb: number | null;
	/** On held-out samples, quantized as a whole. */
	readonly measuredSqnrDb: number | null;
	/** As of a {@link ParetoEntry}. */
	readonly chanceDb: number | null;
	/** How many units it promotes and demotes against the base recipe. */
	readonly promoted: number;
	readonly demoted: number;
}

export interface PerplexityEntry {
	/** `float`, `base`, or the name of a suggested recipe. */
	readonly recipe: string;
	/** null where the model gave no finite logits. */
	readonly perplexity: number | null;
	/** That were predicted. */
	readonly tokens: number;
	/** Mean divergence from the float model's distribution, in nats; not of the float model itself. */
	readonly klDivergence?: number | null;
	/** Share of the tokens where the most likely one is that of the float model; not of the float model itself. */
	readonly topAgreement?: number | null;
}
