import type { ImageOptions } from "../calibration/sources/image-source.js";
import { openSamples } from "../calibration/sources/open-samples.js";
import { readModel } from "../onnx/file.js";
import { fixInputs } from "../passes/fix-inputs.js";
import { fixShapes } from "../passes/fix-shapes.js";
import type { Pass, WeightObserver } from "../passes/infra/pass.js";
import { runPasses } from "../run-passes.js";
import type { Target } from "../targets/target.js";
import { hasRounds, openRounds, type RoundsOptions } from "./rounds.js";
import { collectStatistics, lengthsOfSamples, type StatisticsFiles, type StatisticsOptions } from "./statistics.js";

export interface FileStatisticsOptions extends Omit<StatisticsOptions, "rounds">, Pick<RoundsOptions, "compensate"> {
	/** Lengths of dynamic dimensions, as `name=length` or `input:axis=length`. */
	readonly dim: readonly string[];
	/** How images become samples. */
	readonly images?: ImageOptions | undefined;
	/** Inputs that always are the same, `sr=16000`, as `fix-inputs` takes them. */
	readonly inputValues?: readonly string[] | undefined;
	/** What runs in front of the recipe: what it changes is not there to have ranges. Default none. */
	readonly passes?: readonly Pass[] | undefined;
	/** What these passes are for. */
	readonly target?: Target | undefined;
	/** Called while weights are looked at layer by layer. */
	readonly onRounds?: RoundsOptions["onProgress"];
}

/** What samples tell of a model file. */
export interface FileStatistics extends StatisticsFiles {
	/** All lengths that were given to dynamic dimensions. */
	readonly dim: readonly string[];
	/**
	 * For the pipeline that quantizes the model: looks at inputs of weights of 4 bits layer by layer. To be closed behind it.
	 * Undefined where nothing is looked at.
	 */
	readonly observer: WeightObserver | undefined;
}

/**
 * Calibrates the model file `input`, with the lengths `dim` given to its dynamic dimensions, and those of the first sample to
 * others, and writes what it finds into `folder`.
 */
export async function collectStatisticsOf(
	input: string,
	data: readonly string[],
	folder: string,
	{ dim, images, inputValues = [], passes = [], target, compensate, onRounds, ...options }: FileStatisticsOptions,
): Promise<FileStatistics> {
	const model = await readModel(input);
	const { recipe, gptq } = options;
	const signal = options.signal === undefined ? {} : { signal: options.signal };
	if (dim.length > 0) await runPasses(model, [fixShapes({ dim })], signal);
	if (inputValues.length > 0) await runPasses(model, [fixInputs({ inputValue: inputValues })], signal);
	const lengths = await lengthsOfSamples(model, data, { images, inputValues });
	if (lengths.length > 0) await runPasses(model, [fixShapes({ dim: lengths })], signal);
	const source = openSamples(model, data, { images, inputValues });
	if (passes.length > 0) await runPasses(model, passes, { ...signal, ...(target === undefined ? {} : { target }) });
	const rounds = { recipe, gptq, compensate, ...signal, onProgress: onRounds };
	const files = await collectStatistics(model, source, folder, { ...options, rounds: hasRounds(rounds) });
	return { ...files, dim: [...dim, ...lengths], observer: await openRounds(source, folder, rounds) };
}
