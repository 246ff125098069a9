import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { readModel } from "../../src/onnx/file.js";
import { checkModel, type Finding } from "../../src/targets/check-model.js";
import { providerOptions } from "../../src/targets/provider-options.js";
import { HTP_RULES } from "../../src/targets/rules/index.js";
import { parseTarget } from "../../src/targets/target.js";
import { type LinearSpec, linearModel, linearOp, linearOutput, linearWeight } from "../runtime/models.js";
import { type ModelBuilder, modelOf } from "../support/build.js";
import { blockWeight, channelWeight, int4Tensor, quantized } from "../support/weights.js";

const shared = fileURLToPath(new URL("../../../shared/", import.meta.url));
const oracles = path.join(shared, "oracles/htp");
const targets = ["v69", "v73", "v75", "v79", "v81"].map((name) => parseTarget(`qnn-htp:${name}`));

function rulesOf(findings: readonly Finding[]): string[] {
	return [...new Set(findings.filter(({ consequence }) => consequence !== "slow").map(({ rule }) => rule))].sort();
}

/** The rules that each model of a folder was made to break. */
const BROKEN: Readonly<Record<string, readonly string[]>> = {
	ANOMALY_ln_pc8_M16: ["htp/layer-norm-16-rows"],
	BAD_conv1x1_bq_float_bias: ["htp/block-conv-float-bias"],
	BAD_gemm_lpbq_bias_dropped: ["htp/lpbq-gemm-bias"],
	BAD_gemm_lpbq_transB0: ["htp/lpbq-gemm-transposed"],
	BAD_mm_bq_int4_asym: ["htp/block-zero-point"],
	BAD_mm_bq_uint4_zp8: ["htp/block-zero-point"],
	BAD_mm_lpbq_K80_bs16: ["htp/lpbq-block-size"],
	BAD_mm_lpbq_add_without_q: ["htp/lpbq-add-fused"],
	BAD_mm_lpbq_bs48: ["htp/lpbq-block-size"],
	BAD_mm_lpbq_intscale20: ["htp/lpbq-integer-range"],
	BAD_mm_lpbq_pcscale0: ["htp/channel-scale"],
	BAD_mm_lpbq_ragged_K100: ["htp/lpbq-block-size"],
	BAD_mm_lpbq_uint4: ["htp/lpbq-asymmetric"],
	CRASH_gemm_lpbq_dq_bias: ["htp/lpbq-gemm-bias-crash"],
	CRASH_mm_lpbq_rank1: ["htp/lpbq-vector", "htp/output-shape"],
};

/** Right from v73 on; a v69, of which the name does not tell, computes 8 batches of LPBQ products at -9 dB. */
const BROKEN_ON_V69: Readonly<Record<string, readonly string[]>> = {
	conv1x1_as_lpbq_matmul_ok: ["htp/lpbq-batch"],
};

describe.skipIf(!existsSync(oracles))("models whose fate on the HTP is known", () => {
	const names = existsSync(oracles) ? readdirSync(oracles).map((file) => path.basename(file, ".onnx")) : [];

	test.each(names.filter((name) => /^(BAD|CRASH|ANOMALY)_/.test(name)))("%s breaks its rule", async (name) => {
		const model = await readModel(path.join(oracles, `${name}.onnx`));
		for (const target of targets) expect(rulesOf(await checkModel(model, target))).toEqual(BROKEN[name]);
	});

	test.each(names.filter((name) => /_ok$|^block_/.test(name)))("%s breaks none", async (name) => {
		const model = await readModel(path.join(oracles, `${name}.onnx`));
		for (const target of targets) {
			const broken = target.architecture === "v69" ? BROKEN_ON_V69[name] : undefined;
			expect(rulesOf(await checkModel(model, target))).toEqual(broken ?? []);
		}
	});

	test("a symbolic dimension is named", async () => {
		const model = await readModel(path.join(oracles, "lpbq_dynamic.onnx"));
		expect(await checkModel(model, targets[0]!)).toMatchObject([
			{ rule: "htp/static-shape", message: "dimension 0 of input 'x' is batch, dimension 1 of input 'x' is seq" },
		]);
	});

	test("a ResNet-50 that compiles and is wrong: its biases and scales are named", async () => {
		const model = await readModel(path.join(shared, "corpus/real/resnet50-conv-bq32.onnx"));
		const findings = await checkModel(model, parseTarget("qnn-htp:v81"));
		for (const rule of ["htp/block-conv-scales", "htp/bias-granularity"]) {
			expect(findings.filter((finding) => finding.rule === rule)).toHaveLength(18);
		}
		expect(rulesOf(findings)).toEqual(["htp/bias-granularity"]);
	});
});

