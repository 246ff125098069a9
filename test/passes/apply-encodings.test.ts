import { describe, expect, it, test } from "vitest";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { applyEncodings } from "../../src/passes/apply-encodings.js";
import { encodeFloat16 } from "../../src/quant/float16.js";
import { runPasses } from "../../src/run-passes.js";
import { normals } from "../runtime/models.js";
import { type GraphBuilder, ModelBuilder, modelOf } from "../support/build.js";
import { encodingsFile, version1File, version2File } from "../support/encodings.js";
import { golden } from "../support/golden.js";
import { int4Tensor, randomCodes } from "../support/weights.js";

const { FLOAT, FLOAT16, INT64 } = DataType;

const K = 8;
const N = 3;

const scale = (index: number) => 0.125 * (index + 1);
const X = { name: "x", output_dtype: "uint16", y_scale: 0.0001, y_zero_point: 32768 };
const Y = { name: "y", output_dtype: "uint8", y_scale: 0.05, y_zero_point: 100 };
const PER_CHANNEL = { name: "w", output_dtype: "int8", axis: 1, y_scale: [scale(0), scale(1), scale(2)] };
const BLOCK = {
	name: "w",
	output_dtype: "int4",
	axis: 0,
	block_size: 4,
	y_scale: [
		[0.25, 0.5, 1],
		[0.5, 1, 2],
	],
};
const LPBQ = {
	name: "w",
	output_dtype: "int4",
	axis: -2,
	block_size: 4,
	per_block_int_scale: [
		[16, 8, 4],
		[1, 16, 16],
	],
	per_channel_float_scale: [[0.0625, 0.125, 0.25]],
};

function weight(b: GraphBuilder, name = "w", shape: readonly number[] = [K, N]): void {
	const count = shape.reduce((product, dim) => product * dim, 1);
	b.initializer(name, floatTensor(shape, normals(count, 5)));
}

/** `MatMul(x, w) -> y`. */
function matmul(fill: (b: GraphBuilder) => void = (b) => weight(b)) {
	return modelOf((b) => {
		b.input("x", FLOAT, [2, K]);
		fill(b);
		b.node("MatMul", ["x", "w"], ["y"], {}, "matmul");
		b.output("y").type = tensorType(FLOAT, [2, N]);
	});
}

const apply = (encodings: string) => applyEncodings({ encodings });

