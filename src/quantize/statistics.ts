import path from "node:path";
import { calibrate } from "../calibration/calibrate.js";
import type { Calibration, SampleSource, ValueStatistics } from "../calibration/calibration.js";
import { calibrationEncodings, needsHistograms, type ObserverName } from "../calibration/calibration-encodings.js";
import { openSamples, type SampleSourceOptions } from "../calibration/sources/open-samples.js";
import type { Diagnostic } from "../diagnostics.js";
import { writeEncodings } from "../encodings/write-encodings.js";
import type { Model } from "../ir/model.js";
import { findRecipe } from "../recipe/find-recipe.js";
import { PRECISION_FACTS } from "../recipe/precision.js";
import type { Recipe, Setting } from "../recipe/recipe.js";
import { inputsOf } from "../runtime/model-inputs.js";

export interface StatisticsOptions {
	/** What the model is to become: GPTQ has something to do only where it asks for few bits. */
	readonly recipe: string;
	readonly observer?: ObserverName | undefined;
	/** By what part of them ranges reach further than what was seen; default a quarter where activations have 16 bits. */
	readonly headroom?: number | undefined;
	/** Second moments of the inputs of weights, too; default true. */
	readonly gptq?: boolean | undefined;
	/** Inputs of weights of 4 bits are looked at later, round by round; default false. */
	readonly rounds?: boolean | undefined;
	/** Changes what was seen of values, for what is known of them besides. */
	readonly adjust?: ((seen: Calibration) => Calibration) | undefined;
	/** Bytes that calibrating may take; default 4 GiB. */
	readonly memory?: number | undefined;
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: ((done: number, total: number | undefined) => void) | undefined;
}

/** A part of a model, and what it is given. */
export interface ModelPart {
	readonly model: Model;
	readonly source: SampleSource;
	/** Second moments of the inputs of its weights, too, where the options want them; default true. */
	readonly gptq?: boolean | undefined;
}

/** What samples tell of a model, in files as passes take them. */
export interface StatisticsFiles {
	readonly encodings: string;
	/** A folder; empty where there are no second moments. */
	readonly hessian: string;
	/** How many samples there were. */
	readonly samples: number;
	readonly diagnostics: readonly Diagnostic[];
}

/** Calibrates `model` and writes what it finds into `folder`. */
export async function collectStatistics(
	model: Model,
	source: SampleSource,
	folder: string,
	options: StatisticsOptions,
): Promise<StatisticsFiles> {
	return collectStatisticsOfParts([{ model, source }], folder, options);
}

/** The same for a model in parts, each with samples of its own, as many as the others have. */
export async function collectStatisticsOfParts(
	parts: Iterable<ModelPart> | AsyncIterable<ModelPart>,
	folder: string,
	{
		recipe,
		observer = "min-max",
		headroom,
		gptq = true,
		rounds = false,
		adjust = (seen) => seen,
		...options
	}: StatisticsOptions,
): Promise<StatisticsFiles> {
	const moments = path.join(folder, "moments");
	const isGptq = gptq && asksForBits(recipe, rounds ? [8] : [4, 8]);
	let hessian = "";
	const values = new Map<string, ValueStatistics>();
	const diagnostics = new Map<string, Diagnostic>();
	let samples = 0;
	for await (const part of parts) {
		const isOfUse = isGptq && part.gptq !== false;
		if (isOfUse) hessian = moments;
		const found = await calibrate(part.model, part.source, {
			...(isOfUse ? { hessian } : {}),
			histograms: needsHistograms(observer),
			...options,
		});
		samples = found.samples;
		for (const [name, seen] of found.values) if (!values.has(name)) values.set(name, seen);
		for (const diagnostic of found.diagnostics) diagnostics.set(JSON.stringify(diagnostic), diagnostic);
	}
	const calibration = { samples, values, meanSquares: new Map(), diagnostics: [...diagnostics.values()] };
	const encodings = path.join(folder, "ranges.encodings");
	const ranges = { observer, headroom: headroom ?? headroomFor(settingsIn(findRecipe(recipe)), observer) };
	writeEncodings(calibrationEncodings(adjust(calibration), ranges), encodings);
	return { encodings, hessian, samples, diagnostics: calibration.diagnostics };
}

/**
 * Inputs that nobody has seen leave the ranges of those that calibrated, and what is clamped is wrong by far more than codes
 * of 16 bits are: ResNet-50 on sounds of other speakers has 21 dB without headroom, 55 with a tenth, 63 with a quarter, 60
 * with twice the range. Of 8 bits there are none to spare, and other observers cut off on purpose.
 */
const HEADROOM = 0.25;

/** By what part of them ranges reach further than what was seen, in a model that becomes what `settings` say. */
export function headroomFor(settings: readonly Setting[], observer: ObserverName = "min-max"): number {
	const isNarrow = settings.some(({ precision }) => PRECISION_FACTS[precision].activationBits === 8);
	return observer === "min-max" && !isNarrow ? HEADROOM : 0;
}

/** Does the recipe ask for weights of so many bits anywhere? GPTQ chooses codes of 4 and 8. */
export function asksForBits(recipe: string, bits: readonly number[]): boolean {
	return settingsIn(findRecipe(recipe)).some(({ precision }) => {
		const { weightBits } = PRECISION_FACTS[precision];
		return weightBits !== undefined && bits.includes(weightBits);
	});
}

/** All that weights and activations may become. */
export function settingsIn({ default: setting, rules }: Recipe): Setting[] {
	return [setting, ...rules.map((rule) => rule.setting)];
}

/** Lengths of the first sample for dimensions that the model leaves open, as `input:axis=length`. */
export async function lengthsOfSamples(
	model: Model,
	data: readonly string[],
	options: SampleSourceOptions = {},
): Promise<string[]> {
	const open = inputsOf(model).filter(({ shape }) => shape?.some((dimension) => typeof dimension !== "number"));
	if (open.length === 0) return [];
	for await (const { arrays } of openSamples(model, data, options).samples(0)) {
		return open.flatMap(({ name, shape }) =>
			shape!.flatMap((dimension, axis) =>
				typeof dimension === "number" ? [] : [`${name}:${axis}=${arrays.get(name)?.shape[axis]}`],
			),
		);
	}
	return [];
}
