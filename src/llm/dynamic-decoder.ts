import { bytesFrom, bytesPerElement } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { QGraphError } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { tensorType } from "../ir/types.js";
import { readModel } from "../onnx/file.js";
import { vector } from "../passes/support/lengths.js";
import { NodeWriter } from "../passes/support/node-writer.js";
import { floatsOf } from "../runtime/live-session.js";
import { inputsOf, type ModelInput } from "../runtime/model-inputs.js";
import { statesBehind } from "./decoder.js";
import { DecoderParts, type DecoderPartsOptions } from "./decoder-parts.js";
import { type GenaiConfig, layerName } from "./genai-config.js";

/** Bytes of caches that sequences may have together. */
const MAX_CACHE_BYTES = 2 ** 28;

/** A sequence that the model goes on with. */
interface Continued {
	readonly tokens: number[];
	/** How many there are to be. */
	readonly wanted: number;
	readonly past: ReadonlyMap<string, NumpyArray>;
}

/** The decoder of a directory, on the CPU: any number of tokens behind any number of past ones. */
export class DynamicDecoder {
	readonly #config: GenaiConfig;
	readonly #parts: DecoderParts;
	readonly #inputs: readonly ModelInput[];

	private constructor(config: GenaiConfig, parts: DecoderParts, inputs: readonly ModelInput[]) {
		this.#config = config;
		this.#parts = parts;
		this.#inputs = inputs;
	}

	/** Rejects with `runtime/missing`, and with what the runtime says of the model. */
	static async open(config: GenaiConfig, options: DecoderPartsOptions = {}): Promise<DynamicDecoder> {
		const load = async () => {
			const model = await readModel(config.modelFile);
			pickLast(model, config);
			keepWholeCaches(model);
			return model;
		};
		const inputs = inputsOf(await load());
		return new DynamicDecoder(config, await DecoderParts.open(load, options), inputs);
	}

	/**
	 * Each of `prompts` and the tokens that the model goes on with, up to `lengthOf(prompt)` in all, always the likeliest;
	 * fewer where it ends by itself. Several at a time, for a token costs as much as the reading of all weights.
	 */
	async continue(
		prompts: readonly (readonly number[])[],
		lengthOf: (prompt: readonly number[]) => number,
		onProgress: (done: number) => void = () => undefined,
	): Promise<number[][]> {
		const most = this.#isBatched() ? this.#sequencesWithin(MAX_CACHE_BYTES, Math.max(...prompts.map(lengthOf))) : 1;
		const continued: number[][] = [];
		for (let first = 0; first < prompts.length; first += most) {
			onProgress(first);
			const batch: Continued[] = [];
			for (const prompt of prompts.slice(first, first + most)) batch.push(await this.#begin(prompt, lengthOf(prompt)));
			await this.#goOn(batch, (share) => onProgress(first + share * batch.length));
			continued.push(...batch.map(({ tokens }) => tokens));
		}
		return continued;
	}

	async close(): Promise<void> {
		await this.#parts.close();
	}

	/** A prompt, and the first token behind it. */
	async #begin(prompt: readonly number[], wanted: number): Promise<Continued> {
		const tokens = [...prompt];
		if (tokens.length >= wanted) return { tokens, wanted: tokens.length, past: new Map() };
		const found = await this.#parts.run(this.#feeds([prompt], [prompt.length], this.#nothing()));
		const isEnd = this.#append(tokens, found, 1, 0);
		return { tokens, wanted: isEnd ? tokens.length : wanted, past: this.#pastOf(found) };
	}

	/** Adds tokens to all sequences until each is as long as is wanted, or the model ends it. */
	async #goOn(batch: readonly Continued[], onProgress: (share: number) => void): Promise<void> {
		const open = batch.filter(({ tokens, wanted }) => tokens.length < wanted);
		if (open.length === 0) return;
		const steps = Math.max(...open.map(({ tokens, wanted }) => wanted - tokens.length));
		const ended = new Set<Continued>();
		// lengths of the sequences as the model knows them; one that has ended goes on without being listened to
		const lengths = open.map(({ tokens }) => tokens.length - 1);
		let past = this.#joined(open.map((sequence) => sequence.past));
		for (let step = 0; step < steps && ended.size < open.length; step++) {
			onProgress(step / steps);
			for (let index = 0; index < lengths.length; index++) lengths[index]!++;
			const last = open.map(({ tokens }) => [tokens.at(-1)!]);
			const feeds = this.#feeds(last, lengths, past);
			// what is past of a layer can go when that layer has run
			past.clear();
			const found = await this.#parts.run(feeds);
			past = this.#pastOf(found);
			for (const [index, sequence] of open.entries()) {
				if (ended.has(sequence)) continue;
				const isEnd = this.#append(sequence.tokens, found, open.length, index);
				if (isEnd || sequence.tokens.length >= sequence.wanted) ended.add(sequence);
			}
		}
	}

