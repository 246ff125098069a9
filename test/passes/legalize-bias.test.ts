import { describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import { legalizeBias } from "../../src/passes/legalize-bias.js";
import { valuesOf } from "../../src/passes/support/small-constant.js";
import { runPasses } from "../../src/run-passes.js";
import { normals } from "../runtime/models.js";
import { type GraphBuilder, modelOf, nodeNamed } from "../support/build.js";
import { golden } from "../support/golden.js";
import { expectSameResults } from "../support/same-results.js";
import { blockWeight, quantized, randomCodes, randomScales } from "../support/weights.js";

const { FLOAT, INT8, INT32 } = DataType;
const N = 4;
const K = 32;

type Maker = (b: GraphBuilder) => string;

function convModel(weight: Maker, bias: Maker, input: Maker = (b) => quantized(b, "x", 2 ** -13)) {
	return modelOf((b) => {
		b.input("x", FLOAT, [1, K, 2, 3]);
		b.node("Conv", [input(b), weight(b), bias(b)], ["y"], {}, "conv");
		b.output(quantized(b, "y", 2 ** -12)).type = tensorType(FLOAT, [1, N, 2, 3]);
	});
}

function gemmModel(weight: Maker, bias: Maker) {
	return modelOf((b) => {
		b.input("x", FLOAT, [2, K]);
		b.node("Gemm", [quantized(b, "x", 2 ** -13), weight(b), bias(b)], ["y"], { transB: intAttribute(1) }, "gemm");
		b.output(quantized(b, "y", 2 ** -12)).type = tensorType(FLOAT, [2, N]);
	});
}

const blocks: Maker = (b) => blockWeight(b, "w", { shape: [N, K, 1, 1], axis: 1, blockSize: 16 });

/** int8 with one scale a channel, or one. */
function int8Weight(shape: readonly number[], scales: number): Maker {
	return (b) => {
		b.initializer("w", tensor(INT8, shape, new Uint8Array(randomCodes(N * K, 1, -128, 127))));
		b.initializer(
			"w_scale",
			floatTensor(
				scales === 1 ? [] : [scales],
				randomScales(scales, 2).map((scale) => scale / 16),
			),
		);
		b.node("DequantizeLinear", ["w", "w_scale"], ["w_dq"], { axis: intAttribute(0) }, "w_DQ");
		return "w_dq";
	};
}

const floatBias: Maker = (b) => {
	b.initializer("bias", floatTensor([N], normals(N, 3)));
	return "bias";
};

function int32Bias(scales: readonly number[]): Maker {
	return (b) => {
		b.initializer("bias", tensor(INT32, [N], bytesOf(Int32Array.from([10_000, -200_000, 3000, 700_000]))));
		b.initializer("bias_scale", floatTensor(scales.length === 1 ? [] : [scales.length], scales));
		b.node("DequantizeLinear", ["bias", "bias_scale"], ["bias_dq"], { axis: intAttribute(0) }, "bias_DQ");
		return "bias_dq";
	};
}

describe("legalize-bias stores anew", () => {
	test("a float bias beside block scales, with a sixteenth of the largest scale of a channel", async () => {
		await golden(legalizeBias(), "block-float", convModel(blocks, floatBias));
	});

	test("an int32 bias with one scale beside block scales, the same for exact BQ", async () => {
		const model = convModel(blocks, int32Bias([1e-6]));
		await golden(legalizeBias(), "block-int32", model);
		await runPasses(model, [bqToLpbq(), legalizeBias()]);
		const [, scale] = nodeNamed(model.graph, "conv").inputs[2]!.producer!.inputs;
		const largest = valuesOf(nodeNamed(model.graph, "w_DQ").inputs[1]!.initializer!)!;
		const biasScales = valuesOf(scale!.initializer!)!;
		for (let channel = 0; channel < N; channel++) {
			const expected = (Math.max(largest[2 * channel]!, largest[2 * channel + 1]!) / 16) * 2 ** -13;
			expect(biasScales[channel]! / expected).toBeCloseTo(1, 6);
		}
	});

	test("one scale beside one a channel, in Conv and Gemm", async () => {
		await golden(legalizeBias(), "channel-conv", convModel(int8Weight([N, K, 1, 1], N), int32Bias([1e-6])));
		await golden(legalizeBias(), "channel-gemm", gemmModel(int8Weight([N, K], N), int32Bias([1e-6, 2e-6, 1e-6, 3e-6])));
	});

	test("one a channel beside one scale", async () => {
		const bias = int32Bias([1e-6, 2e-6, 1e-6, 3e-6]);
		await golden(legalizeBias(), "tensor-conv", convModel(int8Weight([N, K, 1, 1], 1), bias));
	});

	test("int32 constants of an Add, and a bias that others read", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [1, K, 2, N]);
			const bias = int32Bias([1e-6])(b);
			const x = quantized(b, "x", 2 ** -13);
			b.node("Conv", [x, blocks(b), bias], ["y"], {}, "conv");
			b.output(quantized(b, "y"));
			b.node("Add", [bias, x], ["z"]);
			b.output(quantized(b, "z"));
		});
		await golden(legalizeBias(), "addend", model);
	});

	test("in functions", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [1, K, 2, 3]);
			b.node({ domain: "d", type: "F" }, ["x"], ["y"]);
			b.output("y");
			b.function("d", "F", (body) => {
				body.input("p");
				const constant = (name: string, value: Parameters<GraphBuilder["initializer"]>[1]) =>
					body.node("Constant", [], [name], { value: { kind: "tensor", value } });
				constant("s", floatTensor([], [2 ** -13]));
				constant("z", tensor(DataType.UINT16, [], new Uint8Array([0, 128])));
				body.node("QuantizeLinear", ["p", "s", "z"], ["q"]);
				body.node("DequantizeLinear", ["q", "s", "z"], ["dq"]);
				constant("w", tensor(DataType.INT4, [N, K, 1, 1], new Uint8Array((N * K) / 2).fill(0x35)));
				constant("ws", floatTensor([N, 2, 1, 1], randomScales(N * 2, 2)));
				body.node("DequantizeLinear", ["w", "ws"], ["wdq"], { axis: intAttribute(1), block_size: intAttribute(16) });
				constant("c", floatTensor([N], normals(N, 3)));
				body.node("Conv", ["dq", "wdq", "c"], ["r"]);
				body.output("r");
			});
		});
		await golden(legalizeBias(), "function", model);
	});
});

