import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { writeModel } from "../../src/onnx/file.js";
import { modelOf } from "../support/build.js";
import { mixedSource } from "../support/random.js";
import { IMAGE_FLAGS, imageSamples } from "./image-samples.js";
import { qgraph } from "./run.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-quantize-cli-"));
const model = path.join(folder, "model.onnx");
const output = path.join(folder, "out.onnx");

beforeAll(async () => {
	const random = mixedSource(1);
	await writeModel(
		modelOf((b) => {
			b.input("x", DataType.FLOAT, [2, 32]);
			b.initializer(
				"w",
				floatTensor(
					[32, 64],
					Float32Array.from({ length: 2048 }, () => random() - 0.5),
				),
			);
			b.node("MatMul", ["x", "w"], ["product"], {}, "linear");
			b.node("Relu", ["product"], ["y"]);
			b.output("y");
		}),
		model,
	);
});
afterAll(() => rmSync(folder, { recursive: true }));

test("quantize prints one report", async () => {
	const { code, out } = await qgraph(folder, "quantize", model, output, "--data", "random:20");
	expect(code).toBe(0);
	expect(
		out.replace(/-?\d+\.\d dB/g, "N dB").replace(/off by \d\.\d+/, "off by N"),
	).toBe(`operator  activations  weights                    count
MatMul    16 bits      8 bits, a scale a channel      1

recipe 16a8w, calibrated with 18 samples, 2 held out

weights: 8.0 KiB -> 2.3 KiB; the furthest from its original is 'w', N dB

warning calibrate/random: ranges of random inputs are not those of real ones

against the input, on samples that were held out:

N dB in the worst sample, N dB over all 2, on the CPU; off by N at most

gained by GPTQ: N dB on the CPU (N dB without)

written: <folder>/out.onnx
`);
	const without = await qgraph(folder, "quantize", model, output, "--data", "random:4", "--no-gptq-gain", "--force");
	expect(without.out).not.toContain("gained");
});

test("quantize shows blocks beside a scale a channel, codes found in the same ways", async () => {
	const args = ["quantize", model, output, "--data", "random:20", "--force", "--recipe", "16a4w_block:32"];
	const { code, out } = await qgraph(folder, ...args);
	expect(code).toBe(0);
	const lines = out.split("\n");
	const start = lines.findIndex((line) => line.startsWith("worst sample on the CPU, codes"));
	expect(lines[start]).toMatch(/ {2}a scale a channel {2,}blocks {2,}gained by blocks$/);
	const rows = lines.slice(start + 1, start + 4).map((line) => {
		const [way, ...figures] = line.split(/ {2,}/);
		return { way, figures: figures.map((figure) => Number.parseFloat(figure)) };
	});
	expect(rows.map(({ way }) => way)).toEqual([
		"rounded to the nearest on min-max scales",
		"scales of least error, no GPTQ",
		"GPTQ, as written",
	]);
	for (const { figures } of rows) expect(figures[2]).toBeCloseTo(figures[1]! - figures[0]!, 0);
	const [nearest, , written] = rows.map(({ figures }) => figures);
	expect(out).toContain(`${written![1]!.toFixed(1)} dB in the worst sample`);
	const over = /^as written over a scale a channel rounded to the nearest: (.*) dB$/m.exec(out)?.[1];
	expect(Number(over)).toBeCloseTo(written![1]! - nearest![0]!, 0);
	expect((await qgraph(folder, ...args, "--no-block-gain")).out).toMatch(/^gained by GPTQ: .* without\)$/m);
});

test("quantize --json, and --min-sqnr that is not reached", async () => {
	const args = ["quantize", model, output, "--data", "random:4", "--json", "--force", "--recipe", "16a4w_block:32"];
	const { code, out } = await qgraph(folder, ...args, "--min-sqnr", "90");
	expect(code).toBe(1);
	expect(JSON.parse(out)).toMatchObject({ schema: "qgraph-quantization", samples: 3, heldOut: 1, onTarget: null });
	expect(existsSync(output)).toBe(true);
});

test.each([
	[["quantize", model, output], "name samples (--data) or ranges (--encodings)"],
	[["quantize", model, output, "--data", "random:2", "--min-sqnr", "x"], "--min-sqnr NaN is out of range"],
	[["quantize", model, output, "--data", "random:2", "--recipe", "16a8w", "--budget", "4bpw"], "mutually exclusive"],
	[["convert", model, output, "--calibration-data", "random:2"], "--calibration-data needs --recipe"],
	[["convert", model, output, "--recipe", "16a8w", "--no-compensate"], "--no-compensate needs --calibration-data"],
	[["convert", model, output, "--recipe", "16a8w", "--headroom", "1"], "--headroom needs --calibration-data"],
])("%s", async (args, message) => {
	const { code, err } = await qgraph(folder, ...args);
	expect(code).toBe(2);
	expect(err).toContain(message);
});

test("convert --calibration-data calibrates before it quantizes", async () => {
	const args = ["--recipe", "16a8w", "--calibration-data", "random:8", "-q", "--force"];
	expect(await qgraph(folder, "convert", model, output, ...args)).toMatchObject({ code: 0, err: "" });
	const verified = await qgraph(folder, "verify", model, output, "--min-sqnr", "35");
	expect(verified.code).toBe(0);
});

