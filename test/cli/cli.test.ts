import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { readModel, writeModel } from "../../src/onnx/file.js";
import { legalizingPasses } from "../../src/passes/index.js";
import { modelOf } from "../support/build.js";
import { expectGolden } from "../support/golden.js";
import { nbitsNode, nbitsWeight } from "../support/nbits.js";
import { blockWeight, quantized } from "../support/weights.js";
import { qgraph, transcript } from "./run.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-cli-"));
const input = path.join(folder, "in.onnx");
const output = path.join(folder, "out.onnx");

/** Two weights to convert, one of them used by a Gemm, and one float weight to leave alone. */
function sampleModel() {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, [4, 64]);
		const x = quantized(b, "x");
		const linear = (op: string, weight: string, y: string, attributes = {}) => {
			b.node(op, [x, weight], [`${y}_float`], attributes, y);
			b.node("Identity", [quantized(b, `${y}_float`)], [y]);
			b.output(y);
		};
		linear("MatMul", blockWeight(b, "layers.0.weight", { shape: [64, 32], axis: 0, blockSize: 32 }), "y0");
		const gemm = blockWeight(b, "layers.1.weight", { shape: [32, 64], axis: 1, blockSize: 32 });
		linear("Gemm", gemm, "y1", { transB: intAttribute(1) });
		b.initializer("layers.2.weight", floatTensor([64, 4], new Float32Array(256).fill(0.5)));
		linear("MatMul", "layers.2.weight", "y2");
	});
}

/** `Softmax(x W + b)`. */
function floatModel() {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, [2, 64]);
		b.initializer(
			"weight",
			floatTensor(
				[64, 32],
				Float32Array.from({ length: 2048 }, (_, at) => ((at * 37) % 101) / 500),
			),
		);
		b.initializer("bias", floatTensor([32], new Float32Array(32).fill(0.25)));
		b.node("MatMul", ["x", "weight"], ["product"], {}, "matmul");
		b.node("Add", ["product", "bias"], ["h"], {}, "add");
		b.node("Softmax", ["h"], ["y"], {}, "softmax");
		b.output("y");
	});
}

/** Of the float weight, its input, and a tensor that the model does not have. */
const encodings = path.join(folder, "in.encodings");
const entries = [
	{ name: "layers.2.weight", output_dtype: "int8", axis: 1, y_scale: [0.5, 0.25, 0.125, 0.0625] },
	{ name: "y2", output_dtype: "uint8", y_scale: 0.5, y_zero_point: 128 },
	{ name: "layers_2_bias", output_dtype: "int32", y_scale: 0.5 },
];

beforeAll(async () => {
	await writeModel(sampleModel(), input);
	writeFileSync(encodings, JSON.stringify({ version: "2.0.0", encodings: entries }));
	await writeModel(floatModel(), files.FLOAT_MODEL!);
	const ranges = ["x", "h"].map((name) => ({ name, output_dtype: "uint16", y_scale: 2 ** -14, y_zero_point: 32768 }));
	writeFileSync(files.RANGES!, JSON.stringify({ version: "2.0.0", encodings: ranges }));
});
afterAll(() => rmSync(folder, { recursive: true }));

const files: Readonly<Record<string, string>> = {
	ENCODINGS: encodings,
	FLOATS: path.join(folder, "float.onnx"),
	FLOAT_MODEL: path.join(folder, "all-float.onnx"),
	RANGES: path.join(folder, "ranges.encodings"),
	IN: input,
	OUT: output,
};

/** Runs a command line and compares all it shows with a golden file. */
async function shows(name: string, ...args: string[]) {
	rmSync(output, { force: true });
	const result = await qgraph(
		folder,
		...args.map((arg) => arg.replace(/ENCODINGS|FLOATS|FLOAT_MODEL|RANGES|IN|OUT/, (name) => files[name]!)),
	);
	expectGolden(`cli/${name}.txt`, transcript(args, result));
	return result;
}

