import { Tensor } from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { floatAttribute, intAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor, int64Tensor, type Tensor as StoredTensor } from "../../src/ir/tensor.js";
import { DataType, type Dimension } from "../../src/ir/types.js";
import type { Value } from "../../src/ir/value.js";
import { serializeModel } from "../../src/onnx/file.js";
import { lowerGroupQueryAttention } from "../../src/passes/lower-group-query-attention.js";
import { runPasses } from "../../src/run-passes.js";
import { type Attributes, ModelBuilder } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatFeed, floatsOf, run, type Tensors } from "../support/ort.js";
import { mixedSource } from "../support/random.js";
import { differenceInRanges, expectSameOutputs } from "../support/same-outputs.js";

const [HEADS, KEY_HEADS, SIZE, CONTEXT] = [4, 2, 32, 40];

interface Options {
	readonly attributes?: Attributes;
	readonly heads?: number;
	readonly keyHeads?: number;
	readonly packed?: boolean;
	/** Elements of each head that are turned; undefined: none. */
	readonly rotated?: number;
	readonly positions?: boolean;
	/** Heads of an attention bias. */
	readonly bias?: number;
	readonly sink?: boolean;
	/** Normalizations of queries and keys. */
	readonly norms?: boolean;
	readonly past?: boolean;
	readonly batch?: Dimension;
	readonly layers?: number;
	/** Length of past and present alike. */
	readonly shared?: number;
	readonly extra?: readonly string[];
}

function model({ heads = HEADS, keyHeads = KEY_HEADS, past = true, layers = 1, ...options }: Options = {}): Model {
	const builder = new ModelBuilder();
	builder.model.opsetImports.set("com.microsoft", 1);
	const batch = options.batch ?? 1;
	const random = mixedSource(5);
	const width = options.packed ? heads + 2 * keyHeads : heads;
	builder.input("query", DataType.FLOAT, [batch, "sequence", width * SIZE]);
	for (const name of options.packed ? [] : ["key", "value"]) {
		builder.input(name, DataType.FLOAT, [batch, "sequence", keyHeads * SIZE]);
	}
	builder.input("lengths", DataType.INT32, [batch]);
	builder.input("total", DataType.INT32, []);
	if (options.positions) builder.input("positions", DataType.INT64, [batch, "sequence"]);
	if (options.bias) builder.input("bias", DataType.FLOAT, [1, options.bias, "sequence", "total"]);
	if (options.rotated) {
		const half = options.rotated / 2;
		const angle = (index: number) => Math.floor(index / half) * 10000 ** (-(index % half) / half);
		const table = (of: (angle: number) => number) =>
			floatTensor(
				[CONTEXT, half],
				Float32Array.from({ length: CONTEXT * half }, (_, index) => of(angle(index))),
			);
		builder.initializer("cos", table(Math.cos));
		builder.initializer("sin", table(Math.sin));
	}
	if (options.sink) builder.initializer("sink", floatTensor([heads], Float32Array.from({ length: heads }, random)));
	for (const name of options.norms ? ["query_norm", "key_norm"] : []) {
		builder.initializer(name, floatTensor([SIZE], Float32Array.from({ length: SIZE }, random)));
	}
	for (let layer = 0; layer < layers; layer++) {
		const cache = (name: string) => `${name}_${layer}`;
		for (const name of past ? ["past_key", "past_value"] : []) {
			builder.input(cache(name), DataType.FLOAT, [batch, keyHeads, options.shared ?? "past", SIZE]);
		}
		const optional = (name: string, isThere: unknown) => (isThere ? name : "");
		builder.node(
			{ domain: "com.microsoft", type: "GroupQueryAttention" },
			[
				"query",
				optional("key", !options.packed),
				optional("value", !options.packed),
				optional(cache("past_key"), past),
				optional(cache("past_value"), past),
				"lengths",
				"total",
				optional("cos", options.rotated),
				optional("sin", options.rotated),
				optional("positions", options.positions),
				optional("bias", options.bias),
				optional("sink", options.sink),
				...(options.norms ? ["", "", "query_norm", "key_norm"] : []),
				...(options.extra ?? []),
			],
			[`out_${layer}`, cache("present_key"), cache("present_value")],
			{
				num_heads: intAttribute(heads),
				kv_num_heads: intAttribute(keyHeads),
				...(options.rotated ? { do_rotary: intAttribute(1) } : {}),
				...options.attributes,
			},
			`attention_${layer}`,
		);
		for (const name of [`out_${layer}`, cache("present_key"), cache("present_value")]) builder.output(name);
		if (options.shared !== undefined) {
			for (const name of ["present_key", "present_value"]) {
				builder.value(cache(name)).type = builder.value(cache("past_key")).type;
			}
		}
	}
	return builder.build();
}

