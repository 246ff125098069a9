import { describe, expect, it, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { removeQdq } from "../../src/passes/remove-qdq.js";
import { type GraphBuilder, modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { expectSameResults } from "../support/same-results.js";
import { blockWeight, int4Tensor, quantized, randomCodes } from "../support/weights.js";

const { FLOAT, INT8, UINT8 } = DataType;
const [K, N] = [8, 3];

function model(fill: (b: GraphBuilder) => string) {
	return modelOf((b) => {
		b.input("x", FLOAT, [2, K]);
		b.output(fill(b)).type = tensorType(FLOAT, [2, N]);
	});
}

/** `MatMul(x, weight) -> y`. */
function matmul(b: GraphBuilder, x: string, weight: string, y = "y"): string {
	b.node("MatMul", [x, weight], [y], {}, `${y}_matmul`);
	return y;
}

const block = (b: GraphBuilder) => blockWeight(b, "w", { shape: [K, N], axis: 0, blockSize: 4 });

/** int8 codes `w_q` with one scale a channel `w_scale`. */
function channelWeight(b: GraphBuilder): string {
	b.initializer(
		"w_q",
		tensor(
			INT8,
			[K, N],
			Uint8Array.from({ length: K * N }, (_, index) => index * 37),
		),
	);
	b.initializer("w_scale", floatTensor([N], [0.5, 0.25, 2]));
	b.node("DequantizeLinear", ["w_q", "w_scale"], ["w_dq"], { axis: intAttribute(1) }, "w_DQ");
	return "w_dq";
}

describe("remove-qdq", () => {
	test("pairs and blocks", () =>
		golden(
			removeQdq(),
			"block",
			model((b) => quantized(b, matmul(b, quantized(b, "x"), block(b)))),
		));

	test("codes are called by their scale's name", () =>
		golden(
			removeQdq(),
			"channel",
			model((b) => matmul(b, "x", channelWeight(b))),
		));

	it("computes what the quantized weights compute", () =>
		expectSameResults(
			model((b) => matmul(b, "x", block(b))),
			[removeQdq()],
			120,
		));

	test("a float constant that is quantized when the model runs", () =>
		golden(
			removeQdq(),
			"unfolded",
			model((b) => {
				b.initializer(
					"w",
					floatTensor(
						[K, N],
						Float32Array.from({ length: K * N }, (_, index) => index / 7),
					),
				);
				b.initializer("scale", floatTensor([], [0.5]));
				b.node("QuantizeLinear", ["w", "scale"], ["codes"], {}, "Q");
				b.node("DequantizeLinear", ["codes", "scale"], ["w_qdq"], {}, "DQ");
				return matmul(b, "x", "w_qdq");
			}),
		));

	test("an input that is an output, quantized", () =>
		golden(
			removeQdq(),
			"through",
			modelOf((b) => {
				b.input("x", FLOAT, [2]);
				b.output(quantized(b, "x")).type = tensorType(FLOAT, [2]);
			}),
		));

	test("two pairs in a row", () =>
		golden(
			removeQdq(),
			"chain",
			model((b) => matmul(b, quantized(b, quantized(b, "x"), 0.25), block(b))),
		));

	test("codes that others read, in the main graph and a subgraph", () =>
		golden(
			removeQdq(),
			"shared",
			modelOf((b) => {
				b.input("x", FLOAT, [2, K]);
				b.input("condition", DataType.BOOL, []);
				const dequantized = channelWeight(b);
				const then = b.subgraph("then", (inner) => {
					inner.node("DequantizeLinear", ["w_q", "w_scale"], ["again"], { axis: intAttribute(1) }, "again_DQ");
					inner.output(matmul(inner, "x", "again", "t")).type = tensorType(FLOAT, [2, N]);
				});
				const other = b.subgraph("else", (inner) => {
					inner.output(matmul(inner, "x", dequantized, "e")).type = tensorType(FLOAT, [2, N]);
				});
				b.node("If", ["condition"], ["y"], { then_branch: then, else_branch: other }, "if");
				b.output("y").type = tensorType(FLOAT, [2, N]);
			}),
		));

	test("what is no pair, or has scales that are computed, stays", () =>
		golden(
			removeQdq(),
			"kept",
			modelOf((b) => {
				b.input("x", FLOAT, [2, K]);
				b.input("computed", FLOAT, []);
				b.initializer("a", floatTensor([], [0.5]));
				b.initializer("b", floatTensor([], [0.25]));
				b.node("QuantizeLinear", ["x", "a"], ["codes"], {}, "Q");
				b.node("DequantizeLinear", ["codes", "b"], ["halved"], {}, "DQ");
				b.initializer("w", int4Tensor([K, N], randomCodes(K * N, 3)));
				b.node("DequantizeLinear", ["w", "computed"], ["w_dq"], {}, "w_DQ");
				b.node("QuantizeLinear", ["x", "a"], ["given"], {}, "output_Q");
				b.output(matmul(b, "halved", "w_dq")).type = tensorType(FLOAT, [2, N]);
				b.output("given").type = tensorType(UINT8, [2, K]);
			}),
		));
});

describe("a bias", () => {
	it("is read as 32-bit codes", async () => {
		const biased = model((b) => {
			b.initializer("c", tensor(DataType.INT32, [N], bytesOf(Int32Array.of(1 << 24, -5, 7))));
			b.initializer("c_scale", floatTensor([N], [0.5, 1, 2]));
			b.node("DequantizeLinear", ["c", "c_scale"], ["c_dq"], { axis: intAttribute(0) }, "c_DQ");
			b.node("Add", [matmul(b, "x", block(b), "h"), "c_dq"], ["y"], {}, "add");
			return "y";
		});
		const report = await golden(removeQdq(), "bias", biased);
		expect(report.diagnostics).toEqual([]);
	});
});