test("convert --calibration-data makes the same file as quantize with all samples, layers behind others and constants included", async () => {
	const [float, converted, quantized] = ["deep.onnx", "converted.onnx", "quantized.onnx"].map((name) => {
		return path.join(folder, name);
	});
	const random = mixedSource(3);
	const numbers = (shape: number[]) => {
		const count = shape.reduce((product, length) => product * length);
		return floatTensor(
			shape,
			Float32Array.from({ length: count }, () => random() - 0.5),
		);
	};
	const graph = modelOf((b) => {
		b.input("x", DataType.FLOAT, [6, 64]);
		for (const [name, shape] of Object.entries({ w1: [64, 96], w2: [96, 64], table: [6, 8], up: [8, 96] })) {
			b.initializer(name, numbers(shape));
		}
		b.node("MatMul", ["table", "up"], ["positions"]);
		b.node("MatMul", ["x", "w1"], ["first"]);
		b.node("Add", ["first", "positions"], ["sum"]);
		b.node("Relu", ["sum"], ["hidden"]);
		b.node("MatMul", ["hidden", "w2"], ["y"]);
		b.output("y");
	});
	await writeModel(graph, float!);
	const recipe = ["--recipe", "16a4w_block:32", "--target", "qnn-htp:v79"];
	const conversion = await qgraph(folder, "convert", float!, converted!, ...recipe, "--calibration-data", "random:12");
	expect(conversion.out).toContain("calibrate/random");
	const data = ["--data", "random:12", "--hold-out", "0", "--no-verify"];
	expect((await qgraph(folder, "quantize", float!, quantized!, ...recipe, ...data)).code).toBe(0);
	expect(readFileSync(converted!).equals(readFileSync(quantized!))).toBe(true);
	const plain = [...recipe, "--calibration-data", "random:12", "--force", "-q"];
	for (const flag of ["--no-compensate", "--no-gptq", "--headroom=0.5", "--observer=percentile"]) {
		expect((await qgraph(folder, "convert", float!, converted!, ...plain, flag)).code).toBe(0);
		expect(readFileSync(converted!).equals(readFileSync(quantized!)), flag).toBe(false);
	}
});

test("convert and quantize prepare images as they are told", async () => {
	const { model: float, images, arrays } = await imageSamples(folder);
	const outputs = ["arrays", "converted", "quantized", "plain"].map((name) => path.join(folder, `images-${name}.onnx`));
	const how = IMAGE_FLAGS;
	const recipe = ["--recipe", "16a8w", "-q"];
	for (const [output, ...args] of [
		[outputs[0]!, "--calibration-data", arrays],
		[outputs[1]!, "--calibration-data", images, ...how],
		[outputs[3]!, "--calibration-data", images],
	] as const) {
		expect(await qgraph(folder, "convert", float, output, ...recipe, ...args)).toMatchObject({ code: 0 });
	}
	const own = ["--data", images, ...how, "--hold-out", "0", "--no-verify"];
	expect(await qgraph(folder, "quantize", float, outputs[2]!, ...recipe, ...own)).toMatchObject({ code: 0 });
	const [fromArrays, converted, quantized, plain] = outputs.map((file) => readFileSync(file));
	expect(converted!.equals(fromArrays!)).toBe(true);
	expect(quantized!.equals(fromArrays!)).toBe(true);
	expect(plain!.equals(fromArrays!)).toBe(false);
});

test("convert --calibration-data sees what stood in the branch of an If", async () => {
	const [conditional, quantized] = [path.join(folder, "if.onnx"), path.join(folder, "if-out.onnx")];
	const random = mixedSource(2);
	const graph = modelOf((b) => {
		b.input("x", DataType.FLOAT, ["batch", 32]);
		b.initializer("one", int64Tensor([], [1]));
		b.initializer("first", int64Tensor([], [0]));
		b.node("Shape", ["x"], ["shape"]);
		b.node("Gather", ["shape", "first"], ["batch"]);
		b.node("Equal", ["batch", "one"], ["single"]);
		const branch = (name: string, op: string) =>
			b.subgraph(name, (inner) => {
				const weight = Float32Array.from({ length: 32 * 16 }, () => random() - 0.5);
				inner.initializer(`${name}_w`, floatTensor([32, 16], weight));
				inner.node("MatMul", ["x", `${name}_w`], [`${name}_product`]);
				inner.node(op, [`${name}_product`], [`${name}_y`]);
				inner.output(`${name}_y`);
			});
		b.node("If", ["single"], ["y"], { then_branch: branch("then", "Relu"), else_branch: branch("else", "Neg") });
		b.output("y");
	});
	await writeModel(graph, conditional);
	const args = ["--calibration-data", "random:8", "--dim", "batch=1", "--recipe", "16a8w", "--target", "qnn-htp:v79"];
	const { code, out } = await qgraph(folder, "convert", conditional, quantized, ...args);
	expect(code).toBe(0);
	expect(out).toContain("gptq");
	expect(out).not.toContain("qdq/bound");
	const anywhere = ["--calibration-data", "random:8", "--dim", "batch=1", "--recipe", "16a8w", "--force"];
	expect(await qgraph(folder, "convert", conditional, quantized, ...anywhere)).toMatchObject({ code: 0 });
});
