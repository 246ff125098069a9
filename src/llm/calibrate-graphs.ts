import { mkdirSync } from "node:fs";
import path from "node:path";
import { readNpz, writeNpz } from "../arrays/npz.js";
import type { Calibration, ValueStatistics } from "../calibration/calibration.js";
import type { ObserverName } from "../calibration/calibration-encodings.js";
import { openSamples } from "../calibration/sources/open-samples.js";
import type { Graph } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import { readModel, writeModel } from "../onnx/file.js";
import { pruneTo } from "../passes/support/prune.js";
import { rangeOf } from "../passes/support/qdq.js";
import { hull, type Interval } from "../quant/grid.js";
import { collectStatistics, type StatisticsFiles } from "../quantize/statistics.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";
import { inputsOf } from "../runtime/model-inputs.js";
import { makeStatesGraph } from "./decode-graph.js";
import { makeFrontGraph } from "./front-graph.js";
import { layerName } from "./genai-config.js";
import { makeRowsGraph } from "./head-graph.js";
import { NAMES } from "./layer-graph.js";
import { tapLayers } from "./layer-states.js";
import type { LlmJob } from "./llm-job.js";
import { frontFeeds, layerFeeds, type SequenceFiles, sequenceFiles, WHOLE } from "./sequence-pipeline.js";
import { isMask, isRotary } from "./shared-inputs.js";
import { MASKED } from "./split-model.js";

export interface CalibrateGraphsOptions {
	readonly recipe: string;
	readonly observer?: ObserverName | undefined;
	readonly gptq?: boolean | undefined;
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
	/** The float graphs of whole sequences. */
	readonly files: SequenceFiles;
	/** Of the states in front of each layer and of the head. */
	readonly stateNames: readonly string[];
}

/** A masked score lies so far below all others that nothing is left of it behind the softmax. */
const BELOW_SCORES = 20;

/** Tokens that are looked up at once to see all of a table. */
const TOKENS_AT_ONCE = 1024;