test.skipIf(!existsSync(shared))("smart-turn: what the compiler refuses of it", async () => {
	const model = await readModel(path.join(shared, "corpus/real/smart-turn-bq32.onnx"));
	const counts = async (target: string) => {
		const findings = await checkModel(model, parseTarget(target));
		return Object.fromEntries(
			rulesOf(findings).map((rule) => [rule, findings.filter((one) => one.rule === rule).length]),
		);
	};
	expect(await counts("qnn-htp:v68")).toEqual({
		"htp/block-gemm-bias": 3,
		"htp/block-gemm-v68": 3,
		"htp/block-v68": 26,
		"htp/conv-bias-scale": 2,
		"htp/erf": 8,
		"htp/float-island-v68": 9,
	});
	expect(await counts("qnn-htp:SM8850")).toEqual({
		"htp/block-gemm-bias": 3,
		"htp/conv-bias-scale": 2,
		"htp/erf": 8,
	});
});

describe("operators", () => {
	test.each([
		["qnn-htp:v79", "Relu", undefined],
		["qnn-htp:v79", "Cosh", "htp/operator-refused"],
		["qnn-htp:v68", "Elu", "htp/operator-refused"],
		["qnn-htp:v69", "Elu", undefined],
	])("%s: %s on floats", async (target, op, rule) => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [4, 8]);
			b.node(op, ["x"], ["y"]);
			b.output("y");
		});
		expect(rulesOf(await checkModel(model, parseTarget(target)))).toEqual(rule === undefined ? [] : [rule]);
	});

	test("of a domain that the compiler does not know", async () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [4, 8]);
			b.node({ domain: "com.acme", type: "Magic" }, ["x"], ["y"]);
			b.output("y");
		});
		expect(rulesOf(await checkModel(model, targets[0]!))).toEqual(["htp/operator-domain"]);
	});
});

