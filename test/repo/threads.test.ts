import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { writeModel } from "../../src/onnx/file.js";
import { Random } from "../../src/quant/random.js";
import { qgraph } from "../cli/run.js";
import { modelOf } from "../support/build.js";
import { runBuilt, temporaryFolder } from "./run.js";

/* What runs on threads only once it is built. */

it("calibrates on threads as on one", async () => {
	const folder = temporaryFolder();
	const random = new Random("weights");
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, [4, 32]);
		b.initializer(
			"w",
			floatTensor(
				[32, 16],
				Array.from({ length: 512 }, () => random.normal()),
			),
		);
		b.initializer("mask", floatTensor([1, 16], [...Array(15).fill(0), -1e9]));
		b.node("MatMul", ["x", "w"], ["scores"]);
		b.node("Add", ["scores", "mask"], ["masked"]);
		b.node("Softmax", ["masked"], ["y"]);
		b.output("y");
	});
	const file = path.join(folder, "model.onnx");
	await writeModel(model, file);
	const results = (name: string) =>
		["out.encodings", "importance.json", "hessian/w.npy"].map((to) => path.join(folder, name, to));
	const args = ([output, importance, moments]: readonly string[]) => [
		...["calibrate", file, "--data", "random:40", "-q", "-o", output!, "--importance", importance!],
		...["--observer", "mse", "--bits", "8", "--hessian", path.dirname(moments!)],
	];
	for (const name of ["built", "source"]) mkdirSync(path.join(folder, name));
	await runBuilt("dist/bundle/main.js", ...args(results("built")));
	expect((await qgraph(folder, ...args(results("source")))).code).toBe(0);
	const [encodings, importance, moments] = results("built").map((to) => readFileSync(to));
	const [expectedEncodings, expectedImportance, expectedMoments] = results("source").map((to) => readFileSync(to));
	expect(encodings!.equals(expectedEncodings!)).toBe(true);
	const numbers = (bytes: Buffer): number[] => JSON.parse(bytes.toString("utf8")).w;
	for (const [index, value] of numbers(expectedImportance!).entries()) {
		expect(numbers(importance!)[index]).toBeCloseTo(value, 5);
	}
	expect(moments!.length).toBe(expectedMoments!.length);
});

it("a thread says what is wrong with a model and with samples", async () => {
	const folder = temporaryFolder();
	const file = path.join(folder, "model.onnx");
	const bad = modelOf((b) => {
		b.input("x", DataType.FLOAT, [1, 4]);
		b.node("NoSuchOperator", ["x"], ["y"]);
		b.output("y");
	});
	await writeModel(bad, file);
	const output = path.join(folder, "out.encodings");
	const calibrate = (data: string) => runBuilt("dist/bundle/main.js", "calibrate", file, "--data", data, "-o", output);
	await expect(calibrate("random:2")).rejects.toThrow(/error calibrate\/failed: ONNX Runtime does not load the model/);
	await writeModel(
		modelOf((b) => {
			b.input("x", DataType.FLOAT, [1, "n"]);
			b.initializer("w", floatTensor([4, 1], [1, 2, 3, 4]));
			b.node("MatMul", ["x", "w"], ["y"]);
			b.output("y");
		}),
		file,
		{ overwrite: true },
	);
	const samples = path.join(folder, "samples.jsonl");
	writeFileSync(samples, '{"x": [[1, 2, 3, 4]]}\n{"x": [[1, 2, 3]]}\n');
	await expect(calibrate(samples)).rejects.toThrow(/samples.jsonl, line 2': ONNX Runtime does not run the model/);
});
