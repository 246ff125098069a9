import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { readModel, serializeModel } from "../../src/onnx/file.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import { legalizeActivations } from "../../src/passes/legalize-activations.js";
import { legalizeBias } from "../../src/passes/legalize-bias.js";
import { lowerGemm } from "../../src/passes/lower-gemm.js";
import { separateMatmulOutputs } from "../../src/passes/separate-matmul-outputs.js";
import { runPasses } from "../../src/run-passes.js";
import { temporaryFolder } from "../repo/run.js";
import { type ModelBuilder, modelOf } from "../support/build.js";
import { checkOnHtp, prepareHtp } from "../support/htp.js";
import { quantized } from "../support/weights.js";
import { INPUT_STEP, type LinearSpec, linearModel, linearWeight, normals } from "./models.js";

/* What lower-gemm, separate-matmul-outputs, legalize-activations and legalize-bias write, on the HTP's compiler and emulator. */

const setup = await prepareHtp();
const python = "python" in setup ? setup.python : "";
const oracles = fileURLToPath(new URL("../../../shared/oracles/htp/", import.meta.url));

const TARGETS = [
	["v68", "30"],
	["v73", "43"],
	["v79", "69"],
	["v81", "87"],
] as const;

/** Only what is quantized on both sides becomes LPBQ, so that outputs are separated before. */
const passes = () => [lowerGemm(), separateMatmulOutputs(), bqToLpbq(), legalizeActivations(), legalizeBias()];

async function expectRight(model: Model, chip: string, leastDb = 40): Promise<void> {
	const file = path.join(temporaryFolder(), "model.onnx");
	writeFileSync(file, serializeModel(model));
	const options = { soc_model: chip, enable_block_quant_weight_optimization: "1" };
	const report = await checkOnHtp(python, { model: file, options });
	expect(report).toMatchObject({ status: "ok", error: null, unsupported: [] });
	for (const { name, sqnrDb } of report.outputs) expect(sqnrDb ?? 999, `output '${name}'`).toBeGreaterThan(leastDb);
}

const small: LinearSpec = { op: "MatMul", activations: "integer", rows: 8, depth: 128, channels: 40, blockSize: 32 };
const large: LinearSpec = { ...small, rows: 24, depth: 256, channels: 96 };

/** `MatMul(x, W)`, and behind it what `readers` says; the shape of its output is that of the product. */
function matMulThen(spec: LinearSpec, readers: (b: ModelBuilder, product: string) => string): Model {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, [spec.rows, spec.depth]);
		b.node("MatMul", [quantized(b, "x", INPUT_STEP), linearWeight(b, "W", spec)], ["y"], {}, "mm");
		b.output(readers(b, "y")).type = tensorType(DataType.FLOAT, [spec.rows, spec.channels]);
	});
}

function constant(b: ModelBuilder, spec: LinearSpec): string {
	b.initializer("c", floatTensor([spec.channels], normals(spec.channels, 9)));
	return "c";
}

function then(b: ModelBuilder, op: string, inputs: readonly string[], step = 2 ** -11): string {
	b.node(op, inputs, ["z"], op === "Softmax" ? { axis: intAttribute(-1) } : {});
	return quantized(b, "z", step);
}

const READERS: readonly (readonly [string, (b: ModelBuilder, y: string, spec: LinearSpec) => string])[] = [
	["Add of a constant", (b, y, spec) => then(b, "Add", [y, constant(b, spec)])],
	["Sub from a constant", (b, y, spec) => then(b, "Sub", [constant(b, spec), y])],
	["Relu", (b, y) => then(b, "Relu", [y])],
	["Gelu", (b, y) => then(b, "Gelu", [y])],
	["Sigmoid", (b, y) => then(b, "Sigmoid", [y], 2 ** -15)],
	["Tanh", (b, y) => then(b, "Tanh", [y], 2 ** -15)],
	["Mul with a constant", (b, y, spec) => then(b, "Mul", [y, constant(b, spec)])],
	["a graph output", (_b, y) => y],
];

describe.skipIf(python === "")("on the HTP", () => {
	describe.each(TARGETS)("%s", (_name, chip) => {
		test.each(["Gemm", "Gemm transB"] as const)("%s with a bias as MatMul and Add", async (op) => {
			for (const spec of [small, large]) {
				const model = linearModel({ ...spec, op, bias: true });
				await runPasses(model, passes());
				await expectRight(model, chip);
			}
		});

		test.each(READERS)("a MatMul before %s", async (_reader, readers) => {
			for (const spec of [small, large]) {
				const model = matMulThen(spec, (b, y) => readers(b, y, spec));
				await runPasses(model, passes());
				// a v68 has 55 dB at its best, of which a range that is only bounded takes 15 to 20
				await expectRight(model, chip, chip === "30" ? 30 : 40);
			}
		});

		test("a Conv with a bias beside block scales", async () => {
			for (const spec of [small, large]) {
				const model = linearModel({ ...spec, op: "Conv", bias: true });
				await runPasses(model, passes());
				await expectRight(model, chip);
			}
		});

		test.each(["Sigmoid", "Tanh"])("%s in front of a MatMul", async (op) => {
			for (const spec of [small, large]) {
				const model = modelOf((b) => {
					b.input("x", DataType.FLOAT, [spec.rows, spec.depth]);
					b.node(op, [quantized(b, "x", INPUT_STEP)], ["g"]);
					b.node("MatMul", [quantized(b, "g", 3.1e-5), linearWeight(b, "W", spec)], ["y"]);
					b.output(quantized(b, "y")).type = tensorType(DataType.FLOAT, [spec.rows, spec.channels]);
				});
				await runPasses(model, passes());
				await expectRight(model, chip);
			}
		});

		test("a MatMul of rank 5", async () => {
			const spec = { ...small, rows: 6 };
			const model = modelOf((b) => {
				b.input("x", DataType.FLOAT, [1, 2, 1, 3, spec.depth]);
				b.node("MatMul", [quantized(b, "x", INPUT_STEP), linearWeight(b, "W", spec)], ["y"]);
				b.output(quantized(b, "y")).type = tensorType(DataType.FLOAT, [1, 2, 1, 3, spec.channels]);
			});
			await runPasses(model, passes());
			await expectRight(model, chip);
		});
	});

	test
		.skipIf(!existsSync(oracles))
		.each([
			"BAD_gemm_lpbq_bias_dropped",
			"BAD_gemm_lpbq_transB0",
			"BAD_mm_lpbq_add_without_q",
			"BAD_conv1x1_bq_float_bias",
			"CRASH_gemm_lpbq_dq_bias",
			"CRASH_mm_lpbq_rank1",
		])("%s comes out right", async (name) => {
		const model = await readModel(path.join(oracles, `${name}.onnx`));
		await runPasses(model, passes());
		for (const chip of ["43", "87"]) await expectRight(model, chip);
	});
});
