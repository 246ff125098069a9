import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type NumpyArray, writeNpz } from "../../src/arrays/npz.js";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { bytesOf, floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { writeModel } from "../../src/onnx/file.js";
import { encodeFloat16 } from "../../src/quant/float16.js";
import { quantizeModel } from "../../src/quantize/quantize-model.js";
import { settingOf } from "../../src/recipe/recipe.js";
import type { Analysis } from "../../src/sensitivity/analysis.js";
import { analyzeSensitivity } from "../../src/sensitivity/analyze-sensitivity.js";
import { ModelBuilder } from "../support/build.js";
import { mixedSource } from "../support/random.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-unit-kinds-"));
afterAll(() => rmSync(folder, { recursive: true }));

const [SEQUENCE, PAST, HIDDEN, INNER, VOCABULARY, SAMPLES] = [8, 8, 32, 64, 300, 8] as const;
const CANDIDATES = [settingOf("16a4w_block", { blockSize: 16 }), settingOf("16a8w")];

const random = mixedSource(5);
const normal = () => random() + random() + random() - 1.5;
const numbers = (count: number, gain = 1) => Float32Array.from({ length: count }, () => gain * 2 * normal());

/** One layer with a cache, Gemms with transposed weights, a table of positions, and a table that is the head, too. */
function cachedDecoder(): Model {
	const builder = new ModelBuilder();
	const weight = (name: string, shape: readonly [number, number], inputs: number) =>
		builder.initializer(name, floatTensor(shape, numbers(shape[0] * shape[1], 1 / Math.sqrt(inputs))));
	builder.input("input_ids", DataType.INT64, [1, SEQUENCE]);
	builder.input("position_ids", DataType.INT64, [1, SEQUENCE]);
	for (const part of ["key", "value"]) builder.input(`past_key_values.0.${part}`, DataType.FLOAT, [1, PAST, HIDDEN]);
	weight("model.embed_tokens.weight", [VOCABULARY, HIDDEN], 1);
	weight("model.embed_positions.weight", [64, HIDDEN], 1);
	builder.node("Gather", ["model.embed_tokens.weight", "input_ids"], ["tokens"], {}, "/model/embed_tokens/Gather");
	builder.node("Gather", ["model.embed_positions.weight", "position_ids"], ["places"], {}, "/model/positions/Gather");
	builder.node("Add", ["tokens", "places"], ["x"]);
	for (const part of ["q", "k", "v"]) {
		const name = `model.layers.0.self_attn.${part}_proj`;
		weight(`${name}.weight`, [HIDDEN, HIDDEN], HIDDEN);
		builder.node("MatMul", ["x", `${name}.weight`], [name], {}, `/${name}/MatMul`);
	}
	for (const [part, made] of [
		["key", "k"],
		["value", "v"],
	] as const) {
		const inputs = [`past_key_values.0.${part}`, `model.layers.0.self_attn.${made}_proj`];
		builder.node("Concat", inputs, [`present.0.${part}`], { axis: intAttribute(1) });
		builder.output(`present.0.${part}`);
	}
	builder.node("Transpose", ["present.0.key"], ["keys"], { perm: intsAttribute([0, 2, 1]) });
	builder.node("MatMul", ["model.layers.0.self_attn.q_proj", "keys"], ["scores"], {}, "/model/layers.0/scores");
	builder.node("Softmax", ["scores"], ["shares"], { axis: intAttribute(-1) });
	builder.node("MatMul", ["shares", "present.0.value"], ["attended"], {}, "/model/layers.0/attended");
	builder.initializer("rows", int64Tensor([2], [SEQUENCE, HIDDEN]));
	builder.node("Reshape", ["attended", "rows"], ["flat"]);
	weight("model.layers.0.mlp.up_proj.weight", [INNER, HIDDEN], HIDDEN);
	weight("model.layers.0.mlp.down_proj.weight", [HIDDEN, INNER], INNER);
	builder.initializer("bias", floatTensor([INNER], numbers(INNER)));
	const transB = { transB: intAttribute(1) };
	builder.node(
		"Gemm",
		["flat", "model.layers.0.mlp.up_proj.weight", "bias"],
		["up"],
		transB,
		"/model/layers.0/mlp/up_proj/Gemm",
	);
	builder.node("Relu", ["up"], ["inner"]);
	builder.node(
		"Gemm",
		["inner", "model.layers.0.mlp.down_proj.weight"],
		["out"],
		transB,
		"/model/layers.0/mlp/down_proj/Gemm",
	);
	builder.node("Gemm", ["out", "model.embed_tokens.weight"], ["logits"], transB, "/lm_head/Gemm");
	builder.output("logits");
	return builder.model;
}

