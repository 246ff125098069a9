import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { planPrecision } from "../analysis/plan-precision.js";
import type { SampleSource } from "../calibration/calibration.js";
import { openSamples } from "../calibration/sources/open-samples.js";
import { type Diagnostic, QGraphError } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import { embedSmallTensors } from "../onnx/embed-small-tensors.js";
import { readModel, writeModel } from "../onnx/file.js";
import { fixInputs } from "../passes/fix-inputs.js";
import { fixShapes } from "../passes/fix-shapes.js";
import type { Pass, WeightObserver } from "../passes/infra/pass.js";
import type { PipelineOptions } from "../passes/infra/pipeline.js";
import type { WeightEntry } from "../passes/infra/report.js";
import { writeRecipe } from "../recipe/write-recipe.js";
import { summarizeModel } from "../report/summary.js";
import { runPasses } from "../run-passes.js";
import type { Verification } from "../runtime/verification.js";
import { verifyModels } from "../runtime/verify-models.js";
import { checkModel } from "../targets/check-model.js";
import { refusalOf } from "../targets/guard.js";
import { type Target, targetName } from "../targets/target.js";
import { gainsOf, writeChannelRecipe } from "./gains.js";
import { type SplitSamples, splitSamples, writeSamples } from "./held-out.js";
import { operatorPrecisions } from "./operator-precisions.js";
import { passesAround, passesBehind } from "./passes-around.js";
import type { Quantization, QuantizeOptions } from "./quantization.js";
import { type QuantizersOptions, quantizers } from "./quantizers.js";
import { hasRounds, openRounds } from "./rounds.js";
import { collectStatistics, lengthsOfSamples, type StatisticsFiles } from "./statistics.js";

const DEFAULT_RECIPE = "16a8w";

/**
 * Quantizes a float model: ranges of its values from samples, precisions from a recipe or a budget, weights with what the
 * samples tell of their inputs, everything made legal for a target, written, run on samples that were held back, and
 * compared with the input. Rejects with what the parts reject with: `calibrate/...`, `recipe/...`, `target/illegal`,
 * `runtime/...`, `write/...`, and `quantize/no-ranges` where neither samples nor encodings are given.
 */
