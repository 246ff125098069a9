import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import {
	type Attribute,
	DataType,
	type Dimension,
	floatAttribute,
	floatTensor,
	Graph,
	int64Tensor,
	intAttribute,
	Model,
	rawByteLength,
	tensor,
	tensorType,
	type Value,
	writeModel,
} from "qgraph";
import { randomFloats, repeated } from "./big-model.js";

/** Qwen3-0.6B's. */
const SIZES = { hidden: 1024, heads: 16, keyHeads: 8, headSize: 128, inner: 3072, vocabulary: 151_936 } as const;

/** Positions of its cache. */
export const LLM_CONTEXT = 4096;

const MICROSOFT = "com.microsoft";
const EPSILON = 1e-6;

/** Writes a directory of ONNX Runtime GenAI with a decoder of Qwen3-0.6B's size but for its layers, float weights of random numbers. */
export async function writeLlmDirectory(folder: string, layers: number): Promise<void> {
	mkdirSync(folder, { recursive: true });
	await writeModel(new LlmBuilder().build(layers), path.join(folder, "model.onnx"), { externalData: "one-file" });
	const inputs = { past_key_names: "past_key_values.%d.key", past_value_names: "past_key_values.%d.value" };
	const outputs = { logits: "logits", present_key_names: "present.%d.key", present_value_names: "present.%d.value" };
	const decoder = {
		filename: "model.onnx",
		head_size: SIZES.headSize,
		hidden_size: SIZES.hidden,
		num_attention_heads: SIZES.heads,
		num_key_value_heads: SIZES.keyHeads,
		num_hidden_layers: layers,
		inputs: { input_ids: "input_ids", attention_mask: "attention_mask", ...inputs },
		outputs,
	};
	const tokens = { bos_token_id: 1, eos_token_id: 2, pad_token_id: 0, vocab_size: SIZES.vocabulary };
	const config = { model: { type: "qwen3", ...tokens, context_length: LLM_CONTEXT, decoder }, search: {} };
	writeFileSync(path.join(folder, "genai_config.json"), JSON.stringify(config));
}

class LlmBuilder {
	readonly #model = new Model(new Graph("decoder"));
	readonly #floats = randomFloats((uniform) => (uniform() + uniform() + uniform() - 1.5) * 2);
	#weights = 0;

	build(layers: number): Model {
		const { hidden, heads, keyHeads, headSize, inner, vocabulary } = SIZES;
		this.#model.opsetImports.set("", 21);
		this.#model.opsetImports.set(MICROSOFT, 1);
		const ids = this.#input("input_ids", DataType.INT64, ["batch", "sequence"]);
		const mask = this.#input("attention_mask", DataType.INT64, ["batch", "total"]);
		const count = this.#node("ReduceSum", [mask, this.#numbers("axes", [1], [1])], { keepdims: intAttribute(0) });
		const toInt32 = { to: intAttribute(DataType.INT32) };
		const lengths = this.#node("Cast", [this.#node("Sub", [count, this.#numbers("one", [1], [1])])], toInt32);
		const width = this.#node("Gather", [this.#node("Shape", [mask]), this.#numbers("last", [], [1])]);
		const total = this.#node("Cast", [width], toInt32);
		const tables = [Math.cos, Math.sin].map((of) => this.#rotaryTable(of));
		let state = this.#node("Gather", [this.#weight([vocabulary, hidden], 1), ids]);
		let normal = this.#norm(state, hidden);
		for (let layer = 0; layer < layers; layer++) {
			const [queries, keys] = [heads, keyHeads].map((own) =>
				this.#normalHeads(this.#product(normal, hidden, own * headSize), own),
			);
			const values = this.#product(normal, hidden, keyHeads * headSize);
			const cache = ["key", "value"].map((kind) =>
				this.#input(`past_key_values.${layer}.${kind}`, DataType.FLOAT, ["batch", keyHeads, "past", headSize]),
			);
			const names = [`attention.${layer}`, `present.${layer}.key`, `present.${layer}.value`];
			const attended = names.map((name) => this.#model.graph.createValue(name));
			this.#model.graph.createNode({
				op: { domain: MICROSOFT, type: "GroupQueryAttention" },
				name: `attention_node.${layer}`,
				inputs: [queries, keys, values, ...cache, lengths, total, ...tables],
				outputs: attended,
				attributes: {
					num_heads: intAttribute(heads),
					kv_num_heads: intAttribute(keyHeads),
					do_rotary: intAttribute(1),
				},
			});
			for (const present of attended.slice(1)) {
				present.type = tensorType(DataType.FLOAT, ["batch", keyHeads, "total", headSize]);
				this.#model.graph.addOutput(present);
			}
			state = this.#node("Add", [state, this.#product(attended[0]!, heads * headSize, hidden)]);
			const [gate, up] = [1, 2].map(() => this.#product(this.#norm(state, hidden), hidden, inner));
			const gated = this.#node("Mul", [gate!, this.#node("Sigmoid", [gate!])]);
			state = this.#node("Add", [state, this.#product(this.#node("Mul", [gated, up!]), inner, hidden)]);
			normal = this.#norm(state, hidden);
		}
		const logits = this.#product(normal, hidden, vocabulary);
		logits.name = "logits";
		logits.type = tensorType(DataType.FLOAT, ["batch", "sequence", vocabulary]);
		this.#model.graph.addOutput(logits);
		return this.#model;
	}

	#input(name: string, dtype: DataType, shape: readonly Dimension[]): Value {
		const value = this.#model.graph.createValue(name, tensorType(dtype, shape));
		this.#model.graph.addInput(value);
		return value;
	}

