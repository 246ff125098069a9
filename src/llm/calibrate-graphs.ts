import { mkdirSync } from "node:fs";
import path from "node:path";
import type { Calibration, ValueStatistics } from "../calibration/calibration.js";
import type { ObserverName } from "../calibration/calibration-encodings.js";
import { intAttribute } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { DataType, tensorType } from "../ir/types.js";
import { readModel } from "../onnx/file.js";
import { GraphWriter } from "../passes/support/node-writer.js";
import { pruneTo } from "../passes/support/prune.js";
import { hull, type Interval } from "../quant/grid.js";
import { collectStatisticsOfParts, type ModelPart, type StatisticsFiles } from "../quantize/statistics.js";
import { floatsOf } from "../runtime/live-session.js";
import { findWeightSites } from "../weights/weight-site.js";
import { makeStatesGraph } from "./decode-graph.js";
import { layerName } from "./genai-config.js";
import { makeRowsGraph } from "./head-graph.js";
import { NAMES } from "./layer-graph.js";
import type { LlmJob } from "./llm-job.js";
import {
	cutLayers,
	frontFeeds,
	frontOfSequences,
	headSamples,
	openLean,
	runFront,
	runLayers,
	samplesOf,
	WHOLE,
} from "./sequence-stages.js";
import { SequenceStore } from "./sequence-store.js";
import { isMask, isRotary } from "./shared-inputs.js";
import { MASKED } from "./split-model.js";

export interface CalibrateGraphsOptions {
	readonly recipe: string;
	readonly observer?: ObserverName | undefined;
	readonly gptq?: boolean | undefined;
	/** Bytes of weights that are run together, as floats. */
	readonly partBytes?: number | undefined;
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: ((step: string, done: number, total: number) => void) | undefined;
}

/** What sequences tell of the float graphs. */
export interface CalibratedGraphs {
	readonly layers: StatisticsFiles;
	readonly head: StatisticsFiles;
	/** What values of the layers can be. */
	readonly ranges: ReadonlyMap<string, Interval>;
	/** What is to be added to the scores of positions that are not seen. */
	readonly masked: number;
}

/** A masked score lies so far below all others that nothing is left of it behind the softmax. */
const BELOW_SCORES = 20;

/** Tokens that are looked up at once to see all of a table. */
const TOKENS_AT_ONCE = 1024;

/** Bytes that activations and second moments may take, apart from the weights of a part. */
const MEMORY = 2 ** 30;

/** Bytes of logits at a time. */
const LOGIT_BYTES = 2 ** 27;

/**
 * Runs the float graphs of a pipeline on whole sequences, which shows what prefill and decode compute alike, for a token's
 * row does not depend on what comes behind. Embedded tokens and rotary rows get the range of all of their tables. A part of
 * the layers is in memory at a time; what goes from one to the next waits in files.
 *
 * @param files the float graphs of layers and head, of any lengths.
 * @param folder takes what is written.
 */
export async function calibrateGraphs(
	job: LlmJob,
	files: { readonly layers: string; readonly head: string },
	sequences: readonly (readonly number[])[],
	folder: string,
	options: CalibrateGraphsOptions,
): Promise<CalibratedGraphs> {
	return new GraphCalibrator(job, files, sequences, folder, options).run();
}

class GraphCalibrator {
	readonly #job: LlmJob;
	readonly #files: { readonly layers: string; readonly head: string };
	readonly #store: SequenceStore;
	readonly #folder: string;
	readonly #options: CalibrateGraphsOptions;

	constructor(
		job: LlmJob,
		files: { readonly layers: string; readonly head: string },
		sequences: readonly (readonly number[])[],
		folder: string,
		options: CalibrateGraphsOptions,
	) {
		this.#job = job;
		this.#files = files;
		this.#store = new SequenceStore(path.join(folder, "sequences"), sequences);
		this.#folder = folder;
		this.#options = options;
	}

