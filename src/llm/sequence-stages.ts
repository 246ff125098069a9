import { bytesFrom, bytesPerElement } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import type { SampleSource } from "../calibration/calibration.js";
import { QGraphError } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import { elementCount } from "../ir/types.js";
import { allTensors } from "../ir/walk.js";
import { readModel, serializeSkeleton } from "../onnx/file.js";
import { type GraphPart, keepPart, partsOf } from "../passes/support/graph-parts.js";
import { LiveSession } from "../runtime/live-session.js";
import { inputsOf, type ModelInput } from "../runtime/model-inputs.js";
import { frontOptions, makeFrontGraph } from "./front-graph.js";
import type { GenaiConfig } from "./genai-config.js";
import { NAMES } from "./layer-graph.js";
import type { LlmJob } from "./llm-job.js";
import type { SequenceStore } from "./sequence-store.js";

/** Lengths of graphs that take a sequence at once, of any length, behind a past of one position, which the mask hides. */
export const WHOLE = { sequence: "sequence", context: 1, total: "total" } as const;

/** Bytes that the weights of layers that are run together have as floats, unless one layer alone has more. */
const PART_BYTES = 2 ** 26;

/** The graph of the layers of whole sequences, made anew for each of its parts. */
export interface LayerStages {
	readonly load: () => Promise<Model>;
	readonly parts: readonly GraphPart[];
}

/** Opens a model whose weights stay in their data files. */
export async function openLean(model: Model): Promise<LiveSession> {
	const { bytes, dataFolder } = serializeSkeleton(model);
	return LiveSession.open(bytes, { dataFolder, prepacks: false });
}

/** The float front of whole sequences. */
export async function frontOfSequences(job: LlmJob, masked: number): Promise<Model> {
	const { config } = job;
	const model = await readModel(config.modelFile);
	makeFrontGraph(model, config, { ...frontOptions(job, masked), isWindowed: false, past: WHOLE.context });
	return model;
}

/** Runs a front on all sequences of a store, which gets what comes out, changed by `change`. */
export async function runFront(
	front: Model,
	config: GenaiConfig,
	store: SequenceStore,
	change: (name: string, array: NumpyArray) => NumpyArray = (_, array) => array,
): Promise<void> {
	const session = await openLean(front);
	try {
		for (const [index, tokens] of store.sequences.entries()) {
			const found = await session.run(frontFeeds(config, tokens));
			store.put(index, new Map(Array.from(found, ([name, array]) => [name, change(name, array)])));
		}
	} finally {
		await session.close();
	}
}

/** Cuts the layers so that few of them are in memory at a time. @param partBytes see {@link PART_BYTES}. */
export async function cutLayers(
	load: LayerStages["load"],
	layers: number,
	partBytes = PART_BYTES,
): Promise<LayerStages> {
	const model = await load();
	const bytes = floatBytes(model);
	for (let count = Math.min(layers, Math.ceil(bytes / partBytes)); count > 1; count--) {
		try {
			return { load, parts: partsOf(model, count) };
		} catch (error) {
			if (!(error instanceof QGraphError)) throw error;
		}
	}
	return { load, parts: [{ inputs: [], outputs: model.graph.outputs.map(({ name }) => name) }] };
}

/** Bytes of the weights as floats, which the runtime makes of them. */
function floatBytes(model: Model): number {
	return [...allTensors(model)].reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0);
}

/**
 * Runs the layers part by part over all sequences of a store, which gets of what comes out what later parts read and what
 * is to be kept. After each part its model is handed out, while the store still has what the part reads.
 */
export async function* runLayers(
	{ load, parts }: LayerStages,
	store: SequenceStore,
	kept: readonly string[],
	signal: AbortSignal | undefined,
): AsyncGenerator<{ readonly model: Model; readonly part: number }> {
	for (const [at, part] of parts.entries()) {
		const model = await load();
		if (parts.length > 1) keepPart(model, part);
		const later = new Set([...parts.slice(at + 1).flatMap(({ inputs }) => inputs), ...kept]);
		const wanted = part.outputs.filter((name) => later.has(name));
		if (wanted.length > 0) await runPart(model, wanted, store, signal);
		yield { model, part: at };
		for (const name of part.inputs) if (!later.has(name)) store.drop(name);
	}
}

async function runPart(
	model: Model,
	wanted: readonly string[],
	store: SequenceStore,
	signal: AbortSignal | undefined,
): Promise<void> {
	const inputs = inputsOf(model);
	const session = await openLean(model);
	try {
		for (const index of store.sequences.keys()) {
			signal?.throwIfAborted();
			store.put(index, await session.run(layerFeeds(inputs, store, index), wanted));
		}
	} finally {
		await session.close();
	}
}

/** The sequences of a store as samples of a part of the layers. */
export function samplesOf(model: Model, store: SequenceStore): SampleSource {
	const inputs = inputsOf(model);
	return {
		name: "sequences",
		count: store.sequences.length,
		isRandom: false,
		async *samples(first) {
			for (let index = first; index < store.sequences.length; index++) {
				yield { origin: `sequence ${index}`, arrays: layerFeeds(inputs, store, index) };
			}
		},
	};
}

/** The states in front of the head as its samples, of no more than `rows` tokens each. */
export function headSamples(store: SequenceStore, rows: number): SampleSource {
	const pieces = store.sequences.flatMap(({ length }, index) =>
		Array.from({ length: Math.ceil(length / rows) }, (_, piece) => ({ index, start: piece * rows })),
	);
	return {
		name: "states",
		count: pieces.length,
		isRandom: false,
		async *samples(first) {
			for (const { index, start } of pieces.slice(first)) {
				const state = rowsOf(store.get(index, NAMES.hidden)!, start, rows);
				yield { origin: `sequence ${index}`, arrays: new Map([[NAMES.hidden, state]]) };
			}
		},
	};
}

/** Tokens `start` on of a state [1, tokens, size], `count` at most. */
function rowsOf({ type, shape, bytes }: NumpyArray, start: number, count: number): NumpyArray {
	const [, tokens = 0, size = 0] = shape;
	const rowBytes = size * bytesPerElement(type);
	const end = Math.min(start + count, tokens);
	return { type, shape: [1, end - start, size], bytes: bytes.slice(start * rowBytes, end * rowBytes) };
}

/** What a front takes for a sequence from its beginning. */
export function frontFeeds({ inputs }: GenaiConfig, tokens: readonly number[]): Map<string, NumpyArray> {
	const ints = (shape: readonly number[], values: readonly number[]): NumpyArray => {
		return { type: "int32", shape, bytes: bytesFrom("int32", values) };
	};
	return new Map([
		[inputs.ids, ints([1, tokens.length], tokens)],
		[NAMES.lastPosition, ints([1, 1], [tokens.length - 1])],
		[NAMES.totalLength, ints([1], [tokens.length])],
	]);
}

/** What layers take: what the store has of a sequence, and zeros for pasts. */
function layerFeeds(layers: readonly ModelInput[], store: SequenceStore, sequence: number): Map<string, NumpyArray> {
	return new Map(
		layers.map(({ name, type, shape }): [string, NumpyArray] => {
			const given = store.get(sequence, name);
			if (given !== undefined) return [name, given];
			const past = (shape as readonly number[] | undefined) ?? [];
			return [name, { type, shape: past, bytes: new Uint8Array(elementCount(past) * bytesPerElement(type)) }];
		}),
	);
}
