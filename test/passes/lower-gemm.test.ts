import { describe, expect, test } from "vitest";
import { floatAttribute, intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import { lowerGemm } from "../../src/passes/lower-gemm.js";
import { encodeFloat16 } from "../../src/quant/float16.js";
import { runPasses } from "../../src/run-passes.js";
import { normals } from "../runtime/models.js";
import { type Attributes, type GraphBuilder, modelOf, nodeNamed } from "../support/build.js";
import { golden } from "../support/golden.js";
import { expectSameResults } from "../support/same-results.js";
import { blockWeight, int4Tensor, quantized, randomCodes, randomScales } from "../support/weights.js";

const { FLOAT, FLOAT16, INT32, INT4, UINT16, UINT8 } = DataType;

const K = 64;
const N = 6;
const TURNED = { shape: [N, K], axis: 1, blockSize: 32 };
const STRAIGHT = { shape: [K, N], axis: 0, blockSize: 32 };
const TRANS_B = { transB: intAttribute(1) };

interface GemmSpec {
	readonly weight?: (b: GraphBuilder) => string;
	/** Makes C and says what it is called. */
	readonly bias?: (b: GraphBuilder) => string;
	readonly attributes?: Attributes;
	readonly rows?: number;
	readonly activations?: "integer" | "float";
}

/** `Gemm(Q/DQ(x), weight, C) -> Q/DQ -> y`. */
function gemmModel({ weight, bias, attributes = TRANS_B, rows = 3, activations = "integer" }: GemmSpec) {
	return modelOf((b) => {
		b.input("x", FLOAT, attributes.transA === undefined ? [rows, K] : [K, rows]);
		const x = activations === "integer" ? quantized(b, "x", 2 ** -13) : "x";
		gemm(b, x, { ...(weight && { weight }), ...(bias && { bias }), attributes, activations }, "y", rows);
	});
}

function gemm(b: GraphBuilder, x: string, spec: GemmSpec, y: string, rows = 3): void {
	const inputs = [x, spec.weight?.(b) ?? blockWeight(b, "w", TURNED)];
	if (spec.bias !== undefined) inputs.push(spec.bias(b));
	b.node("Gemm", inputs, [y], spec.attributes, `${y}_gemm`);
	const output = spec.activations === "float" ? y : quantized(b, y, 2 ** -13);
	b.output(output).type = tensorType(FLOAT, [rows, N]);
}

function floatBias(shape: readonly number[] = [N]) {
	return (b: GraphBuilder) => {
		const count = shape.reduce((product, dim) => product * dim, 1);
		b.initializer("bias", floatTensor(shape, normals(count, 3)));
		return "bias";
	};
}

/** int32 with one scale a channel, as quantizers write biases. */
function int32Bias(b: GraphBuilder): string {
	b.initializer("bias", tensor(INT32, [N], bytesOf(Int32Array.from({ length: N }, (_, index) => 300 * index - 700))));
	b.initializer(
		"bias_scale",
		floatTensor(
			[N],
			Float32Array.from({ length: N }, (_, index) => 0.001 + index / 1e4),
		),
	);
	b.node("DequantizeLinear", ["bias", "bias_scale"], ["bias_dq"], { axis: intAttribute(0) }, "bias_DQ");
	return "bias_dq";
}

/** `W_DQ(codes, Scale_DQ(integers, channel scales))`, [N, K]. */
function lpbqWeight(b: GraphBuilder): string {
	const integers = Uint8Array.from({ length: N * 2 }, (_, index) => 1 + ((index * 5) % 16));
	b.initializer("w", int4Tensor([N, K], randomCodes(N * K, 4, -8, 7)));
	b.initializer("ints", tensor(UINT8, [N, 2], integers));
	b.initializer(
		"channels",
		floatTensor(
			[N],
			randomScales(N, 5).map((scale) => scale / 16),
		),
	);
	b.initializer("zeros", tensor(UINT8, [N], new Uint8Array(N)));
	b.initializer("w_zero", int4Tensor([N, 2], new Int8Array(N * 2)));
	b.node("DequantizeLinear", ["ints", "channels", "zeros"], ["scale"], { axis: intAttribute(0) }, "scale_DQ");
	const attributes = { axis: intAttribute(-1), block_size: intAttribute(32) };
	b.node("DequantizeLinear", ["w", "scale", "w_zero"], ["w_dq"], attributes, "w_DQ");
	return "w_dq";
}

describe("lower-gemm writes MatMul and Add", () => {
	test("for a block-quantized weight: it turns around with its scales, and the bias becomes uint16", async () => {
		await golden(lowerGemm(), "block", gemmModel({ bias: floatBias() }));
	});

	test("for LPBQ, with an int32 bias", async () => {
		await golden(lowerGemm(), "lpbq", gemmModel({ weight: lpbqWeight, bias: int32Bias }));
	});

	test("without transB the weight stays, without C there is no Add", async () => {
		const weight = (b: GraphBuilder) => blockWeight(b, "w", STRAIGHT);
		await golden(lowerGemm(), "straight", gemmModel({ weight, attributes: {} }));
	});

	test("alpha goes into the scales, beta into C", async () => {
		const attributes = { ...TRANS_B, alpha: floatAttribute(0.5), beta: floatAttribute(2) };
		await golden(lowerGemm(), "alpha-beta", gemmModel({ attributes, bias: floatBias([1, N]) }));
		await golden(lowerGemm(), "alpha-lpbq", gemmModel({ attributes, weight: lpbqWeight }));
	});

	test("a negative alpha is a Sub", async () => {
		const attributes = { ...TRANS_B, alpha: floatAttribute(-1) };
		await golden(lowerGemm(), "negative-alpha", gemmModel({ attributes, bias: floatBias([]) }));
	});

	test("with C computed, times beta", async () => {
		const attributes = { ...TRANS_B, beta: floatAttribute(-0.5) };
		const model = modelOf((b) => {
			b.input("x", FLOAT, [3, K]);
			b.input("c", FLOAT, [3, N]);
			gemm(b, quantized(b, "x", 2 ** -13), { attributes, bias: () => quantized(b, "c", 2 ** -12) }, "y");
		});
		await golden(lowerGemm(), "computed-addend", model);
	});

	test("with transA behind a Transpose that is quantized too", async () => {
		await golden(lowerGemm(), "trans-a", gemmModel({ attributes: { ...TRANS_B, transA: intAttribute(1) } }));
	});

	test("between float activations without Q and DQ", async () => {
		await golden(lowerGemm(), "float-activations", gemmModel({ activations: "float", bias: floatBias() }));
	});

	test("in subgraphs and functions, and a weight once however often it is used", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [3, K]);
			b.input("flag", DataType.BOOL, []);
			blockWeight(b, "w", TURNED);
			const weight = () => "w_dq";
			const x = quantized(b, "x", 2 ** -13);
			gemm(b, x, { weight, attributes: TRANS_B }, "y1");
			gemm(b, x, { weight, attributes: TRANS_B, bias: floatBias() }, "y2");
			const branch = (name: string) =>
				b.subgraph(name, (inner) => gemm(inner, x, { weight, attributes: TRANS_B }, name));
			b.node("If", ["flag"], ["z"], { then_branch: branch("then"), else_branch: branch("else") });
			b.output("z");
			b.node({ domain: "d", type: "F" }, ["x"], ["f"]);
			b.output("f");
			b.function("d", "F", (body) => {
				body.input("p");
				const constant = (name: string, value: Parameters<GraphBuilder["initializer"]>[1]) =>
					body.node("Constant", [], [name], { value: { kind: "tensor", value } });
				constant("fw", int4Tensor([N, K], randomCodes(N * K, 4)));
				constant("fs", floatTensor([N, 2], randomScales(N * 2, 5)));
				const attributes = { axis: intAttribute(1), block_size: intAttribute(32) };
				body.node("DequantizeLinear", ["fw", "fs"], ["fw_dq"], attributes);
				body.node("Gemm", ["p", "fw_dq"], ["r"], TRANS_B);
				body.output("r");
			});
		});
		const report = await golden(lowerGemm(), "places", model);
		expect(report.passes[0]?.stats).toMatchObject({ "gemms lowered": 5 });
	});

	test("a weight that others read as it is stays beside its copy", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [3, K]);
			const x = quantized(b, "x", 2 ** -13);
			gemm(b, x, { attributes: TRANS_B }, "y");
			b.node("Transpose", ["w_dq"], ["turned"], { perm: intsAttribute([1, 0]) });
			b.node("MatMul", [x, "turned"], ["z"]);
			b.output("z");
		});
		await golden(lowerGemm(), "other-reader", model);
	});

	test("any quantized weight on demand", async () => {
		const weight = (b: GraphBuilder) => {
			b.initializer("w", tensor(DataType.INT8, [N, K], new Uint8Array(randomCodes(N * K, 1, -128, 127))));
			b.initializer("w_scale", floatTensor([N], randomScales(N, 2)));
			b.node("DequantizeLinear", ["w", "w_scale"], ["w_dq"], { axis: intAttribute(0) }, "w_DQ");
			return "w_dq";
		};
		await golden(lowerGemm(), "per-channel", gemmModel({ weight, bias: floatBias() }));
		await golden(lowerGemm({ weights: "quantized" }), "any-quantized", gemmModel({ weight, bias: floatBias() }));
	});
});

