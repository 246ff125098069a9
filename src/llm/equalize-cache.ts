import path from "node:path";
import type { Graph } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import { readModel, writeModel } from "../onnx/file.js";
import type { Interval } from "../quant/grid.js";
import { floatsOf } from "../runtime/live-session.js";
import { type ChannelSite, type Columns, cacheWeights, type KeySites, type ValueSites } from "./cache-weights.js";
import { makeStatesGraph } from "./decode-graph.js";
import type { GenaiConfig } from "./genai-config.js";
import { HeadSamples, timesMatrix } from "./head-samples.js";
import { NAMES } from "./layer-graph.js";
import type { LlmJob } from "./llm-job.js";
import { mappedBlocks, mappedColumns, rowsOf } from "./mapped-rows.js";
import { cutLayers, frontOfSequences, runFront, runLayers, WHOLE } from "./sequence-stages.js";
import { SequenceStore } from "./sequence-store.js";
import { MASKED } from "./split-model.js";

/** Tokens that channels of keys and values are looked at with: a thousand instead of 1,680 cost 0.8 to 2 dB on small models. */
const TOKENS = 4096;

export interface EqualizeOptions {
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What a float layer graph became. */
export interface EqualizedCache {
	readonly file: string;
	/** The ranges that 8-bit codes of new keys and values should have. */
	readonly ranges: ReadonlyMap<string, Interval>;
}

/**
 * Writes the float layer graph `file` so that 8-bit codes of keys and values, one grid for all heads, lose less: it computes the
 * same. Channels of keys get equal ranges, those that a rotary embedding turns into each other a common factor, which queries are
 * divided by. Values are given in another basis (code-basis.ts), which the matrix behind the attention takes back. Where
 * the weights around a cache are no floats of their own, only its range is chosen, of least squared error.
 *
 * @param folder takes what is written.
 */
export async function equalizeCache(
	job: LlmJob,
	file: string,
	sequences: readonly (readonly number[])[],
	folder: string,
	{ signal, onProgress }: EqualizeOptions = {},
): Promise<EqualizedCache> {
	const { config } = job;
	const load = async () => {
		const model = await readModel(file);
		makeStatesGraph(model, WHOLE);
		return model;
	};
	const store = new SequenceStore(path.join(folder, "cache"), someOf(sequences));
	await runFront(await frontOfSequences(job, MASKED), config, store);
	const stages = await cutLayers(load, config.layers);
	const caches = Array.from({ length: config.layers }, (_, layer) => [NAMES.newKey(layer), NAMES.newValue(layer)]);
	const model = await readModel(file);
	const ranges = new Map<string, Interval>();
	for await (const { part } of runLayers(stages, store, caches.flat(), signal)) {
		const made = new Set(stages.parts[part]!.outputs);
		for (const [layer, names] of caches.entries()) {
			if (!names.every((name) => made.has(name))) continue;
			const [keys, values] = names.map((name) => samplesOf(store, name, config)) as [HeadSamples, HeadSamples];
			const { keys: keySites, values: valueSites } = cacheWeights(model, config, layer);
			const limits = [
				keySites === undefined ? keys.range() : equalizeKeys(model, keySites, keys, config),
				valueSites === undefined ? values.range() : await turnValues(model, valueSites, values, config),
			];
			for (const [index, name] of names.entries()) {
				ranges.set(name, { lo: -limits[index]!, hi: limits[index]! });
				store.drop(name);
			}
		}
		onProgress?.(part + 1, stages.parts.length);
	}
	const written = path.join(folder, "equalized-prefill.onnx");
	await writeModel(model, written, { ...(signal && { signal }) });
	return { file: written, ranges };
}

/** As many of the first sequences as have {@link TOKENS}, one at least. */
function someOf(sequences: readonly (readonly number[])[]): (readonly number[])[] {
	let tokens = 0;
	return sequences.filter(({ length }, index) => {
		tokens += length;
		return index === 0 || tokens <= TOKENS;
	});
}

function samplesOf(store: SequenceStore, name: string, { keyHeads, headSize }: GenaiConfig): HeadSamples {
	const arrays = Array.from(store.sequences.keys(), (index) => floatsOf(store.get(index, name)!));
	return new HeadSamples(arrays, keyHeads, headSize);
}

/** Scales channels of keys, and those of queries the other way; returns the range that all have then. */
function equalizeKeys(
	{ graph }: Model,
	{ key, query, pairs }: KeySites,
	samples: HeadSamples,
	{ heads, keyHeads, headSize }: GenaiConfig,
): number {
	const isShared = "norm" in key || "norm" in query;
	const ranges = samples.channelRanges(pairs, isShared);
	const common = geometricMean(ranges);
	const factor = (head: number, channel: number) => common / ranges[head * headSize + channel]!;
	scaleChannels(graph, key, keyHeads, headSize, factor);
	// heads of queries that read the same keys lie behind one another
	const group = heads / keyHeads;
	scaleChannels(graph, query, heads, headSize, (head, channel) => 1 / factor(Math.floor(head / group), channel));
	return common;
}

function scaleChannels(
	graph: Graph,
	site: ChannelSite,
	heads: number,
	headSize: number,
	factorOf: (head: number, channel: number) => number,
): void {
	const isNorm = "norm" in site;
	const count = isNorm ? headSize : heads * headSize;
	const factors = Float64Array.from({ length: count }, (_, at) => factorOf(Math.floor(at / headSize), at % headSize));
	const columns = isNorm ? { weight: site.norm, first: 0, biases: [] } : site.columns;
	changeColumns(graph, columns, count, (numbers) => {
		for (let at = 0; at < count; at++) numbers[at]! *= factors[at]!;
	});
}

/** Gives values another basis, and takes it back behind the attention; returns the range that all channels have then. */
async function turnValues(
	{ graph }: Model,
	{ value, output }: ValueSites,
	samples: HeadSamples,
	{ heads, keyHeads, headSize }: GenaiConfig,
): Promise<number> {
	const { codeBasis } = await import("./code-basis.js");
	const group = heads / keyHeads;
	const reader = output.initializer!;
	const forth: Float64Array[] = [];
	const back: Float64Array[] = [];
	for (let head = 0; head < keyHeads; head++) {
		const top = head * group * headSize;
		const rows = rowsOf(reader, top, top + group * headSize);
		const basis =
			codeBasis(samples.moments(head), gramOf(rows, headSize, reader.shape[1]!), headSize) ?? unchanged(headSize);
		forth.push(basis.forth);
		back.push(basis.back);
		samples.turn(head, basis.forth);
	}
	const ranges = samples.channelRanges(undefined, false);
	const common = geometricMean(ranges);
	for (const [at, range] of ranges.entries()) {
		const [head, channel] = [Math.floor(at / headSize), at % headSize];
		for (let k = 0; k < headSize; k++) {
			forth[head]![k * headSize + channel]! *= common / range;
			back[head]![channel * headSize + k]! *= range / common;
		}
	}
	changeColumns(graph, value, keyHeads * headSize, (numbers) => {
		for (let head = 0; head < keyHeads; head++) {
			const own = numbers.subarray(head * headSize, (head + 1) * headSize);
			own.set(timesMatrix(own, forth[head]!, headSize));
		}
	});
	graph.setInitializer(
		output,
		mappedBlocks(reader, headSize, (block) => back[Math.floor(block / group)]!),
	);
	return common;
}

/** @param change changes a row of the columns, and those of what is added to them, in place. */
function changeColumns(
	graph: Graph,
	{ weight, first, biases }: Columns,
	count: number,
	change: (numbers: Float32Array) => void,
): void {
	for (const { value, first: start } of [{ value: weight, first }, ...biases]) {
		graph.setInitializer(value, mappedColumns(value.initializer!, start, count, change));
	}
}

/** Products of the rows of each head [heads * size, width], added up over the heads, [size, size]. */
function gramOf(rows: Float32Array, size: number, width: number): Float64Array {
	const found = new Float64Array(size * size);
	for (let top = 0; top < rows.length; top += size * width) {
		for (let i = 0; i < size; i++) {
			const left = rows.subarray(top + i * width, top + (i + 1) * width);
			for (let j = 0; j <= i; j++) {
				const right = rows.subarray(top + j * width, top + (j + 1) * width);
				let sum = 0;
				for (let k = 0; k < width; k++) sum += left[k]! * right[k]!;
				found[i * size + j]! += sum;
				if (j < i) found[j * size + i]! += sum;
			}
		}
	}
	return found;
}

function unchanged(size: number): { readonly forth: Float64Array; readonly back: Float64Array } {
	const identity = () => Float64Array.from({ length: size * size }, (_, at) => (at % (size + 1) === 0 ? 1 : 0));
	return { forth: identity(), back: identity() };
}

function geometricMean(values: Float64Array): number {
	return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}
