import { describe, expect, test } from "vitest";
import { floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { splitBlockScales } from "../../src/passes/split-block-scales.js";
import { runPasses } from "../../src/run-passes.js";
import {
	inputShape,
	type LinearSpec,
	linearModel,
	linearOp,
	linearOutput,
	linearWeight,
	normals,
	spreadScales,
} from "../runtime/models.js";
import { modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatFeed, floatsOf, run, sqnrDb } from "../support/ort.js";
import { blockWeight, quantized } from "../support/weights.js";

const conv: LinearSpec = { op: "Conv", activations: "integer", rows: 5, depth: 64, channels: 8, blockSize: 16 };
const matMul: LinearSpec = { ...conv, op: "MatMul" };

/** The output afterwards against that before, with LPBQ's 2^-5 of a step at most left of the scales. */
async function lossOf(spec: LinearSpec): Promise<number> {
	const [before, after] = [linearModel(spec), linearModel(spec)];
	await runPasses(after, [splitBlockScales()]);
	const shape = inputShape(spec);
	const feed = { x: floatFeed(shape, normals(elementCount(shape), 9)) };
	const [wanted, got] = [await run(serializeModel(before), feed), await run(serializeModel(after), feed)];
	const [output] = Object.keys(wanted);
	return sqnrDb(floatsOf(wanted[output!]), floatsOf(got[output!]));
}

describe("split-block-scales", () => {
	test("a convolution with a bias", async () => {
		await golden(splitBlockScales(), "conv", linearModel({ ...conv, bias: true }));
	});

	test("a MatMul, whose result is clipped at 0", async () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [5, 64]);
			const product = linearOp(
				b,
				{ ...matMul, activations: "float" },
				quantized(b, "x"),
				linearWeight(b, "W", matMul),
				"y",
			);
			b.output(quantized(b, product, 0.001, 0));
		});
		await golden(splitBlockScales(), "clipped", model);
	});

	test("one weight in two operators and a subgraph", async () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [5, 64]);
			b.input("condition", DataType.BOOL, []);
			const [x, w] = [quantized(b, "x"), linearWeight(b, "W", matMul)];
			linearOutput(b, matMul, linearOp(b, matMul, x, w, "a"));
			b.node("If", ["condition"], ["c"], {
				then_branch: b.subgraph("then", (g) => g.output(linearOp(g, matMul, x, w, "b"))),
				else_branch: b.subgraph("else", (g) => {
					g.initializer("zeros", floatTensor([5, 8], new Float32Array(40)));
					g.output("zeros");
				}),
			});
			b.output("c");
		});
		await golden(splitBlockScales(), "shared", model);
	});

	test("what stays, and why", async () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [5, 64]);
			const x = quantized(b, "x");
			const weight = (name: string, scales: ArrayLike<number>, shape = [64, 8]) =>
				blockWeight(b, name, { shape, axis: 0, blockSize: 16, scales });
			const random = spreadScales(32, 2);
			const multiply = (name: string, w: string, op: LinearSpec["op"] = "MatMul") =>
				b.output(linearOp(b, { ...matMul, op }, x, w, name));
			multiply(
				"exact",
				weight(
					"W_exact",
					Float32Array.from(random, (_, index) => (index < 8 ? 16 : 1 + (index % 15)) / 64),
				),
			);
			multiply(
				"zero",
				weight(
					"W_zero",
					random.map((scale, index) => (index === 9 ? 0 : scale)),
				),
			);
			multiply("gemm", weight("W_gemm", random), "Gemm");
			multiply("excluded", weight("W_excluded", random));
			b.output(linearOp(b, { ...matMul, activations: "float" }, x, weight("W_float", random), "float"));
			b.initializer("step", floatTensor([], [0.03]));
			b.initializer("middle", tensor(DataType.UINT8, [], new Uint8Array([128])));
			b.node("MatMul", [x, weight("W_narrow", random)], ["narrow"], {}, "narrow_op");
			b.node("QuantizeLinear", ["narrow", "step", "middle"], ["narrow_q"]);
			b.output("narrow_q");
		});
		const report = await golden(splitBlockScales({ exclude: ["W_excluded"] }), "kept", model);
		expect(report.weights).toEqual([]);
	});

	test.each([conv, { ...conv, bias: true }, matMul])("%o keeps its numbers", async (spec) => {
		expect(await lossOf({ ...spec, scales: spreadScales(32, 4).map((scale) => 0.004 + scale) })).toBeGreaterThan(45);
	});
});
