import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { readAll } from "../../src/ir/data.js";
import type { Model } from "../../src/ir/model.js";
import { isOnnxOp, type Node } from "../../src/ir/node.js";
import type { Value } from "../../src/ir/value.js";
import { readModel, serializeModel, writeModel } from "../../src/onnx/file.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import type { PipelineReport } from "../../src/passes/infra/report.js";
import { runPasses } from "../../src/run-passes.js";
import { temporaryFolder } from "../repo/run.js";
import { sharedAimet } from "../support/aimet.js";
import { readNpy } from "../support/npy.js";
import { floatFeed, floatsOf, run, sqnrDb } from "../support/ort.js";
import { normals } from "./models.js";

/* Models of other tools, in the folder beside the checkout, converted and run by ONNX Runtime. */

const smartTurn = fileURLToPath(new URL("../../../shared/corpus/real/smart-turn-bq32.onnx", import.meta.url));

/** Folders of AIMET's models that can be converted, with their weights. */
const AIMET: readonly (readonly [string, readonly string[]])[] = [
	["conv1x1_24x64_b16", ["W"]],
	["gemm_transB0_128x24_b32", ["W"]],
	["gemm_transB1_24x128_b32", ["W"]],
	["matmul_128x32_b32", ["W"]],
	["matmul_128x32_b64", ["W"]],
	["matmul_256x48_b16", ["W"]],
	["matmul_edge_128x16_b32", ["W"]],
	["matmul_ties_128x32_b32", ["W"]],
	["mlp_128_256_64_b64", ["W", "W1"]],
];

/** How much worse than the weights the outputs may be: the models have few, and weights made of ties err all one way. */
const FEW_OUTPUTS_DB = 8;

/** AIMET rounds the bias of its LPBQ model to another step than that of its block-quantized one; all else is equal. */
const SAME_BUT_BIAS_DB = 85;

describe.skipIf(!existsSync(sharedAimet))("AIMET's block-quantized models", () => {
	describe.each(AIMET)("%s", (name, weights) => {
		const file = (rest: string) => path.join(sharedAimet, name, rest);
		const options = { fit: "max", form: "double-dq", activations: "any" } as const;

		test("fit max gives the integers and channel scales of AIMET's own LPBQ, bit for bit", async () => {
			const model = await readModel(file("bq_qdq_prequant.onnx"));
			const report = await runPasses(model, [bqToLpbq(options)]);
			expect(report.weights.map(({ status }) => status)).toEqual(weights.map(() => "converted"));
			for (const weight of weights) expectAimetScales(model, file, weight);

			const before = await outputOf(file("bq_qdq_prequant.onnx"));
			const after = await outputOf(serializeModel(model));
			expect(sqnrDb(before, after)).toBeGreaterThan(worstWeightDb(report) - FEW_OUTPUTS_DB);
		});

		test("with the float model it is AIMET's LPBQ model, outputs included", async () => {
			const model = await readModel(file("bq_qdq_prequant.onnx"));
			await runPasses(model, [bqToLpbq({ ...options, floatWeights: file("model.onnx") })]);
			for (const weight of weights) {
				expectAimetScales(model, file, weight);
				const { codes } = weightCalled(model, weight);
				const expected = readNpy(file(`lpbq_${weight}_q.npy`), Int32Array).data;
				const bytes = readAll(codes.initializer!.data);
				const actual = expected.map((_, index) => (bytes[index >> 1]! << (index % 2 === 0 ? 28 : 24)) >> 28);
				expect(actual).toEqual(expected);
			}
			const aimet = await outputOf(file("lpbq_qdq_prequant.onnx"));
			expect(sqnrDb(aimet, await outputOf(serializeModel(model)))).toBeGreaterThan(SAME_BUT_BIAS_DB);
		});

		async function outputOf(model: Uint8Array | string): Promise<Float32Array> {
			const { shape, data } = readNpy(file("input_x.npy"), Float32Array);
			return floatsOf((await run(model, { x: floatFeed(shape, data) })).y);
		}
	});
});

/** The DequantizeLinear nodes of the weight that AIMET calls `name`. */
function weightCalled(model: Model, name: string): { codes: Value; scales: Node } {
	for (const node of model.graph.nodes) {
		const [codes, scale] = node.inputs;
		const isWeight = isOnnxOp(node, "DequantizeLinear") && codes?.name.replace(/_q$|_lpbq$/g, "") === name;
		if (isWeight && scale?.producer !== undefined) return { codes: codes!, scales: scale.producer };
	}
	throw new Error(`there is no LPBQ weight '${name}'`);
}

function expectAimetScales(model: Model, file: (rest: string) => string, weight: string): void {
	const { scales } = weightCalled(model, weight);
	const [ints, channels] = scales.inputs.map((value) => value!.initializer!);
	const expected = readNpy(file(`lpbq_${weight}_int_scale.npy`), Uint32Array);
	expect(ints!.shape).toEqual(expected.shape);
	expect([...readAll(ints!.data)]).toEqual([...expected.data]);
	const channelScales = readNpy(file(`lpbq_${weight}_channel_scale_f64.npy`), Float64Array).data;
	expect(new Float32Array(Uint8Array.from(readAll(channels!.data)).buffer)).toEqual(Float32Array.from(channelScales));
}

describe.skipIf(!existsSync(smartTurn))("a real speech model, smart-turn", () => {
	test.each(["max", "search"] as const)("fit %s: 29 of 29 weights, and the output stays", async (fit) => {
		const model = await readModel(smartTurn);
		const report = await runPasses(model, [bqToLpbq({ fit })]);
		const converted = report.weights.filter(({ status }) => status === "converted");
		expect(converted.map(({ op }) => op).sort()).toEqual([...Array(3).fill("Gemm"), ...Array(26).fill("MatMul")]);
		const int4 = report.weights.filter(({ dtype }) => dtype === "INT4");
		expect(int4).toHaveLength(29);

		const file = path.join(temporaryFolder(), "lpbq.onnx");
		await writeModel(model, file);
		const feeds = { input_features: floatFeed([1, 80, 800], normals(80 * 800, 1)) };
		const [before, after] = [await run(smartTurn, feeds), await run(file, feeds)];
		expect(sqnrDb(floatsOf(before.logits), floatsOf(after.logits))).toBeGreaterThan(worstWeightDb(report));
	});
});

/** The lowest SQNR that is reported of a weight. */
function worstWeightDb({ weights }: PipelineReport): number {
	return Math.min(...weights.flatMap(({ sqnrDb }) => sqnrDb ?? []));
}