function samples(): Map<string, NumpyArray> {
	const ids = (limit: number) =>
		BigInt64Array.from({ length: SAMPLES * SEQUENCE }, () => BigInt(Math.floor(random() * limit)));
	const integers = (limit: number): NumpyArray => ({
		type: "int64",
		shape: [SAMPLES, 1, SEQUENCE],
		bytes: bytesOf(ids(limit)),
	});
	const cache = (): NumpyArray => ({
		type: "float32",
		shape: [SAMPLES, 1, PAST, HIDDEN],
		bytes: bytesOf(numbers(SAMPLES * PAST * HIDDEN)),
	});
	return new Map([
		["input_ids", integers(VOCABULARY)],
		["position_ids", integers(64)],
		["past_key_values.0.key", cache()],
		["past_key_values.0.value", cache()],
	]);
}

describe("units of every kind", () => {
	const model = path.join(folder, "decoder.onnx");
	const data = path.join(folder, "samples.npz");
	let analysis: Analysis;
	let recipe: string;

	beforeAll(async () => {
		await writeModel(cachedDecoder(), model);
		writeNpz(data, samples());
		const options = { recipe: "16a4w_block:16", data: [data], fit: "max", candidates: CANDIDATES } as const;
		const found = await analyzeSensitivity(model, { ...options, thresholdDb: 20, grouping: "unit" });
		analysis = found.analysis;
		recipe = found.files.get("recipe.yaml")!;
	}, 60_000);

	const unit = (name: string) => analysis.units.find((other) => other.name === name)!;

	test("are found, with what they are made of", () => {
		expect(analysis.units.map(({ name, kind }) => [kind, name])).toEqual([
			["kv-cache", "past_key_values.0."],
			["tied", "model.embed_tokens.weight"],
			["embedding", "model.embed_positions.weight"],
			["fused", "model.layers.0.self_attn.qkv"],
			["attention-product", "/model/layers.0/scores"],
			["attention-product", "/model/layers.0/attended"],
			["weight", "model.layers.0.mlp.up_proj.weight"],
			["weight", "model.layers.0.mlp.down_proj.weight"],
		]);
		expect(unit("model.embed_tokens.weight")).toMatchObject({
			ops: ["Gemm", "Gather"],
			nodes: ["/lm_head/Gemm", "/model/embed_tokens/Gather"],
			elements: VOCABULARY * HIDDEN,
		});
		expect(unit("past_key_values.0.").nodes).toEqual(["past_key_values.0.key", "past_key_values.0.value"]);
	});

	test("have noise of their own, at their outputs and at those of the model", () => {
		for (const { name, kind, base, isolatedSqnrDb, endToEndSqnrDb, candidates } of analysis.units) {
			if (base === null) continue;
			if (kind === "kv-cache") expect([name, isolatedSqnrDb]).toEqual([name, null]);
			else expect(isolatedSqnrDb, name).toBeGreaterThan(10);
			expect(endToEndSqnrDb, name).toBeGreaterThan(10);
			expect(candidates.length, name).toBeGreaterThan(1);
		}
	});

	test("8 bits have less noise than 4, 16 less than 8", () => {
		const at = (name: string, candidate: string) =>
			unit(name).candidates.find((other) => other.name === candidate)?.isolatedSqnrDb ?? Number.NaN;
		for (const name of ["model.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.qkv"])
			expect(at(name, "16a8w"), name).toBeGreaterThan(at(name, "16a4w_block:16") + 10);
		expect(at("/model/layers.0/scores", "16a16w")).toBeGreaterThan(at("/model/layers.0/scores", "8a8w") + 10);
		expect(at("model.embed_positions.weight", "16a16w")).toBeGreaterThan(
			at("model.embed_positions.weight", "16a8w") + 10,
		);
	});

	test("a table that is the head, too, has the settings that both can have", () => {
		const { candidates } = unit("model.embed_tokens.weight");
		expect(candidates.map(({ name }) => name)).toEqual(["16a8w"]);
	});

	test("become what the suggested recipe says", async () => {
		const file = path.join(folder, "recipe.yaml");
		writeFileSync(file, recipe);
		const { weights, diagnostics } = await quantizeModel(model, path.join(folder, "quantized.onnx"), {
			recipe: file,
			data: [data],
			gptq: false,
		});
		expect(diagnostics.filter(({ code }) => code === "recipe/unmatched")).toEqual([]);
		const precisions = new Map(weights.map(({ weight, precision }) => [weight, precision]));
		for (const { kind, weights: own, suggestion } of analysis.units) {
			if (kind === "tied" || suggestion === null) continue;
			for (const { name } of own) expect(suggestion.name, name).toContain(precisions.get(name) ?? suggestion.name);
		}
	});
});

