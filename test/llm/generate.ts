import { readFileSync } from "node:fs";
import path from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { floatsOf } from "../support/ort.js";

type Values = Record<string, Tensor>;

/** A greedy generation: the tokens, and the logits that each was chosen by. */
export interface Generation {
	readonly tokens: readonly number[];
	readonly logits: readonly Float32Array[];
}

async function open(file: string): Promise<InferenceSession> {
	return InferenceSession.create(file, { graphOptimizationLevel: "disabled", logSeverityLevel: 3 });
}

/** Generates with a directory of a dynamic decoder. */
export async function generateDynamic(folder: string, prompt: readonly number[], count: number): Promise<Generation> {
	const session = await open(path.join(folder, "model.onnx"));
	const config = JSON.parse(readFileSync(path.join(folder, "genai_config.json"), "utf8")).model;
	const { num_key_value_heads: heads, head_size: size, num_hidden_layers: layers } = config.decoder;
	const cache: Values = {};
	for (let layer = 0; layer < layers; layer++) {
		for (const kind of ["key", "value"]) {
			cache[`past_key_values.${layer}.${kind}`] = new Tensor("float32", new Float32Array(), [1, heads, 0, size]);
		}
	}
	let total = 0;
	return greedy(prompt, count, async (ids) => {
		total += ids.length;
		const positions = ids.map((_, index) => total - ids.length + index);
		const outputs = await session.run({
			...(config.decoder.inputs.position_ids === undefined
				? {}
				: { position_ids: new Tensor("int64", BigInt64Array.from(positions, BigInt), [1, ids.length]) }),
			input_ids: new Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]),
			attention_mask: new Tensor("int64", new BigInt64Array(total).fill(1n), [1, total]),
			...cache,
		});
		for (const name of Object.keys(cache)) cache[name] = outputs[name.replace("past_key_values", "present")] as Tensor;
		return floatsOf(outputs.logits as Tensor).slice(-config.vocab_size);
	});
}

/** Generates with the graphs of a pipeline, as ONNX Runtime GenAI runs them: prompts in windows that are filled up. */
export async function generateStatic(folder: string, prompt: readonly number[], count: number): Promise<Generation> {
	const { model } = JSON.parse(readFileSync(path.join(folder, "genai_config.json"), "utf8"));
	const { decoder, context_length: context, pad_token_id: fill } = model;
	const { num_key_value_heads: heads, head_size: size, num_hidden_layers: layers } = decoder;
	const window: number = decoder.sliding_window.window_size;
	const stages: { name: string; session: InferenceSession }[] = [];
	for (const stage of decoder.pipeline) {
		const [name] = Object.keys(stage);
		stages.push({ name: name!, session: await open(path.join(folder, stage[name!].filename)) });
	}
	const values: Values = {};
	let filled = 0;
	if (decoder.sliding_window.slide_key_value_cache === true) {
		// what the host keeps: for each position, the latest last, what came out for it
		const kept: Record<string, Uint8Array[]> = {};
		const pad = decoder.sliding_window.pad_value;
		for (const { session } of stages) {
			for (const name of session.inputNames.filter((input) => input.startsWith("past"))) {
				kept[name] = Array.from({ length: context }, () => new Uint8Array(heads * size).fill(pad));
			}
		}
		const run = async (ids: readonly number[], skipped: string) => {
			filled += ids.length === 1 ? 1 : ids.filter((id) => id !== fill).length;
			const seen = Array.from({ length: context }, (_, column) => (column >= context - filled ? 1 : 0));
			values.input_ids = new Tensor("int32", Int32Array.from(ids), [1, ids.length]);
			values.attention_mask = new Tensor("int32", Int32Array.from(seen), [1, context]);
			const positions = ids.map((_, index) => Math.max(0, filled - ids.length + index));
			values.position_ids = new Tensor("int32", Int32Array.from(positions), [1, ids.length]);
			for (const [name, columns] of Object.entries(kept)) values[name] = moved(name, columns.slice(ids.length), heads);
			for (const { name, session } of stages) {
				if (name.startsWith(skipped)) continue;
				Object.assign(
					values,
					await session.run(Object.fromEntries(session.inputNames.map((input) => [input, values[input]!]))),
				);
			}
			for (const [name, columns] of Object.entries(kept)) {
				columns.splice(0, ids.length);
				columns.push(...columnsOf(name, values[name.replace("past_key_values", "present")]!, heads));
			}
			return floatsOf(values.logits).slice();
		};
		return greedy(prompt, count, async (ids) => {
			if (filled > 0) return run(ids, "prefill");
			let logits = new Float32Array();
			const all = [...new Array<number>((window - (ids.length % window)) % window).fill(fill), ...ids];
			for (let at = 0; at < all.length; at += window) logits = await run(all.slice(at, at + window), "decode");
			return logits;
		});
	}
	for (let layer = 0; layer < layers; layer++) {
		for (const kind of ["key", "value"]) {
			const name = `past_key_values.${layer}.${kind}`;
			values[name] = emptyCache(stages, name, [1, heads, context, size]);
		}
	}
	const run = async (ids: readonly number[], skipped: string) => {
		const last = filled + ids.length - 1;
		values.input_ids = new Tensor("int32", Int32Array.from(ids), [1, ids.length]);
		values.past_seq_len = new Tensor("int32", Int32Array.of(last), [1, 1]);
		values.total_seq_len = new Tensor("int32", Int32Array.of(last + 1), [1]);
		for (const { name, session } of stages) {
			if (name.startsWith(skipped)) continue;
			const feeds = Object.fromEntries(session.inputNames.map((input) => [input, values[input]!]));
			Object.assign(values, await session.run(feeds));
		}
		for (const name of Object.keys(values)) {
			if (name.startsWith("present")) values[name.replace("present", "past_key_values")] = values[name]!;
		}
		return floatsOf(values.logits).slice();
	};
	return greedy(prompt, count, async (ids) => {
		if (ids.length === 1 && filled > 0) {
			const logits = await run(ids, "prefill");
			filled++;
			return logits;
		}
		let logits = new Float32Array();
		for (let at = 0; at < ids.length; at += window) {
			const part = ids.slice(at, at + window);
			logits = await run([...part, ...new Array<number>(window - part.length).fill(fill)], "decode");
			filled += part.length;
		}
		return logits;
	});
}