describe("legalize-bias leaves alone", () => {
	test("what is right: float or one scale beside one scale, and what it made", async () => {
		await golden(legalizeBias(), "right-float", convModel(int8Weight([N, K, 1, 1], N), floatBias));
		await golden(legalizeBias(), "right-tensor", convModel(int8Weight([N, K, 1, 1], 1), int32Bias([1e-6])));
	});

	test("what is excluded", async () => {
		await golden(legalizeBias({ exclude: ["conv"] }), "kept-excluded", convModel(blocks, floatBias));
	});

	const tiny: Maker = (b) => {
		const scales = new Float32Array(N * 2).fill(1e-12);
		return blockWeight(b, "w", { shape: [N, K, 1, 1], axis: 1, blockSize: 16, scales });
	};
	const computed: Maker = (b) => {
		b.node("Abs", [floatBias(b)], ["computed"]);
		return "computed";
	};
	const computedScales: Maker = (b) => {
		blocks(b);
		b.node("Abs", ["w_scale"], ["w_abs"]);
		nodeNamed(b.graph, "w_DQ").setInput(1, b.value("w_abs"));
		return "w_dq";
	};

	test.each([
		["input", convModel(blocks, floatBias, () => "x")],
		["bias", convModel(blocks, computed)],
		["scales", convModel(computedScales, floatBias)],
		["overflow", convModel(tiny, floatBias)],
	])("what it cannot do: %s", async (name, model) => {
		const report = await golden(legalizeBias(), `kept-${name}`, model);
		expect(report.diagnostics.map(({ code }) => code)).toEqual(["bias/kept"]);
	});
});

test.each([
	["block scales, float", convModel(blocks, floatBias)],
	["block scales, int32", convModel(blocks, int32Bias([1e-6]))],
	["channel scales, int32", gemmModel(int8Weight([N, K], N), int32Bias([1e-6]))],
	["one scale, int32 a channel", convModel(int8Weight([N, K, 1, 1], 1), int32Bias([1e-6, 2e-6, 1e-6, 3e-6]))],
])("ONNX Runtime computes the same: %s", async (_name, model) => {
	await expectSameResults(model, [legalizeBias()], 75);
});
