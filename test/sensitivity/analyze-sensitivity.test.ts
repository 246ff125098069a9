import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeNpz } from "../../src/arrays/npz.js";
import { bytesOf } from "../../src/ir/tensor.js";
import { writeModel } from "../../src/onnx/file.js";
import { quantizeModel } from "../../src/quantize/quantize-model.js";
import { readExecutorchRecipe } from "../../src/recipe/executorch.js";
import { settingOf } from "../../src/recipe/recipe.js";
import type { Analysis, AnalyzedUnit, SuggestedRecipe } from "../../src/sensitivity/analysis.js";
import { analyzeSensitivity } from "../../src/sensitivity/analyze-sensitivity.js";
import { mixedSource } from "../support/random.js";
import { HIDDEN, LAYERS, PLANTED, plantedDecoder, SEQUENCE } from "./planted-decoder.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-sensitivity-test-"));
const model = path.join(folder, "decoder.onnx");
const small = path.join(folder, "small.onnx");
const SMALL_LAYERS = 2;
const data = path.join(folder, "samples.npz");

beforeAll(async () => {
	await writeModel(plantedDecoder(LAYERS), model);
	await writeModel(plantedDecoder(SMALL_LAYERS), small);
	const random = mixedSource(11);
	// the tokens of a sample resemble each other, so that attention does not average them away
	const normal = () => 2 * (random() + random() + random() - 1.5);
	const elements = new Float32Array(12 * SEQUENCE * HIDDEN);
	for (let sample = 0; sample < 12; sample++) {
		const common = Float32Array.from({ length: HIDDEN }, normal);
		const start = sample * SEQUENCE * HIDDEN;
		for (let index = 0; index < SEQUENCE * HIDDEN; index++) {
			elements[start + index] = common[index % HIDDEN]! + 0.5 * normal();
		}
	}
	writeNpz(data, new Map([["x", { type: "float32", shape: [12, 1, SEQUENCE, HIDDEN], bytes: bytesOf(elements) }]]));
});
afterAll(() => rmSync(folder, { recursive: true }));

const BLOCKS = [settingOf("16a4w_block", { blockSize: 16 }), settingOf("16a8w")];

const planted = [PLANTED.outlier, PLANTED.heavy, PLANTED.wide].sort();

/** The weights that a figure ranks first. */
function worstBy({ units }: Analysis, figure: (unit: AnalyzedUnit) => number | null): string[] {
	const measured = units.filter((unit) => unit.elements > 0 && figure(unit) !== null);
	return [...measured].sort((a, b) => figure(a)! - figure(b)!).map(({ name }) => name);
}

