import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { floatAttribute, intAttribute, intsAttribute, tensorAttribute } from "../../src/ir/attribute.js";
import { readAll } from "../../src/ir/data.js";
import type { Model } from "../../src/ir/model.js";
import { bytesOf, floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from "../../src/quant/float16.js";
import { type Attributes, ModelBuilder } from "../support/build.js";
import { nbitsWeight } from "../support/nbits.js";
import { mixedSource } from "../support/random.js";

/** Sizes of the model that {@link writeGenaiDirectory} makes. */
export const SIZES = {
	vocabulary: 48,
	hidden: 32,
	heads: 4,
	keyHeads: 2,
	headSize: 32,
	layers: 2,
	context: 64,
} as const;

/** Which way of GenAI's model builder a decoder takes; what is left out is as in a Llama in floats. */
export interface DirectoryOptions {
	/** Attributes of the attention of each layer. */
	readonly attention?: readonly Attributes[];
	/** Logits are capped, as Gemma does it. */
	readonly capsLogits?: boolean;
	/** Changes of `model` in genai_config.json. */
	readonly config?: Readonly<Record<string, unknown>>;
	/** Changes of `model.decoder` there. */
	readonly decoder?: Readonly<Record<string, unknown>>;
	/** An operator of com.microsoft to put in. */
	readonly extra?: string;
	/** Where queries and keys are turned: by the attention, or by operators in front of it. */
	readonly rotary?: "attention" | "outside";
	/** Part of a head that is turned. */
	readonly rotatedSize?: number;
	/** Sequences longer than this use other rotary tables, which an If chooses. */
	readonly shortLength?: number;
	/** Heads of keys and values; default as in {@link SIZES}. */
	readonly keyHeads?: number;
	/** Queries, keys and values from a product each; with `qkNorm` queries and keys normalized by head. */
	readonly separate?: boolean;
	readonly qkNorm?: boolean;
	/** Weights of 4 bits, the embedding too where it is tied to the head. */
	readonly int4?: boolean;
	readonly tied?: boolean;
	/** LayerNormalization, biases and GELU, as Phi has them. */
	readonly phi?: boolean;
	/** Embedded tokens times this, as Gemma does it. */
	readonly embeddingScale?: number;
	/** The model gives the logits of the last token alone. */
	readonly prunesHead?: boolean;
	readonly sinks?: boolean;
	/** The attention says how its cache is quantized. */
	readonly cacheScales?: boolean;
	/** Constants are rounded to half floats of this type, and the model computes in them where it is not `isWide`. */
	readonly half?: DataType;
	readonly isWide?: boolean;
	/** The states in front of the head come out, too. */
	readonly hiddenOutput?: boolean;
	/** Another product than the head's reads the states in front of it, and comes out. */
	readonly hiddenReader?: boolean;
	/** One more input of the model. */
	readonly input?: string;
}

/** A small decoder in the way of GenAI's model builder: random weights, normalization with a skip, grouped queries, SwiGLU. */
export function writeGenaiDirectory(folder: string, options: DirectoryOptions = {}): Model {
	mkdirSync(folder, { recursive: true });
	const model = new DecoderBuilder(options).build();
	if (options.half !== undefined) roundFloats(model, options.half, options.isWide === true);
	writeFileSync(path.join(folder, "model.onnx"), serializeModel(model));
	const { vocabulary, hidden, heads, headSize, layers, context } = SIZES;
	const { keyHeads = SIZES.keyHeads } = options;
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
					...(options.rotary === "outside" ? { position_ids: "position_ids" } : {}),
					past_key_names: "past_key_values.%d.key",
					past_value_names: "past_key_values.%d.value",
				},
				outputs: { logits: "logits", present_key_names: "present.%d.key", present_value_names: "present.%d.value" },
				...options.decoder,
			},
		},
		search: { max_length: context, top_k: 1 },
	};
	writeFileSync(path.join(folder, "genai_config.json"), JSON.stringify(config));
	return model;
}

