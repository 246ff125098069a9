import { describe, expect, test } from "vitest";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import { separateMatmulOutputs } from "../../src/passes/separate-matmul-outputs.js";
import { encodingAt } from "../../src/passes/support/qdq.js";
import { intervalOf } from "../../src/quant/grid.js";
import { runPasses } from "../../src/run-passes.js";
import { normals } from "../runtime/models.js";
import { type GraphBuilder, type ModelBuilder, modelOf, nodeNamed } from "../support/build.js";
import { golden } from "../support/golden.js";
import { expectSameResults } from "../support/same-results.js";
import { blockWeight, quantized } from "../support/weights.js";

const { FLOAT } = DataType;
const K = 64;
const N = 6;
const ROWS = 3;
const WEIGHT = { shape: [K, N], axis: 0, blockSize: 32 };
const STEP = 2 ** -12;

/** `MatMul(Q/DQ(x), W) -> readers`; `readers` gets the name of the product and names the model's outputs. */
function matMulModel(readers: (b: ModelBuilder, product: string) => readonly string[]) {
	return modelOf((b) => {
		b.input("x", FLOAT, [ROWS, K]);
		b.node("MatMul", [quantized(b, "x", 2 ** -13), blockWeight(b, "w", WEIGHT)], ["y"], {}, "mm");
		for (const name of readers(b, "y")) b.output(name).type ??= tensorType(FLOAT, [ROWS, N]);
	});
}

function constant(b: GraphBuilder, name: string, shape: readonly number[] = [N], seed = 3): string {
	const count = shape.reduce((product, dim) => product * dim, 1);
	b.initializer(name, floatTensor(shape, normals(count, seed)));
	return name;
}

/** `op -> Q/DQ`. */
function then(b: GraphBuilder, op: string, inputs: readonly string[], step = STEP, name = "z"): string {
	b.node(op, inputs, [name], {}, `${name}_op`);
	return quantized(b, name, step);
}

/** Codes of the same numbers with unsigned 8 bits. */
function quantizedTo8(b: GraphBuilder, source: string, scale: number, zero: number): string {
	b.initializer(`${source}_scale`, floatTensor([], [scale]));
	b.initializer(`${source}_zero`, tensor(DataType.UINT8, [], Uint8Array.of(zero)));
	b.node("QuantizeLinear", [source, `${source}_scale`, `${source}_zero`], [`${source}_q`], {}, `${source}_Q`);
	b.node("DequantizeLinear", [`${source}_q`, `${source}_scale`, `${source}_zero`], [`${source}_qdq`]);
	return `${source}_qdq`;
}

/** Where the pair behind the MatMul begins and ends. */
async function separatedInterval(model: ReturnType<typeof matMulModel>) {
	await runPasses(model, [separateMatmulOutputs()]);
	const quantizer = nodeNamed(model.graph, "mm").outputs[0]!.uses[0]!.node;
	return intervalOf(encodingAt(quantizer)!);
}