test.each([
	["5bpw", "16a16w"],
	["48kB", "16a8w"],
])(
	"what is suggested within %s is as large as said; a budget of bytes is one of tables, too",
	async (budget, table) => {
		const [model, data] = [path.join(folder, "sized.onnx"), path.join(folder, "sized.npz")];
		await writeModel(cachedDecoder(), model);
		writeNpz(data, samples());
		const options = { recipe: "16a4w_block:16", data: [data], fit: "max", budget } as const;
		const { analysis, files } = await analyzeSensitivity(model, options);
		const [recipe, quantized] = [path.join(folder, `${budget}.yaml`), path.join(folder, `${budget}.onnx`)];
		writeFileSync(recipe, files.get("recipe.yaml")!);
		await quantizeModel(model, quantized, { recipe, data: [data], gptq: false });
		const { size: bytes } = statSync(quantized);
		const [suggestion] = analysis.suggestions;
		// nodes and names of a weight are more or fewer with its form
		expect(Math.abs(suggestion!.bytes - bytes)).toBeLessThan(0.01 * bytes + 2000);
		const positions = analysis.units.find(({ name }) => name === "model.embed_positions.weight");
		expect(positions).toMatchObject({ base: "16a16w", suggestion: { name: table } });
	},
	60_000,
);

test("weights with 16 bits are measured as those with 32", async () => {
	const values = [numbers(HIDDEN * INNER, 0.2), numbers(INNER * HIDDEN, 0.1)];
	const modelOf = (type: DataType): Model => {
		const builder = new ModelBuilder();
		builder.input("x", DataType.FLOAT, [1, SEQUENCE, HIDDEN]);
		builder.node("Cast", ["x"], ["cast"], { to: intAttribute(type) });
		const elements = (array: Float32Array) => (type === DataType.FLOAT ? bytesOf(array) : encodeFloat16(array));
		builder.initializer("up.weight", tensor(type, [HIDDEN, INNER], elements(values[0]!)));
		builder.initializer("down.weight", tensor(type, [INNER, HIDDEN], elements(values[1]!)));
		builder.node("MatMul", ["cast", "up.weight"], ["up"], {}, "/up/MatMul");
		builder.node("Relu", ["up"], ["inner"]);
		builder.node("MatMul", ["inner", "down.weight"], ["down"], {}, "/down/MatMul");
		builder.node("Cast", ["down"], ["y"], { to: intAttribute(DataType.FLOAT) });
		builder.output("y");
		return builder.model;
	};
	const found: Analysis[] = [];
	for (const type of [DataType.FLOAT, DataType.FLOAT16]) {
		const file = path.join(folder, `mlp-${type}.onnx`);
		await writeModel(modelOf(type), file);
		const options = {
			recipe: "16a4w",
			data: ["random:8"],
			fit: "max",
			candidates: CANDIDATES,
			budget: "6bpw",
		} as const;
		found.push((await analyzeSensitivity(file, options)).analysis);
	}
	const [float, half] = found;
	for (const [index, { name, isolatedSqnrDb, endToEndSqnrDb, cumulativeSqnrDb }] of float!.units.entries()) {
		const other = half!.units[index]!;
		expect(other.floatBytes * 2).toBe(float!.units[index]!.floatBytes);
		expect(Math.abs(other.isolatedSqnrDb! - isolatedSqnrDb!), name).toBeLessThan(0.2);
		expect(Math.abs(other.endToEndSqnrDb! - endToEndSqnrDb!), name).toBeLessThan(0.5);
		// behind the first one is a Relu that becomes one with it
		expect(Math.abs(other.cumulativeSqnrDb! - cumulativeSqnrDb!), name).toBeLessThan(0.5);
		expect(cumulativeSqnrDb, name).not.toBeNull();
	}
}, 60_000);
