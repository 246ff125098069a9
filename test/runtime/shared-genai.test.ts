import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Tensor } from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { DataType } from "../../src/ir/types.js";
import { allTensors } from "../../src/ir/walk.js";
import { readModel, serializeModel } from "../../src/onnx/file.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import { normalizingPasses } from "../../src/passes/index.js";
import { runPasses } from "../../src/run-passes.js";
import { floatsOf, run, sqnrDb, type Tensors } from "../support/ort.js";
import { differenceInRanges } from "../support/same-outputs.js";

/* Language models as ONNX Runtime GenAI exports them, of the folder beside the checkout. */

const folder = fileURLToPath(new URL("../../../shared/corpus/genai", import.meta.url));
const TOKENS = 7;
const HEAD_SIZE = 64;
/** Noise of the weights one behind another adds up: that of eleven is 10.4 dB more than that of one. */
const SUM_DB = 12;

/** Computed in floats: ONNX Runtime's kernel rounds activations to 8 bits otherwise. */
async function modelOf(name: string): Promise<Model> {
	const model = await readModel(path.join(folder, name, "model.onnx"));
	for (const node of model.graph.nodes) {
		if (node.attributes.has("accuracy_level")) node.attributes.set("accuracy_level", intAttribute(1));
	}
	return model;
}

/** A prompt without a past. */
function feedsOf(model: Model): Tensors {
	const feeds: Record<string, Tensor> = {
		input_ids: new Tensor("int64", BigInt64Array.from([3n, 141n, 59n, 26n, 5n, 35n, 89n]), [1, TOKENS]),
		attention_mask: new Tensor("int64", new BigInt64Array(TOKENS).fill(1n), [1, TOKENS]),
	};
	for (const { name, type } of model.graph.inputs) {
		if (!name.startsWith("past_key_values") || type?.kind !== "tensor") continue;
		const [, heads] = type.shape!;
		feeds[name] = new Tensor("float32", new Float32Array(), [1, Number(heads), 0, HEAD_SIZE]);
	}
	return feeds;
}

const logits = async (model: Model) => floatsOf((await run(serializeModel(model), feedsOf(model))).logits);

describe.skipIf(!existsSync(folder))("models of ONNX Runtime GenAI", () => {
	test.each([
		["qwen3-tied-int4", {}],
		["qwen3-untied-nb", { requantize: true }],
		["qwen3-untied-qdq", {}],
	])(
		"%s becomes int4 BQ without loss, and LPBQ as close as its weights",
		{ timeout: 120_000 },
		async (name, options) => {
			const model = await modelOf(name);
			const before = await logits(model);
			await runPasses(
				model,
				normalizingPasses.map((pass) => pass()),
			);
			const ops = Array.from(model.graph.nodes, ({ op }) => op.type);
			expect(ops).not.toContain("MatMulNBits");
			expect(differenceInRanges(before, await logits(model))).toBeLessThan(1e-5);

			const report = await runPasses(model, [bqToLpbq({ activations: "any", ...options })]);
			expect(report.weights.filter(({ status }) => status === "kept")).toEqual([]);
			expect(report.weights).toHaveLength(11);
			const requantized = report.diagnostics.filter(({ code }) => code === "weight/requantized");
			expect(requantized).toHaveLength("requantize" in options ? 11 : 0);
			const reported = [
				...report.weights.map((weight) => weight.sqnrDb ?? 100),
				...requantized.map(({ message }) => Number(/([\d.]+) dB/.exec(message)?.[1])),
			];
			expect(sqnrDb(before, await logits(model))).toBeGreaterThan(Math.min(...reported) - SUM_DB);
			expect([...allTensors(model)].filter(({ dtype }) => dtype === DataType.UINT8).length).toBe(11);
		},
	);

	test("a tied embedding stays one weight", async () => {
		const model = await modelOf("qwen3-tied-int4");
		const passes = normalizingPasses.map((pass) => pass());
		await runPasses(model, [...passes, bqToLpbq({ activations: "any" })]);
		const tables = [...allTensors(model)].filter(({ shape }) => shape.join() === "256,2048");
		expect(tables).toHaveLength(1);
	});

	test("a float model stays as it was, with its reason", async () => {
		const model = await modelOf("qwen3-untied-fp32");
		const passes = normalizingPasses.map((pass) => pass());
		const report = await runPasses(model, [...passes, bqToLpbq({ activations: "any" })]);
		expect(report.passes.map(({ changed }) => changed)).toEqual([...passes.map(() => false), false]);
		expect(new Set(report.weights.map(({ code }) => code))).toEqual(new Set(["weight/float"]));
	});
});
