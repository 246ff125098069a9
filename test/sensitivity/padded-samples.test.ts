import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type NumpyArray, writeNpz } from "../../src/arrays/npz.js";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { bytesOf, floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { writeModel } from "../../src/onnx/file.js";
import { quantizeModel } from "../../src/quantize/quantize-model.js";
import { verifyModels } from "../../src/runtime/verify-models.js";
import type { Analysis } from "../../src/sensitivity/analysis.js";
import { analyzeSensitivity } from "../../src/sensitivity/analyze-sensitivity.js";
import { ModelBuilder } from "../support/build.js";
import { mixedSource } from "../support/random.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-padded-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const [LENGTH, HIDDEN, INNER, VOCABULARY, LAYERS, SAMPLES, HELD_OUT] = [12, 32, 64, 50, 3, 160, 48] as const;
const random = mixedSource(7);
const normals = (count: number, gain: number) =>
	Float32Array.from({ length: count }, () => gain * 2 * (random() + random() + random() - 1.5));

/** A sentence encoder; what stands for padding is a token far from all others, on whose positions quantizing costs more. */
function encoder(): Model {
	const builder = new ModelBuilder();
	const weight = (name: string, shape: readonly [number, number]) =>
		builder.initializer(name, floatTensor(shape, normals(shape[0] * shape[1], 1 / Math.sqrt(shape[0]))));
	builder.input("input_ids", DataType.INT64, [1, LENGTH]);
	builder.input("attention_mask", DataType.INT64, [1, LENGTH]);
	const table = normals(VOCABULARY * HIDDEN, 1);
	for (let index = 0; index < HIDDEN; index++) table[index] = index % 8 === 0 ? 12 : 0.05 * table[index]!;
	builder.initializer("embeddings.weight", floatTensor([VOCABULARY, HIDDEN], table));
	builder.initializer("one", floatTensor([], Float32Array.of(1)));
	builder.initializer("far", floatTensor([], Float32Array.of(-10_000)));
	builder.initializer("gain", floatTensor([HIDDEN], new Float32Array(HIDDEN).fill(1)));
	builder.node("Gather", ["embeddings.weight", "input_ids"], ["h0"], {}, "/embeddings/Gather");
	builder.node("Cast", ["attention_mask"], ["mask"], { to: intAttribute(DataType.FLOAT) });
	builder.node("Sub", ["one", "mask"], ["padding"]);
	builder.node("Mul", ["padding", "far"], ["masked"]);
	for (let layer = 0; layer < LAYERS; layer++) {
		const [from, name] = [`h${layer}`, `layers.${layer}`];
		const linear = (part: string, input: string, shape: readonly [number, number]) => {
			weight(`${name}.${part}.weight`, shape);
			builder.node("MatMul", [input, `${name}.${part}.weight`], [`${name}.${part}`], {}, `/${name}/${part}/MatMul`);
			return `${name}.${part}`;
		};
		const square = [HIDDEN, HIDDEN] as const;
		const [q, k, v] = ["q_proj", "k_proj", "v_proj"].map((part) => linear(part, from, square));
		builder.node("Transpose", [k!], [`${name}.keys`], { perm: intsAttribute([0, 2, 1]) });
		builder.node("MatMul", [q!, `${name}.keys`], [`${name}.raw`]);
		builder.node("Add", [`${name}.raw`, "masked"], [`${name}.scores`]);
		builder.node("Softmax", [`${name}.scores`], [`${name}.shares`], { axis: intAttribute(-1) });
		builder.node("MatMul", [`${name}.shares`, v!], [`${name}.attended`]);
		builder.node("Add", [from, linear("o_proj", `${name}.attended`, square)], [`${name}.sum`]);
		builder.node("Relu", [linear("up_proj", `${name}.sum`, [HIDDEN, INNER])], [`${name}.inner`]);
		builder.node("Add", [`${name}.sum`, linear("down_proj", `${name}.inner`, [INNER, HIDDEN])], [`${name}.out`]);
		builder.node("LayerNormalization", [`${name}.out`, "gain"], [`h${layer + 1}`], { axis: intAttribute(-1) });
	}
	builder.output(`h${LAYERS}`);
	return builder.model;
}

/** Sentences of 3 to 12 tokens, the rest padding. */
function sentences(): Map<string, NumpyArray> {
	const [ids, mask] = [new BigInt64Array(SAMPLES * LENGTH), new BigInt64Array(SAMPLES * LENGTH)];
	for (let sample = 0; sample < SAMPLES; sample++) {
		const length = 3 + Math.floor(random() * (LENGTH - 2));
		for (let at = sample * LENGTH; at < sample * LENGTH + length; at++) {
			ids[at] = BigInt(1 + Math.floor(random() * (VOCABULARY - 1)));
			mask[at] = 1n;
		}
	}
	const array = (numbers: BigInt64Array): NumpyArray => ({
		type: "int64",
		shape: [SAMPLES, 1, LENGTH],
		bytes: bytesOf(numbers),
	});
	return new Map([
		["input_ids", array(ids)],
		["attention_mask", array(mask)],
	]);
}

describe("a sentence encoder on samples that are padded", () => {
	const [model, data, recipe, quantized] = ["encoder.onnx", "samples.npz", "recipe.yaml", "quantized.onnx"].map(
		(name) => path.join(folder, name),
	) as [string, string, string, string];
	let analysis: Analysis;

	beforeAll(async () => {
		await writeModel(encoder(), model);
		writeNpz(data, sentences());
		const found = await analyzeSensitivity(model, {
			data: [data],
			recipe: "16a4w_block:16",
			budget: "6bpw",
			holdOut: HELD_OUT,
		});
		analysis = found.analysis;
		writeFileSync(recipe, found.files.get("recipe.yaml")!);
	}, 120_000);

	test("predictions hold for every recipe of one precision and the suggested one", () => {
		const points = analysis.points.filter(({ kind, isChosen }) => kind === "single" || isChosen);
		expect(points.length).toBeGreaterThan(4);
		for (const { label, predictedSqnrDb, measuredSqnrDb } of points) {
			expect(Math.abs(predictedSqnrDb! - measuredSqnrDb!), label).toBeLessThan(1.5);
		}
	});

	test("quantizing as suggested has the SQNR that the analysis says", async () => {
		const { onCpu } = await quantizeModel(model, quantized, {
			recipe,
			data: [data],
			holdOut: HELD_OUT,
			gptqGain: false,
			compensate: false,
		});
		const [suggestion] = analysis.suggestions;
		expect(onCpu!.overallSqnrDb).toBeGreaterThan(12);
		expect(Math.abs(onCpu!.overallSqnrDb! - suggestion!.measuredSqnrDb!)).toBeLessThan(0.1);
		expect(onCpu!.worstSqnrDb).toBeLessThan(onCpu!.overallSqnrDb!);
	});

	test("positions of padding would say something else", async () => {
		// three tokens and nine of padding
		const one = new Map<string, NumpyArray>(
			[
				["input_ids", 9],
				["attention_mask", 1],
			].map(([name, number]) => {
				const numbers = BigInt64Array.from({ length: LENGTH }, (_, at) => (at < 3 ? BigInt(number!) : 0n));
				return [name as string, { type: "int64", shape: [1, LENGTH], bytes: bytesOf(numbers) }] as const;
			}),
		);
		const file = path.join(folder, "one.npz");
		writeNpz(file, one);
		const options = { inputs: [file] };
		const [all, real] = [
			await verifyModels(model, quantized, options),
			await verifyModels(model, quantized, { ...options, countsPadding: false }),
		];
		expect(Math.abs(all.worstSqnrDb! - real.worstSqnrDb!)).toBeGreaterThan(0.2);
		expect(real.overallSqnrDb).toBe(real.worstSqnrDb);
	});
});
