import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { DEFAULT_CANDIDATES, sameSetting, TABLE_CANDIDATES } from "../analysis/candidates.js";
import { openSamples } from "../calibration/sources/open-samples.js";
import type { Model } from "../ir/model.js";
import { readModel } from "../onnx/file.js";
import { fixShapes } from "../passes/fix-shapes.js";
import { splitSamples } from "../quantize/held-out.js";
import { headroomFor, lengthsOfSamples, settingsIn } from "../quantize/statistics.js";
import { findRecipe } from "../recipe/find-recipe.js";
import { type Setting, settingOf } from "../recipe/recipe.js";
import { runPasses } from "../run-passes.js";
import type { AnalyzeOptions, SensitivityAnalysis } from "./analyze-options.js";
import { assembleAnalysis } from "./assemble-analysis.js";
import type { SensitivityUnit } from "./find-sensitivity-units.js";
import type { MeasureSamples } from "./measure-options.js";
import { SensitivityMeasure } from "./measure-sensitivity.js";
import { checkTokenData, recipePerplexity } from "./recipe-perplexity.js";

const DEFAULT_RECIPE = "16a4w_block";

/** What products of two activations may become. */
const PRODUCT_CANDIDATES: readonly Setting[] = [settingOf("8a8w"), settingOf("16a8w"), settingOf("16a16w")];

/**
 * Finds out where a float model loses precision when it is quantized as a base recipe says: for every weight, attention
 * product, table and cache the noise that it makes alone, at its own output and at those of the model, and the noise that
 * has come together there when everything is quantized. Suggests what to keep more exact, above a threshold or within a
 * budget.
 *
 * Rejects with what the parts reject with: `calibrate/...`, `recipe/...`, `runtime/...`, `analyze/state`, `recipe/budget`
 * where no choice keeps it. When it is interrupted it resolves with what was measured until then.
 */
export async function analyzeSensitivity(input: string, options: AnalyzeOptions = {}): Promise<SensitivityAnalysis> {
	const temporary =
		options.workFolder === undefined ? await mkdtemp(path.join(tmpdir(), "qgraph-analyze-")) : undefined;
	const recipe = options.recipe ?? DEFAULT_RECIPE;
	const { data, images, dim = [], inputValues = [], target, signal, measures = "all" } = options;
	if (options.perplexity !== undefined) await checkTokenData(input, options.perplexity);
	try {
		const hasSamples = data !== undefined;
		const fit = options.fit ?? (hasSamples && measures === "all" ? "gptq" : "search");
		const base = findRecipe(recipe);
		const measure = await SensitivityMeasure.open(
			base,
			{
				input,
				dim: [...dim, ...(await openLengths(input, options))],
				inputValues,
				target,
				images,
				recipe,
				products: options.products ?? "auto",
				fit,
				headroom: headroomFor([...settingsIn(base), ...(options.candidates ?? [])]),
				folder: options.workFolder ?? temporary!,
				isResumed: options.resume === true,
				signal,
				onProgress: options.onProgress ?? (() => undefined),
			},
			(model) => samplesOf(model, options, fit),
		);
		try {
			const found = await assembleAnalysis(measure, input, {
				...options,
				recipe,
				measures,
				headWeight: options.headWeight ?? (hasSamples ? 1 : 4),
				settingsOf: (unit) => settingsOf(unit, options),
			});
			return await withPerplexity(found, measure, input, { ...options, recipe, fit });
		} finally {
			await measure.close();
		}
	} finally {
		if (temporary !== undefined) await rm(temporary, { recursive: true, force: true });
	}
}

/** The lengths of the first sample for dimensions that the options leave open. */
async function openLengths(
	input: string,
	{ data, images, dim = [], inputValues }: AnalyzeOptions,
): Promise<readonly string[]> {
	if (data === undefined) return [];
	const model = await readModel(input);
	if (dim.length > 0) await runPasses(model, [fixShapes({ dim })]);
	return lengthsOfSamples(model, data, { images, inputValues });
}

/** Adds the perplexity of the base recipe and of what is suggested, where there are token data. */
async function withPerplexity(
	found: SensitivityAnalysis,
	measure: SensitivityMeasure,
	input: string,
	options: AnalyzeOptions & { readonly recipe: string; readonly fit: "max" | "search" | "gptq" },
): Promise<SensitivityAnalysis> {
	const { analysis, files } = found;
	if (options.perplexity === undefined || analysis.isPartial) return found;
	const suggested = analysis.suggestions.flatMap(({ name, file }) => {
		const text = files.get(file);
		return text === undefined ? [] : [{ name, text }];
	});
	try {
		const perplexity = await recipePerplexity(
			input,
			[{ name: "base", recipe: options.recipe }, ...suggested],
			options.perplexity,
			{
				folder: path.join(measure.folder, "perplexity"),
				encodings: measure.encodings,
				moments: path.join(measure.folder, "moments"),
				fit: options.fit === "max" ? "max" : "search",
				products: options.products ?? "auto",
				signal: options.signal,
				onProgress: options.onProgress ?? (() => undefined),
			},
		);
		return { analysis: { ...analysis, perplexity }, files };
	} catch (error) {
		if (options.signal?.aborted !== true) throw error;
		return { analysis: { ...analysis, isPartial: true }, files };
	}
}

/**
 * Of the samples that are not held out so many are measured with and not calibrated with where that matters: where there are
 * few, half of them, since chance makes more of the figures then than what calibrating with others changes.
 */
function measuredOf(count: number): number {
	return Math.min(Math.floor(count / 2), Math.max(32, Math.min(64, Math.floor(0.4 * count))));
}

async function samplesOf(
	model: Model,
	{ data, images, inputValues, holdOut }: AnalyzeOptions,
	fit: "max" | "search" | "gptq",
): Promise<MeasureSamples | undefined> {
	if (data === undefined) return undefined;
	const all = openSamples(model, data, { images, inputValues });
	const { calibration, heldOut, first } = await splitSamples(all, holdOut);
	const judged = { firstHeldOut: first, heldOut: heldOut === 0 ? all.count : heldOut };
	const { count } = calibration;
	const kept = fit === "gptq" ? measuredOf(count) : 0;
	if (kept === 0) return { source: calibration, calibration, all, firstMeasured: 0, measured: count, ...judged };
	const split = await splitSamples(calibration, kept);
	return { source: split.calibration, calibration, all, firstMeasured: split.first, measured: kept, ...judged };
}

/** What a unit is measured as: what the base recipe says, and all that it may become instead. */
function settingsOf({ kind, base }: SensitivityUnit, { candidates, measures }: AnalyzeOptions): readonly Setting[] {
	const own = base === undefined ? [] : [base];
	if (measures === "isolated") return own;
	const others =
		kind === "embedding"
			? TABLE_CANDIDATES
			: kind === "attention-product" || kind === "kv-cache"
				? PRODUCT_CANDIDATES
				: (candidates ?? DEFAULT_CANDIDATES);
	return [...own, ...others.filter((other) => !own.some((setting) => sameSetting(setting, other)))];
}