describe("what is around weights with several scales", () => {
	const spec: LinearSpec = { op: "MatMul", depth: 64, channels: 8, blockSize: 32, rows: 4, activations: "integer" };
	type Fill = (b: ModelBuilder, product: string) => string;

	/** `x -> Q -> DQ -> MatMul -> behind -> y` */
	async function rulesBehind(scheme: "block" | "per-channel", behind: Fill, input: Fill = (_, x) => x) {
		const model = linearModel(spec, (b, x) => {
			const shape = [spec.depth, spec.channels];
			const weight =
				scheme === "block" ? blockWeight(b, "W", { shape, axis: 0, blockSize: 32 }) : channelWeight(b, "W", shape, 1);
			b.node("MatMul", [input(b, x), weight], ["product"], {}, "op");
			b.output(behind(b, "product"));
		});
		return rulesOf(await checkModel(model, parseTarget("qnn-htp:v73")));
	}

	const relu: Fill = (b, product) => {
		b.node("Relu", [product], ["relu"]);
		return quantized(b, "relu");
	};
	const plus =
		(...shape: number[]): Fill =>
		(b, product) => {
			b.initializer("bias", floatTensor(shape, new Float32Array(shape.reduce((a, c) => a * c, 1)).fill(0.5)));
			b.node("Add", ["bias", product], ["sum"]);
			return quantized(b, "sum");
		};
	const sigmoid: Fill = (b, x) => {
		b.node("Sigmoid", [x], ["sigmoid"]);
		return quantized(b, "sigmoid", 2 ** -15);
	};

	test("block scales", async () => {
		expect(await rulesBehind("block", quantized)).toEqual([]);
		expect(await rulesBehind("block", relu)).toEqual(["htp/block-output"]);
		expect(await rulesBehind("block", plus(8))).toEqual(["htp/block-output"]);
		expect(await rulesBehind("block", (_, product) => product)).toEqual(["htp/block-output"]);
	});

	test("one scale a channel", async () => {
		expect(await rulesBehind("per-channel", quantized)).toEqual([]);
		expect(await rulesBehind("per-channel", relu)).toEqual(["htp/channel-output"]);
		expect(await rulesBehind("per-channel", plus(8))).toEqual([]);
		expect(await rulesBehind("per-channel", plus(1, 8))).toEqual(["htp/channel-output"]);
		expect(await rulesBehind("per-channel", quantized, () => "x")).toEqual(["htp/channel-activation"]);
	});

	test("a bias too large for its scale, and one behind a Sigmoid that the compiler encodes otherwise", async () => {
		const large: Fill = (b, product) => {
			b.initializer("bias", floatTensor([8], new Float32Array(8).fill(1e7)));
			b.node("Add", [product, "bias"], ["sum"]);
			return quantized(b, "sum", 100);
		};
		expect(await rulesBehind("per-channel", large)).toEqual(["htp/bias-overflow", "htp/channel-scale-small"]);
		expect(await rulesBehind("per-channel", quantized, sigmoid)).toEqual([]);
		expect(await rulesBehind("per-channel", plus(8), sigmoid)).toEqual(["htp/fixed-output-bias"]);
	});

	test("a Relu or Clip that the quantizer makes superfluous is none, behind the operator and in front of views", async () => {
		const clamped =
			(op: "Relu" | "Clip", zeroPoint: number, order: "clamp, view" | "view, clamp" = "clamp, view"): Fill =>
			(b, product) => {
				const target = int64Tensor([2], [8, 4]);
				const bounds = op === "Relu" ? [] : ["lo", "hi"];
				b.initializer("lo", floatTensor([], [-4]));
				b.initializer("hi", floatTensor([], [4]));
				b.initializer("target", target);
				const clamp = (from: string) => void b.node(op, [from, ...bounds], [`${from}_clamped`]);
				const view = (from: string) => void b.node("Reshape", [from, "target"], [`${from}_view`]);
				const [first, second] = order === "clamp, view" ? [clamp, view] : [view, clamp];
				first(product);
				const between = order === "clamp, view" ? `${product}_clamped` : `${product}_view`;
				second(between);
				const end = order === "clamp, view" ? `${between}_view` : `${between}_clamped`;
				return quantized(b, end, 2 ** -14, zeroPoint);
			};
		for (const scheme of ["block", "per-channel"] as const) {
			const refused = [scheme === "block" ? "htp/block-output" : "htp/channel-output"];
			expect(await rulesBehind(scheme, clamped("Relu", 0))).toEqual([]);
			expect(await rulesBehind(scheme, clamped("Relu", 1))).toEqual(refused);
			expect(await rulesBehind(scheme, clamped("Relu", 0, "view, clamp"))).toEqual(refused);
			expect(await rulesBehind(scheme, clamped("Clip", 32768))).toEqual([]);
			expect(await rulesBehind(scheme, clamped("Clip", 0, "clamp, view"))).toEqual([]);
		}
	});

	test("types are compared behind views too", async () => {
		const behindView: Fill = (b, product) => {
			b.node("Transpose", [product], ["turned"]);
			b.initializer("step", floatTensor([], [0.1]));
			b.initializer("zero", tensor(DataType.UINT8, [], Uint8Array.of(128)));
			b.node("QuantizeLinear", ["turned", "step", "zero"], ["bytes"]);
			b.node("DequantizeLinear", ["bytes", "step", "zero"], ["narrow"]);
			return "narrow";
		};
		expect(await rulesBehind("per-channel", behindView)).toEqual(["htp/channel-activation"]);
		expect(await rulesBehind("block", behindView)).toEqual(["htp/activation-type"]);
	});

	test.each([
		["v73", 48, 24, 32, []],
		["v73", 48, 24, 33, []],
		["v68", 48, 24, 33, ["htp/exact-block-size"]],
		["v73", 24, 8, 96, []],
		["v68", 24, 8, 96, []],
		["v68", 32, 8, 33, ["htp/exact-block-size"]],
		["v73", 28, 4, 8, ["htp/block-size"]],
		["v68", 28, 4, 8, ["htp/exact-block-size"]],
	])("%s: exact block scales, K = %i in blocks of %i, N = %i", async (target, depth, blockSize, channels, rules) => {
		const scales = new Float32Array((depth / blockSize) * channels).fill(2 ** -6);
		const model = linearModel({ ...spec, depth, blockSize, channels, scales });
		expect(rulesOf(await checkModel(model, parseTarget(`qnn-htp:${target}`)))).toEqual(rules);
	});
});