describe("a decoder with planted bad layers", () => {
	let analysis: Analysis;
	let files: ReadonlyMap<string, string>;

	beforeAll(async () => {
		({ analysis, files } = await analyzeSensitivity(model, {
			recipe: "16a4w",
			data: [data],
			fit: "max",
			candidates: [settingOf("16a8w")],
			thresholdDb: 17.2,
			endToEndUnits: 8,
		}));
	}, 120_000);

	test("isolated and cumulative noise rank the bad ones first", () => {
		expect(
			worstBy(analysis, (unit) => unit.isolatedSqnrDb)
				.slice(0, 3)
				.sort(),
		).toEqual(planted);
		expect(
			worstBy(analysis, (unit) => unit.cumulativeSqnrDb)
				.slice(0, 3)
				.sort(),
		).toEqual(planted);
	});

	test("units are the projections of a layer, products and the head", () => {
		const layer = analysis.units
			.filter((unit) => unit.layer === 3)
			.map(({ name, kind, weights }) => [name, kind, weights.length]);
		expect(layer).toEqual([
			["model.layers.3.self_attn.qkv", "fused", 3],
			["/model.layers.3.scores", "attention-product", 0],
			["/model.layers.3.attended", "attention-product", 0],
			["model.layers.3.self_attn.o_proj.weight", "weight", 1],
			["model.layers.3.mlp.up_proj.weight", "weight", 1],
			["model.layers.3.mlp.down_proj.weight", "weight", 1],
		]);
		expect(analysis.units.at(-1)).toMatchObject({ name: "lm_head.weight", role: "lm_head", layer: null });
		expect(analysis.units).toHaveLength(6 * LAYERS + 1);
		expect(new Set(analysis.units.map(({ name }) => name)).size).toBe(analysis.units.length);
	});

	test("groups are those of ExecuTorch, with its columns", () => {
		const csv = files.get("decoder_quantization_error.csv")!.trim().split("\n");
		expect(csv[0]).toBe("group_name,avg_sqnr,median_sqnr,min_sqnr,max_sqnr,count");
		// six linear operators and two products in five buckets of four layers, and the head
		expect(csv).toHaveLength(1 + 5 * (6 + 2) + 1);
		expect(csv.find((row) => row.startsWith("layers.[4-7].mlp.down_proj,"))).toMatch(/,4$/);
		expect(csv.find((row) => row.startsWith("lm_head,"))).toMatch(/,1$/);
	});

	test("the suggested recipe promotes the sensitive groups, says why, and quantizes unchanged", async () => {
		const text = files.get("recipe.yaml")!;
		const recipe = path.join(folder, "recipe.yaml");
		writeFileSync(recipe, text);
		for (const weight of planted) {
			const unit = analysis.units.find(({ name }) => name === weight)!;
			expect(unit.suggestion).toMatchObject({ name: "16a8w", change: "promoted" });
			expect(text).toContain(`${weight} # group layers.[`);
		}
		const { weights, diagnostics, onCpu } = await quantizeModel(model, path.join(folder, "quantized.onnx"), {
			recipe,
			data: [data],
			gptq: false,
		});
		expect(diagnostics.filter(({ code }) => code === "recipe/unmatched")).toEqual([]);
		const precisions = new Map(weights.map(({ weight, precision }) => [weight, precision]));
		for (const unit of analysis.units) {
			for (const { name } of unit.weights) expect(precisions.get(name)).toBe(unit.suggestion!.name);
		}
		expect(onCpu!.worstSqnrDb).toBeGreaterThan(20);
	});

	test("the Python recipe has a class for each block size that fits, with the promotions", () => {
		const python = files.get("decoder_suggest_recipe.py")!;
		expect(python.match(/^class \w+/gm)).toEqual([
			"class decoder_BlockSize16QuantRecipe",
			"class decoder_BlockSize32QuantRecipe",
		]);
		expect(python).toContain("# [Added by SqnrAnalyzer]");
		expect(python).toContain("HOW TO USE THESE RECIPES");
		expect(python).toContain(String.raw`[._](?:12|13|14|15)[._]mlp\.down_proj`);
		expect(python).toContain(String.raw`layers\.(?:12|13|14|15)\.feed_forward\..*w2_conv`);
		expect(python).not.toMatch(/MatMul/);
		const { rules } = readExecutorchRecipe(python.slice(0, python.indexOf("class decoder_BlockSize32")), "one.py");
		const isProduct = (name: string) => analysis.units.find((unit) => unit.name === name)!.elements === 0;
		const sensitive = analysis.groups.filter(({ isSensitive }) => isSensitive);
		expect(sensitive.filter(({ units }) => units.some(isProduct)).length).toBeGreaterThan(0);
		expect(rules.length).toBe(sensitive.filter(({ units }) => !units.some(isProduct)).length);
	});

	test("the head has logits: divergence counts, and its noise is weighted", () => {
		expect(analysis.options).toMatchObject({ loss: "kl-divergence", headWeight: 1, samples: 11, heldOut: 1 });
		const measured = analysis.units.filter(({ endToEndMeasured }) => endToEndMeasured);
		expect(measured).toHaveLength(8);
		for (const { klDivergence, endToEndSqnrDb } of measured) {
			expect(klDivergence).toBeGreaterThan(0);
			expect(endToEndSqnrDb).toBeGreaterThan(10);
		}
	});

	test("it says what is bad about the inputs and the weights", () => {
		const causes = (name: string) => analysis.units.find((unit) => unit.name === name)!.causes.join();
		expect(causes(PLANTED.outlier)).toMatch(/^input channel 3 is \d+ times as large as the median one$/);
		expect(causes(PLANTED.wide)).toMatch(/^input channel 7 is \d+ times/);
	});

	test("histograms count all weights and codes", () => {
		for (const { elements, weightHistogram, codeHistograms } of analysis.units) {
			const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
			if (elements === 0) expect([weightHistogram, codeHistograms]).toEqual([null, []]);
			else
				expect([sum(weightHistogram!.counts), ...codeHistograms.map(({ counts }) => sum(counts))]).toContain(elements);
			for (const { first, counts } of codeHistograms)
				expect([first, counts.length]).toEqual(counts.length === 16 ? [-8, 16] : [-128, 256]);
		}
	});
});

