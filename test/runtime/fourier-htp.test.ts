import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { calibrate } from "../../src/calibration/calibrate.js";
import { calibrationEncodings } from "../../src/calibration/calibration-encodings.js";
import { openSamples } from "../../src/calibration/sources/open-samples.js";
import { encodingsText } from "../../src/encodings/write-encodings.js";
import { intAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { allPasses, legalizingPasses, quantizingPasses } from "../../src/passes/index.js";
import { lowerFourier } from "../../src/passes/lower-fourier.js";
import { runPasses } from "../../src/run-passes.js";
import { checkModel } from "../../src/targets/check-model.js";
import { providerOptions } from "../../src/targets/provider-options.js";
import { parseTarget, type Target } from "../../src/targets/target.js";
import { temporaryFolder } from "../repo/run.js";
import { modelOf } from "../support/build.js";
import { encodingsFile } from "../support/encodings.js";
import { checkOnHtp, prepareHtp } from "../support/htp.js";

/* What lower-fourier makes of transforms, on floats and quantized, compiled and emulated for the HTP against the CPU. */

const setup = await prepareHtp();
const python = "python" in setup ? setup.python : "";

/** A spectrogram of `x`, and transforms of real and complex numbers. */
function transforms(length: number): Model {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, [1, 40 * length]);
		b.input("z", DataType.FLOAT, [2, length, 3, 2]);
		b.initializer("step", int64Tensor([], [length]));
		const window = Array.from({ length: 4 * length }, (_, at) => Math.sin((Math.PI * at) / (4 * length)) ** 2);
		b.initializer("window", floatTensor([4 * length], window));
		b.node("STFT", ["x", "step", "window"], ["spectrogram"], {}, "stft");
		b.initializer("shape", int64Tensor([3], [2, 20 * length, 1]));
		b.node("Reshape", ["x", "shape"], ["halves"]);
		b.node("DFT", ["halves"], ["spectrum"], { onesided: intAttribute(1) }, "real");
		b.initializer("axis", int64Tensor([], [1]));
		b.node("DFT", ["z", "", "axis"], ["numbers"], { inverse: intAttribute(1) }, "complex");
		for (const name of ["spectrogram", "spectrum", "numbers"]) b.output(name);
	});
}

async function onFloats(model: Model, target: Target): Promise<void> {
	await runPasses(
		model,
		legalizingPasses.map((pass) => pass()),
		{ target },
	);
}

async function quantized(model: Model, target: Target): Promise<void> {
	await runPasses(model, [lowerFourier()], { target });
	const { values, ...rest } = await calibrate(model, openSamples(model, ["random:4"], { seed: 1 }));
	const encodings = encodingsFile(encodingsText(calibrationEncodings({ values, ...rest })));
	const given: Readonly<Record<string, unknown>> = { encodings, recipe: "16a8w" };
	const passes = allPasses.filter((pass) => quantizingPasses.includes(pass) || legalizingPasses.includes(pass));
	const options = (pass: (typeof passes)[number]) =>
		Object.fromEntries(Object.entries(given).filter(([option]) => option in pass.definition.options));
	await runPasses(
		model,
		passes.map((pass) => pass(options(pass))),
		{ target },
	);
}

describe.skipIf(python === "")("transforms on the HTP", () => {
	test.each([
		["v68", 10, quantized],
		["v73", 15, quantized],
		["v73", 10, onFloats],
		["v79", 15, onFloats],
		["v79", 10, quantized],
		["v81", 15, quantized],
	] as const)("%s, length %i, %o", { timeout: 60_000 }, async (architecture, length, make) => {
		const [model, target] = [transforms(length), parseTarget(`qnn-htp:${architecture}`)];
		expect((await checkModel(model, target)).map(({ rule }) => rule)).toContain("htp/operator-never");
		await make(model, target);
		expect((await checkModel(model, target)).filter(({ consequence }) => consequence !== "slow")).toEqual([]);
		const file = path.join(temporaryFolder(), "model.onnx");
		writeFileSync(file, serializeModel(model));
		const report = await checkOnHtp(python, { model: file, options: { ...providerOptions(model, target) } });
		expect(report).toMatchObject({ status: "ok", error: null, unsupported: [] });
		for (const { name, sqnrDb } of report.outputs) expect(sqnrDb, name).toBeGreaterThan(50);
	});
});