describe("options of the compiler", () => {
	const matMul = { op: "MatMul", depth: 64, channels: 8, blockSize: 32, rows: 4, activations: "integer" } as const;

	test("the architecture alone stands for a chip, whose memory and float support the compiler must know", () => {
		expect(providerOptions(linearModel(matMul), parseTarget("qnn-htp:v79"))).toEqual({
			soc_model: "69",
			htp_arch: "79",
			enable_block_quant_weight_optimization: "0",
			offload_graph_io_quantization: "0",
		});
		expect(providerOptions(linearModel(matMul), parseTarget("qnn-htp:SC8480XP"))).toMatchObject({ soc_model: "88" });
	});

	test("block scales become LPBQ where they are exact", () => {
		const scales = Float32Array.from({ length: 16 }, (_, index) => (index < 8 ? 16 : 5) * 2 ** -10);
		const options = providerOptions(linearModel({ ...matMul, scales }), parseTarget("qnn-htp:v79"));
		expect(options.enable_block_quant_weight_optimization).toBe("1");
	});

	test("and stay float where one weight's are not, but on v68", () => {
		const scales = Float32Array.from({ length: 16 }, (_, index) => (index < 8 ? 16 : 5) * 2 ** -10);
		const mixed = linearModel(matMul, (b, input) => {
			linearOutput(b, matMul, linearOp(b, matMul, input, linearWeight(b, "V", { ...matMul, scales }), "z"));
			linearOutput(b, matMul, linearOp(b, matMul, input, linearWeight(b, "W", matMul), "y"));
		});
		for (const [target, expected] of [
			["qnn-htp:v79", "0"],
			["qnn-htp:v68", "1"],
		] as const) {
			expect(providerOptions(mixed, parseTarget(target)).enable_block_quant_weight_optimization).toBe(expected);
		}
	});
});

describe("float block scales", () => {
	const matMul = { op: "MatMul", depth: 64, channels: 8, blockSize: 32, rows: 4, activations: "integer" } as const;
	const v79 = parseTarget("qnn-htp:v79");

	test.each([
		[1e-3, []],
		[1e-8, ["htp/block-range"]],
		[1e4, ["htp/block-range"]],
	])("of %d are held against the range of fp16", async (size, rules) => {
		const scales = Float32Array.from({ length: 16 }, (_, index) => size * (1 + index / 20));
		expect(rulesOf(await checkModel(linearModel({ ...matMul, scales }), v79))).toEqual(rules);
	});

	test("beside inputs beyond fp16", async () => {
		const model = linearModel(matMul);
		model.graph.setInitializer(model.graph.inputs[0]!.uses[0]!.node.inputs[1]!, floatTensor([], [16]));
		expect(rulesOf(await checkModel(model, v79))).toEqual(["htp/block-range"]);
	});

	test("of several matrices are wrong", async () => {
		const model = linearModel(matMul, (b, input) => {
			const name = linearWeight(b, "W", matMul);
			b.graph.setInitializer(b.value("W"), int4Tensor([2, 32, 8], new Int8Array(512).fill(3)));
			b.graph.setInitializer(b.value("W_scale"), floatTensor([2, 1, 8], new Array(16).fill(0.01)));
			b.value(name).producer!.attributes.set("axis", intAttribute(1));
			b.output(linearOp(b, matMul, input, name, "y"));
		});
		expect(rulesOf(await checkModel(model, v79))).toEqual(["htp/block-rank"]);
	});
});