describe("what is asked for", () => {
	test("without samples weights alone are looked at, heads and embeddings four times", async () => {
		const { analysis, files } = await analyzeSensitivity(small, {
			recipe: "16a4w",
			budget: "6bpw",
			fit: "max",
			candidates: BLOCKS,
		});
		expect(analysis.options).toMatchObject({ data: [], samples: 0, headWeight: 4, loss: "noise" });
		expect(analysis.groups).toEqual([]);
		const [heavy] = worstBy(analysis, (unit) => unit.isolatedSqnrDb);
		expect(heavy).toBe(PLANTED.early);
		expect(analysis.units.every((unit) => unit.cumulativeSqnrDb === null && unit.endToEndSqnrDb === null)).toBe(true);
		const chosen = analysis.points.find(({ isChosen }) => isChosen)!;
		expect(chosen.bitsPerWeight).toBeLessThanOrEqual(6);
		expect(chosen.bitsPerWeight).toBeGreaterThan(5.5);
		expect([...files.keys()]).toEqual(["recipe.yaml"]);
	});

	test("isolated noise only", async () => {
		const { analysis, files } = await analyzeSensitivity(small, { data: [data], measures: "isolated", fit: "max" });
		expect(analysis.units.every(({ candidates }) => candidates.length === 1)).toBe(true);
		expect(analysis.units.every(({ isolatedSqnrDb }) => isolatedSqnrDb !== null)).toBe(true);
		expect(worstBy(analysis, (unit) => unit.isolatedSqnrDb)).toContain(PLANTED.early);
		expect([analysis.points, analysis.suggestions, files.size]).toEqual([[], [], 0]);
	});

	test("activations of 8 bits count in what is predicted and measured", async () => {
		const options = { recipe: "8a8w", data: [data], fit: "max", candidates: [settingOf("16a4w")], holdOut: 4 } as const;
		const { analysis } = await analyzeSensitivity(small, { ...options, thresholdDb: 1, grouping: "unit" });
		const [{ predictedSqnrDb, measuredSqnrDb }] = analysis.suggestions as [SuggestedRecipe];
		const base = analysis.points.find(({ kind }) => kind === "base")!;
		expect(Math.abs(base.measuredSqnrDb! - measuredSqnrDb!)).toBeLessThan(0.2);
		expect(Math.abs(predictedSqnrDb! - measuredSqnrDb!)).toBeLessThan(1.5);
		const coarse = analysis.points.find(({ label }) => label === "16a4w")!;
		expect(coarse.measuredSqnrDb!).toBeLessThan(base.measuredSqnrDb!);
	});

	test("a unit threshold promotes each unit as far as it needs", async () => {
		const { analysis } = await analyzeSensitivity(small, {
			thresholdDb: 20,
			grouping: "unit",
			fit: "max",
			recipe: "16a4w",
			candidates: BLOCKS,
		});
		for (const { candidates, suggestion, isolatedSqnrDb } of analysis.units.filter(({ elements }) => elements > 0)) {
			const chosen = candidates.find(({ name }) => name === suggestion!.name)!;
			if (isolatedSqnrDb! >= 20) expect(suggestion!.change).toBe("same");
			else expect(chosen.weightSqnrDb).toBeGreaterThanOrEqual(20);
		}
	});

	test("a budget that nothing keeps is refused", async () => {
		const work = analyzeSensitivity(small, { budget: "2bpw", fit: "max" });
		await expect(work).rejects.toMatchObject({ code: "recipe/budget" });
		await expect(analyzeSensitivity(small, { budget: "much" })).rejects.toMatchObject({ code: "recipe/budget" });
	});

	test("an interrupted analysis is partial, and goes on where it ended", async () => {
		const workFolder = path.join(folder, "work");
		const stop = new AbortController();
		const options = { data: [data], fit: "max", measures: "isolated", workFolder } as const;
		const steps: string[] = [];
		const first = await analyzeSensitivity(small, {
			...options,
			signal: stop.signal,
			onProgress: (step, done) => {
				if (step === "measuring units" && done === 5) stop.abort();
			},
		});
		expect(first.analysis.isPartial).toBe(true);
		expect(first.analysis.units).toHaveLength(6 * SMALL_LAYERS + 1);
		const known = first.analysis.units.filter(({ isolatedSqnrDb }) => isolatedSqnrDb !== null).length;
		expect(known).toBeGreaterThanOrEqual(5);
		expect(known).toBeLessThan(first.analysis.units.length);
		const second = await analyzeSensitivity(small, {
			...options,
			resume: true,
			onProgress: (step) => steps.push(step),
		});
		const whole = await analyzeSensitivity(small, { ...options, workFolder: undefined });
		expect(second.analysis).toEqual(whole.analysis);
		const other = analyzeSensitivity(small, { ...options, recipe: "16a8w", resume: true });
		await expect(other).rejects.toMatchObject({ code: "analyze/state" });
	});

	test("a folder belongs to one analysis at a time", async () => {
		const workFolder = path.join(folder, "shared-work");
		const options = { data: [data], fit: "max", measures: "isolated", workFolder } as const;
		const first = analyzeSensitivity(small, options);
		const second = analyzeSensitivity(small, options);
		const [one, other] = await Promise.allSettled([first, second]);
		const refused = one.status === "rejected" ? one : other;
		expect([one.status, other.status].sort()).toEqual(["fulfilled", "rejected"]);
		expect(refused).toMatchObject({ reason: { code: "analyze/state", message: expect.stringContaining("works in") } });
		// a process that has ended left its mark
		const ended = spawnSync(process.execPath, ["--version"]).pid;
		writeFileSync(path.join(workFolder, "lock"), `${ended}\n`);
		await analyzeSensitivity(small, options);
		expect(existsSync(path.join(workFolder, "lock"))).toBe(false);
	});

	test("samples that are not finite are counted and left out", async () => {
		const file = path.join(folder, "infinite.npz");
		const elements = Float32Array.from({ length: 3 * SEQUENCE * HIDDEN }, (_, index) => Math.sin(index));
		elements[40] = Number.POSITIVE_INFINITY;
		writeNpz(file, new Map([["x", { type: "float32", shape: [3, 1, SEQUENCE, HIDDEN], bytes: bytesOf(elements) }]]));
		const { analysis } = await analyzeSensitivity(small, {
			data: [file],
			measures: "isolated",
			fit: "max",
			holdOut: 0,
		});
		for (const { notFiniteSamples, isolatedSqnrDb } of analysis.units) {
			expect([notFiniteSamples, Number.isFinite(isolatedSqnrDb)]).toEqual([1, true]);
		}
	});
});