describe("what the terminal shows", () => {
	test.each([
		["help", ["--help"]],
		["convert-help", ["convert", "--help"]],
		["list-passes", ["list-passes"]],
		["inspect", ["inspect", "IN"]],
		["print", ["print", "IN"]],
		["check", ["check", "--target", "qnn-htp:v79", "IN"]],
		["check-unknown-target", ["check", "--target", "qnn-htp:v85", "IN"]],
		["convert", ["convert", "--bq-to-lpbq", "IN", "OUT"]],
		["convert-max", ["convert", "--bq-to-lpbq", "--bq-to-lpbq-fit", "max", "IN", "OUT"]],
		["convert-nothing", ["convert", "IN", "OUT"]],
		["export-encodings", ["export-encodings", "IN", "OUT", "--version", "2.0.0", "--float-model", "FLOATS", "--force"]],
		["convert-encodings", ["convert", "--encodings", "ENCODINGS", "IN", "OUT"]],
		["convert-quantize", ["convert", "--recipe", "16a8w", "--encodings", "RANGES", "FLOAT_MODEL", "OUT"]],
		["dry-run", ["convert", "--bq-to-lpbq", "--dry-run", "IN"]],
		["include", ["convert", "--bq-to-lpbq", "--include", "layers.1.*", "--dry-run", "IN"]],
		["no-command", []],
		["unknown-command", ["transmogrify"]],
		["unknown-flag", ["convert", "--bq-to-lpqb", "IN", "OUT"]],
		["misspelled-required-flag", ["check", "--taget", "qnn-htp:v79", "IN"]],
		["flag-without-value", ["verify", "IN", "IN", "--on"]],
		["flag-twice", ["check", "--target", "qnn-htp:v73", "--target", "qnn-htp:v79", "IN"]],
		["unknown-pass", ["convert", "--passes", "bq-to-lpqb", "IN", "OUT"]],
		["wrong-choice", ["convert", "--bq-to-lpbq", "--bq-to-lpbq-fit", "best", "IN", "OUT"]],
		["wrong-exponent", ["convert", "--bq-to-lpbq", "--bq-to-lpbq-exponent", "2.5", "IN", "OUT"]],
		["option-without-pass", ["convert", "--bq-to-lpbq-fit", "max", "IN", "OUT"]],
		["no-output", ["convert", "--bq-to-lpbq", "IN"]],
		["missing-input", ["inspect", "INEXISTENT"]],
	])("%s", async (name, args) => {
		await shows(name, ...args);
	});

	test.each([
		["convert", "target"],
		["quantize", "target"],
		["calibrate", "data"],
		["check", "target"],
		["verify", "on"],
		["perplexity", "text"],
		["compile", "target"],
		["setup-htp", "python"],
		["explain", "recipe"],
		["analyze", "data"],
		["llm", "target"],
	])("%s names a flag that it does not have, whatever is missing besides", async (command, flag) => {
		const { code, err } = await qgraph(folder, command, `--${flag}x`, "1");
		expect([code, err.split("\n")[0]]).toEqual([2, `qgraph: Unknown argument: ${flag}x; did you mean '--${flag}'?`]);
	});
});

