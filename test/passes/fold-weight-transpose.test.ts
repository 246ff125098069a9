import { describe, expect, test } from "vitest";
import { intAttribute, intsAttribute, tensorAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { bytesOf, floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { annotateBlockQuant } from "../../src/passes/annotate-block-quant.js";
import { foldWeightTranspose } from "../../src/passes/fold-weight-transpose.js";
import { weightAnnotation } from "../../src/passes/support/annotation.js";
import { runPasses } from "../../src/run-passes.js";
import { type GraphBuilder, modelOf, nodeNamed } from "../support/build.js";
import { golden } from "../support/golden.js";
import { boolFeed, floatFeed, floatsOf, run } from "../support/ort.js";
import { blockWeight, int4Tensor, quantized, randomCodes, randomScales } from "../support/weights.js";

const { FLOAT, INT8, INT64, UINT8 } = DataType;
const TURN = { perm: intsAttribute([1, 0]) };

/** Runs the pass, compares with the golden file, and what ONNX Runtime makes of the model before and after. */
async function folded(name: string, model: Model, feeds: Record<string, readonly number[]> = { x: [4, 32] }) {
	const inputs = Object.fromEntries(
		Object.entries(feeds).map(([input, shape]) => [
			input,
			floatFeed(
				shape,
				randomScales(elementCount(shape), 5).map((value) => value * 20 - 0.5),
			),
		]),
	);
	if (model.graph.inputs.some((value) => value.name === "flag")) inputs.flag = boolFeed(true);
	const before = await run(serializeModel(model), inputs);
	const report = await golden(foldWeightTranspose(), name, model);
	const after = await run(serializeModel(model), inputs);
	for (const [output, value] of Object.entries(before)) expect(floatsOf(after[output])).toEqual(floatsOf(value));
	return report;
}

/** `y = MatMul(x, weight)` with x of [4, 32]. */
function matMulModel(weight: (b: GraphBuilder) => string): Model {
	return modelOf((b) => {
		b.input("x", FLOAT, [4, 32]);
		b.node("MatMul", ["x", weight(b)], ["y"], {}, "matmul");
		b.output("y");
	});
}

/** An int8 weight with a scale for every index of `axis`. */
function int8Weight(b: GraphBuilder, name: string, shape: readonly number[], axis: number): string {
	b.initializer(name, tensor(INT8, shape, bytesOf(randomCodes(elementCount(shape), 3, -127, 127))));
	b.initializer(`${name}_scale`, floatTensor([shape[axis]!], randomScales(shape[axis]!, 4)));
	b.node("DequantizeLinear", [name, `${name}_scale`], [`${name}_dq`], { axis: intAttribute(axis) }, `${name}_DQ`);
	return `${name}_dq`;
}

function transposed(b: GraphBuilder, source: string, perm: readonly number[] = [1, 0]): string {
	b.node("Transpose", [source], [`${source}_t`], { perm: intsAttribute(perm) }, `${source}_transpose`);
	return `${source}_t`;
}

describe("fold-weight-transpose folds", () => {
	test("codes, scales and zero points of blocks", async () => {
		const spec = { shape: [7, 32], axis: 1, blockSize: 16, zeroPoint: true };
		await folded(
			"blocks",
			matMulModel((b) => transposed(b, blockWeight(b, "w", spec))),
		);
	});

	test("LPBQ with its integers", async () => {
		const model = matMulModel((b) => {
			b.initializer("w", int4Tensor([7, 32], randomCodes(7 * 32, 1)));
			b.initializer(
				"ints",
				tensor(
					UINT8,
					[7, 2],
					Uint8Array.from({ length: 14 }, (_, index) => index + 1),
				),
			);
			b.initializer("channels", floatTensor([7], randomScales(7, 2)));
			b.initializer("zero", int4Tensor([7, 2], new Int8Array(14)));
			b.node("DequantizeLinear", ["ints", "channels"], ["scale"], { axis: intAttribute(0) }, "scale_DQ");
			const blocked = { axis: intAttribute(-1), block_size: intAttribute(16) };
			b.node("DequantizeLinear", ["w", "scale", "zero"], ["w_dq"], blocked, "w_DQ");
			return transposed(b, "w_dq");
		});
		await folded("lpbq", model);
	});

	test("scales of channels, of one tensor, and float weights", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [4, 32]);
			const multiply = (weight: string, y: string) => {
				b.node("MatMul", ["x", weight], [y], {}, `${y}_matmul`);
				b.output(y);
			};
			multiply(transposed(b, int8Weight(b, "channels", [5, 32], 0)), "a");
			b.initializer("float", floatTensor([3, 32], randomScales(96, 8)));
			multiply(transposed(b, "float"), "b");
			b.initializer("whole", tensor(INT8, [2, 32], bytesOf(randomCodes(64, 6))));
			b.initializer("whole_scale", floatTensor([], [0.25]));
			b.node("DequantizeLinear", ["whole", "whole_scale"], ["whole_dq"], {}, "whole_DQ");
			multiply(transposed(b, "whole_dq"), "c");
		});
		await folded("channels-tensor-float", model);
	});

	test("a Transpose in front of DequantizeLinear, whose axis means the result already", async () => {
		const model = matMulModel((b) => {
			b.initializer("w", int4Tensor([7, 32], randomCodes(7 * 32, 1)));
			b.initializer("w_scale", floatTensor([2, 7], randomScales(14, 2)));
			const blocked = { axis: intAttribute(0), block_size: intAttribute(16) };
			b.node("DequantizeLinear", [transposed(b, "w"), "w_scale"], ["w_dq"], blocked, "w_DQ");
			return "w_dq";
		});
		await folded("before-dq", model);
	});

	test("views behind one another, which may leave the weight as it was", async () => {
		const model = matMulModel((b) => {
			b.node("Identity", [blockWeight(b, "w", { shape: [32, 6], axis: 0, blockSize: 16 })], ["same"]);
			return transposed(b, transposed(b, "same"));
		});
		await folded("cancelled", model);
		expect(nodeNamed(model.graph, "matmul").inputs[1]?.name).toBe("w_dq");
	});

	test("Squeeze, Unsqueeze and Reshape that add or remove axes of length 1", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [1, 32, 5]);
			b.input("flat", FLOAT, [4, 32]);
			const spec = { axis: 1, blockSize: 16 };
			b.initializer("axes", int64Tensor([1], [-1]));
			b.node("Unsqueeze", [blockWeight(b, "w", { ...spec, shape: [6, 32] }), "axes"], ["w3"]);
			b.node("Conv", ["x", "w3"], ["a"], {}, "conv");
			b.initializer("shape", int64Tensor([2], [0, -1]));
			b.node("Reshape", [blockWeight(b, "v", { ...spec, shape: [6, 32, 1] }), "shape"], ["v2"]);
			b.node("MatMul", ["flat", transposed(b, "v2")], ["b"], {}, "matmul");
			b.initializer("ends", int64Tensor([2], [0, 3]));
			b.node("Squeeze", [int8Weight(b, "u", [1, 32, 6, 1], 2), "ends"], ["u2"]);
			b.node("MatMul", ["flat", "u2"], ["c"], {}, "second");
			for (const output of ["a", "b", "c"]) b.output(output);
		});
		await folded("units", model, { x: [1, 32, 5], flat: [4, 32] });
	});

	test("the order of axes that TensorFlow gives kernels", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [1, 4, 5, 5]);
			const weight = transposed(b, int8Weight(b, "w", [3, 2, 4, 6], 3), [3, 2, 0, 1]);
			b.node("Conv", ["x", weight], ["y"], {}, "conv");
			b.output("y");
		});
		await folded("kernel", model, { x: [1, 4, 5, 5] });
	});

	test("a Gemm by turning transB over, on either side", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [4, 32]);
			const spec = { shape: [7, 32], axis: 1, blockSize: 16 };
			b.node("Gemm", ["x", transposed(b, blockWeight(b, "w", spec))], ["y"], {}, "gemm");
			b.output("y");
			b.initializer("left", floatTensor([32, 3], randomScales(96, 8)));
			b.node("Transpose", ["x"], ["xt"], TURN);
			const attributes = { transA: intAttribute(1) };
			b.node("Gemm", [transposed(b, transposed(b, "left")), "xt"], ["z"], attributes, "turned");
			b.output("z");
		});
		await folded("gemm", model);
	});

	test("a weight once for all that read it, also from subgraphs", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [4, 32]);
			b.input("flag", DataType.BOOL, []);
			const weight = blockWeight(b, "w", { shape: [32, 32], axis: 1, blockSize: 16 });
			const outer = transposed(b, weight);
			b.node("MatMul", ["x", outer], ["a"], {}, "first");
			const branch = (name: string) =>
				b.subgraph(name, (inner) => {
					if (name === "else") inner.node("Transpose", [weight], ["inner_t"], TURN);
					const source = name === "else" ? "inner_t" : outer;
					inner.node("MatMul", ["x", source], [`${name}_y`], {}, `${name}_matmul`);
					inner.output(`${name}_y`);
				});
			b.node("If", ["flag"], ["b"], { then_branch: branch("then"), else_branch: branch("else") }, "if");
			b.output("a");
			b.output("b");
		});
		const report = await folded("shared-subgraph", model);
		expect(report.diagnostics).toEqual([]);
		expect([...model.graph.initializers].map(({ name }) => name).sort()).toEqual(["w", "w_scale"]);
	});

	test("in functions, whose constants are nodes", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [4, 32]);
			b.function("local", "Linear", (body) => {
				body.input("a");
				body.node("Constant", [], ["w"], { value: tensorAttribute(floatTensor([5, 32], randomScales(160, 1))) });
				body.node("MatMul", ["a", transposed(body, "w")], ["b"], {}, "function_matmul");
				body.output("b");
			});
			b.node({ domain: "local", type: "Linear" }, ["x"], ["y"], {}, "call");
			b.output("y");
		});
		await folded("function", model);
	});

	test("and leaves other readers theirs: the model then holds the weight twice, as a remark says", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [4, 32]);
			b.input("ids", INT64, [3]);
			b.initializer("table", floatTensor([6, 32], randomScales(192, 1)));
			b.node("Gather", ["table", "ids"], ["embedded"], {}, "gather");
			b.node("MatMul", ["x", transposed(b, "table")], ["y"], {}, "head");
			b.output("embedded");
			b.output("y");
		});
		const report = await golden(foldWeightTranspose(), "copied", model);
		expect(report.diagnostics.map(({ code }) => code)).toEqual(["weight/copied"]);
	});

	test("and brings annotations up to date", async () => {
		const model = matMulModel((b) => transposed(b, blockWeight(b, "w", { shape: [7, 32], axis: 1, blockSize: 16 })));
		await runPasses(model, [annotateBlockQuant(), foldWeightTranspose()]);
		expect(weightAnnotation(nodeNamed(model.graph, "matmul"))).toMatchObject({ blockAxis: 0, channelAxis: 1 });
	});
});

