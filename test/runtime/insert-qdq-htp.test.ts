import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { calibrate } from "../../src/calibration/calibrate.js";
import { calibrationEncodings } from "../../src/calibration/calibration-encodings.js";
import { openSamples } from "../../src/calibration/sources/open-samples.js";
import { encodingsText } from "../../src/encodings/write-encodings.js";
import type { Model } from "../../src/ir/model.js";
import { parseModel, serializeModel } from "../../src/onnx/file.js";
import { allPasses, legalizingPasses, quantizingPasses } from "../../src/passes/index.js";
import { runPasses } from "../../src/run-passes.js";
import { checkModel } from "../../src/targets/check-model.js";
import { providerOptions } from "../../src/targets/provider-options.js";
import { parseTarget, type Target } from "../../src/targets/target.js";
import { temporaryFolder } from "../repo/run.js";
import { encodingsFile } from "../support/encodings.js";
import { suitableFeeds } from "../support/feeds.js";
import { checkManyOnHtp, prepareHtp } from "../support/htp.js";
import { floatsOf, run, sqnrDb } from "../support/ort.js";
import { convolutionBlock, magnitudeBlock, transformerBlock } from "./activation-models.js";

/*
 * Float models, calibrated and quantized as `convert --recipe --encodings --target` does it: against the float model on the
 * CPU, and compiled and emulated for the HTP against the CPU's run of the same file. Never 16 rows: other faults hide there.
 */

const setup = await prepareHtp();
const python = "python" in setup ? setup.python : "";

interface Case {
	readonly name: string;
	readonly build: (rows: number) => Model;
	readonly recipe: string;
	/** Least SQNR against the float model, on the CPU. */
	readonly leastDb: number;
	/** Least SQNR of the HTP against the CPU, from v73 on and on v68. */
	readonly leastHtpDb: readonly [v73: number, v68: number];
}

const CASES: readonly Case[] = [
	{ name: "transformer, 16a8w", build: transformerBlock, recipe: "16a8w", leastDb: 34, leastHtpDb: [60, 45] },
	{
		name: "transformer, 16a4w_block",
		build: transformerBlock,
		recipe: "16a4w_block:32",
		leastDb: 18,
		leastHtpDb: [60, 45],
	},
	{ name: "transformer, 8a8w", build: transformerBlock, recipe: "8a8w", leastDb: 28, leastHtpDb: [28, 28] },
	{ name: "convolutions, 16a8w", build: convolutionBlock, recipe: "16a8w", leastDb: 34, leastHtpDb: [70, 55] },
	{ name: "magnitudes, 16a8w", build: magnitudeBlock, recipe: "16a8w", leastDb: 45, leastHtpDb: [55, 50] },
	{ name: "convolutions, 8a8w", build: convolutionBlock, recipe: "8a8w", leastDb: 30, leastHtpDb: [35, 35] },
];
const V79 = parseTarget("qnn-htp:v79");

/** What is compiled: v68 computes products otherwise, the others alike, so that one case is enough for them. */
const RUNS = [
	{ target: parseTarget("qnn-htp:v68"), rows: 8, isForAll: true },
	{ target: V79, rows: 24, isForAll: true },
	{ target: V79, rows: 8, isForAll: false },
	{ target: parseTarget("qnn-htp:v73"), rows: 8, isForAll: false },
	{ target: parseTarget("qnn-htp:v81"), rows: 8, isForAll: false },
];

/** The model and what `convert` makes of it. */
async function quantized(float: Model, recipe: string, target: Target): Promise<Model> {
	const { values, ...rest } = await calibrate(float, openSamples(float, ["random:8"], { seed: 1 }));
	const encodings = encodingsFile(encodingsText(calibrationEncodings({ values, ...rest })));
	const model = parseModel(serializeModel(float));
	const given: Readonly<Record<string, unknown>> = { encodings, recipe };
	const passes = allPasses
		.filter((pass) => quantizingPasses.includes(pass) || legalizingPasses.includes(pass))
		.map((pass) =>
			pass(Object.fromEntries(Object.entries(given).filter(([option]) => option in pass.definition.options))),
		);
	await runPasses(model, passes, { target });
	const findings = (await checkModel(model, target)).filter(({ consequence }) => consequence !== "slow");
	expect(findings).toEqual([]);
	return model;
}

describe.each(CASES)("$name", ({ build, recipe, leastDb, leastHtpDb }) => {
	test("is close to the float model", async () => {
		const float = build(6);
		const feeds = suitableFeeds(float, () => 1);
		const model = await quantized(float, recipe, V79);
		const [expected, actual] = await Promise.all([float, model].map((each) => run(serializeModel(each), feeds)));
		expect(sqnrDb(floatsOf(expected!.y), floatsOf(actual!.y))).toBeGreaterThan(leastDb);
	});

	test.skipIf(python === "")("is one context of the HTP, which computes it right", async () => {
		const jobs = [];
		for (const { target, rows, isForAll } of RUNS) {
			if (!isForAll && !recipe.includes("16a8w")) continue;
			const file = path.join(temporaryFolder(), "model.onnx");
			const model = await quantized(build(rows), recipe, target);
			writeFileSync(file, serializeModel(model));
			jobs.push({ model: file, options: { ...providerOptions(model, target) } });
		}
		for (const [index, report] of (await checkManyOnHtp(python, jobs)).entries()) {
			expect(report, `job ${index}`).toMatchObject({ status: "ok", error: null, unsupported: [] });
			const least = leastHtpDb[index === 0 ? 1 : 0];
			expect(report.outputs[0]!.sqnrDb, `job ${index}`).toBeGreaterThan(least);
		}
	});
});