/** Of `sequence` new positions behind `past` ones. */
function feeds(made: Model, sequence: number, past: number, seed = 1): Tensors {
	const random = mixedSource(seed);
	const lengths: Record<string, number> = { sequence, past, total: sequence + past };
	return Object.fromEntries(
		made.graph.inputs.map(({ name, type }) => {
			if (name === "lengths") return [name, new Tensor("int32", Int32Array.of(sequence + past - 1), [1])];
			if (name === "total") return [name, new Tensor("int32", Int32Array.of(sequence + past), [])];
			if (name === "positions") {
				const values = BigInt64Array.from({ length: sequence }, (_, index) => BigInt(past + index));
				return [name, new Tensor("int64", values, [1, sequence])];
			}
			const dims = type?.kind === "tensor" ? type.shape! : [];
			const shape = dims.map((dim) => (typeof dim === "number" ? dim : lengths[String(dim)]!));
			const count = shape.reduce((product, dim) => product * dim, 1);
			return [
				name,
				floatFeed(
					shape,
					Float32Array.from({ length: count }, () => 4 * random() - 2),
				),
			];
		}),
	);
}

const VARIANTS: Readonly<Record<string, Options>> = {
	plain: {},
	"no past": { past: false },
	"packed queries, keys and values": { packed: true },
	"as many heads of keys": { keyHeads: HEADS },
	"one head of keys": { keyHeads: 1, packed: true },
	rotary: { rotated: SIZE },
	"rotary, interleaved": { rotated: SIZE, attributes: { rotary_interleaved: intAttribute(1) } },
	"rotary of some elements": { rotated: 16, packed: true },
	"rotary of some elements, interleaved": { rotated: 16, attributes: { rotary_interleaved: intAttribute(1) } },
	"given positions": { rotated: SIZE, positions: true },
	scale: { attributes: { scale: floatAttribute(0.3) } },
	softcap: { attributes: { softcap: floatAttribute(1.5) } },
	"local window": { attributes: { local_window_size: intAttribute(3) }, rotated: SIZE },
	"attention bias": { bias: 1 },
	"attention bias of every head": { bias: HEADS, attributes: { softcap: floatAttribute(2) } },
	"head sink": { sink: true },
	"head sink in a local window": {
		sink: true,
		rotated: SIZE,
		attributes: { local_window_size: intAttribute(3), softcap: floatAttribute(2) },
	},
	"packed, given positions, rotary of some elements, interleaved": {
		packed: true,
		positions: true,
		rotated: 16,
		attributes: { rotary_interleaved: intAttribute(1) },
	},
	"one head of keys, attention bias of every head, a window": {
		keyHeads: 1,
		bias: HEADS,
		attributes: { local_window_size: intAttribute(4) },
	},
	"smooth softmax in a local window, packed": {
		packed: true,
		attributes: { smooth_softmax: intAttribute(1), local_window_size: intAttribute(4), scale: floatAttribute(0.5) },
	},
	"all at once": {
		packed: true,
		rotated: 16,
		positions: true,
		bias: HEADS,
		sink: true,
		attributes: {
			rotary_interleaved: intAttribute(1),
			local_window_size: intAttribute(4),
			softcap: floatAttribute(3),
			scale: floatAttribute(0.2),
		},
	},
	"smooth softmax": { attributes: { smooth_softmax: intAttribute(1) }, rotated: SIZE },
};

const EPSILON = { qk_norm_epsilon: floatAttribute(1e-3) };

