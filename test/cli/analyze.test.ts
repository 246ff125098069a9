import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeNpz } from "../../src/arrays/npz.js";
import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { writeModel } from "../../src/onnx/file.js";
import { SIZES, writeGenaiDirectory } from "../llm/genai-directory.js";
import { plantedDecoder } from "../sensitivity/planted-decoder.js";
import { modelOf } from "../support/build.js";
import { mixedSource } from "../support/random.js";
import { IMAGE_FLAGS, imageSamples } from "./image-samples.js";
import { qgraph } from "./run.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-analyze-cli-"));
const model = path.join(folder, "decoder.onnx");
const output = path.join(folder, "analysis");

beforeAll(() => writeModel(plantedDecoder(1), model));
afterAll(() => rmSync(folder, { recursive: true }));

test("analyze writes the analysis and what it suggests, and prints the worst", async () => {
	const args = ["analyze", model, "-o", output, "--recipe", "16a4w", "--budget", "6bpw", "--data", "random:6"];
	const { code, out, err } = await qgraph(folder, ...args);
	expect([code, err]).toEqual([0, ""]);
	expect(out).toMatch(/^unit +kind +is now +alone +together +end to end +suggested\n/);
	expect(out).toMatch(/\* suggested, \d\.\d\d bits a weight/);
	expect(out).toContain(
		"written: <folder>/analysis: report.html, analysis.json, recipe.yaml, decoder_quantization_error.csv",
	);
	const analysis = JSON.parse(readFileSync(path.join(output, "analysis.json"), "utf8"));
	expect(analysis).toMatchObject({ schema: "qgraph-analysis", isPartial: false, options: { data: ["random:6"] } });
	expect(readFileSync(path.join(output, "recipe.yaml"), "utf8")).toContain("% of the noise as 16a4w");
	const report = readFileSync(path.join(output, "report.html"), "utf8");
	const [, data] = /id="analysis">(.*?)<\/script>/s.exec(report)!;
	expect(JSON.parse(data!)).toEqual(analysis);
	expect(existsSync(path.join(output, "work"))).toBe(false);
	const again = await qgraph(folder, ...args);
	expect([again.code, again.err]).toEqual([
		1,
		"qgraph: error write/exists: '<folder>/analysis/analysis.json' exists; use --force to replace it\n",
	]);
});

test("analyze --input-value fixes an input, which samples need not have then", async () => {
	const counted = path.join(folder, "counted.onnx");
	const random = mixedSource(3);
	const numbers = (count: number) => Float32Array.from({ length: count }, () => random() - 0.5);
	const timesCount = modelOf((b) => {
		b.input("x", DataType.FLOAT, ["rows", 64]);
		b.input("count", DataType.INT64, ["rows", 1]);
		b.node("Cast", ["count"], ["many"], { to: intAttribute(DataType.FLOAT) });
		b.initializer("w", floatTensor([64, 32], numbers(2048)));
		b.node("MatMul", ["x", "w"], ["product"], {}, "linear");
		b.node("Mul", ["product", "many"], ["y"]);
		b.output("y");
	});
	await writeModel(timesCount, counted);
	const samples = path.join(folder, "x.npz");
	const bytes = new Uint8Array(numbers(6 * 2 * 64).buffer);
	writeNpz(samples, new Map([["x", { type: "float32" as const, shape: [6, 2, 64], bytes }]]));
	const args = ["analyze", counted, "-o", path.join(folder, "counted"), "--json", "--force", "--recipe", "16a4w"];
	const given = [...args, "--data", samples, "--dim", "rows=2"];
	const without = await qgraph(folder, ...given);
	expect([without.code, without.err]).toEqual([1, expect.stringContaining("has no array 'count'")]);
	const { code, out, err } = await qgraph(folder, ...given, "--input-value", "count=12");
	expect([code, err]).toEqual([0, ""]);
	const { units } = JSON.parse(out);
	expect(units).toEqual([expect.objectContaining({ name: "w", endToEndSqnrDb: expect.any(Number) })]);
});

test("analyze --json prints units", async () => {
	const args = ["analyze", model, "-o", output, "--force", "--json", "--measure", "isolated", "--recipe", "16a8w"];
	const { code, out } = await qgraph(folder, ...args);
	expect(code).toBe(0);
	const { units } = JSON.parse(out);
	expect(units.map(({ kind }: { kind: string }) => kind)).toEqual([
		"fused",
		"attention-product",
		"attention-product",
		"weight",
		"weight",
		"weight",
		"weight",
	]);
	for (const unit of units.filter(({ elements }: { elements: number }) => elements > 0)) {
		expect(unit).toMatchObject({ base: "16a8w", cumulativeSqnrDb: null, endToEndSqnrDb: null, suggestion: null });
		expect(unit.isolatedSqnrDb).toBeGreaterThan(30);
		expect(unit.candidates).toHaveLength(1);
	}
});

