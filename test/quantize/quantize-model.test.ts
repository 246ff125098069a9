import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseBudget } from "../../src/analysis/budget.js";
import { writeNpz } from "../../src/arrays/npz.js";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { readAll } from "../../src/ir/data.js";
import { bytesOf, floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { allNodes } from "../../src/ir/walk.js";
import { readModel, writeModel } from "../../src/onnx/file.js";
import { applyPrecisionRecipe } from "../../src/passes/apply-precision-recipe.js";
import { encodingAt } from "../../src/passes/support/qdq.js";
import { quantizeModel } from "../../src/quantize/quantize-model.js";
import { runPasses } from "../../src/run-passes.js";
import { verifyModels } from "../../src/runtime/verify-models.js";
import { parseTarget } from "../../src/targets/target.js";
import { ModelBuilder, modelOf } from "../support/build.js";
import { HTP_HOME, prepareHtp } from "../support/htp.js";
import { externalTensor } from "../support/onnx-files.js";
import { encode } from "../support/onnx-wire.js";
import { mixedSource } from "../support/random.js";

const htp = await prepareHtp();
const folder = mkdtempSync(path.join(tmpdir(), "qgraph-quantize-test-"));
const model = path.join(folder, "model.onnx");
const data = path.join(folder, "samples.npz");
const place = (name: string) => path.join(folder, name);

const [SEQUENCE, HIDDEN, HEADS] = [6, 64, 4];

/** A transformer block: attention of four heads, two normalizations, GELU. */
function block() {
	const builder = new ModelBuilder();
	const random = mixedSource(2);
	const constant = (name: string, shape: readonly number[], spread: number, middle = 0) => {
		const count = shape.reduce((product, dim) => product * dim, 1);
		const values = Float32Array.from({ length: count }, () => middle + spread * (random() + random() + random() - 1.5));
		builder.initializer(name, floatTensor(shape, values));
		return name;
	};
	const linear = (x: string, name: string, inputs: number, outputs: number) => {
		builder.node(
			"MatMul",
			[x, constant(`${name}.weight`, [inputs, outputs], 2 / Math.sqrt(inputs))],
			[`${name}_product`],
		);
		builder.node("Add", [`${name}_product`, constant(`${name}.bias`, [outputs], 0.2)], [name], {}, name);
		return name;
	};
	builder.input("x", DataType.FLOAT, ["batch", SEQUENCE, HIDDEN]);
	builder.initializer("split", int64Tensor([4], [0, 0, HEADS, HIDDEN / HEADS]));
	builder.initializer("join", int64Tensor([3], [0, 0, HIDDEN]));
	const heads = (name: string, perm: readonly number[]) => {
		builder.node("Reshape", [linear("x", name, HIDDEN, HIDDEN), "split"], [`${name}_heads`]);
		builder.node("Transpose", [`${name}_heads`], [`${name}_turned`], { perm: intsAttribute(perm) });
		return `${name}_turned`;
	};
	const [query, key, value] = [heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])];
	builder.node("MatMul", [query, key], ["scores"]);
	builder.initializer("root", floatTensor([], [Math.sqrt(HIDDEN / HEADS)]));
	builder.node("Div", ["scores", "root"], ["scaled"]);
	builder.node("Softmax", ["scaled"], ["weights"], { axis: intAttribute(-1) });
	builder.node("MatMul", ["weights", value], ["attended"]);
	builder.node("Transpose", ["attended"], ["back"], { perm: intsAttribute([0, 2, 1, 3]) });
	builder.node("Reshape", ["back", "join"], ["joined"]);
	builder.node("Add", ["x", linear("joined", "output", HIDDEN, HIDDEN)], ["sum"]);
	const norm = (x: string, name: string) => {
		const parameters = [constant(`${name}.scale`, [HIDDEN], 0.2, 1), constant(`${name}.shift`, [HIDDEN], 0.2)];
		builder.node("LayerNormalization", [x, ...parameters], [name], { axis: intAttribute(-1) });
		return name;
	};
	const first = norm("sum", "norm_1");
	builder.node("Gelu", [linear(first, "up", HIDDEN, 128)], ["gelu"]);
	builder.node("Add", [first, linear("gelu", "down", 128, HIDDEN)], ["sum_2"]);
	norm("sum_2", "y");
	builder.output("y");
	return builder.build();
}

const [SAMPLES, FACTORS] = [60, 10];