/**
 * Runs the float graphs of a pipeline on whole sequences, which shows what prefill and decode compute alike, for a token's
 * row does not depend on what comes behind. Embedded tokens and rotary rows get the range of all of their tables.
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
	readonly #sequences: readonly (readonly number[])[];
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
		this.#sequences = sequences;
		this.#folder = folder;
		this.#options = options;
	}

	async run(): Promise<CalibratedGraphs> {
		const tables = await this.#tableRanges();
		const files = sequenceFiles(this.#folder);
		const front = await this.#front();
		await writeModel(front, files.front);
		const layers = await readModel(this.#files.layers);
		makeStatesGraph(layers, WHOLE);
		const stateNames = [...tapLayers(layers, this.#job.config), NAMES.hidden];
		await writeModel(layers, files.layers);
		const head = await readModel(this.#files.head);
		makeRowsGraph(head);
		await writeModel(head, files.head);
		const samples = await this.#layerSamples(files.front, layers);
		const states = await this.#headSamples(files.layers, samples);
		const scores = maskedScores(layers.graph);
		const ranges = new Map<string, Interval>();
		let masked = 0;
		const ofLayers = await this.#statistics("layers", layers, samples, (seen) => {
			for (const { name, min, max } of seen.values.values()) ranges.set(name, { lo: min, hi: max });
			const widths = scores.map((name) => hull({ lo: 0, hi: 0 }, ranges.get(name) ?? { lo: 0, hi: 0 }));
			masked = -Math.max(0, ...widths.map(({ lo, hi }) => hi - lo)) - BELOW_SCORES;
			for (const name of ranges.keys()) if (isMask(name)) tables.set(name, { lo: masked, hi: 0 });
			for (const [past, own] of this.#caches()) tables.set(past, ranges.get(own) ?? { lo: 0, hi: 0 });
			return withRanges(seen, tables);
		});
		const ofHead = await this.#statistics("head", head, states, (seen) => {
			const hidden = ranges.get(NAMES.hidden);
			return hidden === undefined ? seen : withRanges(seen, new Map([[NAMES.hidden, hidden]]));
		});
		return { layers: ofLayers, head: ofHead, ranges, masked, files, stateNames };
	}

	/** Names of pasts, with those of what becomes a part of them. */
	#caches(): [past: string, own: string][] {
		const { layers, inputs } = this.#job.config;
		return Array.from({ length: layers }, (_, layer): [string, string][] => [
			[layerName(inputs.pastKeys, layer), NAMES.newKey(layer)],
			[layerName(inputs.pastValues, layer), NAMES.newValue(layer)],
		]).flat();
	}

	async #front(): Promise<Model> {
		const { config, lengths, padToken } = this.#job;
		const model = await readModel(config.modelFile);
		makeFrontGraph(model, config, { context: lengths.context, past: WHOLE.context, padToken, masked: MASKED });
		return model;
	}

	/** What embedded tokens and rotary rows can be. */
	async #tableRanges(): Promise<Map<string, Interval>> {
		const { config, lengths } = this.#job;
		const ranges = new Map<string, Interval>();
		const see = async (isWanted: (name: string) => boolean, sequences: Iterable<readonly number[]>) => {
			const model = await this.#front();
			pruneTo(
				model.graph,
				model.graph.outputs.filter(({ name }) => isWanted(name)),
			);
			if (model.graph.outputs.length === 0) return;
			const file = path.join(this.#folder, "tables.onnx");
			await writeModel(model, file);
			const inputs = new Set(model.graph.inputs.map(({ name }) => name));
			const session = await LiveSession.open(file);
			try {
				for (const tokens of sequences) {
					this.#options.signal?.throwIfAborted();
					const feeds = [...frontFeeds(config, tokens)].filter(([name]) => inputs.has(name));
					for (const [name, array] of await session.run(new Map(feeds))) {
						const known = ranges.get(name);
						ranges.set(name, hull(...(known === undefined ? [] : [known]), rangeOf(floatsOf(array))));
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

	/** What the layers take of each sequence, a file each. */
	async #layerSamples(front: string, layers: Model): Promise<string[]> {
		const session = await LiveSession.open(front);
		try {
			const inputs = inputsOf(layers);
			const files: string[] = [];
			for (const [index, tokens] of this.#sequences.entries()) {
				const file = path.join(this.#folder, `sample-${index}.npz`);
				writeNpz(file, layerFeeds(inputs, await session.run(frontFeeds(this.#job.config, tokens))));
				files.push(file);
			}
			return files;
		} finally {
			await session.close();
		}
	}

	/** What comes out of the layers for each sample, a file each. */
	async #headSamples(layers: string, samples: readonly string[]): Promise<string[]> {
		const session = await LiveSession.open(layers);
		try {
			const files: string[] = [];
			for (const [index, sample] of samples.entries()) {
				this.#options.signal?.throwIfAborted();
				this.#options.onProgress?.("running layers", index, samples.length);
				const file = path.join(this.#folder, `states-${index}.npz`);
				writeNpz(file, await session.run(readNpz(sample), [NAMES.hidden]));
				files.push(file);
			}
			return files;
		} finally {
			await session.close();
		}
	}

	async #statistics(
		name: string,
		model: Model,
		samples: readonly string[],
		adjust: (seen: Calibration) => Calibration,
	): Promise<StatisticsFiles> {
		const { recipe, observer, gptq, signal, onProgress } = this.#options;
		const folder = path.join(this.#folder, name);
		mkdirSync(folder);
		return collectStatistics(model, openSamples(model, samples), folder, {
			...{ recipe, observer, gptq, signal, adjust },
			onProgress: (done, total) => onProgress?.(`calibrating ${name}`, done, total ?? 0),
		});
	}
}

/** What was seen, with other ranges for some values. */
function withRanges(seen: Calibration, ranges: ReadonlyMap<string, Interval>): Calibration {
	const values = new Map<string, ValueStatistics>(seen.values);
	for (const [name, { lo, hi }] of ranges) {
		const known = values.get(name);
		if (known === undefined) continue;
		const plain = { lo, hi };
		values.set(name, { ...known, min: lo, max: hi, averageMin: lo, averageMax: hi, plain, histogram: undefined });
	}
	return { ...seen, values };
}

/** What a mask is added to, by name. */
function maskedScores({ inputs }: Graph): string[] {
	return inputs
		.filter(({ name }) => isMask(name))
		.flatMap((mask) => mask.uses.map(({ node, index }) => node.inputs[1 - index]!.name));
}
