import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { legalizingPasses } from "../../src/passes/index.js";
import { runPasses } from "../../src/run-passes.js";
import { checkModel } from "../../src/targets/check-model.js";
import { providerOptions } from "../../src/targets/provider-options.js";
import { parseTarget } from "../../src/targets/target.js";
import { temporaryFolder } from "../repo/run.js";
import { type GraphBuilder, modelOf } from "../support/build.js";
import { checkManyOnHtp, type HtpJob, prepareHtp } from "../support/htp.js";
import { channelWeight, quantized } from "../support/weights.js";

/* Models that choose by their data what to compute, or compute in DOUBLE, made legal as `convert --target` does it, on the HTP's emulator. */

const setup = await prepareHtp();
const python = "python" in setup ? setup.python : "";
const { DOUBLE, FLOAT } = DataType;

/** Relu of x times a weight where the mean of x is above `threshold`, else its negative. */
function choosing(rows: number, threshold: number) {
	return modelOf((b) => {
		b.input("x", FLOAT, [rows, 64]);
		const x = quantized(b, "x");
		b.initializer("axes", int64Tensor([2], [0, 1]));
		b.initializer("threshold", floatTensor([1, 1], [threshold]));
		b.node("ReduceMean", [x, "axes"], ["mean"]);
		b.node("Greater", [quantized(b, "mean"), quantized(b, "threshold")], ["above"]);
		const branch = (name: string, activation: string) =>
			b.subgraph(name, (inner: GraphBuilder) => {
				inner.node("MatMul", [x, channelWeight(inner, "w", [64, 24], 1)], ["product"]);
				inner.node(activation, [quantized(inner, "product", 2 ** -9)], ["activated"]);
				inner.output(quantized(inner, "activated", 2 ** -9)).type = tensorType(FLOAT, [rows, 24]);
			});
		const branches = { then_branch: branch("then", "Relu"), else_branch: branch("else", "Neg") };
		b.node("If", ["above"], ["chosen"], branches, "choice");
		b.output(quantized(b, "chosen", 2 ** -9)).type = tensorType(FLOAT, [rows, 24]);
	});
}

/** A mean of numbers that are DOUBLE, weighted by a Softmax in DOUBLE. */
function weighted(rows: number) {
	return modelOf((b) => {
		b.input("x", FLOAT, [rows, 24]);
		b.node("Cast", [quantized(b, "x")], ["wide"], { to: intAttribute(DOUBLE) }, "widen");
		b.node("Softmax", ["wide"], ["weights"], { axis: intAttribute(-1) }, "softmax");
		const numbers = Float64Array.from({ length: 24 }, (_, index) => 1.1 + index / 24);
		b.initializer("numbers", tensor(DOUBLE, [24], bytesOf(numbers)));
		b.initializer("last", int64Tensor([1], [-1]));
		b.node("Mul", ["weights", "numbers"], ["parts"], {}, "mul");
		b.node("ReduceSum", ["parts", "last"], ["y"], {}, "sum");
		b.output("y").type = tensorType(DOUBLE, [rows, 1]);
	});
}

describe.skipIf(python === "")("an If whose condition is data, and DOUBLE", () => {
	test.each(["v68", "v73", "v79", "v81"])("are computed on %s", { timeout: 120_000 }, async (architecture) => {
		const target = parseTarget(`qnn-htp:${architecture}`);
		const jobs: HtpJob[] = [];
		for (const model of [choosing(6, -1), choosing(24, 1), weighted(6), weighted(25)]) {
			await runPasses(
				model,
				legalizingPasses.map((pass) => pass()),
				{ target },
			);
			const faults = (await checkModel(model, target)).filter(({ consequence }) => consequence !== "slow");
			expect(faults).toEqual([]);
			const file = path.join(temporaryFolder(), "model.onnx");
			writeFileSync(file, serializeModel(model));
			jobs.push({ model: file, options: { ...providerOptions(model, target) } });
		}
		for (const report of await checkManyOnHtp(python, jobs)) {
			expect(report).toMatchObject({ status: "ok", error: null, unsupported: [] });
			expect(report.outputs[0]!.sqnrDb ?? Number.POSITIVE_INFINITY).toBeGreaterThan(50);
		}
	});
});
