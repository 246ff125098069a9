import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeNpz } from "../../src/arrays/npz.js";
import { readEncodings } from "../../src/encodings/read-encodings.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { writeModel } from "../../src/onnx/file.js";
import { modelOf } from "../support/build.js";
import { qgraph } from "./run.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-calibrate-"));
const model = path.join(folder, "model.onnx");
const output = path.join(folder, "model.encodings");

beforeAll(async () => {
	await writeModel(
		modelOf((b) => {
			b.input("x", DataType.FLOAT, ["batch", 4]);
			b.initializer("w", floatTensor([4, 2], [1, 2, 3, 4, 5, 6, 7, 8]));
			b.node("MatMul", ["x", "w"], ["product"]);
			b.node("Relu", ["product"], ["y"]);
			b.output("y");
		}),
		model,
	);
});
afterAll(() => rmSync(folder, { recursive: true }));

const calibrate = (...args: string[]) =>
	qgraph(folder, "calibrate", model, "--data", "random:4", "--dim", "batch=1", "-o", output, ...args);

test("writes encodings that apply-encodings takes", async () => {
	expect(await calibrate()).toEqual({
		code: 0,
		out: "ranges of 3 values from 4 samples; written: <folder>/model.encodings\n",
		err: "warning calibrate/random: ranges of random inputs are not those of real ones\n",
	});
	const { entries, version } = readEncodings(output);
	expect([version, entries.map(({ name }) => name)]).toEqual(["1.0.0", ["x", "product", "y"]]);
	const quantized = path.join(folder, "quantized.onnx");
	const converted = await qgraph(folder, "convert", "-q", "--encodings", output, model, quantized);
	expect(converted).toMatchObject({ code: 0, err: "" });
	expect((await qgraph(folder, "verify", "--dim", "batch=1", "--min-sqnr", "60", model, quantized)).code).toBe(0);
});

test("--json prints what was seen", async () => {
	const { code, out } = await calibrate("--force", "--json", "--bits", "8", "--symmetric", "--version", "2.0.0");
	const report = JSON.parse(out);
	expect([code, report.schema, report.samples]).toEqual([0, "qgraph-calibration", 4]);
	expect(report.values.map(({ name }: { name: string }) => name)).toEqual(["x", "product", "y"]);
	const { encodings } = JSON.parse(readFileSync(output, "utf8"));
	expect(encodings[0]).toMatchObject({ name: "x", output_dtype: "uint8", y_zero_point: 128 });
});

test.each(["moving-average", "percentile", "mse", "entropy"])("--observer %s", async (observer) => {
	expect((await calibrate("--force", "-q", "--observer", observer, "--bits", "8")).code).toBe(0);
	const [x] = readEncodings(output).entries;
	expect(x).toMatchObject({ name: "x", codes: { signed: false, bits: 8 } });
});

test("--importance and --hessian write what convert reads", async () => {
	const [importance, hessian] = [path.join(folder, "importance.npz"), path.join(folder, "hessian")];
	const { out } = await calibrate("--force", "--importance", importance, "--hessian", hessian);
	expect(out).toContain("written: <folder>/model.encodings, <folder>/importance.npz, <folder>/hessian\n");
	const recipe = ["--recipe", "16a4w", "--importance", importance, "--hessian", hessian, "--json", "--dry-run"];
	const converted = await qgraph(folder, "convert", ...recipe, model);
	const { weights, diagnostics } = JSON.parse(converted.out);
	expect(weights.map(({ code }: { code: string }) => code)).not.toContain("recipe/no-statistics");
	expect(diagnostics.filter(({ code }: { code: string }) => code === "recipe/no-statistics")).toEqual([]);
	expect(weights).toHaveLength(1);
});

test("--input-value settles a branch, and samples need not say it", async () => {
	const branching = path.join(folder, "branching.onnx");
	const byRate = modelOf((b) => {
		b.input("x", DataType.FLOAT, [1, 4]);
		b.input("sr", DataType.INT64, []);
		b.initializer("high", int64Tensor([], [16000]));
		b.node("Equal", ["sr", "high"], ["isHigh"]);
		const branch = (name: string, op: string) =>
			b.subgraph(name, (inner) => {
				inner.node(op, ["x"], [`${name}_inner`]);
				inner.node("Sigmoid", [`${name}_inner`], [`${name}_y`]);
				inner.output(`${name}_y`);
			});
		b.node("If", ["isHigh"], ["y"], { then_branch: branch("then", "Relu"), else_branch: branch("else", "Neg") }, "if");
		b.output("y");
	});
	await writeModel(byRate, branching);
	const samples = path.join(folder, "x.npz");
	const bytes = new Uint8Array(Float32Array.of(-1, 2, 3, -4).buffer);
	writeNpz(samples, new Map([["x", { type: "float32" as const, shape: [1, 4], bytes }]]));
	const given = ["calibrate", branching, "--data", samples, "-o", output, "--force"];
	const without = await qgraph(folder, ...given);
	expect([without.code, without.err]).toEqual([1, expect.stringContaining("has no array 'sr'")]);
	for (const [rate, taken] of [
		["16000", "then"],
		["8000", "else"],
	] as const) {
		const value = ["--input-value", `sr=${rate}`];
		expect(await qgraph(folder, ...given, ...value)).toMatchObject({ code: 0, err: "" });
		const names = readEncodings(output).entries.map(({ name }) => name);
		expect(names).toEqual(["x", `${taken}_inner_1`, `${taken}_y_1`, "y"]);
		const quantized = path.join(folder, `branching-${taken}.onnx`);
		const { code, out } = await qgraph(
			folder,
			"quantize",
			branching,
			quantized,
			"--encodings",
			output,
			...value,
			"--json",
		);
		const codes = JSON.parse(out).diagnostics.map((diagnostic: { code: string }) => diagnostic.code);
		expect([code, codes]).toEqual([0, ["opset/current"]]);
	}
});

test("refuses before it works, and writes nothing then", async () => {
	rmSync(output, { force: true });
	const problems: [string[], number, string][] = [
		[["--seed", "-1"], 2, "--seed -1 is out of range"],
		[["--data", "nothing.txt"], 1, "there is no file or folder 'nothing.txt'"],
		[["--image-mean", "1,2"], 2, "'--image-mean 1,2' is not of the form"],
		[["--percentile", "99"], 2, "--percentile needs --observer percentile"],
		[["--percentile", "0", "--observer", "percentile"], 2, "--percentile 0 is out of range"],
		[["--dim", "batches=2"], 1, "no input has a dimension 'batches'"],
	];
	for (const [args, code, message] of problems) {
		const result = await calibrate(...args);
		expect([result.code, result.err]).toEqual([code, expect.stringContaining(message)]);
	}
	const below = path.join(model, "x.encodings");
	const misplaced = await qgraph(folder, "calibrate", model, "--data", "random:4", "--dim", "batch=1", "-o", below);
	expect([misplaced.code, misplaced.err]).toEqual([1, expect.stringContaining("there is no such folder")]);
	const moments = await calibrate("--force", "--hessian", path.join(model, "moments"));
	expect([moments.code, moments.err]).toEqual([
		1,
		expect.stringContaining("write/failed: cannot write second moments"),
	]);
	const dynamic = await qgraph(folder, "calibrate", model, "--data", "random:4", "-o", output);
	expect([dynamic.code, dynamic.err]).toEqual([1, expect.stringContaining("--dim batch=LENGTH")]);
	expect(existsSync(output)).toBe(false);
	expect((await calibrate()).code).toBe(0);
	expect(await calibrate()).toMatchObject({ code: 1, err: expect.stringContaining("write/exists") });
});