describe("fold-weight-transpose leaves alone", () => {
	const remark = async (name: string, model: Model) => {
		const { diagnostics } = await golden(foldWeightTranspose(), name, model);
		return diagnostics.map(({ code }) => code);
	};

	test("a Cast, a Reshape that cuts axes, and parameters that are computed", async () => {
		const model = matMulModel((b) => {
			b.input("shape", INT64, [2]);
			for (const [name, parameter] of [
				["cut", "wanted"],
				["computed", "shape"],
			] as const) {
				b.node("Reshape", [int8Weight(b, name, [64, 16], 0), parameter], [`${name}_view`], {}, name);
				b.node("MatMul", ["x", `${name}_view`], [`${name}_y`], {}, `${name}_matmul`);
				b.output(`${name}_y`);
			}
			b.initializer("wanted", int64Tensor([2], [32, 32]));
			b.initializer("w", tensor(DataType.FLOAT16, [32, 4], new Uint8Array(256)));
			b.node("Cast", ["w"], ["cast"], { to: intAttribute(FLOAT) });
			return "cast";
		});
		expect(await remark("not-simple", model)).toEqual(Array(3).fill("weight/indirect"));
	});

	test("a weight that the caller may replace", async () => {
		const model = matMulModel((b) => {
			b.initializer("w", floatTensor([4, 32], randomScales(128, 1)));
			b.input("w", FLOAT, [4, 32]);
			return transposed(b, "w");
		});
		expect(await remark("overridable", model)).toEqual(["weight/overridable"]);
	});

	test("bytes that are not those of the shape", async () => {
		const model = matMulModel((b) => {
			b.initializer("w", tensor(FLOAT, [4, 32], new Uint8Array(500)));
			return transposed(b, "w");
		});
		const { diagnostics } = await runPasses(model, [foldWeightTranspose()]);
		expect(diagnostics.map(({ code }) => code)).toEqual(["weight/data-length"]);
	});

	test("what was not selected, and activations", async () => {
		const model = matMulModel((b) => {
			b.node("MatMul", ["x", transposed(b, quantized(b, "x"))], ["z"], {}, "square");
			b.output("z");
			return transposed(b, blockWeight(b, "w", { shape: [7, 32], axis: 1, blockSize: 16 }));
		});
		const { diagnostics, passes } = await runPasses(model, [foldWeightTranspose({ exclude: ["matmul"] })]);
		expect([diagnostics.length, passes[0]?.changed]).toEqual([0, false]);
	});
});