describe("apply-encodings", () => {
	test("per channel, with activations", () => golden(apply(version2File(PER_CHANNEL, X, Y)), "channel", matmul()));
	test("blocks", () => golden(apply(version2File(BLOCK)), "block", matmul()));
	test("LPBQ", () => golden(apply(version2File(LPBQ, X)), "lpbq", matmul()));
	test("LPBQ of version 2.1.0", async () => {
		const { per_block_int_scale: x, per_channel_float_scale: scales, ...rest } = LPBQ;
		const entry = { ...rest, y_scale: { x, x_scale: scales[0], axis: 1 } };
		await golden(apply(encodingsFile({ version: "2.1.0", encodings: [entry, X] })), "lpbq", matmul());
	});

	test("asymmetric 4-bit blocks", () => {
		const zeros = [
			[1, 8, 15],
			[0, 7, 9],
		];
		return golden(
			apply(version2File({ ...BLOCK, output_dtype: "uint4", y_zero_point: zeros })),
			"asymmetric",
			matmul(),
		);
	});

	test("a bias as INT32", () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [2, K]);
			weight(b);
			b.initializer("c", floatTensor([N], [1, -2, 3]));
			b.node("Gemm", ["x", "w", "c"], ["y"], {}, "gemm");
			b.output("y").type = tensorType(FLOAT, [2, N]);
		});
		const bias = { name: "c", output_dtype: "int32", axis: 0, y_scale: [1e-4, 2e-4, 3e-4] };
		return golden(apply(version2File(PER_CHANNEL, bias)), "bias", model);
	});

	test("a kernel: one scale a block for all its positions", () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [1, 4, 5, 5]);
			weight(b, "w", [2, 4, 3, 3]);
			b.node("Conv", ["x", "w"], ["y"], {}, "conv");
			b.output("y").type = tensorType(FLOAT, [1, 2, 3, 3]);
		});
		const blocks = { block_size: 2, axis: 1, name: "w", output_dtype: "int4" };
		const entry = {
			...blocks,
			y_scale: [
				[[[0.5]], [[1]]],
				[[[2]], [[4]]],
			],
		};
		return golden(apply(version2File(entry)), "kernel", model);
	});

	test("the operator set is raised", () => {
		const b = new ModelBuilder({ opset: 13, irVersion: 7 });
		b.input("x", FLOAT, [2, K]);
		weight(b);
		b.node("MatMul", ["x", "w"], ["y"], {}, "matmul");
		b.output("y").type = tensorType(FLOAT, [2, N]);
		return golden(apply(version2File(BLOCK, X)), "old-opset", b.build());
	});

	test("int8 alone needs no new operator set", async () => {
		const b = new ModelBuilder({ opset: 13, irVersion: 7 });
		b.input("x", FLOAT, [2, K]);
		weight(b);
		b.node("MatMul", ["x", "w"], ["y"], {}, "matmul");
		b.output("y").type = tensorType(FLOAT, [2, N]);
		await runPasses(b.model, [apply(version2File(PER_CHANNEL, Y))]);
		expect(b.model.opsetImports.get("")).toBe(13);
	});

	test("what is moved keeps its encoding, on both sides", () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [2, K]);
			weight(b);
			b.initializer("shape", int64Tensor([3], [1, 2, K]));
			b.node("Reshape", ["x", "shape"], ["x3"], {}, "reshape");
			b.node("Transpose", ["x3"], ["xt"], { perm: intsAttribute([1, 0, 2]) }, "transpose");
			b.node("MatMul", ["xt", "w"], ["h"], {}, "matmul");
			b.node("Transpose", ["h"], ["y"], { perm: intsAttribute([1, 0, 2]) }, "back");
			b.node("Relu", ["y"], ["z"], {}, "relu");
			b.output("z").type = tensorType(FLOAT, [1, 2, N]);
		});
		return golden(apply(version2File(X, Y)), "moved", model);
	});

	test("a weight behind Transpose has the axes that its operator gives it", () => {
		const model = matmul((b) => {
			weight(b, "wt", [N, K]);
			b.node("Transpose", ["wt"], ["w"], { perm: intsAttribute([1, 0]) }, "transpose");
		});
		const entry = { name: "wt", dtype: "INT", bw: 4, is_sym: true, enc_type: "PER_BLOCK", block_size: 4 };
		const numbers = { scale: [1, 2, 3, 4, 5, 6], offset: Array(6).fill(-8) };
		return golden(apply(version1File([{ ...entry, ...numbers }])), "transposed", model);
	});

	test("version 1.0.0 lists the blocks of a matrix channel by channel", async () => {
		const flat = [0.25, 0.5, 0.5, 1, 1, 2];
		const entry = { name: "w", dtype: "INT", bw: 4, is_sym: true, enc_type: "PER_BLOCK", block_size: 4 };
		await golden(apply(version1File([{ ...entry, scale: flat, offset: Array(6).fill(-8) }])), "block", matmul());
	});

	test("version 0.6.1 lists them row by row and does not say how long they are", async () => {
		const elements = BLOCK.y_scale.flat().map((value) => ({
			...{ bitwidth: 4, dtype: "int", is_symmetric: "True", offset: -8 },
			...{ scale: value, min: -8 * value, max: 7 * value },
		}));
		const file = encodingsFile({ version: "0.6.1", param_encodings: { w: elements }, activation_encodings: {} });
		await golden(apply(file), "block", matmul());
	});

	test("weights in subgraphs and functions, and one that several read", () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [2, K]);
			b.input("condition", DataType.BOOL, []);
			weight(b);
			const branch = (name: string, own: boolean) =>
				b.subgraph(name, (inner) => {
					if (own) weight(inner, "inner");
					inner.node("MatMul", ["x", own ? "inner" : "w"], [`${name}_y`], {}, `${name}_matmul`);
					inner.output(`${name}_y`).type = tensorType(FLOAT, [2, N]);
				});
			b.function("acme", "Block", (body) => {
				body.input("a");
				body.node("Constant", [], ["v"], { value: { kind: "tensor", value: floatTensor([K, N], normals(K * N, 6)) } });
				body.node("MatMul", ["a", "v"], ["r"], {}, "body_matmul");
				body.output("r");
			});
			const branches = { then_branch: branch("then", true), else_branch: branch("else", false) };
			b.node("If", ["condition"], ["h"], branches, "if");
			b.node("MatMul", ["x", "w"], ["i"], {}, "matmul");
			b.node({ domain: "acme", type: "Block" }, ["x"], ["j"], {}, "call");
			b.node("Sum", ["h", "i", "j"], ["y"], {}, "sum");
			b.output("y").type = tensorType(FLOAT, [2, N]);
		});
		const file = version2File(BLOCK, { ...BLOCK, name: "inner" }, { ...BLOCK, name: "v" }, { ...Y, name: "then_y" });
		return golden(apply(file), "nested", model);
	});

	test("a weight that is a graph output, too, stays for that", () => {
		const model = matmul();
		for (const value of model.graph.initializers) model.graph.addOutput(value);
		return golden(apply(version2File(PER_CHANNEL)), "output", model);
	});

	test("unknown tensors, with the names most like them", () => {
		const unknown = [
			{ ...BLOCK, name: "W" },
			{ ...X, name: "/model/layers.0/x" },
		];
		return golden(apply(version2File(...unknown, { ...Y, scale_kind: "x" })), "unknown", matmul());
	});

	test("floats, other types and quantized tensors stay", () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [2, K]);
			b.input("ids", INT64, [2]);
			weight(b);
			b.initializer("half", tensor(FLOAT16, [N], bytesOf(encodeFloat16(Float32Array.of(1, 2, 3)))));
			b.initializer("codes", int4Tensor([K, N], randomCodes(K * N, 3)));
			b.initializer("one", floatTensor([], [0.5]));
			b.node("DequantizeLinear", ["codes", "one"], ["dequantized"], {}, "dq");
			b.node("MatMul", ["x", "dequantized"], ["h"], {}, "first");
			b.node("Cast", ["half"], ["bias"], { to: intAttribute(FLOAT) }, "cast");
			b.node("Add", ["h", "bias"], ["i"], {}, "add");
			b.node("MatMul", ["x", "w"], ["j"], {}, "second");
			b.node("Add", ["i", "j"], ["y"], {}, "third");
			b.node("Identity", ["ids"], ["z"], {}, "identity");
			b.output("y").type = tensorType(FLOAT, [2, N]);
			b.output("z").type = tensorType(INT64, [2]);
		});
		const entries = [
			{ name: "x", output_dtype: "float16" },
			{ ...X, name: "ids" },
			{ ...X, name: "half" },
			{ ...BLOCK, name: "codes" },
			{ ...X, name: "dequantized" },
			{ ...PER_CHANNEL, output_dtype: "int3" },
			{ ...PER_CHANNEL, name: "j" },
			{ ...X, name: "y", output_dtype: "uint4", y_zero_point: 3 },
			{ ...Y, name: "i", y_zero_point: 0.5 },
		];
		return golden(apply(version2File(...entries)), "kept", model);
	});

	test("a weight that the caller may replace is an activation", () => {
		const model = matmul();
		for (const value of model.graph.initializers) model.graph.addInput(value);
		const tensorWide = { name: "w", output_dtype: "int8", y_scale: 0.5 };
		return golden(apply(version2File(tensorWide, X)), "overridable", model);
	});

	it("needs a file", async () => {
		await expect(runPasses(matmul(), [applyEncodings()])).rejects.toThrow(
			"pass 'apply-encodings' needs the option 'encodings', a file",
		);
	});

	it.each([
		["3 scales of 2 channels", { ...PER_CHANNEL, axis: 0 }, "it has 3 scales, expected 8 along axis 0 of [8, 3]"],
		[
			"an axis that is not there",
			{ ...PER_CHANNEL, axis: 2 },
			"field 'axis' is 2, expected -2 to 1 for a tensor of rank 2",
		],
		[
			"blocks of another size",
			{ ...BLOCK, block_size: 2 },
			"its scales have shape [2, 3], expected [4, 3] or 1 for dimensions without blocks: blocks of 2 along axis 0 of [8, 3]",
		],
		[
			"channel scales of other channels",
			{ ...LPBQ, per_channel_float_scale: [[0.5, 0.5]] },
			"it has 2 channel scales, expected 3",
		],
	])("refuses %s and changes nothing", async (_, entry, message) => {
		const model = matmul();
		const failed = runPasses(model, [apply(version2File(X, entry))]);
		await expect(failed).rejects.toMatchObject({ code: "encodings/mismatch" });
		await expect(failed).rejects.toThrow(`apply-encodings: encoding of 'w' does not fit the tensor: ${message}`);
		expect(model.graph.nodes.length).toBe(1);
	});
});