describe("lower-gemm leaves alone", () => {
	test.each([
		["excluded", {}, { exclude: ["w"] }],
		["alpha-zero", { attributes: { ...TRANS_B, alpha: floatAttribute(0) } }, {}],
		["alpha-float16", { attributes: { ...TRANS_B, alpha: floatAttribute(3) }, weight: halfScales }, {}],
		["overridable", { weight: overridable }, {}],
		["indirect", { weight: indirect, attributes: {} }, {}],
		["computed-scales", { weight: computedScales }, {}],
		["rank", { weight: rank3 }, {}],
	] as const)("%s", async (name, spec: GemmSpec, options) => {
		const model = gemmModel(spec);
		const report = await golden(lowerGemm(options), `kept-${name}`, model);
		expect(report.passes[0]?.changed).toBe(false);
	});

	test("left operands", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [K, 3]);
			b.node("Gemm", [blockWeight(b, "w", TURNED), quantized(b, "x")], ["y"], {}, "left");
			b.output("y");
		});
		await golden(lowerGemm(), "kept-left", model);
	});
});

function halfScales(b: GraphBuilder): string {
	blockWeight(b, "w", TURNED);
	b.initializer("w_half", tensor(FLOAT16, [N, 2], encodeFloat16(randomScales(N * 2, 5))));
	nodeNamed(b.graph, "w_DQ").setInput(1, b.value("w_half"));
	return "w_dq";
}

