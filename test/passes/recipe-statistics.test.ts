import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { calibrate } from "../../src/calibration/calibrate.js";
import type { SampleSource } from "../../src/calibration/calibration.js";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { readAll } from "../../src/ir/data.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { type ApplyPrecisionRecipeOptions, applyPrecisionRecipe } from "../../src/passes/apply-precision-recipe.js";
import type { PipelineReport } from "../../src/passes/infra/report.js";
import { MomentsFolder } from "../../src/passes/support/input-statistics.js";
import { runPasses } from "../../src/run-passes.js";
import { modelOf } from "../support/build.js";
import { floatFeed, floatsOf, run, sqnrDb } from "../support/ort.js";
import { randomSource } from "../support/random.js";

const [DEPTH, CHANNELS, SAMPLES] = [64, 24, 400] as const;
const NAME = "layers.3/q_proj.weight";

const random = randomSource(11);
const normal = () => random() + random() + random() + random() - 2;
const weights = Float32Array.from({ length: DEPTH * CHANNELS }, () => normal());
/** Inputs with few directions and channels of very different size. */
const directions = Array.from({ length: 6 }, () =>
	Float64Array.from({ length: DEPTH }, (_, i) => normal() * (1 + (i % 7))),
);
function inputs(count: number): Float32Array {
	const values = new Float32Array(count * DEPTH);
	for (let sample = 0; sample < count; sample++) {
		const parts = directions.map(() => normal());
		for (let i = 0; i < DEPTH; i++) {
			const mixed = directions.reduce((sum, direction, d) => sum + parts[d]! * direction[i]!, 0);
			values[sample * DEPTH + i] = mixed + 0.3 * normal();
		}
	}
	return values;
}
const calibration = inputs(SAMPLES);
const unseen = inputs(50);

function model(name = NAME): Model {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, [50, DEPTH]);
		b.initializer(name, floatTensor([DEPTH, CHANNELS], weights));
		b.node("MatMul", ["x", name], ["y"], {}, "matmul");
		b.output("y");
	});
}

function folder(): string {
	const made = mkdtempSync(path.join(tmpdir(), "qgraph-statistics-"));
	onTestFinished(() => rmSync(made, { recursive: true, force: true }));
	return made;
}

/** An .npy file of float64. */
function writeNpy(file: string, shape: readonly number[], values: Float64Array): void {
	const header = `{'descr': '<f8', 'fortran_order': False, 'shape': (${shape.join(", ")},), }`.padEnd(117);
	const prefix = Buffer.from(`\x93NUMPY\x01\x00\x76\x00${header}\n`, "latin1");
	writeFileSync(file, Buffer.concat([prefix, Buffer.from(values.buffer)]));
}

function momentsFolder(): string {
	const moments = new Float64Array(DEPTH * DEPTH);
	for (let sample = 0; sample < SAMPLES; sample++) {
		for (let i = 0; i < DEPTH; i++) {
			for (let j = 0; j < DEPTH; j++) {
				moments[i * DEPTH + j]! += calibration[sample * DEPTH + i]! * calibration[sample * DEPTH + j]!;
			}
		}
	}
	const made = folder();
	writeNpy(path.join(made, MomentsFolder.fileName(NAME)), [DEPTH, DEPTH], moments);
	return made;
}

function meanSquares(): number[] {
	return Array.from({ length: DEPTH }, (_, i) => {
		let sum = 0;
		for (let sample = 0; sample < SAMPLES; sample++) sum += calibration[sample * DEPTH + i]! ** 2;
		return sum / SAMPLES;
	});
}

/** An importance matrix in GGUF: sums of squares of every weight, a list for each expert. */
function ggufOf(matrices: Readonly<Record<string, readonly (readonly number[])[]>>): Buffer {
	const int = (value: number) => Buffer.from(Int32Array.of(value).buffer);
	const long = (value: number) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
	const text = (value: string) => Buffer.concat([long(value.length), Buffer.from(value)]);
	const values = [
		[text("general.type"), int(8), text("imatrix")],
		[text("imatrix.datasets"), int(9), int(8), long(2), text("a.txt"), text("b.txt")],
		[text("imatrix.chunk_size"), int(4), int(512)],
		[text("numbers"), int(9), int(6), long(3), Buffer.alloc(12)],
		[text("general.alignment"), int(4), int(64)],
	];
	const tensors = Object.entries(matrices).flatMap(([name, experts]) => [
		{ name: `${name}.in_sum2`, dimensions: [experts[0]!.length, experts.length], floats: experts.flat() },
		{ name: `${name}.counts`, dimensions: [1, experts.length], floats: experts.map(() => 7) },
	]);
	let size = 0;
	const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 63)]);
	const infos: Buffer[] = [];
	const data: Buffer[] = [];
	for (const { name, dimensions, floats } of tensors) {
		infos.push(text(name), int(dimensions.length), ...dimensions.map(long), int(0), long(size));
		data.push(padded(Buffer.from(Float32Array.from(floats).buffer)));
		size += data.at(-1)!.length;
	}
	const head = [Buffer.from("GGUF"), int(3), long(tensors.length), long(values.length), ...values.flat(), ...infos];
	return Buffer.concat([padded(Buffer.concat(head)), ...data]);
}