/** Puts normalizations of queries and keys in front of the operator. */
function normalizeOutside({ graph }: Model): void {
	const [attention] = graph.nodes;
	let attached = 0;
	const random = mixedSource(5);
	for (const [index, heads] of [HEADS, KEY_HEADS].entries()) {
		const constant = (name: string, value: StoredTensor) => {
			const made = graph.createValue(`${name}_${index}`);
			graph.setInitializer(made, value);
			return made;
		};
		const node = (op: string, inputs: readonly Value[], attributes: Attributes = {}) => {
			const output = graph.createValue(`${op}_${index}_${attached++}`);
			graph.createNode({ op, inputs, outputs: [output], attributes }, attention);
			return output;
		};
		const split = constant("split", int64Tensor([4], [0, 0, heads, SIZE]));
		const scale = constant("norm", floatTensor([SIZE], Float32Array.from({ length: SIZE }, random)));
		const normal = node("SimplifiedLayerNormalization", [node("Reshape", [attention!.inputs[index]!, split]), scale], {
			epsilon: floatAttribute(1e-3),
			axis: intAttribute(-1),
		});
		attention!.setInput(index, node("Reshape", [normal, constant("flat", int64Tensor([3], [0, 0, -1]))]));
	}
}

const types = ({ graph }: Model) => Array.from(graph.nodes, ({ op }) => op.type);

describe("lower-group-query-attention", () => {
	describe.each(Object.entries(VARIANTS))("%s", (_name, options) => {
		test.each([
			[7, 0],
			[1, 12],
			[5, 9],
		])("%i positions behind %i", async (sequence, past) => {
			const made = model(options);
			const report = await expectSameOutputs(
				made,
				lowerGroupQueryAttention(),
				feeds(made, sequence, options.past === false ? 0 : past),
			);
			expect(report.diagnostics).toEqual([]);
			expect(types(made)).not.toContain("GroupQueryAttention");
		});
	});

	test("queries and keys that it normalizes, which only other processors than the CPU do", async () => {
		const [made, reference] = [model({ rotated: SIZE, norms: true, attributes: EPSILON }), model({ rotated: SIZE })];
		normalizeOutside(reference);
		await runPasses(made, [lowerGroupQueryAttention()]);
		const given = feeds(made, 4, 6);
		const [actual, expected] = [await run(serializeModel(made), given), await run(serializeModel(reference), given)];
		for (const name of Object.keys(expected)) {
			expect(differenceInRanges(floatsOf(expected[name]), floatsOf(actual[name])), name).toBeLessThan(1e-5);
		}
	});

	test("several sequences without a past", async () => {
		const made = model({ past: false, batch: 3, rotated: SIZE });
		const given = feeds(made, 5, 0);
		const lengths = new Tensor("int32", Int32Array.of(4, 4, 4), [3]);
		await expectSameOutputs(made, lowerGroupQueryAttention(), { ...given, lengths });
	});

	test("what layers have in common is made once", async () => {
		const made = model({ layers: 3, packed: true, rotated: SIZE, attributes: { local_window_size: intAttribute(4) } });
		await expectSameOutputs(made, lowerGroupQueryAttention(), feeds(made, 3, 6));
		expect(types(made).filter((type) => type === "Range")).toHaveLength(2);
		expect(types(made).filter((type) => type === "Where")).toHaveLength(1);
		expect(types(made).filter((type) => type === "Gather")).toHaveLength(4);
	});

	test("lengths that are known become constants", async () => {
		const made = model({ rotated: SIZE, past: false });
		const { graph } = made;
		for (const input of graph.inputs) {
			if (input.type?.kind !== "tensor") continue;
			const shape = input.type.shape!.map((dim) => (dim === "sequence" ? 6 : dim));
			input.type = { ...input.type, shape };
		}
		await golden(lowerGroupQueryAttention(), "static", made);
	});

	test.each<[string, Options]>([
		["a batch of more than one with a past", { batch: "batch" }],
		["a cache that past and present share", { shared: 32 }],
		["a quantized cache", { sink: true, extra: ["key_scale", "value_scale"] }],
		["heads that do not divide", { heads: 3 }],
		[
			"a cache of a window",
			{ attributes: { local_window_size: intAttribute(4), sliding_window_cache: intAttribute(1) } },
		],
	])("%s stays", async (name, options) => {
		await golden(lowerGroupQueryAttention(), name.replaceAll(" ", "-"), withScales(model(options)));
	});
});

function withScales(made: Model): Model {
	for (const node of made.graph.nodes) {
		for (const input of node.inputs) {
			if (input?.name.endsWith("_scale")) made.graph.setInitializer(input, floatTensor([1], [1]));
		}
	}
	return made;
}