	/** Adds the likeliest token behind sequence `index`; returns whether that is the end, which is not added. */
	#append(tokens: number[], found: ReadonlyMap<string, NumpyArray>, count: number, index: number): boolean {
		const { outputs, endTokens, vocabularySize } = this.#config;
		const logits = floatsOf(found.get(outputs.logits)!);
		const end = ((index + 1) * logits.length) / count;
		const token = largest(logits.subarray(end - vocabularySize, end));
		if (endTokens.includes(token)) return true;
		tokens.push(token);
		return false;
	}

	/** @param lengths of the sequences, `tokens` among them; those behind a past have one token each. */
	#feeds(
		tokens: readonly (readonly number[])[],
		lengths: readonly number[],
		past: ReadonlyMap<string, NumpyArray>,
	): Map<string, NumpyArray> {
		const feeds = new Map(past);
		for (const { name, type } of this.#inputs) {
			if (past.has(name)) continue;
			const rows = this.#rowsOf(name, tokens, lengths);
			feeds.set(name, { type, shape: [rows.length, rows[0]!.length], bytes: bytesFrom(type, rows.flat()) });
		}
		return feeds;
	}

	#rowsOf(
		name: string,
		tokens: readonly (readonly number[])[],
		lengths: readonly number[],
	): readonly (readonly number[])[] {
		if (name === this.#config.inputs.ids) return tokens;
		const longest = Math.max(...lengths);
		if (name === "attention_mask") {
			return lengths.map((length) => Array.from({ length: longest }, (_, position) => (position < length ? 1 : 0)));
		}
		if (name === "position_ids") {
			return tokens.map((row, index) => row.map((_, position) => lengths[index]! - row.length + position));
		}
		const message = `the model cannot be run: nothing is known of its input '${name}', expected ids, mask, positions and pasts; without --recipe or --budget it need not run`;
		throw new QGraphError("llm/unsupported", message, { value: name });
	}

	#nothing(): Map<string, NumpyArray> {
		const { keyHeads, headSize } = this.#config;
		const shape = [1, keyHeads, 0, headSize];
		return new Map(
			this.#caches().map(([past]) => [past, { type: this.#typeOf(past), shape, bytes: new Uint8Array() }]),
		);
	}

	#pastOf(found: ReadonlyMap<string, NumpyArray>): Map<string, NumpyArray> {
		return new Map(this.#caches().map(([past, present]) => [past, found.get(present)!]));
	}

	/** The pasts of several sequences as those of a batch, filled up behind the shorter ones. */
	#joined(pasts: readonly ReadonlyMap<string, NumpyArray>[]): Map<string, NumpyArray> {
		return new Map(this.#caches().map(([name]) => [name, joinedCaches(pasts.map((past) => past.get(name)!))]));
	}

	/** Are batches of several sequences left open by the model? */
	#isBatched(): boolean {
		return this.#inputs.every(({ shape }) => typeof shape?.[0] !== "number");
	}

	#sequencesWithin(bytes: number, length: number): number {
		const { keyHeads, headSize } = this.#config;
		const caches = this.#caches().map(([past]) => bytesPerElement(this.#typeOf(past)) * keyHeads * headSize * length);
		return Math.max(1, Math.floor(bytes / caches.reduce((sum, size) => sum + size, 0)));
	}

	#typeOf(input: string): NumpyArray["type"] {
		return this.#inputs.find(({ name }) => name === input)?.type ?? "float32";
	}

	/** Names of what goes in and what comes out. */
	#caches(): [past: string, present: string][] {
		const { layers, inputs, outputs } = this.#config;
		return Array.from({ length: layers }, (_, layer): [string, string][] => [
			[layerName(inputs.pastKeys, layer), layerName(outputs.presentKeys, layer)],
			[layerName(inputs.pastValues, layer), layerName(outputs.presentValues, layer)],
		]).flat();
	}
}

/** Lets attention of a local window keep all of its past, as its cache here does. */
function keepWholeCaches(model: Model): void {
	for (const node of model.graph.nodes) node.attributes.delete("sliding_window_cache");
}

/** Lets the head see the last token of each sequence only. */
function pickLast(model: Model, { outputs }: GenaiConfig): void {
	const logits = model.graph.outputs.find(({ name }) => name === outputs.logits);
	if (logits === undefined) return;
	const { headInput, hidden } = statesBehind(logits);
	if (headInput !== hidden || headInput.uses.length > 1) return;
	const [head] = headInput.uses;
	if (head === undefined) return;
	const writer = new NodeWriter(head.node, new NameScope(model));
	const [start, end, axis] = [
		vector(writer, "start", -1),
		vector(writer, "end", 2 ** 31 - 1),
		vector(writer, "axis", 1),
	];
	const last = writer.emit("Slice", [headInput, start, end, axis]);
	head.node.setInput(head.index, last);
	if (logits.type?.kind === "tensor") logits.type = tensorType(logits.type.elementType);
}

/** Caches [1, heads, length, size] as one [count, heads, longest, size]. */
function joinedCaches(caches: readonly NumpyArray[]): NumpyArray {
	const [first] = caches;
	const [, heads = 0, , size = 0] = first!.shape;
	const longest = Math.max(...caches.map(({ shape }) => shape[2]!));
	const rowBytes = size * bytesPerElement(first!.type);
	const bytes = new Uint8Array(caches.length * heads * longest * rowBytes);
	for (const [index, cache] of caches.entries()) {
		const length = cache.shape[2]!;
		for (let head = 0; head < heads; head++) {
			const own = cache.bytes.subarray(head * length * rowBytes, (head + 1) * length * rowBytes);
			bytes.set(own, (index * heads + head) * longest * rowBytes);
		}
	}
	return { type: first!.type, shape: [caches.length, heads, longest, size], bytes };
}

/** The place of the largest element, the first of several. */
export function largest(values: Float32Array): number {
	let best = 0;
	for (let index = 1; index < values.length; index++) if (values[index]! > values[best]!) best = index;
	return best;
}
