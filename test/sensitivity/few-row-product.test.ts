import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { writeNpz } from "../../src/arrays/npz.js";
import { bytesOf, floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { writeModel } from "../../src/onnx/file.js";
import { MOST_ROWS } from "../../src/passes/support/few-rows.js";
import { analyzeSensitivity } from "../../src/sensitivity/analyze-sensitivity.js";
import { modelOf } from "../support/build.js";
import { mixedSource } from "../support/random.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-few-rows-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const random = mixedSource(5);
const normals = (count: number) => Float32Array.from({ length: count }, () => 2 * (random() + random() + random()) - 3);

/** What a MatMul of `depth` x `columns` loses alone, with its samples so many times. */
async function lossOf(depth: number, columns: number, weight: Float32Array, rows: Float32Array, times: number) {
	const count = rows.length / depth;
	const model = path.join(folder, `${columns}-${times}.onnx`);
	await writeModel(
		modelOf((builder) => {
			builder.input("x", DataType.FLOAT, [1, count, depth]);
			builder.initializer("w", floatTensor([depth, columns], weight));
			builder.node("MatMul", ["x", "w"], ["y"]);
			builder.output("y");
		}),
		model,
	);
	const samples = new Float32Array(times * rows.length);
	for (let copy = 0; copy < times; copy++) samples.set(rows, copy * rows.length);
	const data = path.join(folder, `${columns}-${times}.npz`);
	writeNpz(data, new Map([["x", { type: "float32", shape: [times, 1, count, depth], bytes: bytesOf(samples) }]]));
	const { analysis } = await analyzeSensitivity(model, {
		data: [data],
		holdOut: 0,
		measures: "isolated",
		fit: "max",
		recipe: "16a4w_block:32",
	});
	return analysis.units[0]!;
}

describe("a MatMul of few rows", () => {
	test.each([
		[96, 40, "max"],
		[80, 24, "a last block of fewer rows"],
	])("of %d x %d loses what the same rows lose many times, in ONNX Runtime (%s)", async (depth, columns) => {
		const [weight, rows] = [normals(depth * columns), normals(3 * depth)];
		const few = await lossOf(depth, columns, weight, rows, 2);
		const many = await lossOf(depth, columns, weight, rows, MOST_ROWS);
		expect(few.isolatedSqnrDb).toBeGreaterThan(15);
		expect(few.isolatedSqnrDb).toBeCloseTo(many.isolatedSqnrDb!, 3);
	});

	test("a weight that stands out is seen with the scales", async () => {
		const weight = normals(64 * 16);
		weight[100] = 200;
		const { causes } = await lossOf(64, 16, weight, normals(2 * 64), 1);
		expect(causes).toEqual([expect.stringMatching(/^a weight is 3\d times the root mean square of all$/)]);
	});
});
