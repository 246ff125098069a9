import path from "node:path";
import { calibrate } from "../calibration/calibrate.js";
import type { Calibration, SampleSource } from "../calibration/calibration.js";
import { calibrationEncodings, needsHistograms, type ObserverName } from "../calibration/calibration-encodings.js";
import { openSamples } from "../calibration/sources/open-samples.js";
import type { Diagnostic } from "../diagnostics.js";
import { writeEncodings } from "../encodings/write-encodings.js";
import type { Model } from "../ir/model.js";
import { readModel } from "../onnx/file.js";
import { fixShapes } from "../passes/fix-shapes.js";
import { findRecipe } from "../recipe/find-recipe.js";
import { PRECISION_FACTS } from "../recipe/precision.js";
import { runPasses } from "../run-passes.js";
import { inputsOf } from "../runtime/model-inputs.js";

export interface StatisticsOptions {
	/** What the model is to become: GPTQ has something to do only where it asks for few bits. */
	readonly recipe: string;
	readonly observer?: ObserverName | undefined;
	/** Second moments of the inputs of weights, too; default true. */
	readonly gptq?: boolean | undefined;
	/** Changes what was seen of values, for what is known of them besides. */
	readonly adjust?: ((seen: Calibration) => Calibration) | undefined;
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: ((done: number, total: number | undefined) => void) | undefined;
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
	{ recipe, observer = "min-max", gptq = true, adjust = (seen) => seen, signal, onProgress }: StatisticsOptions,
): Promise<StatisticsFiles> {
	const hessian = gptq && hasFewBits(recipe) ? path.join(folder, "moments") : "";
	const calibration = await calibrate(model, source, {
		...(hessian === "" ? {} : { hessian }),
		histograms: needsHistograms(observer),
		signal,
		onProgress,
	});
	const encodings = path.join(folder, "ranges.encodings");
	writeEncodings(calibrationEncodings(adjust(calibration), { observer }), encodings);
	return { encodings, hessian, samples: calibration.samples, diagnostics: calibration.diagnostics };
}

/**
 * The same for the model file `input`, with the lengths `dim` given to its dynamic dimensions, and those of the first sample
 * to others; returns all of them, too.
 */
export async function collectStatisticsOf(
	input: string,
	data: readonly string[],
	folder: string,
	{ dim, ...options }: StatisticsOptions & { readonly dim: readonly string[] },
): Promise<StatisticsFiles & { readonly dim: readonly string[] }> {
	const model = await readModel(input);
	const signal = options.signal === undefined ? {} : { signal: options.signal };
	if (dim.length > 0) await runPasses(model, [fixShapes({ dim })], signal);
	const lengths = await lengthsOfSamples(model, data);
	if (lengths.length > 0) await runPasses(model, [fixShapes({ dim: lengths })], signal);
	const files = await collectStatistics(model, openSamples(model, data), folder, options);
	return { ...files, dim: [...dim, ...lengths] };
}

/** Does the recipe ask for weights of 4 or 8 bits anywhere, whose codes GPTQ chooses? */
function hasFewBits(recipe: string): boolean {
	const { default: setting, rules } = findRecipe(recipe);
	return [setting, ...rules.map((rule) => rule.setting)].some(({ precision }) => {
		const { weightBits } = PRECISION_FACTS[precision];
		return weightBits === 4 || weightBits === 8;
	});
}

/** Lengths of the first sample for dimensions that the model leaves open, as `input:axis=length`. */
export async function lengthsOfSamples(model: Model, data: readonly string[]): Promise<string[]> {
	const open = inputsOf(model).filter(({ shape }) => shape?.some((dimension) => typeof dimension !== "number"));
	if (open.length === 0) return [];
	for await (const { arrays } of openSamples(model, data).samples(0)) {
		return open.flatMap(({ name, shape }) =>
			shape!.flatMap((dimension, axis) =>
				typeof dimension === "number" ? [] : [`${name}:${axis}=${arrays.get(name)?.shape[axis]}`],
			),
		);
	}
	return [];
}
