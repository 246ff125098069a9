import { bytesFrom, bytesPerElement } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { elementCount } from "../ir/types.js";
import type { ModelInput } from "../runtime/model-inputs.js";
import { CACHE_CODES } from "./cache-codes.js";
import { type GenaiConfig, layerName } from "./genai-config.js";
import { NAMES } from "./layer-graph.js";
import type { LlmJob } from "./llm-job.js";

type Arrays = Map<string, NumpyArray>;

/** What GenAI does between runs of a pipeline: windows of a prompt, positions, the cache. */
export interface HostState {
	/** A prompt in windows, filled up to the whole length of each. */
	windowsOf(prompt: readonly number[]): number[][];
	/** Gives a run of tokens what it takes besides them. */
	give(values: Arrays, ids: readonly number[]): void;
	/** Keeps what came of a run. */
	keep(values: Arrays, ids: readonly number[]): void;
}

/** The state at the beginning of a generation. @param inputs of all graphs. */
export function hostStateOf(job: LlmJob, inputs: readonly ModelInput[]): HostState {
	return job.layout === "B" ? new MovedState(job) : new IndexedState(job, inputs);
}

/** Layouts A and C: the graphs put new keys and values where the positions say, prompts are filled up behind. */
class IndexedState implements HostState {
	readonly #job: LlmJob;
	readonly #past: Arrays;
	#filled = 0;

	constructor(job: LlmJob, inputs: readonly ModelInput[]) {
		this.#job = job;
		const names = new Set(cachesOf(job.config).map(({ past }) => past));
		this.#past = new Map(
			inputs
				.filter(({ name }) => names.has(name))
				.map(({ name, type, shape }) => {
					const fixed = shape as readonly number[];
					return [name, { type, shape: fixed, bytes: new Uint8Array(elementCount(fixed) * bytesPerElement(type)) }];
				}),
		);
	}

	windowsOf(prompt: readonly number[]): number[][] {
		const { lengths, padToken } = this.#job;
		return windows([...prompt, ...fillOf(prompt, lengths.sequence, padToken)], lengths.sequence);
	}

	give(values: Arrays, ids: readonly number[]): void {
		const last = this.#filled + ids.length - 1;
		values.set(NAMES.lastPosition, integers([1, 1], [last]));
		values.set(NAMES.totalLength, integers([1], [last + 1]));
		for (const [name, past] of this.#past) values.set(name, past);
	}

	keep(values: Arrays, ids: readonly number[]): void {
		this.#filled += ownOf(ids, this.#job.padToken);
		for (const { past, present } of cachesOf(this.#job.config)) this.#past.set(past, values.get(present)!);
	}
}

/** Layout B: the host moves the cache by what is new, so that the latest is last, and prompts are filled up in front. */
class MovedState implements HostState {
	readonly #job: LlmJob;
	/** As long as the context: [key heads, 1, size, context] for keys, [key heads, 1, context, size] for values. */
	readonly #caches: Map<string, Uint8Array> = new Map();
	#filled = 0;

	constructor(job: LlmJob) {
		this.#job = job;
		const { keyHeads, headSize } = job.config;
		const { zeroPoint } = CACHE_CODES.u8;
		for (const { past } of cachesOf(job.config)) {
			this.#caches.set(past, new Uint8Array(keyHeads * headSize * job.lengths.context).fill(zeroPoint));
		}
	}

	windowsOf(prompt: readonly number[]): number[][] {
		const { lengths, padToken } = this.#job;
		return windows([...fillOf(prompt, lengths.sequence, padToken), ...prompt], lengths.sequence);
	}

	give(values: Arrays, ids: readonly number[]): void {
		const { config, lengths, padToken } = this.#job;
		const { context } = lengths;
		const seen = this.#filled + ownOf(ids, padToken);
		const mask = Array.from({ length: context }, (_, column) => (column < context - seen ? 0 : 1));
		const positions = ids.map((_, index) => Math.max(0, seen - ids.length + index));
		values.set(config.inputs.mask, integers([1, context], mask));
		values.set(config.inputs.positions, integers([1, ids.length], positions));
		for (const cache of cachesOf(config)) {
			const [rows, rowLength, shape] = this.#form(cache.isKey, context - ids.length);
			const whole = this.#caches.get(cache.past)!;
			const size = shape.reduce((product, length) => product * length, 1);
			const bytes = new Uint8Array(size);
			const wholeRow = whole.length / rows;
			for (let row = 0; row < rows; row++) {
				bytes.set(whole.subarray((row + 1) * wholeRow - rowLength, (row + 1) * wholeRow), row * rowLength);
			}
			values.set(cache.past, { type: "uint8", shape, bytes });
		}
	}

	keep(values: Arrays, ids: readonly number[]): void {
		const { config, padToken } = this.#job;
		this.#filled += ownOf(ids, padToken);
		for (const cache of cachesOf(config)) {
			const [rows, rowLength] = this.#form(cache.isKey, ids.length);
			const whole = this.#caches.get(cache.past)!;
			const made = values.get(cache.present)!.bytes;
			const wholeRow = whole.length / rows;
			for (let row = 0; row < rows; row++) {
				whole.copyWithin(row * wholeRow, row * wholeRow + rowLength, (row + 1) * wholeRow);
				whole.set(made.subarray(row * rowLength, (row + 1) * rowLength), (row + 1) * wholeRow - rowLength);
			}
		}
	}

	/** Rows of a cache that positions lie in one after the other, their length for `positions`, and its shape then. */
	#form(isKey: boolean, positions: number): [rows: number, rowLength: number, shape: readonly number[]] {
		const { keyHeads, headSize } = this.#job.config;
		return isKey
			? [keyHeads * headSize, positions, [keyHeads, 1, headSize, positions]]
			: [keyHeads, positions * headSize, [keyHeads, 1, positions, headSize]];
	}
}

/** Names of what goes in and what comes out of each layer. */
function cachesOf({ layers, inputs, outputs }: GenaiConfig): { past: string; present: string; isKey: boolean }[] {
	return Array.from({ length: layers }, (_, layer) => [
		{ past: layerName(inputs.pastKeys, layer), present: layerName(outputs.presentKeys, layer), isKey: true },
		{ past: layerName(inputs.pastValues, layer), present: layerName(outputs.presentValues, layer), isKey: false },
	]).flat();
}

/** How many tokens do not fill up; a single one never does. */
function ownOf(ids: readonly number[], padToken: number): number {
	return ids.length === 1 ? 1 : ids.filter((id) => id !== padToken).length;
}

function fillOf({ length }: readonly number[], window: number, token: number): number[] {
	return new Array<number>((window - (length % window)) % window).fill(token);
}

function windows(ids: readonly number[], length: number): number[][] {
	return Array.from({ length: ids.length / length }, (_, index) => ids.slice(index * length, (index + 1) * length));
}

export function integers(shape: readonly number[], numbers: readonly number[]): NumpyArray {
	return { type: "int32", shape, bytes: bytesFrom("int32", numbers) };
}