function roundFloats({ graph }: Model, half: DataType, isWide: boolean): void {
	const [encode, decode] =
		half === DataType.FLOAT16 ? [encodeFloat16, decodeFloat16] : [encodeBfloat16, decodeBfloat16];
	const type = isWide ? DataType.FLOAT : half;
	for (const value of [...graph.initializers]) {
		const { initializer } = value;
		if (initializer?.dtype !== DataType.FLOAT) continue;
		const rounded = encode(new Float32Array(Uint8Array.from(readAll(initializer.data)).buffer));
		graph.setInitializer(value, tensor(type, initializer.shape, isWide ? bytesOf(decode(rounded)) : rounded));
	}
	for (const value of [...graph.inputs, ...graph.outputs]) {
		if (value.type?.kind !== "tensor" || value.type.elementType !== DataType.FLOAT) continue;
		value.type = tensorType(type, value.type.shape);
	}
}

const { vocabulary, hidden, heads, headSize, layers, context } = SIZES;
const MICROSOFT = "com.microsoft";
const WIDE = 64;

class DecoderBuilder {
	readonly #options: DirectoryOptions;
	readonly #builder = new ModelBuilder();
	readonly #random = mixedSource(11);

	readonly #keyHeads: number;

	constructor(options: DirectoryOptions) {
		this.#options = options;
		this.#keyHeads = options.keyHeads ?? SIZES.keyHeads;
	}