describe("convert", () => {
	test("--json prints the report and nothing else; --report writes the same", async () => {
		const file = path.join(folder, "report.json");
		const args = ["convert", "--bq-to-lpbq", "--force", "--json", "--report", file, input, output];
		const { code, out, err } = await qgraph("\0", ...args);
		expect([code, err]).toEqual([0, ""]);
		const report = JSON.parse(out);
		expect(report).toEqual(JSON.parse(readFileSync(file, "utf8")));
		expect(report).toMatchObject({ schema: "qgraph-report", schemaVersion: 1, written: true, input, output });
		expect(report.weights.map((weight: { status: string }) => weight.status).sort()).toEqual([
			"converted",
			"converted",
			"kept",
		]);
	});

	test("refuses to replace a file without --force, and leaves it alone", async () => {
		writeFileSync(output, "precious");
		const { code, err } = await qgraph(folder, "convert", "--bq-to-lpbq", input, output);
		expect([code, err]).toEqual([
			1,
			"qgraph: error write/exists: '<folder>/out.onnx' exists; use --force to replace it\n",
		]);
		expect(readFileSync(output, "utf8")).toBe("precious");
		expect((await qgraph(folder, "convert", "-q", "--force", input, output)).code).toBe(0);
		expect(readFileSync(output)).toEqual(readFileSync(input));
	});

	test("says at once that the output or the report cannot be written", async () => {
		for (const [args, problem] of [
			[[input, folder], "'<folder>': it exists and is not a file"],
			[["--force", input, folder], "'<folder>': it exists and is not a file"],
			[[input, path.join(folder, "no", "out.onnx")], "'<folder>/no/out.onnx': there is no such folder"],
			[
				["--dry-run", "--report", path.join(folder, "no", "r.json"), input],
				"'<folder>/no/r.json': there is no such folder",
			],
		] as const) {
			const { code, out, err } = await qgraph(folder, "convert", ...args);
			expect([code, out, err]).toEqual([1, "", `qgraph: error write/failed: cannot write ${problem}\n`]);
		}
	});

	test("--strict fails when a block-quantized weight stays, and writes nothing", async () => {
		rmSync(output, { force: true });
		const float = path.join(folder, "float.onnx");
		await writeModel(
			modelOf((b) => {
				b.input("x", DataType.FLOAT, [4, 64]);
				b.node("MatMul", ["x", blockWeight(b, "w", { shape: [64, 32], axis: 0, blockSize: 32 })], ["y"], {}, "matmul");
				b.output("y");
			}),
			float,
		);
		const { code, err } = await qgraph(folder, "convert", "-q", "--bq-to-lpbq", "--strict", float, output);
		expect(code).toBe(1);
		expect(err).toContain("weight/float-activations");
		expect(existsSync(output)).toBe(false);
		expect((await qgraph(folder, "convert", "-q", "--bq-to-lpbq", "--strict", input, output)).code).toBe(0);
	});

	test("--bq-to-lpbq brings weights into the form that it takes first, unless told not to", async () => {
		const packed = path.join(folder, "packed.onnx");
		await writeModel(
			modelOf((b) => {
				b.model.opsetImports.set("com.microsoft", 1);
				b.input("x", DataType.FLOAT, [4, 64]);
				const spec = { k: 64, n: 8 };
				nbitsNode(b, "x", nbitsWeight(b, "w", spec), "y", spec);
				b.output("y");
			}),
			packed,
		);
		const weights = async (...args: string[]) => {
			const activations = ["--bq-to-lpbq-activations", "any"];
			const { out } = await qgraph(
				folder,
				"convert",
				"--dry-run",
				"--json",
				"--bq-to-lpbq",
				...activations,
				...args,
				packed,
			);
			return (JSON.parse(out) as { weights: { op: string; code: string }[] }).weights.map(({ op, code }) => [op, code]);
		};
		expect(await weights()).toEqual([["MatMul", "weight/converted"]]);
		expect(await weights("--no-lower-matmul-nbits")).toEqual([["MatMulNBits", "weight/packed"]]);
	});

	test("--target runs what makes the model legal, unless told not to", async () => {
		const target = ["--target", "qnn-htp:v79", "--dry-run", "--json"];
		const passes = async (...args: string[]) => {
			const { out } = await qgraph(folder, "convert", ...target, ...args, input);
			return JSON.parse(out) as { target: string; passes: { name: string }[]; findings: { rule: string }[] };
		};
		const all = await passes();
		const names = legalizingPasses.map(({ definition }) => definition.name);
		expect(all.passes.map(({ name }) => name)).toEqual(names);
		expect(all.target).toBe("qnn-htp:v79");
		expect(new Set(all.findings.map(({ rule }) => rule))).toEqual(new Set(["htp/block-fp16"]));
		expect((await passes("--bq-to-lpbq")).findings).toEqual([]);
		const without = await passes("--bq-to-lpbq", "--no-lower-gemm", "--annotate-block-quant", "--allow-illegal");
		expect(without.passes.map(({ name }) => name).sort()).toEqual(
			[...names.filter((name) => name !== "lower-gemm"), "annotate-block-quant", "bq-to-lpbq"].sort(),
		);
		expect(without.findings.map(({ rule }) => rule)).toContain("htp/lpbq-gemm-form");
	});

	test("--target writes nothing that the target computes wrong, unless --allow-illegal", async () => {
		const args = ["convert", "-q", "--target", "qnn-htp:v79", "--passes", "bq-to-lpbq", "--force", input, output];
		rmSync(output, { force: true });
		const { code, err } = await qgraph(folder, ...args);
		expect(code).toBe(1);
		expect(err).toMatch(/^qgraph: error target\/illegal: .*'y1'.* nothing was written\n$/);
		expect(existsSync(output)).toBe(false);
		expect((await qgraph(folder, ...args, "--allow-illegal")).code).toBe(0);
		expect((await qgraph(folder, "check", "--target", "qnn-htp:v79", output)).code).toBe(1);
		expect((await qgraph(folder, "convert", "--allow-illegal", input, output)).code).toBe(2);
	});

	test("over the input itself, leaving no other files", async () => {
		const copy = path.join(folder, "copy.onnx");
		await writeModel(await readModel(input), copy);
		const before = readdirSync(folder);
		expect((await qgraph(folder, "convert", "-q", "--force", "--bq-to-lpbq", copy, copy)).code).toBe(0);
		expect(readdirSync(folder)).toEqual(before);
		const { code, out } = await qgraph(folder, "convert", "--dry-run", "--bq-to-lpbq", copy);
		expect(code).toBe(0);
		expect(out).toContain("lpbq/already");
	});

	test("takes reference weights from a float model, by suffix and by map", async () => {
		const float = path.join(folder, "original.onnx");
		const random = (count: number) =>
			Float32Array.from({ length: count }, (_, index) => Math.sin(index * 12.9898) * 0.3);
		await writeModel(
			modelOf((b) => {
				b.input("x", DataType.FLOAT, [4, 64]);
				b.initializer("layers.0.weight", floatTensor([64, 32], random(2048)));
				b.initializer("renamed", floatTensor([32, 64], random(2048)));
				b.node("MatMul", ["x", "layers.0.weight"], ["y"]);
				b.output("y");
			}),
			float,
		);
		const map = path.join(folder, "names.json");
		writeFileSync(map, JSON.stringify({ "layers.1.weight": "renamed" }));
		const args = ["convert", "--bq-to-lpbq", "--float-weights", float, "--json", "--dry-run", input];
		const references = async (...more: string[]) => {
			const { out } = await qgraph("\0", ...args, ...more);
			const weights: { weight: string; reference?: string }[] = JSON.parse(out).weights;
			return weights.filter(({ reference }) => reference).map(({ weight, reference }) => `${weight} ${reference}`);
		};
		expect(await references()).toEqual(["layers.0.weight float", "layers.1.weight bq"]);
		const mapped = await references("--bq-to-lpbq-float-weights-map", map);
		expect(mapped).toEqual(["layers.0.weight float", "layers.1.weight float"]);
	});

	test("says that a data file is missing", async () => {
		const external = path.join(folder, "external.onnx");
		await writeModel(sampleModel(), external, { externalData: "one-file" });
		rmSync(`${external}.data`);
		const { err } = await qgraph(folder, "convert", "-q", "--dry-run", external);
		expect(err).toContain("data file 'external.onnx.data' is not there");
	});

	test("--save-annotations puts them into the file", async () => {
		rmSync(output, { force: true });
		await qgraph(
			folder,
			"convert",
			"-q",
			"--annotate-block-quant",
			"--bq-to-lpbq",
			"--save-annotations",
			input,
			output,
		);
		const { out } = await qgraph(folder, "print", output);
		expect(out).toContain('qgraph.weight.scheme="lpbq"');
	});
});