	#constant(name: string, content: ReturnType<typeof tensor>): Value {
		const value = this.#model.graph.createValue(`${name}.${this.#weights++}`);
		this.#model.graph.setInitializer(value, content);
		return value;
	}

	#numbers(name: string, shape: readonly number[], values: readonly number[]): Value {
		return this.#constant(name, int64Tensor(shape, values));
	}

	#node(op: string, inputs: readonly Value[], attributes: Record<string, Attribute> = {}): Value {
		const output = this.#model.graph.createValue(`${op}.${this.#weights++}`);
		this.#model.graph.createNode({ op, name: `${output.name}_node`, inputs, outputs: [output], attributes });
		return output;
	}

	/** Numbers of the standard deviation `size`. */
	#weight(shape: readonly number[], size: number): Value {
		const floats = size === 1 ? this.#floats : scaled(this.#floats, size);
		const start = (this.#weights * 4096) % floats.length;
		return this.#constant(
			"weight",
			tensor(DataType.FLOAT, shape, repeated(floats, start)(rawByteLength(DataType.FLOAT, shape)!)),
		);
	}

	#product(input: Value, rows: number, columns: number): Value {
		return this.#node("MatMul", [input, this.#weight([rows, columns], 1 / Math.sqrt(rows))]);
	}

	#norm(input: Value, size: number): Value {
		const scale = this.#constant("scale", floatTensor([size], new Float32Array(size).fill(1)));
		const attributes = { axis: intAttribute(-1), epsilon: floatAttribute(EPSILON), stash_type: intAttribute(1) };
		return this.#node("SimplifiedLayerNormalization", [input, scale], attributes);
	}

	#normalHeads(input: Value, heads: number): Value {
		const byHead = this.#node("Reshape", [input, this.#numbers("heads", [4], [0, 0, heads, SIZES.headSize])]);
		const flat = this.#numbers("flat", [3], [0, 0, heads * SIZES.headSize]);
		return this.#node("Reshape", [this.#norm(byHead, SIZES.headSize), flat]);
	}

	#rotaryTable(of: (angle: number) => number): Value {
		const half = SIZES.headSize / 2;
		const angle = (index: number) => Math.floor(index / half) * 1e6 ** (-(index % half) / half);
		const values = Float32Array.from({ length: LLM_CONTEXT * half }, (_, index) => of(angle(index)));
		return this.#constant("table", floatTensor([LLM_CONTEXT, half], values));
	}
}

function scaled(floats: Uint8Array, factor: number): Uint8Array {
	const values = new Float32Array(floats.buffer).map((value) => value * factor);
	return new Uint8Array(values.buffer);
}
