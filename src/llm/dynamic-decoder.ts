import { bytesFrom } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { QGraphError } from "../diagnostics.js";
import { readModel } from "../onnx/file.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";
import { inputsOf, type ModelInput } from "../runtime/model-inputs.js";
import { type GenaiConfig, layerName } from "./genai-config.js";

/** The decoder of a directory as it is, on the CPU: any number of tokens behind any number of past ones. */
export class DynamicDecoder {
	readonly #config: GenaiConfig;
	readonly #session: LiveSession;
	readonly #inputs: readonly ModelInput[];

	private constructor(config: GenaiConfig, session: LiveSession, inputs: readonly ModelInput[]) {
		this.#config = config;
		this.#session = session;
		this.#inputs = inputs;
	}

	/** Rejects with `runtime/missing`, and with what the runtime says of the model. */
	static async open(config: GenaiConfig): Promise<DynamicDecoder> {
		const inputs = inputsOf(await readModel(config.modelFile));
		return new DynamicDecoder(config, await LiveSession.open(config.modelFile), inputs);
	}

	/** `prompt` and the `count` tokens that the model goes on with, always the likeliest; fewer where it ends by itself. */
	async continue(prompt: readonly number[], count: number): Promise<number[]> {
		const { outputs, endTokens, vocabularySize } = this.#config;
		const tokens = [...prompt];
		let past = this.#nothing();
		let given = 0;
		while (tokens.length < prompt.length + count) {
			const found = await this.#session.run(this.#feeds(tokens.slice(given), tokens.length, past));
			given = tokens.length;
			past = this.#pastOf(found);
			const token = largest(floatsOf(found.get(outputs.logits)!).subarray(-vocabularySize));
			if (endTokens.includes(token)) break;
			tokens.push(token);
		}
		return tokens;
	}

	async close(): Promise<void> {
		await this.#session.close();
	}

	#feeds(tokens: readonly number[], total: number, past: ReadonlyMap<string, NumpyArray>): Map<string, NumpyArray> {
		const feeds = new Map(past);
		for (const { name, type } of this.#inputs) {
			if (past.has(name)) continue;
			const values = this.#valuesOf(name, tokens, total);
			feeds.set(name, { type, shape: [1, values.length], bytes: bytesFrom(type, values) });
		}
		return feeds;
	}

	#valuesOf(name: string, tokens: readonly number[], total: number): readonly number[] {
		if (name === this.#config.inputs.ids) return tokens;
		if (name === "attention_mask") return new Array<number>(total).fill(1);
		if (name === "position_ids") return tokens.map((_, index) => total - tokens.length + index);
		const message = `the model cannot be run: nothing is known of its input '${name}'`;
		throw new QGraphError("llm/unsupported", message, { value: name });
	}

	#nothing(): Map<string, NumpyArray> {
		const { keyHeads, headSize } = this.#config;
		const shape = [1, keyHeads, 0, headSize];
		const types = new Map(this.#inputs.map(({ name, type }) => [name, type] as const));
		return new Map(
			this.#caches().map(([past]) => [past, { type: types.get(past) ?? "float32", shape, bytes: new Uint8Array() }]),
		);
	}

	#pastOf(found: ReadonlyMap<string, NumpyArray>): Map<string, NumpyArray> {
		return new Map(this.#caches().map(([past, present]) => [past, found.get(present)!]));
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

/** The place of the largest element, the first of several. */
export function largest(values: Float32Array): number {
	let best = 0;
	for (let index = 1; index < values.length; index++) if (values[index]! > values[best]!) best = index;
	return best;
}
