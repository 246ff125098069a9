import { mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import type { Budget } from "../analysis/budget.js";
import type { NumpyArray } from "../arrays/npz.js";
import type { ObserverName } from "../calibration/calibration-encodings.js";
import type { Diagnostic } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import type { Value } from "../ir/value.js";
import { readModel, writeModel } from "../onnx/file.js";
import { foldShapes } from "../passes/fold-shapes.js";
import type { Pass } from "../passes/infra/pass.js";
import type { WeightEntry } from "../passes/infra/report.js";
import { quantizeActivation } from "../passes/support/encoded-activation.js";
import type { Encoding } from "../passes/support/qdq.js";
import { upgradeOpset } from "../passes/upgrade-opset.js";
import { type OperatorPrecision, operatorPrecisions } from "../quantize/operator-precisions.js";
import { passesAround, passesBehind } from "../quantize/passes-around.js";
import { quantizers } from "../quantize/quantizers.js";
import { runPasses } from "../run-passes.js";
import { checkModel, type Finding } from "../targets/check-model.js";
import { refusalOf } from "../targets/guard.js";
import { CACHE_CODES, type CacheType, quantizeCache } from "./cache-codes.js";
import { cacheGraph } from "./cache-graph.js";
import { type CalibratedGraphs, calibrateGraphs } from "./calibrate-graphs.js";
import { calibrationSequences, type SequenceOptions } from "./calibration-sequences.js";
import { makeDecodeGraph, makeStatesGraph } from "./decode-graph.js";
import { type EqualizedCache, equalizeCache } from "./equalize-cache.js";
import { freeWeights } from "./freed-weights.js";
import { frontOptions, makeFrontGraph } from "./front-graph.js";
import { isPast } from "./genai-config.js";
import { makeRowsGraph } from "./head-graph.js";
import { integerInterface } from "./integer-interface.js";
import { type JudgedPipeline, judgedSequences, judgeQuantized, type LlmJudgement } from "./judge-quantized.js";
import { isNew, NAMES } from "./layer-graph.js";
import { tapLayers, tapNamed } from "./layer-states.js";
import type { LlmJob } from "./llm-job.js";
import { type GraphRole, graphOf, type PipelineGraph } from "./pipeline-graph.js";
import { plannedRecipe } from "./planned-recipe.js";
import { quantizedArray, quantizeFront } from "./quantized-front.js";
import { cutLayers, frontOfSequences, runFront, WHOLE } from "./sequence-stages.js";
import { SequenceStore } from "./sequence-store.js";

/** How a language model is quantized. */
export interface LlmQuantizeOptions extends Omit<SequenceOptions, "signal" | "onProgress"> {
	/** A recipe file, a built-in recipe's name, or a precision. */
	readonly recipe?: string | undefined;
	/** Instead: precisions are chosen within it. */
	readonly budget?: Budget | undefined;
	/** How keys and values are kept; default u8. */
	readonly cache?: CacheType | undefined;
	readonly observer?: ObserverName | undefined;
	/** Choose codes of 4 and 8 bits by GPTQ; default true. */
	readonly gptq?: boolean | undefined;
}

export interface QuantizeGraphsOptions extends LlmQuantizeOptions {
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: ((step: string, done: number, total: number) => void) | undefined;
}

/** What came of quantizing a pipeline. */
export interface LlmQuantization {
	readonly graphs: readonly PipelineGraph[];
	/** Name of the recipe, or what was planned. */
	readonly recipe: string;
	readonly cache: CacheType;
	/** Sequences calibrated with, and their tokens. */
	readonly calibrated: { readonly sequences: number; readonly tokens: number };
	/** What is added to scores of positions that are not seen. */
	readonly masked: number;
	readonly operators: Readonly<Record<"layers" | "head", readonly OperatorPrecision[]>>;
	readonly weights: readonly WeightEntry[];
	readonly diagnostics: readonly Diagnostic[];
	readonly findings: readonly Finding[];
	readonly judgement: LlmJudgement;
}

const DEFAULT_RECIPE = "16a8w";

/** The first operator set with 16-bit codes. */
const CODES_OPSET = 21;

/**
 * Quantizes the float graphs of `from` into `folder`: calibrated with what the model generates, prefill and head quantized,
 * decode made of the quantized prefill, so that both have the same encodings and weights, codes at every boundary but the
 * ids and the logits, and judged against the float graphs. Rejects as calibration, recipes and targets do, and with
 * `language/...` for token files.
 */
export async function quantizeGraphs(
	job: LlmJob,
	graphs: readonly PipelineGraph[],
	from: string,
	folder: string,
	options: QuantizeGraphsOptions,
): Promise<LlmQuantization> {
	const scratch = path.join(folder, "calibration");
	mkdirSync(scratch);
	try {
		return await new GraphsQuantizer(job, from, folder, scratch, options).run(graphs);
	} finally {
		rmSync(scratch, { recursive: true, force: true });
	}
}

class GraphsQuantizer {
	readonly #job: LlmJob;
	readonly #from: string;
	readonly #folder: string;
	readonly #scratch: string;
	readonly #options: QuantizeGraphsOptions;
	readonly #cache: CacheType;
	readonly #diagnostics: Diagnostic[] = [];
	readonly #weights: WeightEntry[] = [];
	readonly #findings: Finding[] = [];

	constructor(job: LlmJob, from: string, folder: string, scratch: string, options: QuantizeGraphsOptions) {
		this.#job = job;
		this.#from = from;
		this.#folder = folder;
		this.#scratch = scratch;
		this.#options = options;
		this.#cache = options.cache ?? "u8";
	}

	async run(graphs: readonly PipelineGraph[]): Promise<LlmQuantization> {
		const { config, lengths } = this.#job;
		const { gptq, observer, signal, onProgress, budget } = this.#options;
		const onGenerated = (done: number, total: number) => this.#progress("generating", done, total);
		const sequences = await calibrationSequences(this.#job, { ...this.#options, onProgress: onGenerated });
		if (sequences.isRandom) {
			const message = "prompts were made up; ranges of text may be others: name some with --calibration-data";
			this.#diagnostics.push({ code: "calibrate/random", severity: "warning", message, at: {}, notes: [] });
		}
		const recipe = await this.#recipe();
		const float = { layers: await this.#prepare("prefill", recipe), head: await this.#prepare("lm_head", recipe) };
		const { file, ranges } = await this.#equalize(float.layers, sequences.calibration);
		const calibrated = await calibrateGraphs(
			this.#job,
			{ ...float, layers: file },
			sequences.calibration,
			this.#scratch,
			{
				...{ recipe, gptq, observer, signal, onProgress },
			},
		);
		const layers = await readModel(file);
		const encodings = await this.#quantizeLayers(layers, recipe, calibrated, ranges);
		const head = await readModel(float.head);
		await this.#quantizeHead(head, recipe, calibrated, encodings.get(NAMES.hidden));
		const decode = await readModel(this.#file("prefill"));
		makeDecodeGraph(decode, lengths);
		await this.#write("decode", decode, "keep");
		const cacheType = CACHE_CODES[this.#cache].dtype;
		const made: Record<GraphRole, Model> = {
			front: await this.#front(calibrated.masked, encodings),
			prefill: layers,
			decode,
			kv_update: cacheGraph(config, lengths.context, cacheType),
			lm_head: head,
		};
		await this.#write("kv_update", made.kv_update);
		this.#progress("judging", 0, 1);
		const judgement = await this.#judge(float, calibrated.masked, encodings, sequences.evaluation);
		const precisions = { layers: operatorPrecisions(layers), head: operatorPrecisions(head) };
		return {
			graphs: graphs.map(({ name, role, fileName }) => graphOf(name, role, fileName, made[role])),
			recipe: budget === undefined ? recipe : "planned within the budget",
			cache: this.#cache,
			calibrated: { sequences: sequences.calibration.length, tokens: sequences.calibration.flat().length },
			masked: calibrated.masked,
			operators: precisions,
			weights: this.#weights,
			diagnostics: this.#diagnostics,
			findings: this.#findings,
			judgement,
		};
	}

	#file(role: GraphRole): string {
		return path.join(this.#folder, `${role}.onnx`);
	}

	/** The recipe to follow: that of the user, or a file with what the budget allows. */
	async #recipe(): Promise<string> {
		const { budget, recipe = DEFAULT_RECIPE, signal } = this.#options;
		if (budget === undefined) return recipe;
		const onProgress = (done: number, total: number) => this.#progress("choosing precisions", done, total);
		return plannedRecipe(this.#job.config.modelFile, budget, this.#scratch, { signal, onProgress });
	}

	/** Runs the passes in front of the recipe on a float graph; returns the file with the result. */
	async #prepare(role: GraphRole, recipe: string): Promise<string> {
		const model = await readModel(path.join(this.#from, `${role}.onnx`));
		const [before] = passesAround(this.#job.target);
		// lengths that are computed must go on being so: decode is the same graph with others
		const passes = before.filter((pass) => pass !== foldShapes).map((pass) => pass());
		await this.#passes(model, [upgradeOpset({ to: CODES_OPSET }), ...passes]);
		freeWeights(model, recipe);
		const file = path.join(this.#scratch, `float-${role}.onnx`);
		await writeModel(model, file);
		return file;
	}

	/** The float layers as 8-bit codes of the cache lose least, and the ranges of these. */
	async #equalize(file: string, sequences: readonly (readonly number[])[]): Promise<EqualizedCache> {
		if (this.#cache !== "u8") return { file, ranges: new Map() };
		const { signal } = this.#options;
		const onProgress = (done: number, total: number) => this.#progress("equalizing keys and values", done, total);
		return equalizeCache(this.#job, file, sequences, this.#scratch, { signal, onProgress });
	}

	/** Writes prefill; returns the encodings of its inputs and outputs. @param caches ranges of new keys and values. */
	async #quantizeLayers(
		model: Model,
		recipe: string,
		calibrated: CalibratedGraphs,
		caches: EqualizedCache["ranges"],
	): Promise<Map<string, Encoding>> {
		const { config } = this.#job;
		const isWide = this.#cache !== "u8";
		if (this.#cache !== "float") {
			quantizeCache(model, config, this.#cache, (name) => caches.get(name) ?? calibrated.ranges.get(name));
		}
		const files = calibrated.layers;
		const encodings = new Map<string, Encoding>();
		const isCodes = ({ name }: Value) => this.#cache !== "float" || !(isNew(name) || isPast(name, config));
		await this.#quantize(model, [
			...quantizers({ recipe, ...files, products: isWide ? "auto" : "16x8" }),
			integerInterface(encodings, isCodes),
		]);
		this.#diagnostics.push(...files.diagnostics);
		await this.#write("prefill", model);
		return encodings;
	}

	/** Writes the head, which takes what prefill and decode give. */
	async #quantizeHead(
		model: Model,
		recipe: string,
		{ head: files }: CalibratedGraphs,
		hidden: Encoding | undefined,
	): Promise<void> {
		const input = model.graph.inputs.find(({ name }) => name === NAMES.hidden)!;
		if (hidden !== undefined) quantizeActivation(model, input, hidden, new NameScope(model));
		const interfaces = integerInterface(new Map(), ({ name }) => name === NAMES.hidden && hidden !== undefined);
		await this.#quantize(model, [...quantizers({ recipe, ...files }), interfaces]);
		this.#diagnostics.push(...files.diagnostics);
		await this.#write("lm_head", model);
	}

	/** Runs passes, and those that make the result right on the target. */
	async #quantize(model: Model, passes: readonly Pass[]): Promise<void> {
		const { target } = this.#job;
		const behind = passesBehind(model, target).map((pass) => pass());
		this.#weights.push(...(await this.#passes(model, [...passes, ...behind])));
	}

	async #passes(model: Model, passes: readonly Pass[]): Promise<readonly WeightEntry[]> {
		const { target } = this.#job;
		const { signal } = this.#options;
		const report = await runPasses(model, passes, {
			...(target === undefined ? {} : { target }),
			...(signal === undefined ? {} : { signal }),
			onProgress: (pass, done, total) => this.#progress(pass, done, total),
		});
		this.#diagnostics.push(...report.diagnostics);
		return report.weights;
	}

	/** Writes a graph that the target takes; rejects with `target/illegal` where it does not. */
	async #write(role: GraphRole, model: Model, externalData: "one-file" | "keep" = "one-file"): Promise<void> {
		const { target } = this.#job;
		if (target !== undefined && role !== "kv_update") {
			const findings = await checkModel(model, target);
			const refusal = refusalOf(findings, target);
			if (refusal !== undefined) throw refusal;
			this.#findings.push(...findings);
		}
		const { signal } = this.#options;
		await writeModel(model, this.#file(role), { externalData, ...(signal === undefined ? {} : { signal }) });
	}

	async #front(masked: number, encodings: ReadonlyMap<string, Encoding>): Promise<Model> {
		const { config } = this.#job;
		const model = await readModel(config.modelFile);
		makeFrontGraph(model, config, frontOptions(this.#job, masked));
		await quantizeFront(model, encodings);
		await writeModel(model, this.#file("front"), { externalData: "one-file" });
		return model;
	}

	/** Compares whole sequences with the float graphs. */
	async #judge(
		float: { readonly layers: string; readonly head: string },
		masked: number,
		encodings: ReadonlyMap<string, Encoding>,
		evaluation: readonly (readonly number[])[],
	): Promise<LlmJudgement> {
		const { config } = this.#job;
		const sequences = judgedSequences(evaluation, config.vocabularySize);
		const pipeline = async (
			name: string,
			files: typeof float,
			tap: (model: Model) => string[],
			change: (name: string, array: NumpyArray) => NumpyArray,
		): Promise<JudgedPipeline> => {
			let stateNames: readonly string[] = [];
			const load = async () => {
				const model = await readModel(files.layers);
				makeStatesGraph(model, WHOLE);
				stateNames = tap(model);
				return model;
			};
			const head = async () => {
				const model = await readModel(files.head);
				makeRowsGraph(model);
				return model;
			};
			const store = new SequenceStore(path.join(this.#scratch, name), sequences);
			await runFront(await frontOfSequences(this.#job, masked), config, store, change);
			return { layers: await cutLayers(load, config.layers), head, stateNames: [...stateNames, NAMES.hidden], store };
		};
		const before = await pipeline(
			"judged-float",
			float,
			(model) => tapLayers(model, config),
			(_, array) => array,
		);
		const after = await pipeline(
			"judged-quantized",
			{ layers: this.#file("prefill"), head: this.#file("lm_head") },
			(model) => tapNamed(model, before.stateNames.slice(0, -1)),
			(name, array) => quantizedArray(array, encodings.get(name)),
		);
		return judgeQuantized(
			before,
			{ ...after, hidden: encodings.get(NAMES.hidden) },
			{
				logits: config.outputs.logits,
				signal: this.#options.signal,
				onProgress: (done, total) => this.#progress("judging", done, total),
			},
		);
	}

	#progress(step: string, done: number, total: number): void {
		this.#options.onProgress?.(step, done, total);
	}
}