function overridable(b: GraphBuilder): string {
	blockWeight(b, "w", TURNED);
	b.input("w", INT4, [N, K]);
	return "w_dq";
}

function indirect(b: GraphBuilder): string {
	b.node("Transpose", [blockWeight(b, "w", TURNED)], ["w_T"], { perm: intsAttribute([1, 0]) });
	return "w_T";
}

function computedScales(b: GraphBuilder): string {
	blockWeight(b, "w", TURNED);
	b.node("Abs", ["w_scale"], ["w_abs"]);
	nodeNamed(b.graph, "w_DQ").setInput(1, b.value("w_abs"));
	return "w_dq";
}

function rank3(b: GraphBuilder): string {
	return blockWeight(b, "w", { shape: [1, N, K], axis: 2, blockSize: 32 });
}

describe("ONNX Runtime computes the same after lower-gemm", () => {
	const shapes = [[], [1], [N], [1, N], [3, 1], [3, N]];

	test.each(shapes)("between float activations, C of shape [%s, %s]", async (...shape) => {
		const dims = shape.filter((dim) => dim !== undefined);
		for (const weight of [undefined, lpbqWeight]) {
			const attributes = { ...TRANS_B, alpha: floatAttribute(-0.3), beta: floatAttribute(1.7) };
			const spec: GemmSpec = { activations: "float", bias: floatBias(dims), attributes };
			await expectSameResults(gemmModel(weight === undefined ? spec : { ...spec, weight }), [lowerGemm()], 100);
		}
	});

	test.each([
		["transA", { ...TRANS_B, transA: intAttribute(1) }],
		["transB", TRANS_B],
		["alpha and beta", { ...TRANS_B, alpha: floatAttribute(2.5), beta: floatAttribute(0.1) }],
		["a negative alpha", { ...TRANS_B, alpha: floatAttribute(-1.5) }],
	])("between quantized activations, %s", async (_name, attributes) => {
		for (const bias of [undefined, floatBias(), int32Bias]) {
			const model = gemmModel({ attributes, ...(bias === undefined ? {} : { bias }) });
			await expectSameResults(model, [lowerGemm()], 65);
			expect(Array.from(model.graph.nodes, ({ op }) => op.type)).not.toContain("Gemm");
		}
	});

	test("odd shapes and ragged blocks, one channel and one row", async () => {
		for (const [n, k, rows] of [
			[1, 64, 1],
			[7, 33, 2],
			[5, 1, 3],
		] as const) {
			const model = modelOf((b) => {
				b.input("x", FLOAT, [rows, k]);
				const weight = blockWeight(b, "w", { shape: [n, k], axis: 1, blockSize: 16, zeroPoint: true });
				b.node("Gemm", ["x", weight], ["y"], TRANS_B);
				b.output("y").type = tensorType(FLOAT, [rows, n]);
			});
			await expectSameResults(model, [lowerGemm()], 100);
		}
	});

	test("and then bq-to-lpbq converts the weight", async () => {
		const model = gemmModel({ bias: floatBias() });
		const report = await runPasses(model, [lowerGemm(), bqToLpbq()]);
		expect(report.weights[0]).toMatchObject({ status: "converted", op: "MatMul", form: "double-dq" });
	});
});

test("a bias that is uint16 already stays", async () => {
	const bias = (b: GraphBuilder) => {
		b.initializer("bias", tensor(UINT16, [N], bytesOf(Uint16Array.from({ length: N }, (_, index) => 9999 * index))));
		b.initializer("bias_scale", floatTensor([], [1e-5]));
		b.initializer("bias_zero", tensor(UINT16, [], bytesOf(Uint16Array.of(32768))));
		b.node("DequantizeLinear", ["bias", "bias_scale", "bias_zero"], ["bias_dq"], {}, "bias_DQ");
		return "bias_dq";
	};
	await golden(lowerGemm(), "uint16-bias", gemmModel({ bias }));
});
