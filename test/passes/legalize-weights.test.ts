import { describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import type { Pass } from "../../src/passes/infra/pass.js";
import { legalizeWeights } from "../../src/passes/legalize-weights.js";
import { lpbqToBq } from "../../src/passes/lpbq-to-bq.js";
import { runPasses } from "../../src/run-passes.js";
import { parseTarget } from "../../src/targets/target.js";
import { type GraphBuilder, type ModelBuilder, modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatFeed, floatsOf, run, sqnrDb } from "../support/ort.js";
import {
	type BlockWeightSpec,
	blockWeight,
	int4Tensor,
	quantized,
	randomCodes,
	uint4Tensor,
} from "../support/weights.js";

const { FLOAT, UINT8 } = DataType;
type Architecture = "v68" | "v79";

/** An LPBQ weight; `largest`: of the integers, which every channel has. */
function lpbqWeight(
	b: GraphBuilder,
	name: string,
	{ shape, axis, blockSize }: BlockWeightSpec,
	largest = 16,
	channelScale = 0.01,
): string {
	const blocks = shape.map((dim, index) => (index === axis ? Math.ceil(dim / blockSize) : dim));
	const channelAxis = axis === 0 ? 1 : 0;
	const count = elementCount(blocks);
	const inner = elementCount(blocks.slice(axis + 1));
	const integers = Uint8Array.from({ length: count }, (_, index) =>
		Math.floor(index / inner) % blocks[axis]! === 0 ? largest : 1 + ((index * 7) % largest),
	);
	b.initializer(name, int4Tensor(shape, randomCodes(elementCount(shape), 3)));
	b.initializer(`${name}_ints`, tensor(UINT8, blocks, integers));
	const channels = new Array(blocks[channelAxis]!).fill(channelScale);
	b.initializer(`${name}_channels`, floatTensor([channels.length], channels));
	b.initializer(`${name}_zero`, int4Tensor(blocks, new Int8Array(count)));
	const scale = [`${name}_ints`, `${name}_channels`];
	b.node("DequantizeLinear", scale, [`${name}_s`], { axis: intAttribute(channelAxis) }, `${name}_scale_DQ`);
	const blocked = { axis: intAttribute(axis), block_size: intAttribute(blockSize) };
	b.node("DequantizeLinear", [name, `${name}_s`, `${name}_zero`], [`${name}_dq`], blocked, `${name}_DQ`);
	return `${name}_dq`;
}

/** `y = op(Q/DQ(x), weight)`, quantized. */
function linear(b: GraphBuilder, op: string, weight: string, y = "y", attributes = {}): void {
	b.node(op, ["x_qdq", weight], [`${y}_float`], attributes, `${y}_${op}`);
	b.node("Identity", [quantized(b, `${y}_float`, 0.002)], [y]);
	b.output(y).type = tensorType(FLOAT);
}

function model(shape: readonly number[], fill: (b: ModelBuilder) => void): Model {
	return modelOf((b) => {
		b.input("x", FLOAT, shape);
		quantized(b, "x");
		fill(b);
	});
}

/** Runs the pass and compares with the golden file; the outputs before and after differ by `leastDb` or less. */
async function legal(name: string, made: Model, leastDb: number, architecture: Architecture = "v79") {
	const target = parseTarget(`qnn-htp:${architecture}`);
	const shape = made.graph.inputs[0]!.type;
	const dims = shape?.kind === "tensor" ? (shape.shape as number[]) : [];
	const feed = {
		x: floatFeed(
			dims,
			Float32Array.from({ length: elementCount(dims) }, (_, i) => Math.sin(i * 1.7)),
		),
	};
	const before = await run(serializeModel(made), feed);
	const report = await golden(legalizeWeights(), name, made, { target });
	const after = await run(serializeModel(made), feed);
	for (const [output, value] of Object.entries(before)) {
		expect(sqnrDb(floatsOf(value), floatsOf(after[output]))).toBeGreaterThanOrEqual(leastDb);
	}
	return report.weights.map(({ form }) => form);
}

/** Two orders of summing may end in neighbouring steps of the output. */
const SAME_DB = 55;

describe("legalize-weights", () => {
	test("UINT4 with zero points 8 becomes INT4", async () => {
		const made = model([4, 64], (b) => {
			blockWeight(b, "w", { shape: [64, 5], axis: 0, blockSize: 32 });
			b.graph.setInitializer(
				b.value("w"),
				uint4Tensor(
					[64, 5],
					randomCodes(320, 1).map((code) => code + 8),
				),
			);
			b.initializer("zero", uint4Tensor([2, 5], new Array(10).fill(8)));
			b.value("w_dq").producer!.setInput(2, b.value("zero"));
			linear(b, "MatMul", "w_dq");
		});
		expect(await legal("uint4", made, SAME_DB)).toEqual(["bq"]);
	});

	test.each([
		["v79", "asymmetric", SAME_DB, "bq"],
		["v68", "asymmetric-v68", 35, "channel-int8"],
	] as const)("asymmetric codes become INT8 on %s", async (architecture, name, leastDb, form) => {
		const made = model([4, 64], (b) => {
			blockWeight(b, "w", { shape: [64, 5], axis: 0, blockSize: 32 });
			b.initializer("zero", int4Tensor([2, 5], [1, -2, 0, 3, 1, 0, 0, 1, -1, 2]));
			b.value("w_dq").producer!.setInput(2, b.value("zero"));
			linear(b, "MatMul", "w_dq");
		});
		expect(await legal(name, made, leastDb, architecture)).toEqual([form]);
	});

	test("UINT8 codes that fit four bits become INT4, which loses less than int8", async () => {
		const codes = Uint8Array.from({ length: 96 * 3 }, (_, index) => (index * 5) % 8);
		const made = model([4, 96], (b) => {
			blockWeight(b, "w", { shape: [96, 3], axis: 0, blockSize: 32, seed: 2 });
			b.graph.setInitializer(b.value("w"), tensor(UINT8, [96, 3], codes));
			linear(b, "MatMul", "w_dq");
		});
		expect(await legal("least-loss", made, 35)).toEqual(["bq"]);
	});

	test("blocks of 48 are cut, K is padded with the activation that several operators share", async () => {
		const made = model([3, 80], (b) => {
			linear(b, "MatMul", lpbqWeight(b, "w", { shape: [80, 5], axis: 0, blockSize: 16 }), "a");
			linear(b, "MatMul", blockWeight(b, "v", { shape: [80, 6], axis: 0, blockSize: 32 }), "b");
			const transB = { transB: intAttribute(1) };
			linear(b, "Gemm", lpbqWeight(b, "u", { shape: [7, 80], axis: 1, blockSize: 48 }), "c", transB);
		});
		expect(await legal("blocks-padding", made, SAME_DB)).toEqual(["double-dq", "bq", "double-dq"]);
	});

	const illegalLpbq = () => {
		const spec = { shape: [64, 5], axis: 0, blockSize: 32 };
		return model([3, 64], (b) => {
			linear(b, "MatMul", lpbqWeight(b, "w", { ...spec, shape: [64, 1] }), "a");
			linear(b, "MatMul", lpbqWeight(b, "v", spec, 20), "b");
			linear(b, "MatMul", lpbqWeight(b, "u", { ...spec, blockSize: 8 }), "c");
			linear(b, "MatMul", lpbqWeight(b, "t", spec, 16, -0.01), "d");
		});
	};

	test("one channel, integers above 16, blocks of 8 and negative scales: LPBQ scales are multiplied out", async () => {
		expect(await legal("products", illegalLpbq(), SAME_DB)).toEqual(Array(4).fill("bq"));
	});

	test("a convolution of one channel with a bias becomes int8, which is the same weight", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [1, 64, 3, 3]);
			quantized(b, "x");
			b.initializer("bias", floatTensor([1], [0.5]));
			const weight = lpbqWeight(b, "w", { shape: [1, 64, 1, 1], axis: 1, blockSize: 32 });
			b.node("Conv", ["x_qdq", weight, "bias"], ["y_float"], {}, "conv");
			b.output(quantized(b, "y_float", 0.002)).type = tensorType(FLOAT);
		});
		await golden(legalizeWeights(), "one-channel-conv", model, { target: parseTarget("qnn-htp:v79") });
	});

	test("a convolution of one channel and one block gets one scale", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [1, 64, 3, 3]);
			quantized(b, "x");
			const weight = blockWeight(b, "w", { shape: [1, 64, 1, 1], axis: 1, blockSize: 64, zeroPoint: true });
			b.node("Conv", ["x_qdq", weight], ["y_float"], {}, "conv");
			b.output(quantized(b, "y_float", 0.002)).type = tensorType(FLOAT);
		});
		await golden(legalizeWeights(), "one-block-conv", model, { target: parseTarget("qnn-htp:v79") });
	});

	test("or, where float block scales are refused, become int8", async () => {
		expect(await legal("int8", illegalLpbq(), 35, "v68")).toEqual(["bq", ...Array(3).fill("channel-int8")]);
	});

	test("weights beyond fp16 become int8", async () => {
		const made = model([3, 64], (b) => {
			linear(
				b,
				"MatMul",
				blockWeight(b, "w", {
					shape: [64, 5],
					axis: 0,
					blockSize: 32,
					scales: Array.from({ length: 10 }, (_, index) => (index + 7) * 1e-8),
				}),
			);
		});
		expect(await legal("fp16", made, 35)).toEqual(["channel-int8"]);
	});

	const convolutions = () =>
		model([1, 64, 5, 5], (b) => {
			linear(b, "Conv", blockWeight(b, "w", { shape: [5, 64, 3, 3], axis: 1, blockSize: 16 }), "a");
			linear(b, "Conv", lpbqWeight(b, "v", { shape: [5, 64, 1, 1], axis: 1, blockSize: 16 }), "b");
			linear(b, "Conv", lpbqWeight(b, "u", { shape: [5, 64, 1, 1], axis: 1, blockSize: 16 }, 12), "c");
			const group = { group: intAttribute(2) };
			linear(b, "Conv", blockWeight(b, "t", { shape: [4, 32, 1, 1], axis: 1, blockSize: 16 }), "d", group);
		});

	test.each([
		["v79", "conv", "bq"],
		["v68", "conv-v68", "channel-int8"],
	] as const)(
		"Conv on %s: kernels of more positions and groups become int8, LPBQ scales are multiplied out",
		async (...row) => {
			const [architecture, name, form] = row;
			const forms = await legal(name, convolutions(), 35, architecture);
			expect(forms).toEqual(["channel-int8", "bq", form, "channel-int8"]);
		},
	);

	test("a batch of matrices becomes int8 with scales that the matrices share", async () => {
		const made = model([3, 4, 64], (b) => {
			const name = blockWeight(b, "w", { shape: [192, 5], axis: 0, blockSize: 32 });
			const dequantize = b.value(name).producer!;
			const codes = randomCodes(3 * 64 * 5, 3);
			b.graph.setInitializer(b.value("w"), int4Tensor([3, 64, 5], codes));
			b.graph.setInitializer(
				b.value("w_scale"),
				floatTensor(
					[3, 2, 5],
					Array.from({ length: 30 }, (_, i) => 0.01 + 0.001 * i),
				),
			);
			dequantize.attributes.set("axis", intAttribute(1));
			linear(b, "MatMul", name);
		});
		expect(await legal("batch", made, 35)).toEqual(["channel-int8"]);
	});

	test("blocks are cut for LPBQ only where it follows", async () => {
		const made = () =>
			model([3, 96], (b) => {
				linear(b, "MatMul", blockWeight(b, "w", { shape: [96, 5], axis: 0, blockSize: 48 }), "a");
				linear(b, "MatMul", lpbqWeight(b, "v", { shape: [96, 5], axis: 0, blockSize: 32 }, 20), "b");
			});
		const forms = async (...passes: Pass[]) => {
			const report = await runPasses(made(), passes, { target: parseTarget("qnn-htp:v79") });
			return report.weights.filter(({ status }) => status === "converted").map(({ weight, form }) => [weight, form]);
		};
		expect(await forms(legalizeWeights())).toEqual([["v", "bq"]]);
		expect(await forms(legalizeWeights(), bqToLpbq())).toEqual([
			["w", "double-dq"],
			["v", "channel-int8"],
		]);
	});

	test("leaves legal weights, float activations and other readers alone, and models without a target", async () => {
		const fill = (b: ModelBuilder) => {
			linear(b, "MatMul", lpbqWeight(b, "legal", { shape: [96, 5], axis: 0, blockSize: 96 }), "a");
			const weight = blockWeight(b, "float", { shape: [96, 5], axis: 0, blockSize: 48 });
			b.node("MatMul", ["x", weight], ["b"], {}, "float_matmul");
			linear(b, "MatMul", blockWeight(b, "shared", { shape: [96, 5], axis: 0, blockSize: 40 }), "c");
			b.node("Identity", ["shared_dq"], ["d"]);
			for (const output of ["b", "d"]) b.output(output).type = tensorType(FLOAT);
		};
		expect(await legal("kept", model([3, 96], fill), SAME_DB)).toEqual(["bq"]);
		const { diagnostics, passes } = await runPasses(model([3, 96], fill), [legalizeWeights()]);
		expect([diagnostics.map(({ code }) => code), passes[0]?.changed]).toEqual([["target/missing"], false]);
	});
});

describe("lpbq-to-bq", () => {
	const made = () =>
		model([1, 64], (b) => {
			linear(b, "MatMul", lpbqWeight(b, "w", { shape: [64, 5], axis: 0, blockSize: 32 }), "a");
			linear(b, "MatMul", lpbqWeight(b, "v", { shape: [64, 5], axis: 0, blockSize: 32 }, 20), "b");
		});

	test("multiplies out what is illegal", async () => {
		const report = await golden(lpbqToBq(), "illegal", made());
		expect(report.weights.map(({ weight }) => weight)).toEqual(["v"]);
	});

	test("or all", async () => {
		const report = await golden(lpbqToBq({ weights: "all" }), "all", made());
		expect(report.weights.map(({ weight }) => weight)).toEqual(["w", "v"]);
	});
});