	build(): Model {
		const builder = this.#builder;
		const { embeddingScale, extra } = this.#options;
		builder.model.opsetImports.set(MICROSOFT, 1);
		this.#inputs();
		this.#lengths();
		this.#rotaryTables();
		let skip = this.#embedded();
		if (embeddingScale !== undefined) {
			builder.initializer("embedding_scale", floatTensor([], [embeddingScale]));
			skip = this.#emit("Mul", [skip, "embedding_scale"], "scaled");
		}
		let normal = this.#firstNorm(skip);
		for (let layer = 0; layer < layers; layer++) {
			const at = (name: string) => `layers.${layer}.${name}`;
			const projected = this.#product(this.#attention(layer, normal, at), at("o"), heads * headSize, hidden);
			[skip, normal] = this.#skipNorm(projected, skip, at("norm_1"));
			[skip, normal] = this.#skipNorm(this.#mlp(normal, at), skip, at("norm_2"));
		}
		if (extra !== undefined) {
			builder.node({ domain: MICROSOFT, type: extra }, [normal], ["extra"], {}, "odd");
			normal = "extra";
		}
		if (this.#options.hiddenOutput === true) {
			normal = this.#emit("Identity", [normal], "hidden_states");
			builder.output("hidden_states");
		}
		if (this.#options.hiddenReader === true) builder.output(this.#product(normal, "reward", hidden, 1));
		this.#head(normal);
		for (let layer = 0; layer < layers; layer++) {
			for (const kind of ["key", "value"]) builder.output(`present.${layer}.${kind}`);
		}
		return builder.build();
	}

	#inputs(): void {
		const builder = this.#builder;
		builder.input("input_ids", DataType.INT64, ["batch", "sequence"]);
		builder.input("attention_mask", DataType.INT64, ["batch", "total"]);
		if (this.#options.input !== undefined) builder.input(this.#options.input, DataType.FLOAT, ["batch", 4]);
		if (this.#options.rotary === "outside") builder.input("position_ids", DataType.INT64, ["batch", "sequence"]);
		for (let layer = 0; layer < layers; layer++) {
			for (const kind of ["key", "value"]) {
				builder.input(`past_key_values.${layer}.${kind}`, DataType.FLOAT, ["batch", this.#keyHeads, "past", headSize]);
			}
		}
	}

	#lengths(): void {
		const builder = this.#builder;
		builder.initializer("one", int64Tensor([1], [1]));
		builder.initializer("axis", int64Tensor([], [1]));
		builder.node("ReduceSum", ["attention_mask", "one"], ["count"], { keepdims: intAttribute(0) });
		builder.node("Sub", ["count", "one"], ["last"]);
		builder.node("Cast", ["last"], ["lengths"], { to: intAttribute(DataType.INT32) });
		builder.node("Shape", ["attention_mask"], ["mask_shape"]);
		builder.node("Gather", ["mask_shape", "axis"], ["total_wide"]);
		builder.node("Cast", ["total_wide"], ["total_length"], { to: intAttribute(DataType.INT32) });
	}

	#rotaryTables(): void {
		const builder = this.#builder;
		const { rotatedSize = headSize, shortLength } = this.#options;
		const half = rotatedSize / 2;
		const table = (of: (angle: number) => number, rows: number, stretch: number) => {
			const angle = (index: number) => (Math.floor(index / half) * 100 ** (-(index % half) / half)) / stretch;
			return floatTensor(
				[rows, half],
				Float32Array.from({ length: rows * half }, (_, index) => of(angle(index))),
			);
		};
		if (shortLength === undefined) {
			builder.initializer("cos", table(Math.cos, context, 1));
			builder.initializer("sin", table(Math.sin, context, 1));
			return;
		}
		const branch = (name: string, rows: number, stretch: number) =>
			builder.subgraph(name, (inner) => {
				inner.node("Constant", [], [`cos_${name}`], { value: tensorAttribute(table(Math.cos, rows, stretch)) });
				inner.node("Constant", [], [`sin_${name}`], { value: tensorAttribute(table(Math.sin, rows, stretch)) });
				inner.output(`cos_${name}`);
				inner.output(`sin_${name}`);
			});
		builder.initializer("short_length", int64Tensor([], [shortLength]));
		builder.node("Greater", ["total_wide", "short_length"], ["is_long"]);
		builder.node("If", ["is_long"], ["cos", "sin"], {
			then_branch: branch("long", context, 3),
			else_branch: branch("short", shortLength, 1),
		});
	}

	#embedded(): string {
		const builder = this.#builder;
		const { tied, int4 } = this.#options;
		if (tied !== true)
			return this.#emit("Gather", [this.#weight("table", [vocabulary, hidden], 6), "input_ids"], "embedded");
		if (int4 !== true) {
			const table = this.#emit("Transpose", [this.#weight("head", [hidden, vocabulary], 3)], "table", {
				perm: intsAttribute([1, 0]),
			});
			return this.#emit("Gather", [table, "input_ids"], "embedded");
		}
		const [codes, scales] = nbitsWeight(builder, "head", { k: hidden, n: vocabulary, blockSize: 32 });
		builder.initializer("flat", int64Tensor([2], [vocabulary, hidden / 2]));
		const flat = this.#emit("Reshape", [codes!, "flat"], "table");
		builder.node({ domain: MICROSOFT, type: "GatherBlockQuantized" }, [flat, "input_ids", scales!], ["embedded"], {
			bits: intAttribute(4),
			block_size: intAttribute(32),
			gather_axis: intAttribute(0),
			quantize_axis: intAttribute(1),
		});
		return "embedded";
	}

	#attention(layer: number, normal: string, at: (name: string) => string): string {
		const builder = this.#builder;
		const { separate, qkNorm, rotary = "attention", attention = [], sinks, cacheScales } = this.#options;
		const past = ["key", "value"].map((kind) => `past_key_values.${layer}.${kind}`);
		const widths = [heads * headSize, this.#keyHeads * headSize, this.#keyHeads * headSize];
		let operands: string[];
		if (separate === true) {
			operands = ["q", "k", "v"].map((kind, index) => this.#product(normal, at(kind), hidden, widths[index]!));
		} else {
			const packed = this.#product(normal, at("qkv"), hidden, (heads + 2 * this.#keyHeads) * headSize);
			operands = [packed, "", ""];
			if (rotary === "outside" || qkNorm === true) {
				builder.initializer(at("widths"), int64Tensor([3], widths));
				operands = ["q", "k", "v"].map(at);
				builder.node("Split", [packed, at("widths")], operands, { axis: intAttribute(-1) });
			}
		}
		if (qkNorm === true)
			operands = operands.map((name, index) => (index === 2 ? name : this.#headNorm(name, widths[index]!)));
		if (rotary === "outside") {
			operands = operands.map((name, index) => {
				if (index === 2) return name;
				const isPartial = this.#options.rotatedSize !== undefined;
				const turned = `${name}_turned`;
				builder.node({ domain: MICROSOFT, type: "RotaryEmbedding" }, [name, "position_ids", "cos", "sin"], [turned], {
					num_heads: intAttribute(isPartial ? [heads, this.#keyHeads][index]! : 0),
					rotary_embedding_dim: intAttribute(isPartial ? this.#options.rotatedSize! : 0),
					interleaved: attention[layer]?.rotary_interleaved ?? intAttribute(0),
				});
				return turned;
			});
		}
		const tables = rotary === "outside" ? ["", ""] : ["cos", "sin"];
		if (cacheScales === true) for (const kind of ["key", "value"]) builder.initializer(at(kind), floatTensor([1], [1]));
		const scales = cacheScales === true ? ["", "", "", at("key"), at("value")] : [];
		const sink = sinks === true ? ["", "", this.#weight(at("sinks"), [heads], 2)] : [];
		builder.node(
			{ domain: MICROSOFT, type: "GroupQueryAttention" },
			[...operands, ...past, "lengths", "total_length", ...tables, ...sink, ...scales],
			[at("attended"), `present.${layer}.key`, `present.${layer}.value`],
			{
				num_heads: intAttribute(heads),
				kv_num_heads: intAttribute(this.#keyHeads),
				do_rotary: intAttribute(rotary === "outside" ? 0 : 1),
				...attention[layer],
			},
			at("attention"),
		);
		return at("attended");
	}

	#mlp(normal: string, at: (name: string) => string): string {
		if (this.#options.phi === true) {
			const up = this.#product(normal, at("up"), hidden, WIDE);
			return this.#product(this.#emit("Gelu", [up], at("gelu"), {}, MICROSOFT), at("down"), WIDE, hidden);
		}
		const gate = this.#product(normal, at("gate"), hidden, WIDE);
		const up = this.#product(normal, at("up"), hidden, WIDE);
		const silu = this.#emit("Mul", [gate, this.#emit("Sigmoid", [gate], at("sigmoid"))], at("silu"));
		return this.#product(this.#emit("Mul", [silu, up], at("gated")), at("down"), WIDE, hidden);
	}

	#head(normal: string): void {
		const builder = this.#builder;
		const { prunesHead, capsLogits, tied, int4 } = this.#options;
		let state = normal;
		if (prunesHead === true) {
			builder.initializer("last_token", int64Tensor([], [-1]));
			const picked = this.#emit("Gather", [normal, "last_token"], "picked", { axis: intAttribute(1) });
			state = this.#emit("Unsqueeze", [picked, "one"], "last_state");
		}
		const logits = capsLogits === true ? "uncapped" : "logits";
		if (int4 === true) {
			const weight = tied === true ? ["head", "head_scales"] : undefined;
			this.#nbitsProduct(state, "head", hidden, vocabulary, logits, weight);
		} else {
			const weight = tied === true ? "head" : this.#weight("head", [hidden, vocabulary], 3);
			builder.node("MatMul", [state, weight], [logits]);
		}
		if (capsLogits === true) {
			builder.initializer("limit", floatTensor([], [5]));
			const tanh = this.#emit("Tanh", [this.#emit("Div", [logits, "limit"], "part")], "tanh");
			this.#emit("Mul", [tanh, "limit"], "logits");
		}
		const tokens = prunesHead === true ? 1 : "sequence";
		builder.output("logits").type = tensorType(DataType.FLOAT, ["batch", tokens, vocabulary]);
	}

	#emit(op: string, inputs: readonly string[], output: string, attributes: Attributes = {}, domain = ""): string {
		this.#builder.node({ domain, type: op }, inputs, [output], attributes, `${output}_node`);
		return output;
	}

	#weight(name: string, shape: readonly number[], scale = 1): string {
		const count = shape.reduce((product, dim) => product * dim, 1);
		const spread = scale / Math.sqrt(shape[0]!);
		const random = this.#random;
		const values = Float32Array.from({ length: count }, () => (random() + random() + random() - 1.5) * 2 * spread);
		this.#builder.initializer(name, floatTensor(shape, values));
		return name;
	}

	#product(x: string, name: string, depth: number, width: number): string {
		const { int4, phi } = this.#options;
		if (int4 === true) return this.#nbitsProduct(x, name, depth, width, name);
		this.#builder.node("MatMul", [x, this.#weight(`${name}.weight`, [depth, width])], [name], {}, name);
		return phi === true ? this.#emit("Add", [name, this.#weight(`${name}.bias`, [width])], `${name}_biased`) : name;
	}

	#nbitsProduct(
		x: string,
		name: string,
		depth: number,
		width: number,
		output: string,
		weight?: readonly string[],
	): string {
		const inputs = weight ?? this.#smallCodes(`${name}.codes`, depth, width);
		const attributes = { K: depth, N: width, bits: 4, block_size: 32, accuracy_level: 1 };
		this.#builder.node(
			{ domain: MICROSOFT, type: "MatMulNBits" },
			[x, ...inputs],
			[output],
			Object.fromEntries(Object.entries(attributes).map(([key, value]) => [key, intAttribute(value)])),
			name,
		);
		return output;
	}

	/** Codes and scales of products that neither grow nor vanish. */
	#smallCodes(name: string, depth: number, width: number): string[] {
		const blocks = depth / 32;
		const codes = Uint8Array.from({ length: (width * depth) / 2 }, () => this.#random() * 256);
		this.#builder.initializer(name, tensor(DataType.UINT8, [width, blocks, 16], bytesOf(codes)));
		const scale = 0.25 / Math.sqrt(depth);
		const scales = Float32Array.from({ length: width * blocks }, () => scale * (0.5 + this.#random()));
		this.#builder.initializer(`${name}_scales`, floatTensor([width, blocks], scales));
		return [name, `${name}_scales`];
	}

	#ones(name: string, size: number = hidden): string {
		const values = Float32Array.from({ length: size }, () => 0.5 + this.#random());
		this.#builder.initializer(name, floatTensor([size], values));
		return name;
	}

	#firstNorm(x: string): string {
		const scales = [this.#ones("norm_0")];
		if (this.#options.phi === true) {
			return this.#emit(
				"LayerNormalization",
				[x, ...scales, this.#weight("norm_0_bias", [hidden])],
				"normal_0",
				EPSILON,
			);
		}
		return this.#emit("SimplifiedLayerNormalization", [x, ...scales], "normal_0", NORM);
	}

	#headNorm(x: string, width: number): string {
		this.#builder.initializer(`${x}_heads`, int64Tensor([3], [0, -1, headSize]));
		this.#builder.initializer(`${x}_flat`, int64Tensor([3], [0, -1, width]));
		const split = this.#emit("Reshape", [x, `${x}_heads`], `${x}_split`);
		const scale = this.#ones(`${x}_norm.weight`, headSize);
		const normal = this.#emit("SimplifiedLayerNormalization", [split, scale], `${x}_normal`, NORM);
		return this.#emit("Reshape", [normal, `${x}_flat`], `${x}_whole`);
	}

	/** Returns the sum and what it is normalized to. */
	#skipNorm(x: string, skip: string, name: string): [string, string] {
		const isPhi = this.#options.phi === true;
		const outputs = [`${name}_normal`, "", "", `${name}_sum`];
		const inputs = [x, skip, this.#ones(name)];
		if (isPhi) inputs.push(this.#weight(`${name}_bias`, [hidden]));
		const type = isPhi ? "SkipLayerNormalization" : "SkipSimplifiedLayerNormalization";
		this.#builder.node({ domain: MICROSOFT, type }, inputs, outputs, EPSILON, name);
		return [`${name}_sum`, `${name}_normal`];
	}
}

const EPSILON: Attributes = { epsilon: floatAttribute(1e-6) };
const NORM: Attributes = { ...EPSILON, axis: intAttribute(-1), stash_type: intAttribute(1) };
