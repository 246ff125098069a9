import { describe, expect, test } from "vitest";
import { intAttribute, stringAttribute, tensorAttribute } from "../../src/ir/attribute.js";
import { floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { annotateBlockQuant } from "../../src/passes/annotate-block-quant.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import { weightAnnotation } from "../../src/passes/support/annotation.js";
import { summarizeWeights } from "../../src/report/summary.js";
import { runPasses } from "../../src/run-passes.js";
import { type GraphBuilder, ModelBuilder, modelOf, nodeNamed } from "../support/build.js";
import { golden } from "../support/golden.js";
import { nbitsNode, nbitsWeight } from "../support/nbits.js";
import { blockWeight, int4Tensor, quantized, randomCodes } from "../support/weights.js";

const { FLOAT, INT8 } = DataType;

/** A MatMul between quantized activations whose weight is `weight`. */
function matMul(b: GraphBuilder, weight: string, y = "y"): void {
	b.node("MatMul", [quantized(b, "x"), weight], [`${y}_float`], {}, `${y}_matmul`);
	b.node("Identity", [quantized(b, `${y}_float`)], [y]);
}

describe("annotate-block-quant", () => {
	test("every operator, side and axis", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [4, 32]);
			matMul(b, blockWeight(b, "mm", { shape: [32, 8], axis: 0, blockSize: 16 }));
			b.node(
				"MatMul",
				[blockWeight(b, "left", { shape: [8, 32], axis: 1, blockSize: 16 }), "x"],
				["y1"],
				{},
				"left_matmul",
			);
			const gemm = blockWeight(b, "gemm", { shape: [8, 32], axis: 1, blockSize: 16, zeroPoint: true });
			b.node("Gemm", ["x", gemm], ["y2"], { transB: intAttribute(1) }, "gemm_transB");
			b.node("Gemm", ["x", blockWeight(b, "gemm0", { shape: [32, 8], axis: 0, blockSize: 16 })], ["y3"], {}, "gemm");
			b.input("image", FLOAT, [1, 32, 4, 4]);
			b.node(
				"Conv",
				["image", blockWeight(b, "conv", { shape: [8, 32, 1, 1], axis: 1, blockSize: 16 })],
				["y4"],
				{},
				"conv",
			);
			const transposed = blockWeight(b, "convt", { shape: [32, 8, 1, 1], axis: 0, blockSize: 16 });
			b.node("ConvTranspose", ["image", transposed], ["y5"], {}, "conv_transpose");
			for (const y of ["y", "y1", "y2", "y3", "y4", "y5"]) b.output(y);
		});
		await golden(annotateBlockQuant(), "operators", model);
		const annotation = weightAnnotation(nodeNamed(model.graph, "gemm_transB"));
		expect(annotation).toMatchObject({ scheme: "block", bits: 4, blockSize: 16, blockAxis: 1, channelAxis: 0 });
		expect(annotation).toMatchObject({
			symmetric: true,
			activations: "float",
			shape: [8, 32],
			weight: "gemm",
			input: 1,
		});
		expect(weightAnnotation(nodeNamed(model.graph, "y_matmul"))).toMatchObject({ activations: "integer" });
	});

	test("schemes: float, per tensor, per channel, the default axis, a negative axis", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [4, 16]);
			b.initializer("float", floatTensor([16, 2], new Float32Array(32)));
			b.node("MatMul", ["x", "float"], ["y0"], {}, "float_matmul");
			b.initializer("codes", tensor(INT8, [16, 2], new Uint8Array(32)));
			b.initializer("one", floatTensor([], [0.5]));
			b.initializer("two", floatTensor([2], [0.5, 0.25]));
			b.node("DequantizeLinear", ["codes", "one"], ["w1"]);
			b.node("MatMul", ["x", "w1"], ["y1"], {}, "tensor_matmul");
			b.node("DequantizeLinear", ["codes", "two"], ["w2"]);
			b.node("MatMul", ["x", "w2"], ["y2"], {}, "default_axis_matmul");
			b.node("DequantizeLinear", ["codes", "two"], ["w3"], { axis: intAttribute(-1) });
			b.node("MatMul", ["x", "w3"], ["y3"], {}, "negative_axis_matmul");
			for (const y of ["y0", "y1", "y2", "y3"]) b.output(y);
		});
		await golden(annotateBlockQuant(), "schemes", model);
	});

	test("where weights hide: Constant nodes, other operators in between, If bodies, functions", async () => {
		const builder = new ModelBuilder();
		builder.input("x", FLOAT, [4, 32]);
		builder.input("flag", DataType.BOOL, []);
		const outer = blockWeight(builder, "captured", { shape: [32, 8], axis: 0, blockSize: 16 });
		builder.initializer("plain", floatTensor([8, 32], new Float32Array(256)));
		builder.node("Transpose", ["plain"], ["turned"]);
		builder.node("MatMul", ["x", "turned"], ["y0"], {}, "transposed_matmul");
		const branch = (name: string) =>
			builder.subgraph(name, (inner) => {
				inner.node("MatMul", ["x", outer], [`${name}_y`], {}, `${name}_matmul`);
				inner.output(`${name}_y`);
			});
		builder.node("If", ["flag"], ["y1"], { then_branch: branch("then"), else_branch: branch("else") }, "choice");
		builder.function("local", "Linear", (body) => {
			body.input("a");
			const codes = int4Tensor([32, 8], randomCodes(256, 3));
			body.node("Constant", [], ["codes"], { value: tensorAttribute(codes) });
			body.node("Constant", [], ["scale"], {
				value: tensorAttribute(floatTensor([2, 8], new Float32Array(16).fill(0.5))),
			});
			body.node("DequantizeLinear", ["codes", "scale"], ["w"], { axis: intAttribute(0), block_size: intAttribute(16) });
			body.node("MatMul", ["a", "w"], ["b"], {}, "inner_matmul");
			body.output("b");
		});
		builder.node({ domain: "local", type: "Linear" }, ["x"], ["y2"], {}, "call");
		for (const y of ["y0", "y1", "y2"]) builder.output(y);
		await golden(annotateBlockQuant(), "places", builder.build());
	});

	test("a model without weights is left as it is", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [2]);
			b.node("Relu", ["x"], ["y"], { note: stringAttribute("none") });
			b.output("y");
		});
		await golden(annotateBlockQuant(), "none", model);
	});

	test("include and exclude pick weights", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [4, 32]);
			matMul(b, blockWeight(b, "a.weight", { shape: [32, 8], axis: 0, blockSize: 16 }), "a");
			b.node(
				"MatMul",
				["x_qdq", blockWeight(b, "b.weight", { shape: [32, 8], axis: 0, blockSize: 16 })],
				["c"],
				{},
				"b_matmul",
			);
			b.output("a");
			b.output("c");
		});
		await runPasses(model, [annotateBlockQuant({ include: ["*.weight"], exclude: ["b_*"] })]);
		expect(weightAnnotation(nodeNamed(model.graph, "a_matmul"))?.weight).toBe("a.weight");
		expect(weightAnnotation(nodeNamed(model.graph, "b_matmul"))).toBeUndefined();
	});
});