describe("float weights between quantized values", () => {
	interface Gemm {
		readonly weights?: ArrayLike<number>;
		readonly bias?: number;
		readonly relu?: boolean;
	}

	/** `x -> Q -> DQ -> Gemm [-> Relu] -> Q -> DQ` */
	async function rulesOfGemm({ weights, bias, relu = false }: Gemm) {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [4, 16]);
			const input = quantized(b, "x");
			b.initializer("W", floatTensor([16, 8], weights ?? Float32Array.from({ length: 128 }, (_, i) => Math.sin(i))));
			if (bias !== undefined) b.initializer("bias", floatTensor([8], new Array(8).fill(bias)));
			b.node("Gemm", bias === undefined ? [input, "W"] : [input, "W", "bias"], ["product"]);
			if (relu) b.node("Relu", ["product"], ["positive"]);
			b.output(quantized(b, relu ? "positive" : "product"));
		});
		return rulesOf(await checkModel(model, parseTarget("qnn-htp:v79")));
	}

	test("are INT8 with one scale for ONNX Runtime: a bias must fit, a Relu must not come first", async () => {
		expect(await rulesOfGemm({})).toEqual([]);
		expect(await rulesOfGemm({ bias: 1e3 })).toEqual([]);
		expect(await rulesOfGemm({ bias: 1e5 })).toEqual(["htp/bias-overflow"]);
		expect(await rulesOfGemm({ relu: true })).toEqual(["htp/clamped-output"]);
	});

	test("with a few large ones lose the others", async () => {
		const weights = Float32Array.from({ length: 128 }, (_, i) => (i === 0 ? 30 : Math.sin(i)));
		expect(await rulesOfGemm({ weights })).toEqual(["htp/float-weight-rounded"]);
	});
});

test.each([
	["INT16", "HardSwish", ["htp/operator-signed"]],
	["INT16", "Transpose HardSwish", ["htp/operator-signed"]],
	["INT16", "HardSwish Transpose", ["htp/operator-signed"]],
	["INT16", "Flatten HardSwish", []],
	["INT16", "Relu", []],
	["INT8", "LeakyRelu", ["htp/operator-signed"]],
	["INT8", "HardSwish", []],
	["UINT16", "HardSwish", []],
] as const)("operators on signed codes: %s %s", async (dtype, operators, rules) => {
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, [4, 16]);
		const around = (source: string) => {
			b.initializer(`${source}_step`, floatTensor([], [0.01]));
			b.initializer(`${source}_zero`, tensor(DataType[dtype], [], new Uint8Array(dtype === "INT8" ? 1 : 2)));
			const parameters = [`${source}_step`, `${source}_zero`];
			b.node("QuantizeLinear", [source, ...parameters], [`${source}_q`]);
			b.node("DequantizeLinear", [`${source}_q`, ...parameters], [`${source}_dq`]);
			return `${source}_dq`;
		};
		let value = around("x");
		for (const op of operators.split(" ")) {
			b.node(op, [value], [`${op}_y`]);
			value = `${op}_y`;
		}
		b.output(around(value));
	});
	expect(rulesOf(await checkModel(model, parseTarget("qnn-htp:v79")))).toEqual(rules);
});

test.each([
	["qnn-htp:v79", "Mul", 0.7, []],
	["qnn-htp:v79", "Mul", 1e-9, ["htp/float-factor"]],
	["qnn-htp:v79", "Mul", 1e5, ["htp/float-factor"]],
	["qnn-htp:v79", "Div", 1e-5, ["htp/float-factor"]],
	["qnn-htp:v79", "Div", 1e3, []],
	["qnn-htp:v79", "Add", 1e-9, []],
	["qnn-htp:v68", "Mul", 1e-9, []],
])("%s: %s of floats and %d", async (target, op, value, rules) => {
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, [4, 8]);
		b.initializer("c", floatTensor([], [value]));
		b.node(op, ["x", "c"], ["y"]);
		b.output("y");
	});
	expect(rulesOf(await checkModel(model, parseTarget(target)))).toEqual(rules);
});