describe("separate-matmul-outputs puts a pair", () => {
	test("before an Add, whose constant becomes integers", async () => {
		const model = matMulModel((b, y) => [then(b, "Add", [y, constant(b, "bias")])]);
		await golden(separateMatmulOutputs(), "add", model);
	});

	test("before a residual Add", async () => {
		const model = matMulModel((b, y) => {
			b.input("r", FLOAT, [ROWS, N]);
			return [then(b, "Add", [quantized(b, "r", 2 ** -13), y])];
		});
		await golden(separateMatmulOutputs(), "residual", model);
	});

	test.each(["Relu", "Sigmoid", "Tanh", "Gelu"])("before %s", async (op) => {
		const model = matMulModel((b, y) => [then(b, op, [y], op === "Sigmoid" ? 2 ** -16 : STEP)]);
		model.opsetImports.set("", 21);
		await golden(separateMatmulOutputs(), op.toLowerCase(), model);
	});

	test("before Softmax, with all that the weight allows, and says so", async () => {
		const model = matMulModel((b, y) => [then(b, "Softmax", [y], 2 ** -16)]);
		const report = await golden(separateMatmulOutputs(), "softmax", model);
		expect(report.diagnostics.map(({ code }) => code)).toEqual(["qdq/bound"]);
	});

	test("before a graph output, which keeps its name", async () => {
		await golden(
			separateMatmulOutputs(),
			"graph-output",
			matMulModel((_b, y) => [y]),
		);
	});

	test("with the encoding of a quantizer that is there, for all readers", async () => {
		const model = matMulModel((b, y) => {
			b.node("Relu", [y], ["r"]);
			return [quantized(b, y, STEP), "r"];
		});
		await golden(separateMatmulOutputs(), "quantizer", model);
	});

	test("behind the views that follow", async () => {
		const model = matMulModel((b, y) => {
			b.initializer("shape", int64Tensor([3], [1, ROWS, N]));
			b.node("Reshape", [y, "shape"], ["v"]);
			b.node("Transpose", ["v"], ["t"], { perm: intsAttribute([0, 2, 1]) });
			const z = then(b, "Add", ["t", constant(b, "bias", [N, 1])]);
			b.value(z).type = tensorType(FLOAT, [1, N, ROWS]);
			return [z];
		});
		await golden(separateMatmulOutputs(), "views", model);
	});

	test("in subgraphs, behind LPBQ too", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [ROWS, K]);
			b.input("flag", DataType.BOOL, []);
			const x = quantized(b, "x", 2 ** -13);
			const weight = blockWeight(b, "w", WEIGHT);
			const branch = (name: string) =>
				b.subgraph(name, (inner) => {
					inner.node("MatMul", [x, weight], [name], {}, `${name}_mm`);
					inner.output(name);
				});
			b.node("If", ["flag"], ["z"], { then_branch: branch("then"), else_branch: branch("else") });
			b.output("z");
		});
		await runPasses(model, [bqToLpbq({ activations: "any", fit: "max" })]);
		await golden(separateMatmulOutputs(), "subgraph", model);
	});

	test("and turns constants of other types into integers where a pair is there already", async () => {
		const model = matMulModel((b, y) => {
			b.initializer("bias", tensor(DataType.INT32, [N], bytesOf(Int32Array.from([1, -2, 3, -4, 5, 600]))));
			b.initializer("bias_scale", floatTensor([], [0.001]));
			b.node("DequantizeLinear", ["bias", "bias_scale"], ["bias_dq"]);
			return [then(b, "Add", [quantized(b, y, STEP), "bias_dq"])];
		});
		await golden(separateMatmulOutputs(), "int32-addend", model);
	});
});

describe("separate-matmul-outputs leaves alone", () => {
	test("float activations, and what is excluded", async () => {
		const float = modelOf((b) => {
			b.input("x", FLOAT, [ROWS, K]);
			b.node("MatMul", ["x", blockWeight(b, "w", WEIGHT)], ["y"], {}, "mm");
			b.output("y");
		});
		await golden(separateMatmulOutputs(), "kept-float", float);
		const excluded = matMulModel((_b, y) => [y]);
		await golden(separateMatmulOutputs({ exclude: ["mm"] }), "kept-excluded", excluded);
	});

	test("outputs of which nothing is known", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [1, ROWS, K]);
			const weight = blockWeight(b, "w", { shape: [1, K, N], axis: 1, blockSize: 32 });
			b.node("MatMul", [quantized(b, "x"), weight], ["y"], {}, "mm");
			b.output("y");
		});
		await golden(separateMatmulOutputs(), "kept-unknown", model);
	});

	test("quantized outputs and float weights", async () => {
		const model = matMulModel((b, y) => {
			b.node("MatMul", ["x", constant(b, "f", [K, N])], ["g"]);
			return [quantized(b, y), "g"];
		});
		await golden(separateMatmulOutputs(), "kept-right", model);
	});
});

