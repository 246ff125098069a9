import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import type { Model } from "../../src/ir/model.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { legalizingPasses } from "../../src/passes/index.js";
import { runPasses } from "../../src/run-passes.js";
import { checkModel } from "../../src/targets/check-model.js";
import { providerOptions } from "../../src/targets/provider-options.js";
import { parseTarget } from "../../src/targets/target.js";
import { temporaryFolder } from "../repo/run.js";
import { ModelBuilder } from "../support/build.js";
import { convolutionBias, dynamicallyQuantized, dynamicWeight, integerProduct } from "../support/dynamic.js";
import { checkManyOnHtp, type HtpJob, prepareHtp } from "../support/htp.js";
import { quantized } from "../support/weights.js";
import { INPUT_STEP } from "./models.js";

/* What quantize_dynamic writes, made legal as `convert --target` does it, on the HTP's compiler and emulator against ONNX Runtime. */

const setup = await prepareHtp();
const python = "python" in setup ? setup.python : "";
const { FLOAT, INT8, UINT8 } = DataType;

/** Between quantizers where there is one scale a channel, for the HTP takes these of integers only. */
function linear(rows: number, dtype: DataType, isChannel: boolean): Model {
	const b = new ModelBuilder({ opset: 21, irVersion: 10 });
	b.input("x", FLOAT, [rows, 64]);
	const x = isChannel ? quantized(b, "x", INPUT_STEP) : "x";
	dynamicallyQuantized(b, x);
	for (const name of ["q", "k"]) {
		dynamicWeight(b, `w${name}`, { shape: [64, 24], dtype, scaleShape: isChannel ? [24] : [] });
		integerProduct(b, "MatMulInteger", x, `w${name}`, name);
		b.output(isChannel ? quantized(b, name, 2 ** -11) : name).type = tensorType(FLOAT, [rows, 24]);
	}
	return b.build();
}

function convolution(size: number, dtype: DataType, isChannel: boolean): Model {
	const b = new ModelBuilder({ opset: 21, irVersion: 10 });
	b.input("x", FLOAT, [1, 8, size, size]);
	const x = isChannel ? quantized(b, "x", INPUT_STEP) : "x";
	dynamicallyQuantized(b, x);
	dynamicWeight(b, "w", { shape: [12, 8, 3, 3], dtype, scaleShape: isChannel ? [12, 1, 1] : [] });
	integerProduct(b, "ConvInteger", x, "w", "h");
	convolutionBias(b, "h", 12, "y");
	b.output(isChannel ? quantized(b, "y", 2 ** -11) : "y").type = tensorType(FLOAT, [1, 12, size, size]);
	return b.build();
}

describe.skipIf(python === "")("products of dynamically quantized values", () => {
	test.each(["v68", "v73", "v79", "v81"])("are computed on %s", { timeout: 120_000 }, async (architecture) => {
		const target = parseTarget(`qnn-htp:${architecture}`);
		const names: string[] = [];
		const jobs: HtpJob[] = [];
		for (const build of [linear, convolution]) {
			for (const [size, dtype, isChannel] of [
				[6, INT8, false],
				[24, UINT8, true],
				[6, UINT8, false],
				[24, INT8, true],
			] as const) {
				const model = build(size, dtype, isChannel);
				const passes = legalizingPasses.map((pass) => pass());
				await runPasses(model, passes, { target });
				const faults = (await checkModel(model, target)).filter(({ consequence }) => consequence !== "slow");
				const name = `${build.name} ${size} ${dtype} ${isChannel}`;
				expect(faults, name).toEqual([]);
				const file = path.join(temporaryFolder(), "model.onnx");
				writeFileSync(file, serializeModel(model));
				names.push(name);
				jobs.push({ model: file, options: { ...providerOptions(model, target) } });
			}
		}
		for (const [index, report] of (await checkManyOnHtp(python, jobs)).entries()) {
			expect(report, names[index]!).toMatchObject({ status: "ok", error: null, unsupported: [] });
			for (const { name, sqnrDb } of report.outputs) {
				if (process.env.SHOW) console.log(architecture, names[index], name, sqnrDb);
				expect(sqnrDb ?? Number.POSITIVE_INFINITY, `${names[index]}: ${name}`).toBeGreaterThan(50);
			}
		}
	});
});