test.each([
	[[2], ["htp/operator-refused"]],
	[[1], []],
])("v68: Gather of %j indices", async (shape, rules) => {
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, [4, 8]);
		b.initializer("indices", int64Tensor(shape, new Array(shape[0]!).fill(1)));
		b.node("Gather", [quantized(b, "x"), "indices"], ["y"]);
		b.output(quantized(b, "y", 0.002));
	});
	expect(rulesOf(await checkModel(model, parseTarget("qnn-htp:v68")))).toEqual(rules);
});

test("v68: RMS normalization with a quantized scale", async () => {
	const rulesOfNorm = async (isQuantized: boolean) => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [4, 8]);
			b.initializer("gamma", floatTensor([8], new Array(8).fill(1)));
			const scale = isQuantized ? quantized(b, "gamma") : "gamma";
			b.node("SimplifiedLayerNormalization", [quantized(b, "x"), scale], ["y"]);
			b.output(quantized(b, "y"));
		});
		return rulesOf(await checkModel(model, parseTarget("qnn-htp:v68")));
	};
	expect(await rulesOfNorm(true)).toEqual([]);
	expect(await rulesOfNorm(false)).toEqual(["htp/operator-refused"]);
});

test.each([
	[0.001, []],
	[0.002, ["htp/scatter-updates"]],
])("ScatterElements of updates with the scale %d", async (scale, rules) => {
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, [4, 8]);
		b.input("u", DataType.FLOAT, [4, 1]);
		b.initializer("indices", int64Tensor([4, 1], [0, 0, 0, 0]));
		b.node("ScatterElements", [quantized(b, "x"), "indices", quantized(b, "u", scale)], ["y"], {
			axis: intAttribute(1),
		});
		b.output(quantized(b, "y"));
	});
	expect(rulesOf(await checkModel(model, parseTarget("qnn-htp:v79")))).toEqual(rules);
});

test.each([
	[1, 1, ["htp/channel-scalar"]],
	[2, 1, []],
	[1, 2, []],
])("%i rows of %i inputs times a weight with one scale a channel", async (rows, depth, rules) => {
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, [1, rows, depth]);
		b.node("MatMul", [quantized(b, "x"), channelWeight(b, "W", [depth, 8], 1)], ["product"]);
		b.output(quantized(b, "product"));
	});
	expect(rulesOf(await checkModel(model, parseTarget("qnn-htp:v79")))).toEqual(rules);
});

describe("a quantizer that cuts off what is negative", () => {
	type Fill = (b: ModelBuilder, input: string) => string;
	const node =
		(op: string, ...constants: Float32Array[]): Fill =>
		(b, input) => {
			const names = constants.map((values, index) => {
				b.initializer(`${input}_${index}`, floatTensor(values.length === 1 ? [] : [values.length], values));
				return `${input}_${index}`;
			});
			b.node(op, [input, ...names], [`${input}_${op}`]);
			return `${input}_${op}`;
		};
	const norm = node("LayerNormalization", new Float32Array(32).fill(1));
	const matMul =
		(scheme: "block" | "per-channel"): Fill =>
		(b, input) => {
			const weight = `${input}_W`;
			const shape = [32, 32];
			const name =
				scheme === "block"
					? blockWeight(b, weight, { shape, axis: 0, blockSize: 16 })
					: channelWeight(b, weight, shape, 1);
			b.node("MatMul", [input, name], [`${input}_product`]);
			return `${input}_product`;
		};
	const times = node("Mul", Float32Array.of(0.7));
	const pair: Fill = (b, input) => quantized(b, input);
	const chain =
		(...fills: Fill[]): Fill =>
		(b, input) =>
			fills.reduce((name, fill) => fill(b, name), input);

	test.each<[string, Fill, Fill, number, string, boolean]>([
		["LayerNormalization, Mul", norm, chain(times, pair), 0, "v79", true],
		["LayerNormalization, float Mul", norm, times, 0, "v79", true],
		["MatMul, Mul", matMul("block"), chain(times, pair), 0, "v79", true],
		["Mul, LayerNormalization", times, chain(norm, pair), 0, "v79", true],
		["with both signs", norm, chain(times, pair), 0x8000, "v79", false],
		["on v68", norm, chain(times, pair), 0, "v68", false],
		["LayerNormalization, MatMul", norm, chain(matMul("block"), pair), 0, "v79", false],
		["integers, Mul", matMul("per-channel"), chain(times, pair), 0, "v79", false],
		["LayerNormalization, Relu", norm, chain(node("Relu"), pair), 0, "v79", false],
		["Exp, Mul", chain(norm, node("Exp")), chain(times, pair), 0, "v79", false],
	])("%s", async (_name, before, behind, zeroPoint, target, isBroken) => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [4, 32]);
			const made = before(b, quantized(b, "x"));
			b.output(behind(b, quantized(b, made, 0.001, zeroPoint)));
		});
		const rules = rulesOf(await checkModel(model, parseTarget(`qnn-htp:${target}`)));
		expect(rules.includes("htp/lost-saturation")).toBe(isBroken);
	});
});