test("negative and infinite scales are seen", async () => {
	const model = modelOf((b) => {
		b.input("x", FLOAT, [4, 32]);
		const spec = { shape: [32, 8], axis: 0, blockSize: 16 };
		matMul(b, blockWeight(b, "negative", { ...spec, scales: new Float32Array(16).fill(0.5).fill(-0.5, 2, 7) }), "a");
		const infinite = blockWeight(b, "infinite", {
			...spec,
			scales: new Float32Array(16).fill(Number.POSITIVE_INFINITY),
		});
		b.node("MatMul", ["x_qdq", infinite], ["c"], {}, "infinite_matmul");
		b.output("a");
		b.output("c");
	});
	await golden(annotateBlockQuant(), "odd-scales", model);
	expect(weightAnnotation(nodeNamed(model.graph, "a_matmul"))).toMatchObject({
		negativeScales: 5,
		lpbq: "weight/converted",
	});
	expect(weightAnnotation(nodeNamed(model.graph, "infinite_matmul"))?.lpbq).toBe("weight/scale-not-finite");
});

test("weights that are packed for MatMulNBits are named", async () => {
	const model = modelOf((b) => {
		b.model.opsetImports.set("com.microsoft", 1);
		b.input("x", FLOAT, [4, 64]);
		const spec = { k: 64, n: 8 };
		const outputs = [
			nbitsNode(b, quantized(b, "x"), nbitsWeight(b, "plain", spec), "a", spec),
			nbitsNode(b, "x", nbitsWeight(b, "zeros", { ...spec, bits: 8, zeroPoints: "packed" }), "b", { ...spec, bits: 8 }),
			nbitsNode(b, "x", nbitsWeight(b, "fractions", { ...spec, zeroPoints: Array(16).fill(7.5) }), "c", spec),
			nbitsNode(b, "x", nbitsWeight(b, "odd", spec), "d", { ...spec, n: 7 }),
		];
		for (const node of outputs) b.output(node.outputs[0]!.name);
	});
	await golden(annotateBlockQuant(), "matmul-nbits", model);
	expect(summarizeWeights(model).map(({ weight, lpbq }) => [weight, lpbq])).toEqual([
		["plain", "weight/packed"],
		["zeros", "weight/packed"],
		["fractions", "nbits/zero-point"],
		["odd", "weight/data-length"],
	]);
	const report = await runPasses(model, [bqToLpbq()]);
	expect(report.weights.map(({ weight, status, code }) => [weight, status, code])).toContainEqual([
		"plain",
		"kept",
		"weight/packed",
	]);
});