/** Columns of all heads as keys [heads, 1, size, columns] or values [heads, 1, columns, size]. */
function moved(name: string, columns: readonly Uint8Array[], heads: number): Tensor {
	const size = columns[0]!.length / heads;
	const codes = new Uint8Array(columns.length * heads * size);
	for (const [at, column] of columns.entries()) {
		for (const [index, code] of column.entries()) codes[placeOf(name, index, at, size, columns.length)] = code;
	}
	const shape = name.endsWith("key") ? [size, columns.length] : [columns.length, size];
	return new Tensor("uint8", codes, [heads, 1, ...shape]);
}

function columnsOf(name: string, { data, dims }: Tensor, heads: number): Uint8Array[] {
	const [size, count] = name.endsWith("key") ? [dims[2]!, dims[3]!] : [dims[3]!, dims[2]!];
	return Array.from({ length: count }, (_, at) =>
		Uint8Array.from({ length: heads * size }, (_, index) => data[placeOf(name, index, at, size, count)] as number),
	);
}

/** Where element `index` of all heads at position `at` of `count` lies. */
function placeOf(name: string, index: number, at: number, size: number, count: number): number {
	const [head, element] = [Math.floor(index / size), index % size];
	return name.endsWith("key") ? (head * size + element) * count + at : (head * count + at) * size + element;
}

/** Zeros of the type that the graphs take. */
function emptyCache(stages: readonly { readonly session: InferenceSession }[], name: string, shape: number[]): Tensor {
	const count = shape.reduce((product, length) => product * length, 1);
	for (const { session } of stages) {
		const found = session.inputMetadata.find((input) => input.name === name);
		if (found?.isTensor !== true) continue;
		if (found.type === "uint8") return new Tensor("uint8", new Uint8Array(count), shape);
		if (found.type === "int16") return new Tensor("int16", new Int16Array(count), shape);
	}
	return new Tensor("float32", new Float32Array(count), shape);
}

async function greedy(
	prompt: readonly number[],
	count: number,
	step: (ids: readonly number[]) => Promise<Float32Array>,
): Promise<Generation> {
	const [tokens, logits]: [number[], Float32Array[]] = [[], []];
	let ids = prompt;
	while (tokens.length < count) {
		const scores = await step(ids);
		const token = scores.indexOf(Math.max(...scores));
		tokens.push(token);
		logits.push(scores);
		ids = [token];
	}
	return { tokens, logits };
}