describe("16 rows", () => {
	async function rulesOfRows(rows: readonly number[], before: "" | "LayerNormalization", behind: "" | "Tanh" | "Relu") {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [...rows, 32]);
			let name = quantized(b, "x");
			if (before !== "") {
				b.initializer("gamma", floatTensor([32], new Array(32).fill(1)));
				b.node(before, [name, "gamma"], ["normal"]);
				name = quantized(b, "normal");
			}
			b.node("MatMul", [name, channelWeight(b, "W", [32, 8], 1)], ["product"]);
			name = quantized(b, "product");
			if (behind !== "") {
				b.node(behind, [name], ["end"]);
				name = quantized(b, "end");
			}
			b.output(name);
		});
		return rulesOf(await checkModel(model, parseTarget("qnn-htp:v79")));
	}

	test.each([
		[[16], "LayerNormalization", "", ["htp/layer-norm-16-rows"]],
		[[1, 1, 16], "LayerNormalization", "", ["htp/layer-norm-16-rows"]],
		[[4, 4], "LayerNormalization", "", []],
		[[17], "LayerNormalization", "", []],
		[[16], "", "Tanh", ["htp/tanh-16-rows"]],
		[[1, 16], "", "Tanh", ["htp/tanh-16-rows"]],
		[[2, 8], "", "Tanh", []],
		[[15], "", "Tanh", []],
		[[16], "", "Relu", []],
		[[16], "", "", []],
	] as const)("%j rows, behind '%s' and in front of '%s'", async (rows, before, behind, rules) => {
		expect(await rulesOfRows(rows, before, behind)).toEqual(rules);
	});
});

test("operators on integers that no compiler takes are found, too", async () => {
	const model = modelOf((b) => {
		b.input("a", DataType.UINT8, [4, 8]);
		b.initializer("w", tensor(DataType.INT8, [8, 2], new Uint8Array(16)));
		b.node("MatMulInteger", ["a", "w"], ["y"], {}, "product");
		b.output("y").type = tensorType(DataType.INT32, [4, 2]);
	});
	const findings = await checkModel(model, parseTarget("qnn-htp:v79"));
	expect(findings).toMatchObject([{ rule: "htp/operator-refused", node: "product", op: "MatMulInteger" }]);
});

test("where activations are float, quantizing them is what helps, not a pass", async () => {
	const target = parseTarget("qnn-htp:v79");
	const spec: LinearSpec = { op: "MatMul", activations: "float", rows: 4, depth: 64, channels: 8, blockSize: 32 };
	const findings = await checkModel(linearModel(spec), target);
	const types = findings.filter(({ rule }) => rule === "htp/activation-type");
	expect(types).toHaveLength(1);
	expect(types[0]!.remedy).toContain("qgraph quantize");
	expect(types[0]).not.toHaveProperty("appliedBy");
});

test("every rule has an id of its own and says what was measured and what helps", () => {
	const rules = HTP_RULES.flatMap((group) => group.rules);
	expect(new Set(rules.map(({ id }) => id)).size).toBe(rules.length);
	for (const { about, measured, remedy } of rules) {
		expect(about).toMatch(/\.$/);
		expect(measured).not.toBe("");
		expect(remedy).not.toMatch(/\.$/);
	}
});
