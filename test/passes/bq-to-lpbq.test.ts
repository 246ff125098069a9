import { describe, expect, test } from "vitest";
import { intAttribute, tensorAttribute } from "../../src/ir/attribute.js";
import { readAll } from "../../src/ir/data.js";
import { floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { type BqToLpbqOptions, bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import { runPasses } from "../../src/run-passes.js";
import { type GraphBuilder, ModelBuilder, modelOf, nodeNamed } from "../support/build.js";
import { golden } from "../support/golden.js";
import {
	type BlockWeightSpec,
	blockWeight,
	int4Tensor,
	quantized,
	randomCodes,
	randomScales,
	uint4Tensor,
} from "../support/weights.js";

const { FLOAT, INT8, UINT4 } = DataType;
const MAX = { fit: "max" } as const;
const SPEC: BlockWeightSpec = { shape: [64, 8], axis: 0, blockSize: 32 };

/** `op(Q/DQ(x), weight) -> Q/DQ -> y` at the end of `b`. */
function linear(b: GraphBuilder, op: string, weight: string, y = "y", attributes = {}): void {
	b.node(op, ["x_qdq", weight], [`${y}_float`], attributes, `${y}_${op}`);
	b.node("Identity", [quantized(b, `${y}_float`)], [y]);
	b.output(y);
}

/** A model with one MatMul between quantized activations; `weight` makes its weight. */
function matMulModel(weight: (b: GraphBuilder) => string, opset = 21) {
	const builder = new ModelBuilder({ opset, irVersion: 9 });
	builder.input("x", FLOAT, [4, 64]);
	quantized(builder, "x");
	linear(builder, "MatMul", weight(builder));
	return builder.build();
}

describe("bq-to-lpbq converts", () => {
	test("MatMul, the double form, codes kept", async () => {
		const report = await golden(
			bqToLpbq(MAX),
			"matmul-max",
			matMulModel((b) => blockWeight(b, "w", SPEC)),
		);
		expect(report.weights[0]).toMatchObject({
			status: "converted",
			form: "double-dq",
			fit: "max",
			blockSize: 32,
			bits: 4,
		});
	});

	test("MatMul with search: never a larger error than max, and it says by how much", async () => {
		const report = await golden(
			bqToLpbq(),
			"matmul-search",
			matMulModel((b) => blockWeight(b, "w", SPEC)),
		);
		const [weight] = report.weights;
		expect(weight?.sqnrDb).toBeGreaterThanOrEqual(weight?.sqnrDbOfMax ?? Number.NaN);
	});

	test("a zero point that is there stays, and a negative axis becomes a positive one", async () => {
		const model = matMulModel((b) => blockWeight(b, "w", { ...SPEC, zeroPoint: true }));
		nodeNamed(model.graph, "w_DQ").attributes.set("axis", intAttribute(-2));
		await golden(bqToLpbq(MAX), "zero-point", model);
	});

	test("Gemm, both ways round", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [4, 64]);
			quantized(b, "x");
			linear(b, "Gemm", blockWeight(b, "w0", SPEC), "y0");
			const weight = blockWeight(b, "w1", { shape: [8, 64], axis: 1, blockSize: 32 });
			linear(b, "Gemm", weight, "y1", { transB: intAttribute(1) });
		});
		await golden(bqToLpbq(MAX), "gemm", model);
	});

	test("Conv, the exact form by default, kernels larger than one where scales agree", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [1, 64, 5, 5]);
			quantized(b, "x");
			linear(b, "Conv", blockWeight(b, "w1", { shape: [8, 64, 1, 1], axis: 1, blockSize: 32 }), "y1");
			const scales = randomScales(8 * 2, 5).map((scale) => Math.fround(scale));
			const repeated = Array.from(scales, (scale) => Array(9).fill(scale)).flat();
			linear(b, "Conv", blockWeight(b, "w3", { shape: [8, 64, 3, 3], axis: 1, blockSize: 32, scales: repeated }), "y3");
		});
		await golden(bqToLpbq(MAX), "conv", model);
	});

	test("either form on demand", async () => {
		const model = matMulModel((b) => blockWeight(b, "w", SPEC));
		await golden(bqToLpbq({ ...MAX, form: "exact-bq" }), "exact-bq", model);
	});

	test("the exact form by search keeps 16 as the largest integer, so that it is known again", async () => {
		const model = matMulModel((b) => blockWeight(b, "w", SPEC));
		await golden(bqToLpbq({ form: "exact-bq" }), "exact-bq-search", model);
		const again = await runPasses(model, [bqToLpbq({ form: "exact-bq" })]);
		expect(again.weights[0]?.code).toBe("lpbq/already");
	});

	test("a weight used twice once, and two DequantizeLinear nodes over the same codes once", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [4, 64]);
			quantized(b, "x");
			const weight = blockWeight(b, "w", SPEC);
			linear(b, "MatMul", weight, "y1");
			linear(b, "MatMul", weight, "y2");
			b.node("DequantizeLinear", ["w", "w_scale"], ["again"], { axis: intAttribute(0), block_size: intAttribute(32) });
			linear(b, "MatMul", "again", "y3");
		});
		const report = await golden(bqToLpbq(MAX), "shared", model);
		expect(report.passes[0]?.stats).toEqual({ "weights converted": 1, "uses converted": 3 });
	});

	test("weights in subgraphs, captured from outside, and in functions", async () => {
		const builder = new ModelBuilder();
		builder.input("x", FLOAT, [4, 64]);
		builder.input("flag", DataType.BOOL, []);
		quantized(builder, "x");
		const captured = blockWeight(builder, "outer", SPEC);
		const branch = (name: string, weightOf: (inner: GraphBuilder) => string) =>
			builder.subgraph(name, (inner) => {
				inner.node("MatMul", ["x_qdq", weightOf(inner)], [`${name}_float`], {}, `${name}_matmul`);
				inner.node("Identity", [quantized(inner, `${name}_float`)], [`${name}_y`]);
				inner.output(`${name}_y`);
			});
		builder.node(
			"If",
			["flag"],
			["y"],
			{
				then_branch: branch("then", () => captured),
				else_branch: branch("else", (inner) => blockWeight(inner, "inner", SPEC)),
			},
			"choice",
		);
		builder.output("y");
		builder.function("local", "Linear", (body) => {
			body.input("a");
			const constant = (name: string, value: ReturnType<typeof floatTensor>) =>
				body.node("Constant", [], [name], { value: tensorAttribute(value) });
			constant("w", int4Tensor([64, 8], randomCodes(512, 9)));
			constant("w_scale", floatTensor([2, 8], randomScales(16, 9)));
			constant("s", floatTensor([], [0.5]));
			body.node("QuantizeLinear", ["a", "s"], ["a_q"]);
			body.node("DequantizeLinear", ["a_q", "s"], ["a_dq"]);
			body.node("DequantizeLinear", ["w", "w_scale"], ["w_dq"], {
				axis: intAttribute(0),
				block_size: intAttribute(32),
			});
			body.node("MatMul", ["a_dq", "w_dq"], ["b_float"], {}, "function_matmul");
			body.node("QuantizeLinear", ["b_float", "s"], ["b_q"]);
			body.node("DequantizeLinear", ["b_q", "s"], ["b"]);
			body.output("b");
		});
		builder.node({ domain: "local", type: "Linear" }, ["x"], ["z"], {}, "call");
		builder.output("z");
		const report = await golden(bqToLpbq(MAX), "places", builder.build());
		expect(report.weights.filter(({ status }) => status === "converted")).toHaveLength(3);
	});

	test("negative scales turn positive; positive blocks keep their codes", async () => {
		const scales = randomScales(16, 3).map((scale, index) => (index % 3 === 0 ? -scale : scale));
		const model = matMulModel((b) => blockWeight(b, "w", { ...SPEC, scales, codes: randomCodes(512, 4, -8, 7) }));
		const report = await golden(bqToLpbq(MAX), "negative-scales", model);
		expect(report.weights[0]?.repairedBlocks).toBe(6);
		expect(report.diagnostics.map(({ code }) => code)).toContain("lpbq/repaired");
	});

	test("blocks and channels of zeros get zero codes and sane scales", async () => {
		const scales = randomScales(16, 3);
		scales[0] = 0;
		scales[3] = 0;
		scales[11] = 0;
		const model = matMulModel((b) => blockWeight(b, "w", { ...SPEC, scales }));
		await golden(bqToLpbq(MAX), "zero-scales", model);
		const channelScales = new Float32Array(
			readAll(nodeNamed(model.graph, "w_scale_DQ").inputs[1]!.initializer!.data).slice().buffer,
		);
		expect(channelScales.every((scale) => scale >= 2 ** -126)).toBe(true);
	});

	test("block sizes that the HTP computes wrong, with a warning", async () => {
		const model = matMulModel((b) => blockWeight(b, "w", { ...SPEC, blockSize: 8 }));
		const report = await golden(bqToLpbq(MAX), "htp-block-size", model);
		expect(report.diagnostics.map(({ code }) => code)).toContain("lpbq/htp-block-size");
	});

	test("between float activations when told so", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [4, 64]);
			b.node("MatMul", ["x", blockWeight(b, "w", SPEC)], ["y"], {}, "matmul");
			b.output("y");
		});
		await golden(bqToLpbq({ ...MAX, activations: "any" }), "float-activations-any", model);
	});
});