describe("diff", () => {
	test("shows what a conversion changed; exit code 1", async () => {
		const converted = path.join(folder, "converted.onnx");
		await qgraph(folder, "convert", "-q", "--bq-to-lpbq", "--bq-to-lpbq-fit", "max", input, converted);
		const result = await qgraph(folder, "diff", input, converted);
		expectGolden("cli/diff.txt", transcript(["diff", "IN", "OUT"], result));
		expect(result.code).toBe(1);
	});

	test("of a model and itself", async () => {
		const result = await qgraph(folder, "diff", input, input);
		expect([result.code, result.out]).toEqual([0, expect.stringContaining("no differences")]);
	});
});

test("names in a model do not reach the terminal as control characters", async () => {
	const hostile = path.join(folder, "hostile.onnx");
	const name = "w\u001b[2J\u009b31m\nqgraph: all is well";
	await writeModel(
		modelOf((b) => {
			b.input("x", DataType.FLOAT, [4, 64]);
			b.node("MatMul", ["x", blockWeight(b, name, { shape: [64, 32], axis: 0, blockSize: 32 })], ["y"], {}, name);
			b.output("y");
		}),
		hostile,
	);
	expect((await qgraph(folder, "inspect", hostile)).out).toContain("w\\u001b[2J");
	for (const args of [
		["inspect", hostile],
		["print", hostile],
		["diff", input, hostile],
		["check", "--target", "qnn-htp:v79", hostile],
		["convert", "--bq-to-lpbq", "--dry-run", hostile],
		["convert", "--bq-to-lpbq", "--strict", "--dry-run", hostile],
	]) {
		const { out, err } = await qgraph(folder, ...args);
		expect(out + err, args.join(" ")).not.toMatch(/(?!\n)\p{Cc}|^qgraph: all is well/mu);
	}
});