test("Ctrl-C leaves an analysis that can be used, and --resume goes on, in another place, too", async () => {
	const cut = path.join(folder, "cut");
	const args = (output: string) => {
		const measures = ["--recipe", "16a4w", "--budget", "6bpw", "--fit", "max", "--data", "random:6"];
		return ["analyze", model, "-o", output, ...measures];
	};
	const stop = new AbortController();
	const look = setInterval(() => existsSync(path.join(cut, "work", "unit-3-0-16a4w.onnx")) && stop.abort(), 1);
	const first = await qgraph(folder, stop.signal, ...args(cut));
	clearInterval(look);
	expect([first.code, first.err]).toEqual([
		130,
		"qgraph: interrupted; '<folder>/cut' has what was measured until then, --resume goes on with it\n",
	]);
	const read = (of: string) => readFileSync(path.join(of, "analysis.json"), "utf8");
	const partial = JSON.parse(read(cut));
	expect(partial).toMatchObject({ isPartial: true, suggestions: [] });
	const known = partial.units.filter((unit: { isolatedSqnrDb: number | null }) => unit.isolatedSqnrDb !== null).length;
	expect(known).toBeGreaterThan(0);
	expect(known).toBeLessThan(partial.units.length);
	expect(readFileSync(path.join(cut, "report.html"), "utf8")).toContain("isPartial");
	const moved = path.join(folder, "moved");
	renameSync(cut, moved);
	const second = await qgraph(folder, ...args(moved), "--resume");
	expect([second.code, second.err]).toEqual([0, ""]);
	expect(existsSync(path.join(moved, "work"))).toBe(false);
	const whole = path.join(folder, "whole");
	expect((await qgraph(folder, ...args(whole))).code).toBe(0);
	expect(read(moved)).toBe(read(whole));
});

test("analyze refuses wrong usage", async () => {
	const both = await qgraph(folder, "analyze", model, "-o", output, "--budget", "4bpw", "--threshold", "10");
	expect(both.code).toBe(2);
	const nothing = await qgraph(folder, "analyze", model);
	expect(nothing.code).toBe(2);
	const taken = await qgraph(folder, "analyze", model, "-o", model);
	expect([taken.code, taken.err]).toEqual([
		1,
		"qgraph: error write/failed: cannot write '<folder>/decoder.onnx': it exists and is no folder\n",
	]);
});

test("analyze --tokens adds perplexities of a language model, the float one's first", async () => {
	const genai = path.join(folder, "genai");
	writeGenaiDirectory(genai);
	const ids = path.join(folder, "ids.json");
	const tokens = Array.from({ length: 40 }, (_, index) => (index * index * 7 + 3) % SIZES.vocabulary);
	writeFileSync(ids, JSON.stringify(tokens));
	const args = ["analyze", path.join(genai, "model.onnx"), "-o", path.join(folder, "language"), "--recipe", "16a4w"];
	const { code, out, err } = await qgraph(folder, ...args, "--tokens", ids, "--token-limit", "30", "--budget", "6bpw");
	expect([code, err]).toEqual([0, ""]);
	expect(out).toMatch(
		/model +perplexity +KL, nats +same best guess\nfloat +\d+\.\d{4}\nbase +\d+\.\d{4} +0\.\d+ +\d+\.\d %/,
	);
	const { perplexity } = JSON.parse(readFileSync(path.join(folder, "language", "analysis.json"), "utf8"));
	expect(perplexity.map(({ recipe }: { recipe: string }) => recipe)).toEqual(["float", "base", "16a4w-6bpw"]);
	const [float, base, suggested] = perplexity;
	expect([float, base, suggested].map((entry) => entry.tokens)).toEqual([29, 29, 29]);
	expect(suggested.klDivergence).toBeGreaterThan(0);
	expect(suggested.klDivergence).toBeLessThan(base.klDivergence);
});

test("analyze says at once that a model predicts no tokens", async () => {
	const args = ["analyze", model, "-o", path.join(folder, "none"), "--tokens", path.join(folder, "ids.json")];
	const { code, err } = await qgraph(folder, ...args);
	expect(code).toBe(1);
	expect(err).toContain("qgraph: error language/model:");
	const text = await qgraph(folder, "analyze", model, "-o", path.join(folder, "none"), "--text", "wiki.txt");
	expect([text.code, text.err]).toEqual([
		2,
		"qgraph: there is no tokenizer.json beside the model; name it with --tokenizer\nSee 'qgraph analyze --help'.\n",
	]);
});

test("analyze prepares images as it is told", async () => {
	const { model: seeing, images, arrays } = await imageSamples(folder);
	const base = ["-o", output, "--force", "--json", "--recipe", "8a8w"];
	const unitsOf = async (...args: string[]) => {
		const { code, out } = await qgraph(folder, "analyze", seeing, ...base, ...args);
		expect(code).toBe(0);
		return JSON.parse(out).units;
	};
	const units = await unitsOf("--data", images, ...IMAGE_FLAGS);
	expect(units).toEqual(await unitsOf("--data", arrays));
	expect(units).not.toEqual(await unitsOf("--data", images));
	const { code, err } = await qgraph(folder, "analyze", seeing, ...base, ...IMAGE_FLAGS);
	expect([code, err]).toEqual([2, expect.stringContaining("image-mean -> data")]);
});