export async function quantizeModel(
	input: string,
	output: string,
	options: QuantizeOptions = {},
): Promise<Quantization> {
	if (options.data === undefined && options.encodings === undefined) {
		throw new QGraphError("quantize/no-ranges", "activations need ranges: name samples (data) or an encodings file");
	}
	const folder = await mkdtemp(path.join(tmpdir(), "qgraph-quantize-"));
	try {
		return await new Quantizer(input, output, options, folder).run();
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
}

class Quantizer {
	readonly #input: string;
	readonly #output: string;
	readonly #options: QuantizeOptions;
	readonly #folder: string;
	readonly #known: KnownSamples | undefined;
	readonly #diagnostics: Diagnostic[] = [];
	readonly #weights: WeightEntry[] = [];

	/** @param known what samples told before: nothing is calibrated then. */
	constructor(input: string, output: string, options: QuantizeOptions, folder: string, known?: KnownSamples) {
		this.#input = input;
		this.#output = output;
		this.#options = options;
		this.#folder = folder;
		this.#known = known;
	}

	async run(): Promise<Quantization> {
		const { target } = this.#options;
		const model = await readModel(this.#input);
		embedSmallTensors(model);
		const bytesBefore = summarizeModel(model).bytes;
		const samples = await this.#prepare(model);
		const [before] = passesAround(target);
		await this.#passes(
			model,
			before.map((pass) => pass()),
		);
		const recipe = await this.#recipe(model);
		const statistics = await this.#statistics(model, samples, recipe);
		await this.#quantize(model, samples?.calibration ?? this.#known?.calibration, recipe, statistics);
		const findings = target === undefined ? [] : await checkModel(model, target);
		const refusal =
			target === undefined || this.#options.allowIllegal === true ? undefined : refusalOf(findings, target);
		if (refusal !== undefined) throw refusal;
		await this.#write(model);
		return {
			recipe: this.#options.budget === undefined ? recipe : "planned within the budget",
			target: target === undefined ? null : targetName(target),
			samples: statistics.samples,
			heldOut: samples?.heldOut ?? 0,
			bytesBefore,
			bytesAfter: summarizeModel(model).bytes,
			operators: operatorPrecisions(model),
			weights: this.#weights,
			diagnostics: this.#diagnostics,
			findings,
			...(await this.#judge(samples, recipe, statistics)),
		};
	}

	/** Fixes lengths and opens the samples; those of the first sample where lengths are left open. */
	async #prepare(model: Model): Promise<PreparedSamples | undefined> {
		const { data, images, dim = [], holdOut, inputValues = [] } = this.#options;
		if (dim.length > 0) await this.#passes(model, [fixShapes({ dim })]);
		if (inputValues.length > 0) await this.#passes(model, [fixInputs({ inputValue: inputValues })]);
		if (data === undefined) return undefined;
		const lengths = await lengthsOfSamples(model, data, { images, inputValues });
		if (lengths.length > 0) await this.#passes(model, [fixShapes({ dim: lengths })]);
		const source = openSamples(model, data, { images, inputValues });
		return { source, dim: [...dim, ...lengths], ...(await splitSamples(source, holdOut)) };
	}

	/** The recipe to follow: that of the user, or a file with what the budget allows. */
	async #recipe(model: Model): Promise<string> {
		const { budget, recipe = DEFAULT_RECIPE, signal } = this.#options;
		if (budget === undefined) return recipe;
		const plan = await planPrecision(model, {
			budget,
			...(signal === undefined ? {} : { signal }),
			onProgress: (done, total) => this.#progress("choosing precisions", done, total),
		});
		const file = path.join(this.#folder, "plan.yaml");
		writeFileSync(file, writeRecipe(plan.recipe));
		return file;
	}

	/** Ranges of values and second moments; without samples the ranges that were given. */
	async #statistics(model: Model, samples: PreparedSamples | undefined, recipe: string): Promise<StatisticsFiles> {
		if (this.#known !== undefined) return this.#known.statistics;
		const { encodings, gptq, compensate, observer, headroom, signal } = this.#options;
		if (samples === undefined) return { encodings: encodings!, hessian: "", samples: 0, diagnostics: [] };
		const onProgress = (done: number, total: number | undefined) => this.#progress("calibrating", done, total ?? 0);
		const rounds = hasRounds({ recipe, gptq, compensate });
		const options = { recipe, observer, headroom, gptq, rounds, signal, onProgress };
		const files = await collectStatistics(model, samples.calibration, this.#folder, options);
		this.#diagnostics.push(...files.diagnostics);
		return { ...files, encodings: encodings ?? files.encodings };
	}

	/** Weights and activations become integers, legal for the target. @param samples that tell of weights' inputs. */
	async #quantize(
		model: Model,
		samples: SampleSource | undefined,
		recipe: string,
		statistics: StatisticsFiles,
	): Promise<void> {
		const { target, products, io, existing, gptq, compensate, signal } = this.#options;
		const passes = [
			...quantizers({ recipe, ...statistics, products, io, existing, fit: this.#known?.fit }),
			...passesBehind(model, target).map((pass) => pass()),
		];
		const onProgress = (done: number, total: number) => this.#progress("calibrating layers", done, total);
		const rounds = { recipe, gptq, compensate, signal, onProgress };
		const observer = samples && (await openRounds(samples, this.#folder, rounds));
		try {
			await this.#passes(model, passes, observer);
		} finally {
			await observer?.close();
		}
	}

	async #passes(model: Model, passes: readonly Pass[], observer?: WeightObserver): Promise<void> {
		const { target, signal } = this.#options;
		const options: PipelineOptions = {
			...(observer === undefined ? {} : { observer }),
			...(target === undefined ? {} : { target }),
			...(signal === undefined ? {} : { signal }),
			onProgress: (pass, done, total) => this.#progress(pass, done, total),
		};
		const report = await runPasses(model, passes, options);
		this.#diagnostics.push(...report.diagnostics);
		this.#weights.splice(0, report.weights.length === 0 ? 0 : this.#weights.length, ...report.weights);
	}

	async #write(model: Model): Promise<void> {
		const { overwrite, signal } = this.#options;
		await writeModel(model, this.#output, {
			overwrite: overwrite === true,
			...(signal === undefined ? {} : { signal }),
			onProgress: (done, total) => this.#progress("writing", done, total),
		});
	}

	/** Runs the result on samples that it does not know, where there are any, and what it would be made in other ways. */
	async #judge(
		samples: PreparedSamples | undefined,
		recipe: string,
		statistics: StatisticsFiles,
	): Promise<Judgement & Gains> {
		const { verify = true, gptqGain = true, blockGain = true } = this.#options;
		if (!verify || samples === undefined) return { ...NOT_RUN, ...NO_GAINS };
		const files = await writeSamples(samples.source, samples.first, Math.max(1, samples.heldOut), this.#folder);
		const judgement = await this.#runs(this.#output, files);
		const isGptq = gptqGain && this.#weights.some(({ fit }) => fit === "gptq");
		const isBlock = blockGain && this.#weights.some(({ precision }) => precision === "16a4w_block");
		const { calibration, dim } = samples;
		const { gptq, compensate } = this.#options;
		const gainOver = async (way: string, options: QuantizeOptions, known: Omit<KnownSamples, "calibration">) =>
			gainsOf(judgement, await this.#runOther(`${way}, `, files, { dim, ...options }, { ...known, calibration }));
		const searched = { statistics: { ...statistics, hessian: "" } };
		const nearest = { ...searched, fit: "max" } as const;
		const plain = { recipe, gptq: false };
		const overSearch = isGptq ? await gainOver("without GPTQ", plain, searched) : null;
		if (!isBlock) return { ...judgement, ...NO_GAINS, gptqGain: overSearch };
		const ofChannels = writeChannelRecipe(recipe, this.#folder);
		const plainChannels = { recipe: ofChannels, gptq: false };
		return {
			...judgement,
			gptqGain: overSearch,
			blockGain: await gainOver("with a scale a channel", { recipe: ofChannels, gptq, compensate }, { statistics }),
			bothGain: isGptq ? await gainOver("without both", plainChannels, searched) : null,
			nearestGain: await gainOver("rounded to the nearest", plain, nearest),
			nearestChannelGain: await gainOver("rounded to the nearest with a scale a channel", plainChannels, nearest),
		};
	}

	/** Makes the model in another way, only to be compared with, and runs it. @param prefix in front of the steps. */
	async #runOther(
		prefix: string,
		files: readonly string[],
		way: QuantizeOptions,
		known: KnownSamples,
	): Promise<Judgement> {
		const { target, products, io, existing, inputValues, signal } = this.#options;
		const same = { target, products, io, existing, inputValues, signal };
		const onProgress = (step: string, done: number, total: number) => this.#progress(`${prefix}${step}`, done, total);
		const options = { ...way, ...same, onProgress, allowIllegal: true, overwrite: true };
		const model = path.join(this.#folder, "other.onnx");
		await new Quantizer(this.#input, model, options, this.#folder, known).run();
		return this.#runs(model, files, prefix);
	}

	/** Compares a model with the input on the CPU and on the target. */
	async #runs(model: string, files: readonly string[], prefix = ""): Promise<Judgement> {
		const { target } = this.#options;
		const onCpu = await this.#compare(model, "cpu", files, prefix);
		if (target === undefined) return { ...NOT_RUN, onCpu };
		try {
			return { onCpu, onTarget: await this.#compare(model, target, files, prefix), notOnTarget: null };
		} catch (error) {
			if (!(error instanceof QGraphError) || !error.code.startsWith("htp/")) throw error;
			return { onCpu, onTarget: null, notOnTarget: error.message };
		}
	}

	#compare(model: string, on: "cpu" | Target, inputs: readonly string[], prefix: string): Promise<Verification> {
		const { minSqnrDb, htpHome, signal } = this.#options;
		return verifyModels(this.#input, model, {
			on,
			inputs,
			countsPadding: false,
			minSqnrDb,
			htpHome,
			signal,
			onProgress: (step, done, total) => this.#progress(`${prefix}${step}`, done, total),
		});
	}

	#progress(step: string, done: number, total: number): void {
		this.#options.onProgress?.(step, done, total);
	}
}

interface PreparedSamples extends SplitSamples {
	readonly source: SampleSource;
	/** Lengths that the samples were prepared for. */
	readonly dim: readonly string[];
}

/** What samples told before, and these. */
interface KnownSamples {
	readonly statistics: StatisticsFiles;
	/** How scales of weights are found with it; default `search`. */
	readonly fit?: QuantizersOptions["fit"];
	readonly calibration: SampleSource;
}

type Judgement = Pick<Quantization, "onCpu" | "onTarget" | "notOnTarget">;

const NOT_RUN: Judgement = { onCpu: null, onTarget: null, notOnTarget: null };

type Gains = Pick<Quantization, "gptqGain" | "blockGain" | "bothGain" | "nearestGain" | "nearestChannelGain">;

const NO_GAINS: Gains = {
	gptqGain: null,
	blockGain: null,
	bothGain: null,
	nearestGain: null,
	nearestChannelGain: null,
};