	async run(): Promise<CalibratedGraphs> {
		const { config } = this.#job;
		const tables = await this.#tableRanges();
		await runFront(await frontOfSequences(this.#job, MASKED), config, this.#store);
		const ranges = new Map<string, Interval>();
		let masked = 0;
		const scores: string[] = [];
		const layers = await collectStatisticsOfParts(this.#layers(scores), this.#statisticsFolder("layers"), {
			...this.#statisticsOptions(),
			adjust: (seen) => {
				for (const { name, min, max } of seen.values.values()) ranges.set(name, { lo: min, hi: max });
				const widths = scores.map((name) => hull({ lo: 0, hi: 0 }, ranges.get(name) ?? { lo: 0, hi: 0 }));
				masked = -Math.max(0, ...widths.map(({ lo, hi }) => hi - lo)) - BELOW_SCORES;
				for (const name of ranges.keys()) if (isMask(name)) tables.set(name, { lo: masked, hi: 0 });
				for (const [past, own] of this.#caches()) tables.set(past, ranges.get(own) ?? { lo: 0, hi: 0 });
				return withRanges(seen, tables);
			},
		});
		const model = await readModel(this.#files.head);
		makeRowsGraph(model);
		const source = headSamples(this.#store, Math.max(1, Math.floor(LOGIT_BYTES / 4 / config.vocabularySize)));
		const parts = [{ model, source, gptq: hasFloatWeights(model) }];
		const head = await collectStatisticsOfParts(parts, this.#statisticsFolder("head"), {
			...this.#statisticsOptions(),
			onProgress: (done, total) => this.#options.onProgress?.("calibrating the head", done, total ?? 0),
			adjust: (seen) => {
				const hidden = ranges.get(NAMES.hidden);
				return hidden === undefined ? seen : withRanges(seen, new Map([[NAMES.hidden, hidden]]));
			},
		});
		return { layers, head, ranges, masked };
	}

	/** The parts of the layers, one after the other. @param scores receives names of what masks are added to. */
	async *#layers(scores: string[]): AsyncGenerator<ModelPart> {
		const { signal, onProgress, partBytes } = this.#options;
		const load = async () => {
			const model = await readModel(this.#files.layers);
			makeStatesGraph(model, WHOLE);
			return model;
		};
		const stages = await cutLayers(load, this.#job.config.layers, partBytes);
		const count = stages.parts.length;
		onProgress?.("calibrating layers", 0, count);
		for await (const { model, part } of runLayers(stages, this.#store, [NAMES.hidden], signal)) {
			scores.push(...maskedScores(model.graph));
			yield { model, source: samplesOf(model, this.#store), gptq: hasFloatWeights(model) };
			onProgress?.("calibrating layers", part + 1, count);
		}
	}

	/** Names of pasts, with those of what becomes a part of them. */
	#caches(): [past: string, own: string][] {
		const { layers, inputs } = this.#job.config;
		return Array.from({ length: layers }, (_, layer): [string, string][] => [
			[layerName(inputs.pastKeys, layer), NAMES.newKey(layer)],
			[layerName(inputs.pastValues, layer), NAMES.newValue(layer)],
		]).flat();
	}

	/** What embedded tokens and rotary rows can be. */
	async #tableRanges(): Promise<Map<string, Interval>> {
		const { config, lengths } = this.#job;
		const ranges = new Map<string, Interval>();
		const see = async (isWanted: (name: string) => boolean, sequences: Iterable<readonly number[]>) => {
			const model = await frontOfSequences(this.#job, MASKED);
			const bounds = boundOutputs(model, isWanted);
			if (bounds.length === 0) return;
			const inputs = new Set(model.graph.inputs.map(({ name }) => name));
			const session = await openLean(model);
			try {
				for (const tokens of sequences) {
					this.#options.signal?.throwIfAborted();
					const feeds = [...frontFeeds(config, tokens)].filter(([name]) => inputs.has(name));
					const found = await session.run(new Map(feeds));
					for (const { name, lo, hi } of bounds) {
						const known = ranges.get(name);
						const own = { lo: floatsOf(found.get(lo)!)[0]!, hi: floatsOf(found.get(hi)!)[0]! };
						ranges.set(name, hull(...(known === undefined ? [] : [known]), own));
					}
				}
			} finally {
				await session.close();
			}
		};
		const size = config.vocabularySize;
		const chunks = Array.from({ length: Math.ceil(size / TOKENS_AT_ONCE) }, (_, chunk) => {
			const first = chunk * TOKENS_AT_ONCE;
			return Array.from({ length: Math.min(TOKENS_AT_ONCE, size - first) }, (_, index) => first + index);
		});
		await see((name) => name === NAMES.embedded, chunks);
		await see(isRotary, [new Array<number>(lengths.context).fill(0)]);
		return ranges;
	}

	#statisticsFolder(name: string): string {
		const folder = path.join(this.#folder, name);
		mkdirSync(folder);
		return folder;
	}

	#statisticsOptions() {
		const { recipe, observer, gptq, signal } = this.#options;
		return { recipe, observer, gptq, signal, memory: MEMORY };
	}
}

/** Keeps the smallest and the largest element of some outputs of a graph, each an output of the name that is returned. */
function boundOutputs(
	model: Model,
	isWanted: (name: string) => boolean,
): { readonly name: string; readonly lo: string; readonly hi: string }[] {
	const { graph } = model;
	const writer = new GraphWriter(graph, new NameScope(model), "range");
	const bounds = graph.outputs
		.filter(({ name }) => isWanted(name))
		.map((output) => {
			const keepdims = intAttribute(0);
			const [lo, hi] = [
				writer.emit("ReduceMin", [output], { keepdims }),
				writer.emit("ReduceMax", [output], { keepdims }),
			];
			for (const bound of [lo, hi]) bound.type = tensorType(DataType.FLOAT, []);
			return { name: output.name, lo, hi };
		});
	pruneTo(
		graph,
		bounds.flatMap(({ lo, hi }) => [lo, hi]),
	);
	return bounds.map(({ name, lo, hi }) => ({ name, lo: lo.name, hi: hi.name }));
}

/** Has GPTQ anything to do? Codes that a model has are kept. */
function hasFloatWeights(model: Model): boolean {
	return findWeightSites(model).some(({ dequantization }) => dequantization === undefined);
}

/** What was seen, with the ranges that are known of some values. */
function withRanges(seen: Calibration, ranges: ReadonlyMap<string, Interval>): Calibration {
	const values = new Map<string, ValueStatistics>(seen.values);
	for (const [name, { lo, hi }] of ranges) {
		const known = values.get(name);
		if (known === undefined) continue;
		values.set(name, { ...known, min: lo, max: hi, isKnown: true });
	}
	return { ...seen, values };
}

/** What a mask is added to, by name. */
function maskedScores({ inputs }: Graph): string[] {
	return inputs
		.filter(({ name }) => isMask(name))
		.flatMap((mask) => mask.uses.map(({ node, index }) => node.inputs[1 - index]!.name));
}
