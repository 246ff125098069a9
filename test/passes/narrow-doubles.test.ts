import { describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { bytesOf, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { narrowDoubles } from "../../src/passes/narrow-doubles.js";
import { runPasses } from "../../src/run-passes.js";
import { type ModelBuilder, modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatsOf, run, sqnrDb } from "../support/ort.js";
import { randomFeeds } from "../support/same-results.js";

const { DOUBLE, FLOAT } = DataType;

const doubles = (shape: readonly number[], ...values: number[]) =>
	tensor(DOUBLE, shape, bytesOf(Float64Array.from(values)));

function narrow(b: ModelBuilder, from: string, to: string): void {
	b.node("Cast", [from], [to], { to: intAttribute(FLOAT) }, to);
}

/** A mean of logarithms by weights, as a pitch tracker takes it: FLOAT goes in, DOUBLE and FLOAT come out. */
const pitch = (rows: number) =>
	modelOf((b) => {
		b.input("x", FLOAT, [rows, 3]);
		b.node("Cast", ["x"], ["wide"], { to: intAttribute(DOUBLE) }, "widen");
		b.node("Softmax", ["wide"], ["weights"], { axis: intAttribute(-1) }, "softmax");
		b.initializer("logarithms", doubles([3], 1.1, 2.2, 3.3));
		b.initializer("last", int64Tensor([1], [-1]));
		b.node("Mul", ["weights", "logarithms"], ["parts"], {}, "mul");
		b.node("ReduceSum", ["parts", "last"], ["mean"], { keepdims: intAttribute(0) }, "sum");
		b.node("Exp", ["mean"], ["y"], {}, "exp");
		b.output("y").type = tensorType(DOUBLE, [rows]);
		narrow(b, "mean", "z");
		b.output("z").type = tensorType(FLOAT, [rows]);
	});

describe("narrow-doubles", () => {
	test("what is computed in DOUBLE is computed in FLOAT, outputs are FLOAT", async () => {
		await golden(narrowDoubles(), "pitch", pitch(4));
	});

	test.each([4, 9])("computes the same, %i rows", async (rows) => {
		const model = pitch(rows);
		const feeds = randomFeeds(model);
		const before = await run(serializeModel(model), feeds);
		await runPasses(model, [narrowDoubles()]);
		const after = await run(serializeModel(model), feeds);
		expect([before.y!.type, after.y!.type]).toEqual(["float64", "float32"]);
		for (const name of ["y", "z"]) {
			const wanted = Float32Array.from(before[name]!.data as Float64Array);
			expect(sqnrDb(wanted, floatsOf(after[name]))).toBeGreaterThan(120);
		}
	});

	test("numbers beyond FLOAT become its largest, infinite ones stay", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [4]);
			b.node("Cast", ["x"], ["wide"], { to: intAttribute(DOUBLE) });
			b.initializer("limits", doubles([4], -1.7e308, 1e39, Number.NEGATIVE_INFINITY, 0.5));
			b.node("Max", ["wide", "limits"], ["y"]);
			b.output("y");
		});
		await runPasses(model, [narrowDoubles()]);
		const { dtype, data } = model.graph.initializers[Symbol.iterator]().next().value!.initializer!;
		expect(dtype).toBe(FLOAT);
		const bytes = data.read(0, data.byteLength);
		const largest = 3.4028234663852886e38;
		expect([...new Float32Array(bytes.slice().buffer)]).toEqual([-largest, largest, Number.NEGATIVE_INFINITY, 0.5]);
	});

	test("a part of a constant is read as the whole", () => {
		const model = modelOf((b) => {
			b.initializer("c", doubles([3], 1.5, -2.25, 8));
			b.node("Cast", ["c"], ["y"], { to: intAttribute(FLOAT) });
			b.output("y");
		});
		return runPasses(model, [narrowDoubles()]).then(() => {
			const { data } = [...model.graph.initializers][0]!.initializer!;
			expect([...data.read(3, 9)]).toEqual([...data.read(0, 12)].slice(3, 9));
		});
	});

	test.each([
		["an input", (b: ModelBuilder) => b.input("x", DOUBLE, [2]), "input 'x' is DOUBLE"],
		[
			"an operator of another domain",
			(b: ModelBuilder) => {
				b.input("given", FLOAT, [2]);
				b.node("Cast", ["given"], ["x"], { to: intAttribute(DOUBLE) });
				b.node({ domain: "com.example", type: "Sort" }, ["x"], ["sorted"], {}, "sort");
				b.output("sorted");
			},
			"'sort' of domain 'com.example' computes on it",
		],
	])("%s of DOUBLE", async (_name, fill, reason) => {
		const model = modelOf((b) => {
			b.model.opsetImports.set("com.example", 1);
			fill(b);
			b.node("Neg", ["x"], ["y"]);
			b.output("y");
		});
		const { diagnostics, passes } = await runPasses(model, [narrowDoubles()]);
		expect(diagnostics.map(({ code, message }) => [code, message])).toEqual([
			["doubles/kept", `DOUBLE stays: ${reason}`],
		]);
		expect(passes.some(({ changed }) => changed)).toBe(false);
	});
});