/** One near miss for every reason to leave a weight alone. */
const NEAR_MISSES: Record<string, { model: () => ReturnType<typeof matMulModel>; options?: Partial<BqToLpbqOptions> }> =
	{
		"weight/excluded": { model: () => matMulModel((b) => blockWeight(b, "w", SPEC)), options: { exclude: ["w*"] } },
		"weight/float": {
			model: () =>
				matMulModel((b) => {
					b.initializer("w", floatTensor([64, 8], new Float32Array(512)));
					return "w";
				}),
		},
		"weight/indirect": {
			model: () =>
				matMulModel((b) => {
					const weight = blockWeight(b, "w", { shape: [8, 64], axis: 1, blockSize: 32 });
					b.initializer("shape", int64Tensor([2], [64, 8]));
					b.node("Reshape", [weight, "shape"], ["turned"]);
					return "turned";
				}),
		},
		"weight/not-int4": {
			model: () =>
				matMulModel((b) => {
					const weight = blockWeight(b, "w", SPEC);
					b.initializer("w", tensor(INT8, [64, 8], new Uint8Array(512)));
					return weight;
				}),
		},
		"weight/not-block": {
			model: () =>
				matMulModel((b) => {
					b.initializer("w", int4Tensor([64, 8], randomCodes(512, 1)));
					b.initializer("s", floatTensor([8], randomScales(8, 1)));
					b.node("DequantizeLinear", ["w", "s"], ["w_dq"], { axis: intAttribute(1) });
					return "w_dq";
				}),
		},
		"weight/opset": { model: () => matMulModel((b) => blockWeight(b, "w", SPEC), 20) },
		"weight/rank": {
			model: () => matMulModel((b) => blockWeight(b, "w", { shape: [1, 64, 8], axis: 1, blockSize: 32 })),
		},
		"weight/overridable": {
			model: () =>
				matMulModel((b) => {
					const weight = blockWeight(b, "w", SPEC);
					b.graph.addInput(b.value("w"));
					return weight;
				}),
		},
		"weight/scale-not-constant": {
			model: () =>
				matMulModel((b) => {
					b.initializer("w", int4Tensor([64, 8], randomCodes(512, 1)));
					b.input("s", FLOAT, [2, 8]);
					b.node("DequantizeLinear", ["w", "s"], ["w_dq"], { axis: intAttribute(0), block_size: intAttribute(32) });
					return "w_dq";
				}),
		},
		"weight/scale-type": {
			model: () =>
				matMulModel((b) => {
					const weight = blockWeight(b, "w", SPEC);
					nodeNamed(b.graph, "w_DQ").attributes.set("output_dtype", intAttribute(DataType.FLOAT16));
					return weight;
				}),
		},
		"weight/scale-shape": {
			model: () =>
				matMulModel((b) => {
					const weight = blockWeight(b, "w", SPEC);
					b.initializer("w_scale", floatTensor([3, 8], new Float32Array(24)));
					return weight;
				}),
		},
		"weight/scale-not-finite": {
			model: () =>
				matMulModel((b) => blockWeight(b, "w", { ...SPEC, scales: randomScales(16, 1).fill(Number.NaN, 3, 4) })),
		},
		"weight/zero-point": {
			model: () =>
				matMulModel((b) => {
					const weight = blockWeight(b, "w", { ...SPEC, zeroPoint: true });
					b.initializer("w_zero", int4Tensor([2, 8], randomCodes(16, 2, 1, 3)));
					return weight;
				}),
		},
		"weight/block-axis": {
			model: () => matMulModel((b) => blockWeight(b, "w", { shape: [64, 64], axis: 1, blockSize: 32 })),
		},
		"weight/indivisible": { model: () => matMulModel((b) => blockWeight(b, "w", { ...SPEC, shape: [40, 8] })) },
		"weight/data-length": {
			model: () =>
				matMulModel((b) => {
					const weight = blockWeight(b, "w", SPEC);
					b.initializer("w", tensor(DataType.INT4, [64, 8], new Uint8Array(300)));
					return weight;
				}),
		},
		"weight/shared": {
			model: () =>
				matMulModel((b) => {
					const weight = blockWeight(b, "w", SPEC);
					b.node("Relu", [weight], ["other"], {}, "other_reader");
					b.output("other");
					return weight;
				}),
		},
		"weight/float-activations": {
			model: () =>
				modelOf((b) => {
					b.input("x", FLOAT, [4, 64]);
					b.node("MatMul", ["x", blockWeight(b, "w", SPEC)], ["y"], {}, "matmul");
					b.output("y");
				}),
		},
		"weight/depthwise": {
			model: () =>
				modelOf((b) => {
					b.input("x", FLOAT, [1, 8, 4, 4]);
					quantized(b, "x");
					const weight = blockWeight(b, "w", { shape: [8, 1, 1, 1], axis: 1, blockSize: 1 });
					linear(b, "Conv", weight, "y", { group: intAttribute(8) });
				}),
		},
		"lpbq/operator": {
			model: () =>
				modelOf((b) => {
					b.input("x", FLOAT, [64, 4]);
					b.node(
						"MatMul",
						[blockWeight(b, "w", { shape: [8, 64], axis: 1, blockSize: 32 }), quantized(b, "x")],
						["y"],
						{},
						"left",
					);
					b.output("y");
				}),
		},
		"lpbq/already": {
			model: () =>
				matMulModel((b) => {
					b.initializer("w", int4Tensor([64, 8], randomCodes(512, 1)));
					b.initializer("ints", tensor(DataType.UINT8, [2, 8], new Uint8Array(16).fill(16)));
					b.initializer("channels", floatTensor([8], randomScales(8, 1)));
					b.node("DequantizeLinear", ["ints", "channels"], ["s"], { axis: intAttribute(1) });
					b.node("DequantizeLinear", ["w", "s"], ["w_dq"], { axis: intAttribute(0), block_size: intAttribute(32) });
					return "w_dq";
				}),
		},
		"weight/operator": {
			model: () =>
				modelOf((b) => {
					b.input("x", DataType.UINT8, [4, 64]);
					b.initializer("w", tensor(DataType.UINT8, [64, 8], new Uint8Array(512)));
					b.initializer("s", floatTensor([], [0.5]));
					b.initializer("z", tensor(DataType.UINT8, [], new Uint8Array(1)));
					b.node("QLinearMatMul", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"], {}, "qlinear");
					b.output("y");
				}),
		},
		"lpbq/malformed": {
			model: () =>
				matMulModel((b) => {
					b.initializer("w", int4Tensor([64, 8], randomCodes(512, 1)));
					b.initializer("ints", tensor(DataType.UINT8, [2, 8], new Uint8Array(16).fill(19)));
					b.initializer("channels", floatTensor([8], randomScales(8, 1)));
					b.node("DequantizeLinear", ["ints", "channels"], ["s"], { axis: intAttribute(1) });
					b.node("DequantizeLinear", ["w", "s"], ["w_dq"], { axis: intAttribute(0), block_size: intAttribute(32) });
					return "w_dq";
				}),
		},
		"lpbq/kernel": {
			model: () =>
				modelOf((b) => {
					b.input("x", FLOAT, [1, 64, 5, 5]);
					quantized(b, "x");
					linear(b, "Conv", blockWeight(b, "w", { shape: [8, 64, 3, 3], axis: 1, blockSize: 32 }));
				}),
		},
	};

describe("bq-to-lpbq leaves alone, and says why:", () => {
	test.each(Object.entries(NEAR_MISSES))("%s", async (code, { model, options }) => {
		const report = await golden(bqToLpbq({ ...MAX, ...options }), `kept-${code.replace("/", "-")}`, model());
		expect(report.weights.map((weight) => [weight.status, weight.code])).toEqual([["kept", code]]);
		expect(report.passes[0]?.changed).toBe(false);
	});

	test("uint4 codes and zero points of another shape", async () => {
		const asymmetric = matMulModel((b) => {
			const weight = blockWeight(b, "w", SPEC);
			b.initializer("w", uint4Tensor([64, 8], new Uint8Array(512).fill(8)));
			return weight;
		});
		const report = await runPasses(asymmetric, [bqToLpbq()]);
		expect(report.weights[0]?.message).toContain("--requantize");
		expect(asymmetric.graph.nodes.length).toBeGreaterThan(0);
		expect(UINT4).toBe(21);
	});

	test("a Conv whose kernel positions disagree is converted by search", async () => {
		const report = await runPasses(NEAR_MISSES["lpbq/kernel"]!.model(), [bqToLpbq()]);
		expect(report.weights[0]).toMatchObject({ status: "converted", form: "exact-bq", fit: "search" });
	});
});
