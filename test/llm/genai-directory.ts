import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { floatAttribute, intAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { type Attributes, ModelBuilder } from "../support/build.js";
import { mixedSource } from "../support/random.js";

/** Sizes of the model that {@link writeGenaiDirectory} makes. */
export const SIZES = {
	vocabulary: 48,
	hidden: 32,
	heads: 4,
	keyHeads: 2,
	headSize: 16,
	layers: 2,
	context: 64,
} as const;

export interface DirectoryOptions {
	/** Attributes of the attention of each layer. */
	readonly attention?: readonly Attributes[];
	/** Logits are capped, as Gemma does it. */
	readonly capsLogits?: boolean;
	/** Changes of `model` in genai_config.json. */
	readonly config?: Readonly<Record<string, unknown>>;
	/** An operator of com.microsoft to put in. */
	readonly extra?: string;
}

/** A small decoder in the way of GenAI's model builder: random weights, normalization with a skip, grouped queries, SwiGLU. */
export function writeGenaiDirectory(folder: string, options: DirectoryOptions = {}): Model {
	mkdirSync(folder, { recursive: true });
	const model = decoder(options);
	writeFileSync(path.join(folder, "model.onnx"), serializeModel(model));
	const { vocabulary, hidden, heads, keyHeads, headSize, layers, context } = SIZES;
	const config = {
		model: {
			type: "llama",
			bos_token_id: 1,
			eos_token_id: 2,
			pad_token_id: 0,
			vocab_size: vocabulary,
			context_length: context,
			...options.config,
			decoder: {
				filename: "model.onnx",
				head_size: headSize,
				hidden_size: hidden,
				num_attention_heads: heads,
				num_key_value_heads: keyHeads,
				num_hidden_layers: layers,
				inputs: {
					input_ids: "input_ids",
					attention_mask: "attention_mask",
					past_key_names: "past_key_values.%d.key",
					past_value_names: "past_key_values.%d.value",
				},
				outputs: { logits: "logits", present_key_names: "present.%d.key", present_value_names: "present.%d.value" },
			},
		},
		search: { max_length: context, top_k: 1 },
	};
	writeFileSync(path.join(folder, "genai_config.json"), JSON.stringify(config));
	return model;
}

function decoder({ attention = [], capsLogits, extra }: DirectoryOptions): Model {
	const builder = new ModelBuilder();
	builder.model.opsetImports.set("com.microsoft", 1);
	const { vocabulary, hidden, heads, keyHeads, headSize, layers, context } = SIZES;
	const random = mixedSource(11);
	const weight = (name: string, shape: readonly number[], scale = 1) => {
		const count = shape.reduce((product, dim) => product * dim, 1);
		const spread = scale / Math.sqrt(shape[0]!);
		const values = Float32Array.from({ length: count }, () => (random() + random() + random() - 1.5) * 2 * spread);
		builder.initializer(name, floatTensor(shape, values));
		return name;
	};
	const ones = (name: string) => {
		builder.initializer(
			name,
			floatTensor(
				[hidden],
				Float32Array.from({ length: hidden }, () => 0.5 + random()),
			),
		);
		return name;
	};
	builder.input("input_ids", DataType.INT64, ["batch", "sequence"]);
	builder.input("attention_mask", DataType.INT64, ["batch", "total"]);
	for (let layer = 0; layer < layers; layer++) {
		for (const kind of ["key", "value"]) {
			builder.input(`past_key_values.${layer}.${kind}`, DataType.FLOAT, ["batch", keyHeads, "past", headSize]);
		}
	}
	const half = headSize / 2;
	for (const [name, of] of [
		["cos", Math.cos],
		["sin", Math.sin],
	] as const) {
		const angle = (index: number) => Math.floor(index / half) * 100 ** (-(index % half) / half);
		const values = Float32Array.from({ length: context * half }, (_, index) => of(angle(index)));
		builder.initializer(name, floatTensor([context, half], values));
	}
	builder.initializer("one", int64Tensor([1], [1]));
	builder.initializer("axis", int64Tensor([], [1]));
	builder.node("ReduceSum", ["attention_mask", "one"], ["count"], { keepdims: intAttribute(0) });
	builder.node("Sub", ["count", "one"], ["last"]);
	builder.node("Cast", ["last"], ["lengths"], { to: intAttribute(DataType.INT32) });
	builder.node("Shape", ["attention_mask"], ["mask_shape"]);
	builder.node("Gather", ["mask_shape", "axis"], ["total_wide"]);
	builder.node("Cast", ["total_wide"], ["total_length"], { to: intAttribute(DataType.INT32) });
	builder.node("Gather", [weight("table", [vocabulary, hidden], 6), "input_ids"], ["embedded"]);
	let [skip, normal] = ["embedded", "normal_0"];
	builder.node("SimplifiedLayerNormalization", ["embedded", ones("norm_0")], [normal], NORM);
	const matMul = (x: string, name: string, shape: readonly number[]) => {
		builder.node("MatMul", [x, weight(`${name}.weight`, shape)], [name], {}, name);
		return name;
	};
	for (let layer = 0; layer < layers; layer++) {
		const at = (name: string) => `layers.${layer}.${name}`;
		const qkv = matMul(normal, at("qkv"), [hidden, (heads + 2 * keyHeads) * headSize]);
		const past = ["key", "value"].map((kind) => `past_key_values.${layer}.${kind}`);
		builder.node(
			{ domain: "com.microsoft", type: "GroupQueryAttention" },
			[qkv, "", "", ...past, "lengths", "total_length", "cos", "sin"],
			[at("attended"), `present.${layer}.key`, `present.${layer}.value`],
			{
				num_heads: intAttribute(heads),
				kv_num_heads: intAttribute(keyHeads),
				do_rotary: intAttribute(1),
				...attention[layer],
			},
			at("attention"),
		);
		const projected = matMul(at("attended"), at("o"), [heads * headSize, hidden]);
		[skip, normal] = skipNorm(builder, skip, projected, ones(at("norm_1")), at("norm_1"));
		const gate = matMul(normal, at("gate"), [hidden, 64]);
		const up = matMul(normal, at("up"), [hidden, 64]);
		builder.node("Sigmoid", [gate], [at("sigmoid")]);
		builder.node("Mul", [gate, at("sigmoid")], [at("silu")]);
		builder.node("Mul", [at("silu"), up], [at("gated")]);
		const down = matMul(at("gated"), at("down"), [64, hidden]);
		[skip, normal] = skipNorm(builder, skip, down, ones(at("norm_2")), at("norm_2"));
	}
	if (extra !== undefined) {
		builder.node({ domain: "com.microsoft", type: extra }, [normal], ["extra"], {}, "odd");
		normal = "extra";
	}
	builder.node("MatMul", [normal, weight("head", [hidden, vocabulary], 3)], [capsLogits ? "uncapped" : "logits"]);
	if (capsLogits) {
		builder.initializer("limit", floatTensor([], [5]));
		builder.node("Div", ["uncapped", "limit"], ["part"]);
		builder.node("Tanh", ["part"], ["tanh"]);
		builder.node("Mul", ["tanh", "limit"], ["logits"]);
	}
	builder.output("logits").type = {
		kind: "tensor",
		elementType: DataType.FLOAT,
		shape: ["batch", "sequence", vocabulary],
	};
	for (let layer = 0; layer < layers; layer++) {
		for (const kind of ["key", "value"]) builder.output(`present.${layer}.${kind}`);
	}
	return builder.build();
}

const NORM: Attributes = { epsilon: floatAttribute(1e-6), axis: intAttribute(-1), stash_type: intAttribute(1) };

/** Returns the sum and what it is normalized to. */
function skipNorm(builder: ModelBuilder, x: string, skip: string, scale: string, name: string): [string, string] {
	builder.node(
		{ domain: "com.microsoft", type: "SkipSimplifiedLayerNormalization" },
		[x, skip, scale],
		[`${name}_normal`, "", "", `${name}_sum`],
		{ epsilon: floatAttribute(1e-6) },
		name,
	);
	return [`${name}_sum`, `${name}_normal`];
}