describe("the range is", () => {
	const range = (scale: number) => ({ lo: -32768 * scale, hi: 32767 * scale });
	const expectClose = (found: { lo: number; hi: number }, lo: number, hi: number) => {
		expect(found.lo).toBeCloseTo(lo, 2);
		expect(found.hi).toBeCloseTo(hi, 2);
	};

	test("what the sum keeps, less the constant", async () => {
		const model = matMulModel((b, y) => {
			b.initializer("bias", floatTensor([2, 1, 1], [-1, 3]));
			return [then(b, "Add", [y, "bias"], 1e-4)];
		});
		const { lo, hi } = range(1e-4);
		expectClose(await separatedInterval(model), lo - 3, hi + 1);
	});

	test("what the difference keeps, on either side", async () => {
		const { lo, hi } = range(1e-4);
		const left = matMulModel((b, y) => [then(b, "Sub", [y, constant(b, "c", [1], 5)], 1e-4)]);
		const [c] = normals(1, 5);
		expectClose(await separatedInterval(left), lo + c!, hi + c!);
		const right = matMulModel((b, y) => [then(b, "Sub", [constant(b, "c", [1], 5), y], 1e-4)]);
		expectClose(await separatedInterval(right), c! - hi, c! - lo);
	});

	test("what the product keeps, divided by the factors", async () => {
		for (const [op, factor] of [
			["Mul", 2],
			["Div", 0.5],
		] as const) {
			const model = matMulModel((b, y) => {
				b.initializer("f", floatTensor([2, 1, 1], [-factor, op === "Mul" ? factor / 2 : factor * 2]));
				return [then(b, op, [y, "f"], 5e-5)];
			});
			const { lo } = range(5e-5);
			expectClose(await separatedInterval(model), lo, -lo);
		}
	});

	test("what a Clip lets through, and what Relu leaves", async () => {
		const clip = matMulModel((b, y) => {
			b.initializer("min", floatTensor([], [-0.5]));
			b.initializer("max", floatTensor([], [1.5]));
			b.node("Clip", [y, "min", "max"], ["z"]);
			return ["z"];
		});
		expectClose(await separatedInterval(clip), -0.5, 1.5);
		expectClose(await separatedInterval(matMulModel((b, y) => [then(b, "Relu", [y], 1e-4)])), 0, 3.2767);
	});

	test("what SiLU and its gate need", async () => {
		const model = matMulModel((b, y) => {
			b.node("Sigmoid", [y], ["s"]);
			b.node("Mul", [y, "s"], ["z"]);
			return [quantized(b, "z", 1e-4)];
		});
		const { lo, hi } = await separatedInterval(model);
		expect(hi).toBeCloseTo(3.3, 0);
		expect(lo).toBeGreaterThan(-14);
	});

	test("what the weight allows where that is less, channel by channel", async () => {
		const scales = new Float32Array(2 * N).fill(1e-4);
		const codes = new Int8Array(K * N).fill(5);
		const model = modelOf((b) => {
			b.input("x", FLOAT, [ROWS, K]);
			const weight = blockWeight(b, "w", { ...WEIGHT, scales, codes });
			b.node("MatMul", [quantizedTo8(b, "x", 0.01, 0), weight], ["y"], {}, "mm");
			b.output(then(b, "Add", ["y", constant(b, "bias")], 1));
		});
		expectClose(await separatedInterval(model), 0, 64 * 5e-4 * 2.55);
	});

	test("never smaller than what comes out", async () => {
		for (const lpbq of [false, true]) {
			const model = matMulModel((b, y) => {
				b.node("LayerNormalization", [y, constant(b, "g")], ["z"], { axis: intAttribute(-1) });
				return ["z"];
			});
			if (lpbq) await runPasses(model, [bqToLpbq({ activations: "any" })]);
			await expectSameResults(model, [separateMatmulOutputs()], 60);
		}
	});
});

describe("ONNX Runtime computes the same after separate-matmul-outputs", () => {
	test.each(["Relu", "Sigmoid", "Tanh", "Softmax", "Gelu"])("%s", async (op) => {
		const step = op === "Softmax" || op === "Sigmoid" ? 2 ** -16 : op === "Tanh" ? 2 ** -15 : STEP;
		await expectSameResults(
			matMulModel((b, y) => [then(b, op, [y], step)]),
			[separateMatmulOutputs()],
			60,
		);
	});

	test("two readers of different kinds, and a product with a constant", async () => {
		const model = matMulModel((b, y) => [
			then(b, "Add", [y, constant(b, "bias")], STEP, "a"),
			then(b, "Mul", [constant(b, "f", [1, 1]), y], STEP, "m"),
		]);
		await expectSameResults(model, [separateMatmulOutputs()], 65);
	});
});