function sourceOf(shape: readonly number[], arrays: readonly Float32Array[]): SampleSource {
	return {
		name: "pictures",
		count: arrays.length,
		isRandom: false,
		async *samples(first) {
			for (const values of arrays.slice(first)) {
				const bytes = new Uint8Array(values.buffer);
				yield { origin: "a picture", arrays: new Map([["x", { type: "float32", shape, bytes }]]) };
			}
		},
	};
}

async function quantize(
	options: Partial<ApplyPrecisionRecipeOptions>,
): Promise<{ output: number; report: PipelineReport }> {
	const before = await run(serializeModel(model()), { x: floatFeed([50, DEPTH], unseen) });
	const made = model();
	const report = await runPasses(made, [applyPrecisionRecipe({ recipe: "16a4w_block", ...options })]);
	const after = await run(serializeModel(made), { x: floatFeed([50, DEPTH], unseen) });
	return { output: sqnrDb(floatsOf(before.y), floatsOf(after.y)), report };
}

describe("statistics of inputs", () => {
	test("GPTQ gains many dB at the output, and loses a few in the weights", async () => {
		const plain = await quantize({});
		for (const recipe of ["16a4w_block", "16a4w", "16a8w"]) {
			const search = await quantize({ recipe });
			const gptq = await quantize({ recipe, hessian: momentsFolder() });
			expect(gptq.output, recipe).toBeGreaterThan(search.output + 5);
			const [weight] = gptq.report.weights;
			expect(weight?.fit).toBe("gptq");
			expect(weight?.sqnrDb).toBeLessThan(search.report.weights[0]?.sqnrDb as number);
		}
		expect(plain.output).toBeGreaterThan(10);
	});

	test("few rows are remarked on, and how many there are is kept when more weights come", async () => {
		for (const [rows, remarks] of [
			[SAMPLES, 0],
			[2 * DEPTH - 1, 1],
		] as const) {
			const hessian = momentsFolder();
			MomentsFolder.addRows(hessian, new Map([[NAME, rows]]));
			MomentsFolder.addRows(hessian, new Map([["another", 5]]));
			const { report } = await quantize({ hessian });
			const found = report.diagnostics.filter(({ code }) => code === "recipe/few-rows");
			expect(found).toHaveLength(remarks);
			if (remarks > 0) {
				expect(found[0]!.message).toBe(
					`weight '${NAME}': of its 64 inputs samples gave 127 rows; several times as many rows would tell more`,
				);
			}
		}
		const broken = momentsFolder();
		writeFileSync(path.join(broken, "rows.json"), "{");
		await expect(quantize({ hessian: broken })).rejects.toMatchObject({ code: "recipe/statistics" });
	});

	test.each([
		["depthwise", [6, 1, 3, 3], 6],
		["of all channels", [5, 6, 3, 3], 1],
	] as const)("kernels of convolutions: %s", async (_name, shape, group) => {
		const image = [1, 6, 12, 12];
		const conv = () =>
			modelOf((b) => {
				b.input("x", DataType.FLOAT, image);
				const source = randomSource(5);
				const count = shape.reduce<number>((product, length) => product * length, 1);
				b.initializer(
					"kernel",
					floatTensor(
						shape,
						Float32Array.from({ length: count }, () => source() - 0.5),
					),
				);
				b.node(
					"Conv",
					["x", "kernel"],
					["y"],
					{ group: intAttribute(group), pads: intsAttribute([1, 1, 1, 1]) },
					"conv",
				);
				b.output("y");
			});
		/** Pictures are smooth, so that neighbours go together. */
		const picture = (seed: number) => {
			const [u, v, w] = [0, 1, 2].map((part) => Math.sin(seed * 7 + part));
			return Float32Array.from({ length: 6 * 144 }, (_, at) => {
				const [c, y, x] = [Math.floor(at / 144), Math.floor((at % 144) / 12), at % 12];
				return Math.sin(u! * y + v! * x + c * w! * 3) + 0.1 * Math.sin(at * at + seed);
			});
		};
		const hessian = path.join(folder(), "hessian");
		const pictures = Array.from({ length: 40 }, (_, seed) => picture(seed));
		await calibrate(conv(), sourceOf(image, pictures), { hessian });
		const unseen = { x: floatFeed(image, picture(1000)) };
		const expected = floatsOf((await run(serializeModel(conv()), unseen)).y);
		const measure = async (options: Partial<ApplyPrecisionRecipeOptions>) => {
			const made = conv();
			const { weights } = await runPasses(made, [applyPrecisionRecipe({ recipe: "16a4w", ...options })]);
			return { weights, output: sqnrDb(expected, floatsOf((await run(serializeModel(made), unseen)).y)) };
		};
		const [search, gptq] = [await measure({}), await measure({ hessian })];
		expect(gptq.weights[0]).toMatchObject({ fit: "gptq" });
		expect(gptq.weights[0]?.sqnrDb).toBeGreaterThan(5);
		expect(gptq.output).toBeGreaterThan(search.output + 3);
	});

	test("importance weights gain at the output, from any of the files that hold them", async () => {
		const made = folder();
		const squares = meanSquares();
		const json = path.join(made, "importance.json");
		writeFileSync(json, JSON.stringify({ [NAME]: squares }));
		const llama = path.join(made, "imatrix.dat");
		const name = Buffer.from("blk.3.attn_q.weight");
		const numbers = (...values: number[]) => Buffer.from(Int32Array.from(values).buffer);
		writeFileSync(
			llama,
			Buffer.concat([
				numbers(1, name.length),
				name,
				numbers(7, DEPTH),
				Buffer.from(Float32Array.from(squares, (value) => 7 * value).buffer),
			]),
		);
		const gguf = path.join(made, "imatrix.gguf");
		writeFileSync(gguf, ggufOf({ "blk.3.attn_q.weight": [squares.map((x) => 2 * x), squares.map((x) => 5 * x)] }));
		const search = await quantize({});
		const fromJson = await quantize({ importance: json });
		const fromLlama = await quantize({ importance: llama });
		expect(fromJson.output).toBeGreaterThan(search.output + 0.1);
		expect(fromLlama.output).toBeCloseTo(fromJson.output, 1);
		const fromGguf = await quantize({ importance: gguf });
		expect(fromGguf.output).toBeCloseTo(fromJson.output, 1);
		expect(fromGguf.report.diagnostics).toEqual([]);
		expect(fromJson.report.weights[0]?.fit).toBe("search");
	});

	test("is said to be missing where a weight has none", async () => {
		const made = folder();
		mkdirSync(path.join(made, "empty"));
		writeFileSync(path.join(made, "other.json"), '{ "other": [1] }');
		for (const options of [{ hessian: path.join(made, "empty") }, { importance: path.join(made, "other.json") }]) {
			const { report } = await quantize(options);
			expect(report.diagnostics.map(({ code }) => code)).toContain("recipe/no-statistics");
			expect(report.weights[0]).toMatchObject({ status: "converted", fit: "search" });
		}
	});

	test.each<[reason: string, content: string | Buffer, file: string, message: string]>([
		["no JSON", "{", "a.json", "JSON"],
		["JSON of something else", '{ "w": "x" }', "a.json", "no JSON object of weight names"],
		["too few numbers", JSON.stringify({ [NAME]: [1, 2] }), "a.json", "has 2 numbers, expected 64"],
		["negative numbers", JSON.stringify({ [NAME]: new Array(DEPTH).fill(-1) }), "a.json", "negative or not finite"],
		["GGUF of another version", "GGUF....", "a.gguf", "expected 2 or 3"],
		[
			"GGUF that is cut off",
			ggufOf({ "blk.3.attn_q.weight": [[1, 2]] }).subarray(0, -125),
			"a.gguf",
			"neither .npz nor",
		],
		["GGUF of something else", ggufOf({}), "a.gguf", "no tensor's name ends in '.in_sum2'"],
		["another binary", Buffer.alloc(9, 0xff), "a.dat", "neither .npz nor .json nor an importance matrix"],
	])("refuses %s", async (_reason, content, file, message) => {
		const at = path.join(folder(), file);
		writeFileSync(at, content);
		const attempt = quantize({ importance: at });
		await expect(attempt).rejects.toMatchObject({ code: "recipe/statistics" });
		await expect(attempt).rejects.toThrow(message);
	});

	test("refuses moments of another size, and a folder that is not there", async () => {
		const made = folder();
		writeNpy(path.join(made, MomentsFolder.fileName(NAME)), [2, 2], new Float64Array(4));
		await expect(quantize({ hessian: made })).rejects.toThrow("it has shape [2, 2], expected [64, 64]");
		await expect(quantize({ hessian: path.join(made, "none") })).rejects.toMatchObject({ code: "recipe/statistics" });
	});

	test("leaves a weight to the search where moments are not positive definite", async () => {
		const made = folder();
		const broken = new Float64Array(DEPTH * DEPTH).fill(1e9);
		for (let i = 0; i < DEPTH; i++) broken[i * DEPTH + i] = 1;
		writeNpy(path.join(made, MomentsFolder.fileName(NAME)), [DEPTH, DEPTH], broken);
		const { report } = await quantize({ hessian: made });
		expect(report.weights[0]?.fit).toBe("search");
	});

	test("gives int4 codes of the weight's own shape and order", async () => {
		const made = model();
		await runPasses(made, [applyPrecisionRecipe({ recipe: "16a4w_block", hessian: momentsFolder() })]);
		const codes = [...made.graph.initializers].find(({ name }) => name === `${NAME}_quantized`)?.initializer;
		expect(codes?.shape).toEqual([DEPTH, CHANNELS]);
		expect(readAll(codes!.data).byteLength).toBe((DEPTH * CHANNELS) / 2);
	});
});