/** Rows that have much in common, as the activations of real models do. */
function correlatedRows(rows: number): Float32Array {
	const random = mixedSource(9);
	const normal = () => random() + random() + random() - 1.5;
	const mixing = Float32Array.from({ length: FACTORS * HIDDEN }, normal);
	const values = new Float32Array(rows * HIDDEN);
	for (let row = 0; row < rows; row++) {
		const factors = Array.from({ length: FACTORS }, () => 2 * normal());
		for (let column = 0; column < HIDDEN; column++) {
			const common = factors.reduce((sum, factor, index) => sum + factor * mixing[index * HIDDEN + column]!, 0);
			values[row * HIDDEN + column] = common + 0.1 * normal();
		}
	}
	return values;
}

/** Weights [K, N] as AIMET's 4 bits make them by default: min-max scales, of a channel or, LPBQ, of blocks. */
function roundedWeights(weights: Float32Array, [depth, channels]: [number, number], blockSize = depth): Float32Array {
	const rounded = new Float32Array(weights.length);
	for (let channel = 0; channel < channels; channel++) {
		const column = Array.from({ length: depth }, (_, row) => weights[row * channels + channel]!);
		const scales = Array.from({ length: depth / blockSize }, (_, index) => {
			const values = column.slice(index * blockSize, (index + 1) * blockSize);
			return Math.max(Math.max(...values) / 7, -Math.min(...values) / 8);
		});
		const step = Math.max(...scales) / 16;
		for (const [row, value] of column.entries()) {
			const scale = step * Math.min(Math.max(Math.round(scales[Math.floor(row / blockSize)]! / step), 1), 16);
			const code = Math.min(Math.max(Math.round(value / scale), -8), 7);
			rounded[row * channels + channel] = code * scale;
		}
	}
	return rounded;
}

beforeAll(async () => {
	await writeModel(block(), model);
	const shape = [SAMPLES, 1, SEQUENCE, HIDDEN];
	const bytes = new Uint8Array(correlatedRows(SAMPLES * SEQUENCE).buffer);
	writeNpz(data, new Map([["x", { type: "float32" as const, shape, bytes }]]));
});
afterAll(() => rmSync(folder, { recursive: true }));

const worst = async (name: string, options: Parameters<typeof quantizeModel>[2]) => {
	const result = await quantizeModel(model, place(name), { data: [data], ...options });
	return { result, sqnr: result.onCpu!.worstSqnrDb! };
};

describe("quantizeModel", () => {
	test("calibrates, holds samples back, and compares", async () => {
		const { result, sqnr } = await worst("16a8w.onnx", {});
		expect(result).toMatchObject({ recipe: "16a8w", target: null, samples: 54, heldOut: 6, onTarget: null });
		expect(result.onCpu).toMatchObject({ samples: 6, on: "cpu", passed: true });
		expect(sqnr).toBeGreaterThan(31);
		expect(result.bytesAfter).toBeLessThan(result.bytesBefore / 3);
		const matMuls = result.operators.filter(({ operator }) => operator === "MatMul");
		expect(matMuls).toEqual([
			{ operator: "MatMul", activations: "16 bits", weights: undefined, count: 2 },
			{ operator: "MatMul", activations: "16 bits", weights: "8 bits, a scale a channel", count: 6 },
		]);
		expect(result.operators.filter(({ activations }) => activations === "float")).toEqual([]);
		const written = await readModel(place("16a8w.onnx"));
		expect(written.graph.inputs[0]!.type).toMatchObject({ shape: [1, SEQUENCE, HIDDEN] });
	});

	test("GPTQ on the samples is better than no look at them", async () => {
		const [plain, gptq] = [
			await worst("plain.onnx", { recipe: "16a4w_block:32", gptq: false }),
			await worst("gptq.onnx", { recipe: "16a4w_block:32" }),
		];
		expect(gptq.result.weights.filter(({ fit }) => fit === "gptq").length).toBe(6);
		expect(gptq.sqnr).toBeGreaterThan(plain.sqnr + 1);
		expect(plain.result.gptqGain).toBeNull();
		const { onCpu, onTarget } = gptq.result.gptqGain!;
		expect(onCpu!.withoutDb).toBeCloseTo(plain.sqnr, 5);
		expect(onCpu!.gainDb).toBeCloseTo(gptq.sqnr - plain.sqnr, 5);
		expect(onTarget).toBeNull();
		const perChannel = await worst("channels.onnx", { recipe: "16a4w" });
		expect(gptq.result.blockGain!.onCpu!.withoutDb).toBeCloseTo(perChannel.sqnr, 5);
		expect(gptq.result.blockGain!.onCpu!.gainDb).toBeCloseTo(gptq.sqnr - perChannel.sqnr, 5);
		expect(perChannel.result.blockGain).toBeNull();
		const neither = await worst("neither.onnx", { recipe: "16a4w", gptq: false });
		expect(gptq.result.bothGain!.onCpu!.withoutDb).toBeCloseTo(neither.sqnr, 5);
		expect(plain.result.bothGain).toBeNull();
	});

	test("blocks and a scale a channel rounded to the nearest are as AIMET's arithmetic says", async () => {
		const { result } = await worst("beside.onnx", { recipe: "16a4w_block:32", gptq: false });
		const inputs = Array.from({ length: result.heldOut }, (_, index) => {
			const sample = correlatedRows(SAMPLES * SEQUENCE).slice((SAMPLES - 1 - index) * SEQUENCE * HIDDEN);
			const bytes = new Uint8Array(sample.slice(0, SEQUENCE * HIDDEN).buffer);
			const file = place(`unseen-${index}.npz`);
			writeNpz(file, new Map([["x", { type: "float32" as const, shape: [1, SEQUENCE, HIDDEN], bytes }]]));
			return file;
		});
		const rounded = async (blockSize?: number) => {
			const float = block();
			for (const node of float.graph.nodes) {
				const [, value] = node.inputs;
				if (value?.name.endsWith(".weight") !== true) continue;
				const { data: elements, shape } = value.initializer!;
				const weights = new Float32Array(Uint8Array.from(readAll(elements)).buffer);
				value.initializer = floatTensor(shape, roundedWeights(weights, shape as [number, number], blockSize));
			}
			await writeModel(float, place("rounded.onnx"), { overwrite: true });
			return (await verifyModels(model, place("rounded.onnx"), { on: "cpu", inputs })).worstSqnrDb!;
		};
		const { nearestGain, nearestChannelGain, onCpu } = result;
		for (const [gain, blockSize] of [
			[nearestGain, 32],
			[nearestChannelGain, undefined],
		] as const) {
			const { withoutDb, gainDb } = gain!.onCpu!;
			expect(withoutDb).toBeCloseTo(await rounded(blockSize), 1);
			expect(withoutDb + gainDb).toBeCloseTo(onCpu!.worstSqnrDb!, 5);
		}
	});

	test("inputs that go further than those seen are not clamped", async () => {
		const loud = correlatedRows(SAMPLES * SEQUENCE).map((value, index) =>
			index < 0.9 * SAMPLES * SEQUENCE * HIDDEN ? value : 1.2 * value,
		);
		const shape = [SAMPLES, 1, SEQUENCE, HIDDEN];
		const bytes = new Uint8Array(loud.buffer);
		writeNpz(place("loud.npz"), new Map([["x", { type: "float32" as const, shape, bytes }]]));
		const options = { recipe: "16a16w", data: [place("loud.npz")] };
		const [tight, wide] = [
			await worst("tight.onnx", { ...options, headroom: 0 }),
			await worst("wide.onnx", { ...options, headroom: 0.25 }),
		];
		expect(wide.sqnr).toBeGreaterThan(tight.sqnr + 20);
		expect((await worst("default.onnx", options)).sqnr).toBe(wide.sqnr);
		const narrow = { ...options, recipe: "8a8w", gptq: false };
		const none = await worst("no-room.onnx", { ...narrow, headroom: 0 });
		expect((await worst("narrow.onnx", narrow)).sqnr).toBe(none.sqnr);
	});

	describe("a model that is quantized already", () => {
		/** `x` by a pair of 8 bits in front of MatMul, whose weight is float or INT8, and one behind it. */
		function quantized(weight: "float" | "int8", hasPairs = true) {
			const random = mixedSource(4);
			return modelOf((b) => {
				b.input("x", DataType.FLOAT, [1, SEQUENCE, HIDDEN]);
				const pair = (from: string, to: string, scale: number) => {
					if (!hasPairs) return from;
					b.initializer(`${to}_scale`, floatTensor([], [scale]));
					b.initializer(`${to}_zero`, tensor(DataType.UINT8, [], Uint8Array.of(128)));
					b.node("QuantizeLinear", [from, `${to}_scale`, `${to}_zero`], [`${to}_codes`]);
					b.node("DequantizeLinear", [`${to}_codes`, `${to}_scale`, `${to}_zero`], [to]);
					return to;
				};
				const values = Float32Array.from({ length: HIDDEN * 32 }, () => (random() - 0.5) / 8);
				if (weight === "float") b.initializer("w", floatTensor([HIDDEN, 32], values));
				else {
					const codes = Int8Array.from(values, (value) => Math.round(value * 2000));
					b.initializer("codes", tensor(DataType.INT8, [HIDDEN, 32], bytesOf(codes)));
					b.initializer("scales", floatTensor([32], new Float32Array(32).fill(1 / 2000)));
					b.node("DequantizeLinear", ["codes", "scales"], ["w"], { axis: intAttribute(1) });
				}
				b.node("MatMul", [pair("x", "seen", 0.12), "w"], ["product"], {}, "linear");
				b.node("Relu", [pair("product", "between", 0.08)], ["y"]);
				b.output("y");
			});
		}
		const codesOf = async (file: string) =>
			[...allNodes(await readModel(file))]
				.filter(({ node }) => node.op.type === "QuantizeLinear")
				.map(({ node }) => encodingAt(node)!)
				.map(({ dtype, scale }) => [dtype, scale] as const);

		test.each(["float", "int8"] as const)("keeps its codes of 8 bits, %s weight", async (weight) => {
			await writeModel(quantized(weight), place("given.onnx"), { overwrite: true });
			const options = { data: [data], overwrite: true, gptqGain: false };
			const result = await quantizeModel(place("given.onnx"), place("kept.onnx"), options);
			const codes = await codesOf(place("kept.onnx"));
			expect(codes.slice(0, 2)).toEqual([
				[DataType.UINT8, Math.fround(0.12)],
				[DataType.UINT8, Math.fround(0.08)],
			]);
			expect(result.onCpu!.worstSqnrDb).toBeGreaterThan(30);
			const [matMul] = result.operators.filter(({ operator }) => operator === "MatMul");
			expect(matMul).toMatchObject({ activations: "8 bits", weights: "8 bits, a scale a channel" });
		});

		test.each(["float", "int8"] as const)("gets 16 bits on request, %s weight", async (weight) => {
			await writeModel(quantized(weight), place("given.onnx"), { overwrite: true });
			const options = { data: [data], overwrite: true, gptqGain: false, existing: "widen" } as const;
			const result = await quantizeModel(place("given.onnx"), place("wider.onnx"), options);
			const codes = await codesOf(place("wider.onnx"));
			expect(codes.map(([dtype]) => dtype)).toEqual(codes.map(() => DataType.UINT16));
			expect(codes[0]![1]).toBeCloseTo(0.12 / 257, 7);
			await writeModel(quantized(weight, false), place("float.onnx"), { overwrite: true });
			const closeness = async (file: string) =>
				(await verifyModels(place("float.onnx"), place(file), { on: "cpu", samples: 4 })).worstSqnrDb!;
			expect(await closeness("given.onnx")).toBeLessThan(30);
			expect(await closeness("wider.onnx")).toBeGreaterThan(35);
			expect(result.operators.filter(({ activations }) => activations === "8 bits")).toEqual([]);
		});

		test.skipIf("missing" in htp).each(["keep", "widen"] as const)(
			"is one context on the HTP, %s",
			async (existing) => {
				await writeModel(quantized("int8"), place("given.onnx"), { overwrite: true });
				const target = parseTarget("qnn-htp:v73");
				const options = { data: [data], overwrite: true, existing, target, htpHome: HTP_HOME };
				const { onTarget } = await quantizeModel(place("given.onnx"), place("on-htp.onnx"), options);
				expect(onTarget!.failure).toBeNull();
				expect(onTarget!.worstSqnrDb).toBeGreaterThan({ keep: 28, widen: 20 }[existing]);
			},
		);
	});

	test("an input that always is the same is that in random samples, of which lengths are given, too", async () => {
		const builder = new ModelBuilder();
		builder.input("x", DataType.FLOAT, ["batch", 8]);
		builder.input("count", DataType.INT64, ["batch"]);
		builder.node("Cast", ["count"], ["many"], { to: intAttribute(DataType.FLOAT) });
		const random = mixedSource(4);
		builder.initializer("w", floatTensor([8, 4], Float32Array.from({ length: 32 }, random)));
		builder.node("MatMul", ["x", "w"], ["product"]);
		builder.node("Mul", ["product", "many"], ["y"]);
		builder.output("y");
		await writeModel(builder.model, place("counted.onnx"));
		const options = { data: ["random:8"], dim: ["batch=1"], inputValues: ["count=12"], gptqGain: false };
		const { onCpu } = await quantizeModel(place("counted.onnx"), place("twelve.onnx"), options);
		expect(onCpu!.worstSqnrDb).toBeGreaterThan(30);
	});

	test.each(["16a4w", "16a4w_block:32"])("later weights make good what earlier ones got wrong, %s", async (recipe) => {
		const steps = new Set<string>();
		const onProgress = (step: string) => void steps.add(step);
		const options = { recipe, gptqGain: false, blockGain: false, overwrite: true };
		const { result, sqnr } = await worst("good.onnx", { ...options, onProgress });
		expect(steps).toContain("calibrating layers");
		const matMuls = result.weights.filter(({ op }) => op === "MatMul");
		expect(matMuls.map(({ fit, sqnrDbOfMax }) => [fit, sqnrDbOfMax])).toEqual([
			// nothing is wrong yet in front of these
			...Array.from({ length: 3 }, () => ["gptq", expect.any(Number)]),
			...Array.from({ length: 3 }, () => ["gptq", undefined]),
		]);
		steps.clear();
		const alone = await worst("alone.onnx", { ...options, compensate: false, onProgress });
		expect(steps).not.toContain("calibrating layers");
		expect(result.onCpu!.overallSqnrDb).toBeGreaterThan(alone.result.onCpu!.overallSqnrDb! + 0.3);
		expect(sqnr).toBeGreaterThan(alone.sqnr);
		const again = await worst("again.onnx", options);
		expect(readFileSync(place("again.onnx")).equals(readFileSync(place("good.onnx")))).toBe(true);
		expect(again.sqnr).toBe(sqnr);
	});

	test("weights of 8 bits make nothing good", async () => {
		const steps = new Set<string>();
		const onProgress = (step: string) => void steps.add(step);
		await worst("8.onnx", { recipe: "16a8w", gptqGain: false, onProgress });
		expect([...steps]).not.toContain("calibrating layers");
	});

	test("what GPTQ and blocks gained is left out on request, and where nothing runs", async () => {
		const steps = new Set<string>();
		const onProgress = (step: string) => void steps.add(step);
		const result = async (options: Parameters<typeof quantizeModel>[2]) =>
			quantizeModel(model, place("gain.onnx"), { data: [data], onProgress, overwrite: true, ...options });
		expect((await result({ gptqGain: false })).gptqGain).toBeNull();
		expect(await result({ verify: false })).toMatchObject({ onCpu: null, gptqGain: null });
		const blocks = { recipe: "16a4w_block:32", gptqGain: false, blockGain: false };
		expect(await result(blocks)).toMatchObject({ gptqGain: null, blockGain: null });
		expect([...steps].filter((step) => step.startsWith("with"))).toEqual([]);
		expect((await result({ recipe: "16a16w" })).gptqGain).toBeNull();
		expect((await result({ budget: parseBudget("6bpw") })).gptqGain!.onCpu!.withoutDb).toBeGreaterThan(5);
		expect(steps).toContain("without GPTQ, writing");
	});

	test("inputs and outputs that are codes are judged as the numbers that they stand for", async () => {
		const float = await worst("float-io.onnx", { gptqGain: false });
		const { sqnr } = await worst("integer-io.onnx", { gptqGain: false, io: "integer" });
		const { graph } = await readModel(place("integer-io.onnx"));
		const uint16 = expect.objectContaining({ elementType: DataType.UINT16 });
		expect([...graph.inputs, ...graph.outputs].map(({ type }) => type)).toEqual([uint16, uint16]);
		expect(sqnr).toBeCloseTo(float.sqnr, 4);
	});

	test("shapes in a data file, where ONNX Runtime does not look for them", async () => {
		const numbers = Float32Array.from({ length: 32 * 8 }, mixedSource(6));
		writeFileSync(place("shapes.data"), Buffer.concat([bytesOf(BigInt64Array.of(-1n, 32n)), bytesOf(numbers)]));
		const external = (name: string, type: DataType, dims: readonly number[], offset: number) => {
			const entries = { location: "shapes.data", offset, length: type === DataType.INT64 ? 16 : numbers.byteLength };
			return { ...externalTensor(name, 0, entries), dims, data_type: type };
		};
		const floats = (name: string, dims: readonly number[]) => {
			const shape = { dim: dims.map((length) => ({ dim_value: length })) };
			return { name, type: { tensor_type: { elem_type: DataType.FLOAT, shape } } };
		};
		const graph = {
			name: "g",
			node: [
				{ op_type: "Reshape", input: ["x", "shape"], output: ["rows"], name: "rows" },
				{ op_type: "MatMul", input: ["rows", "w"], output: ["y"], name: "product" },
			],
			initializer: [external("shape", DataType.INT64, [2], 0), external("w", DataType.FLOAT, [32, 8], 16)],
			input: [floats("x", [2, 3, 32])],
			output: [floats("y", [6, 8])],
		};
		const file = encode("ModelProto", { ir_version: 10, opset_import: [{ version: 21 }], graph });
		writeFileSync(place("shapes.onnx"), file);
		const options = { data: ["random:8"], recipe: "16a4w", gptqGain: false };
		const { onCpu } = await quantizeModel(place("shapes.onnx"), place("shaped.onnx"), options);
		expect(onCpu!.failure).toBeNull();
		expect(onCpu!.worstSqnrDb).toBeGreaterThan(15);
		const { outputs } = await verifyModels(place("shapes.onnx"), place("shapes.onnx"), { samples: 2, perNode: true });
		expect(outputs).toEqual([expect.objectContaining({ name: "y", sqnrDb: null, problem: null })]);
	});

	test("a budget instead of a recipe", async () => {
		const { result } = await worst("budget.onnx", { budget: parseBudget("6bpw"), holdOut: 5 });
		expect(result).toMatchObject({ recipe: "planned within the budget", samples: 55, heldOut: 5 });
		expect(new Set(result.weights.map(({ precision }) => precision)).size).toBeGreaterThan(1);
	});

	test("ranges from a file, without samples", async () => {
		await expect(quantizeModel(model, place("none.onnx"))).rejects.toMatchObject({ code: "quantize/no-ranges" });
		expect(existsSync(place("none.onnx"))).toBe(false);
	});

	test("leaves nothing behind when it is interrupted", async () => {
		const controller = new AbortController();
		const stopped = quantizeModel(model, place("stopped.onnx"), {
			data: [data],
			signal: controller.signal,
			onProgress: (step) => {
				if (step === "calibrating") controller.abort();
			},
		});
		await expect(stopped).rejects.toThrow();
		expect(readdirSync(folder).filter((name) => name.includes("stopped"))).toEqual([]);
	});

	test.skipIf("missing" in htp)("is one context on the HTP, as close as on the CPU", async () => {
		const target = parseTarget("qnn-htp:v79");
		const result = await quantizeModel(model, place("htp.onnx"), { data: [data], target, htpHome: HTP_HOME });
		expect(result).toMatchObject({ target: "qnn-htp:v79", notOnTarget: null });
		expect(result.findings.filter(({ consequence }) => consequence !== "slow")).toEqual([]);
		expect(result.onTarget!.failure).toBeNull();
		expect(result.onTarget!.worstSqnrDb).toBeGreaterThan(31);
		const { onCpu, onTarget } = result.gptqGain!;
		expect(onTarget!.withoutDb + onTarget!.gainDb).toBeCloseTo(result.onTarget!.worstSqnrDb!, 5);
		expect(Math.abs(onTarget!.gainDb - onCpu!.gainDb)).toBeLessThan(0.5);
	});

	test.skipIf("missing" in htp)(
		"a model whose weights are in blocks already gets LPBQ and integer activations",
		async () => {
			const blocks = block();
			const recipe = place("blocks.json");
			const setting = { precision: "16a4w_block", blockSize: 32, blockScales: "bq" };
			writeFileSync(recipe, JSON.stringify({ default: setting, rules: [] }));
			await runPasses(blocks, [applyPrecisionRecipe({ recipe })]);
			await writeModel(blocks, place("blocks.onnx"));
			const result = await quantizeModel(place("blocks.onnx"), place("lpbq.onnx"), {
				recipe: "16a4w_block:32",
				data: [data],
				target: parseTarget("qnn-htp:v79"),
				htpHome: HTP_HOME,
			});
			const matMuls = result.operators.filter(
				({ operator, weights }) => operator === "MatMul" && weights !== undefined,
			);
			expect(matMuls).toEqual([
				{ operator: "MatMul", activations: "16 bits", weights: "4 bits, a scale a block, LPBQ", count: 6 },
			]);
			expect(result.operators.filter(({ activations }) => activations === "float")).toEqual([]);
			expect(result.onTarget!.failure).toBeNull();
			expect(result.onTarget!.worstSqnrDb).toBeGreaterThan(20);
		},
	);
});
