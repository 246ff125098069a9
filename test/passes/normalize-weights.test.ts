import { describe, expect, test } from "vitest";
import { intAttribute, intsAttribute, tensorAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { bytesOf, floatTensor, int64Tensor, type Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import type { Pass } from "../../src/passes/infra/pass.js";
import { normalizeWeights } from "../../src/passes/normalize-weights.js";
import { encodeFloat16 } from "../../src/quant/float16.js";
import { runPasses } from "../../src/run-passes.js";
import { type GraphBuilder, ModelBuilder } from "../support/build.js";
import { golden } from "../support/golden.js";
import { loop } from "../support/loop.js";
import { boolFeed, floatFeed, floatsOf, run, sqnrDb } from "../support/ort.js";
import { randomSource } from "../support/random.js";
import { blockWeight, int4Tensor, quantized, randomCodes, randomScales, uint4Tensor } from "../support/weights.js";

const { FLOAT, FLOAT16, INT4, INT8 } = DataType;
const BLOCKED = { axis: intAttribute(0), block_size: intAttribute(32) };

/** `y = Q/DQ(op(Q/DQ(x), weight))` for each of the weights that `fill` makes, x [4, 64]. */
function model(fill: (b: ModelBuilder) => string | readonly string[], op = "MatMul", attributes = {}): Model {
	const builder = new ModelBuilder();
	builder.input("x", FLOAT, [4, 64]);
	quantized(builder, "x", 1 / 32768);
	for (const [index, weight] of [fill(builder)].flat().entries()) {
		builder.node(op, ["x_qdq", weight], [`y${index}_float`], attributes, `${op}${index}`);
		builder.node("Identity", [quantized(builder, `y${index}_float`, 0.0005)], [`y${index}`]);
		builder.output(`y${index}`).type = tensorType(FLOAT);
	}
	return builder.build();
}

const FEED = {
	x: floatFeed(
		[4, 64],
		Float32Array.from({ length: 256 }, (_, i) => Math.sin(i * 1.7)),
	),
};

/** Runs `pass`, compares with the golden file, and the outputs before and after: they differ by `leastDb` or less. */
async function check(name: string, made: Model, pass: Pass = normalizeWeights(), leastDb = 200, feed = FEED) {
	const before = await run(serializeModel(made), feed);
	const report = await golden(pass, name, made);
	const after = await run(serializeModel(made), feed);
	for (const output of Object.keys(before)) {
		expect(sqnrDb(floatsOf(before[output]), floatsOf(after[output])), output).toBeGreaterThan(leastDb);
	}
	return report;
}

function unsigned(b: GraphBuilder, name: string, zeroPointOf: (index: number) => number): string {
	b.initializer(name, uint4Tensor([64, 8], randomCodes(512, 3, 0, 15)));
	b.initializer(`${name}_scale`, floatTensor([2, 8], randomScales(16, 4)));
	b.initializer(
		`${name}_zero`,
		uint4Tensor(
			[2, 8],
			Array.from({ length: 16 }, (_, index) => zeroPointOf(index)),
		),
	);
	b.node("DequantizeLinear", [name, `${name}_scale`, `${name}_zero`], [`${name}_dq`], BLOCKED, `${name}_DQ`);
	return `${name}_dq`;
}

/** What AIMET writes without folding: float weights on the grid, quantized and dequantized when the model runs. */
function quantizedWhenRun(b: GraphBuilder, name: string, zeroPoint: Tensor, scale: Tensor, attributes = {}): string {
	const random = randomSource(5);
	b.initializer(
		name,
		floatTensor(
			[64, 8],
			Float32Array.from({ length: 512 }, () => random() * 0.4 - 0.2),
		),
	);
	b.initializer(`${name}_scale`, scale);
	b.initializer(`${name}_zero`, zeroPoint);
	const parameters = [`${name}_scale`, `${name}_zero`];
	b.node("QuantizeLinear", [name, ...parameters], [`${name}_q`], attributes, `${name}_Q`);
	b.node("DequantizeLinear", [`${name}_q`, ...parameters], [`${name}_dq`], attributes, `${name}_DQ`);
	return `${name}_dq`;
}

const blockQuantized = (b: GraphBuilder, name: string) =>
	quantizedWhenRun(b, name, int4Tensor([2, 8], new Int8Array(16)), floatTensor([2, 8], randomScales(16, 6)), BLOCKED);

function halves(shape: readonly number[], values: Float32Array): Tensor {
	return tensor(FLOAT16, shape, encodeFloat16(values));
}

/** Each is one weight [64, 8] in blocks of 32, stored in an odd way. */
const FORMS: Readonly<Record<string, (b: GraphBuilder) => string>> = {
	"uint4-zero-point-8": (b) => unsigned(b, "w", () => 8),
	"quantized-when-run": (b) => blockQuantized(b, "w"),
	"transposed-behind": (b) => {
		b.node("Transpose", [blockWeight(b, "w", { shape: [8, 64], axis: 1, blockSize: 32 })], ["turned"]);
		return "turned";
	},
	"transposed-codes": (b) => {
		b.initializer("w", int4Tensor([8, 64], randomCodes(512, 1)));
		b.initializer("s", floatTensor([2, 8], randomScales(16, 2)));
		b.node("Transpose", ["w"], ["turned"], { perm: intsAttribute([1, 0]) });
		b.node("DequantizeLinear", ["turned", "s"], ["w_dq"], BLOCKED, "w_DQ");
		return "w_dq";
	},
	"constant-nodes": (b) => {
		b.node("Constant", [], ["w"], { value: tensorAttribute(int4Tensor([64, 8], randomCodes(512, 1))) });
		b.node("Constant", [], ["s"], { value: tensorAttribute(floatTensor([2, 8], randomScales(16, 2))) });
		b.node("Identity", ["s"], ["s_same"]);
		b.node("DequantizeLinear", ["w", "s_same"], ["w_dq"], BLOCKED, "w_DQ");
		return "w_dq";
	},
	"reshaped-codes": (b) => {
		b.initializer("w", tensor(INT8, [2, 32, 8], bytesOf(randomCodes(512, 1))));
		b.initializer("shape", int64Tensor([2], [-1, 8]));
		b.node("Reshape", ["w", "shape"], ["matrix"]);
		b.node("Cast", ["matrix"], ["w4"], { to: intAttribute(INT4) });
		b.initializer("s", floatTensor([2, 8], randomScales(16, 2)));
		b.node("DequantizeLinear", ["w4", "s"], ["w_dq"], BLOCKED, "w_DQ");
		return "w_dq";
	},
	"cast-codes": (b) => {
		b.initializer("w", tensor(INT8, [64, 8], bytesOf(randomCodes(512, 1))));
		b.node("Cast", ["w"], ["w4"], { to: intAttribute(INT4) });
		b.initializer("s", floatTensor([2, 8], randomScales(16, 2)));
		b.node("DequantizeLinear", ["w4", "s"], ["w_dq"], BLOCKED, "w_DQ");
		return "w_dq";
	},
	"half-scales-cast": (b) => {
		b.initializer("w", int4Tensor([64, 8], randomCodes(512, 1)));
		b.initializer("h", halves([2, 8], randomScales(16, 2)));
		b.node("Cast", ["h"], ["s"], { to: intAttribute(FLOAT) });
		b.node("DequantizeLinear", ["w", "s"], ["w_dq"], BLOCKED, "w_DQ");
		return "w_dq";
	},
	"one-long-block": (b) => {
		b.initializer("w", int4Tensor([64, 8], randomCodes(512, 1)));
		b.initializer("s", floatTensor([1, 8], randomScales(8, 2)));
		const attributes = { axis: intAttribute(0), block_size: intAttribute(128) };
		b.node("DequantizeLinear", ["w", "s"], ["w_dq"], attributes, "w_DQ");
		return "w_dq";
	},
};

describe("without loss:", () => {
	test.each(Object.entries(FORMS))("%s", async (name, weight) => {
		await check(name, model(weight));
	});

	test.each(Object.entries(FORMS))("bq-to-lpbq takes %s as it is", async (_, weight) => {
		const made = model(weight);
		const before = await run(serializeModel(made), FEED);
		const report = await runPasses(made, [bqToLpbq({ fit: "max" })]);
		expect(report.weights.map(({ status }) => status)).toEqual(["converted"]);
		const after = await run(serializeModel(made), FEED);
		expect(sqnrDb(floatsOf(before.y0), floatsOf(after.y0))).toBeGreaterThan(24);
		const again = await runPasses(made, [bqToLpbq({ fit: "max" })]);
		expect(again.passes[0]?.changed).toBe(false);
		expect(again.weights[0]?.code).toBe("lpbq/already");
	});

	test("codes of one scale a channel and a tensor, quantized when the model runs", async () => {
		const made = model((b) => [
			quantizedWhenRun(b, "c", tensor(INT8, [8], new Uint8Array(8)), floatTensor([8], randomScales(8, 6)), {
				axis: intAttribute(1),
			}),
			quantizedWhenRun(b, "t", tensor(INT8, [], Uint8Array.of(3)), floatTensor([], [0.002])),
		]);
		await check("channel-and-tensor", made);
	});

	test("LPBQ's codes, quantized with scales that are products", async () => {
		const random = randomSource(8);
		const made = model((b) => {
			b.initializer(
				"w",
				floatTensor(
					[64, 8],
					Float32Array.from({ length: 512 }, () => random() * 0.4 - 0.2),
				),
			);
			b.initializer(
				"ints",
				tensor(
					DataType.UINT8,
					[2, 8],
					Uint8Array.from({ length: 16 }, (_, i) => 16 - (i % 9)),
				),
			);
			b.initializer(
				"channels",
				floatTensor(
					[8],
					randomScales(8, 3).map((scale) => scale / 16),
				),
			);
			b.initializer("zero", int4Tensor([2, 8], new Int8Array(16)));
			b.node("DequantizeLinear", ["ints", "channels"], ["s"], { axis: intAttribute(1) }, "scale_DQ");
			b.node("QuantizeLinear", ["w", "s", "zero"], ["w_q"], BLOCKED, "w_Q");
			b.node("DequantizeLinear", ["w_q", "s", "zero"], ["w_dq"], BLOCKED, "w_DQ");
			return "w_dq";
		});
		await check("lpbq", made);
	});

	test("a weight of two operators once, transposed for one of them twice", async () => {
		const made = model((b) => {
			const weight = blockWeight(b, "w", { shape: [64, 64], axis: 1, blockSize: 32 });
			b.node("Transpose", [weight], ["a"]);
			b.node("Transpose", [weight], ["b"]);
			b.initializer("rows", int64Tensor([2], [3, 1]));
			b.node("Gather", [weight, "rows"], ["embedded"]);
			b.output("embedded").type = tensorType(FLOAT);
			return ["a", "b", "a"];
		});
		const report = await check("shared", made);
		expect(report.passes[0]?.stats).toEqual({ "weights normalized": 1 });
	});

	test("in If bodies, captured from outside, and in functions", async () => {
		const builder = new ModelBuilder();
		builder.input("x", FLOAT, [4, 64]);
		builder.input("flag", DataType.BOOL, []);
		quantized(builder, "x", 1 / 32768);
		const captured = blockQuantized(builder, "outer");
		const branch = (name: string, weightOf: (inner: GraphBuilder) => string) =>
			builder.subgraph(name, (inner) => {
				inner.node("MatMul", ["x_qdq", weightOf(inner)], [`${name}_float`], {}, `${name}_matmul`);
				inner.node("Identity", [quantized(inner, `${name}_float`, 0.0005)], [`${name}_y`]);
				inner.output(`${name}_y`).type = tensorType(FLOAT);
			});
		const branches = {
			then_branch: branch("then", () => captured),
			else_branch: branch("else", (inner) => unsigned(inner, "inner", () => 8)),
		};
		builder.node("If", ["flag"], ["y"], branches, "choice");
		builder.output("y").type = tensorType(FLOAT, [4, 8]);
		builder.function("local", "Linear", (body) => {
			body.input("a");
			const constant = (name: string, value: Tensor) =>
				body.node("Constant", [], [name], { value: tensorAttribute(value) });
			constant("w", uint4Tensor([64, 8], randomCodes(512, 9, 0, 15)));
			constant("w_scale", floatTensor([2, 8], randomScales(16, 9)));
			constant("w_zero", uint4Tensor([2, 8], new Uint8Array(16).fill(8)));
			body.node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_dq"], BLOCKED, "w_DQ");
			body.node("MatMul", ["a", "w_dq"], ["b"], {}, "inner_matmul");
			body.output("b");
		});
		builder.node({ domain: "local", type: "Linear" }, ["x"], ["z"], {}, "call");
		builder.output("z").type = tensorType(FLOAT, [4, 8]);
		await check("places", builder.build(), normalizeWeights(), 200, { ...FEED, flag: boolFeed(true) } as never);
	});

	test("UINT4 with one scale a channel becomes INT4 where its zero points are 8, and stays otherwise", async () => {
		const channels = (b: ModelBuilder, name: string, zeros: (index: number) => number) => {
			b.initializer(name, uint4Tensor([64, 7], randomCodes(448, 3, 0, 15)));
			b.initializer(`${name}_scale`, floatTensor([7], randomScales(7, 4)));
			b.initializer(
				`${name}_zero`,
				uint4Tensor(
					[7],
					Array.from({ length: 7 }, (_, index) => zeros(index)),
				),
			);
			const inputs = [name, `${name}_scale`, `${name}_zero`];
			b.node("DequantizeLinear", inputs, [`${name}_dq`], { axis: intAttribute(1) }, `${name}_DQ`);
			return `${name}_dq`;
		};
		const made = model((b) => [channels(b, "even", () => 8), channels(b, "mixed", (index) => 8 + (index % 2))]);
		await check("channels", made, normalizeWeights({ requantize: true }));
		const report = await runPasses(made, [bqToLpbq({ requantize: true })]);
		expect(report.weights.map(({ code }) => code)).toEqual(["weight/not-block", "weight/not-int4"]);
	});

	test("in Loop bodies, and captured from outside of them", async () => {
		const made = new ModelBuilder();
		made.input("x", FLOAT, [4, 64]);
		const square = (b: GraphBuilder, name: string) => {
			b.initializer(name, uint4Tensor([64, 64], randomCodes(4096, 3, 0, 15)));
			b.initializer(`${name}_scale`, floatTensor([64, 2], randomScales(128, 4)));
			b.initializer(`${name}_zero`, uint4Tensor([64, 2], new Uint8Array(128).fill(8)));
			const attributes = { axis: intAttribute(1), block_size: intAttribute(32) };
			b.node("DequantizeLinear", [name, `${name}_scale`, `${name}_zero`], [`${name}_dq`], attributes, `${name}_DQ`);
			b.node("Transpose", [`${name}_dq`], [`${name}_turned`], {}, `${name}_transpose`);
			return `${name}_turned`;
		};
		const outer = square(made, "outer");
		const linear = (b: GraphBuilder, input: string, weight: string, output: string) => {
			b.node("MatMul", [input, weight], [output], {}, `${output}_matmul`);
			b.node("Tanh", [quantized(b, output, 1 / 1024)], [`${output}_tanh`]);
			return quantized(b, `${output}_tanh`, 1 / 32768);
		};
		const last = loop(made, quantized(made, "x", 1 / 32768), [4, 64], (body, state) => {
			const half = linear(body, quantized(body, state, 1 / 32768), outer, "a");
			return linear(body, half, square(body, "inner"), "b");
		});
		made.node("Identity", [last], ["y"]);
		made.output("y").type = tensorType(FLOAT, [4, 64]);
		await check("loop", made.build());
		const report = await runPasses(made.build(), [bqToLpbq()]);
		expect(report.weights.map(({ weight, status, graph }) => [weight, status, graph])).toEqual([
			["outer", "converted", "main/loop.body"],
			["inner", "converted", "main/loop.body"],
		]);
		await run(serializeModel(made.build()), FEED);
	});

	test("float16 scales stay float16, and bq-to-lpbq writes float16 channel scales", async () => {
		const made = new ModelBuilder();
		made.input("x", FLOAT, [4, 64]);
		made.node("Cast", ["x"], ["half"], { to: intAttribute(FLOAT16) });
		for (const name of ["x", "y"]) {
			made.initializer(`${name}_scale`, halves([], Float32Array.of(name === "x" ? 1 / 32768 : 0.0005)));
			made.initializer(`${name}_zero`, tensor(DataType.UINT16, [], Uint8Array.of(0, 0x80)));
		}
		made.node("QuantizeLinear", ["half", "x_scale", "x_zero"], ["x_q"]);
		made.node("DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_dq"]);
		made.initializer("w", int4Tensor([8, 64], randomCodes(512, 1)));
		made.initializer("w_scale", halves([8, 2], randomScales(16, 2)));
		const attributes = { axis: intAttribute(1), block_size: intAttribute(32) };
		made.node("DequantizeLinear", ["w", "w_scale"], ["w_dq"], attributes, "w_DQ");
		made.node("Transpose", ["w_dq"], ["turned"]);
		made.node("MatMul", ["x_dq", "turned"], ["y_half"], {}, "matmul");
		made.node("QuantizeLinear", ["y_half", "y_scale", "y_zero"], ["y_q"]);
		made.node("DequantizeLinear", ["y_q", "y_scale", "y_zero"], ["y_dq"]);
		made.node("Cast", ["y_dq"], ["y"], { to: intAttribute(FLOAT) });
		made.output("y").type = tensorType(FLOAT);
		const built = made.build();
		await check("half", built, normalizeWeights(), 60);
		const before = await run(serializeModel(built), FEED);
		const report = await runPasses(built, [bqToLpbq({ fit: "max" })]);
		expect(report.weights[0]?.status).toBe("converted");
		const after = await run(serializeModel(built), FEED);
		expect(sqnrDb(floatsOf(before.y), floatsOf(after.y))).toBeGreaterThan(24);
	});
});

describe("asymmetric weights", () => {
	test("stay, and the remark names the flag", async () => {
		const report = await check(
			"asymmetric",
			model((b) => unsigned(b, "w", (index) => 5 + (index % 6))),
		);
		expect(report.diagnostics[0]).toMatchObject({ code: "weight/zero-point" });
		expect(report.diagnostics[0]?.message).toContain("--requantize");
	});

	test("bq-to-lpbq names the flag, too", async () => {
		const made = model((b) => unsigned(b, "w", (index) => 5 + (index % 6)));
		const report = await runPasses(made, [bqToLpbq()]);
		expect(report.passes[0]?.changed).toBe(false);
		expect(report.weights[0]?.code).toBe("weight/zero-point");
		expect(report.weights[0]?.message).toContain("--requantize");
	});

	test("are quantized anew on request", async () => {
		const made = model((b) => unsigned(b, "w", (index) => 5 + (index % 6)));
		const report = await check("requantized", made, normalizeWeights({ requantize: true }), 18);
		expect(report.diagnostics.map(({ code }) => code)).toEqual(["weight/requantized"]);
	});

	test("bq-to-lpbq does both, and says what the first cost", async () => {
		const made = model((b) => unsigned(b, "w", (index) => 5 + (index % 6)));
		const before = await run(serializeModel(made), FEED);
		const report = await runPasses(made, [bqToLpbq({ requantize: true })]);
		expect(report.diagnostics.map(({ code }) => code)).toContain("weight/requantized");
		const [entry, ...others] = report.weights;
		expect(others).toEqual([]);
		expect(entry).toMatchObject({ weight: "w", status: "converted", code: "weight/converted", form: "double-dq" });
		expect(report.diagnostics[0]?.message).toContain(`${entry?.requantizedSqnrDb?.toFixed(1)} dB`);
		expect(entry?.requantizedSqnrDb).toBeLessThan(entry?.sqnrDb ?? 0);
		const after = await run(serializeModel(made), FEED);
		expect(sqnrDb(floatsOf(before.y0), floatsOf(after.y0))).toBeGreaterThan(17);
	});

	test("that LPBQ does not take afterwards have the reason, and what the first step cost", async () => {
		const made = new ModelBuilder();
		made.input("x", FLOAT, [4, 64]);
		made.node("MatMul", ["x", unsigned(made, "w", (index) => 5 + (index % 6))], ["y"], {}, "matmul");
		made.output("y");
		const report = await runPasses(made.build(), [normalizeWeights({ requantize: true }), bqToLpbq()]);
		expect(report.weights).toMatchObject([
			{ status: "kept", code: "weight/float-activations", requantizedSqnrDb: expect.closeTo(25.7, 1) },
		]);
	});

	test("with a scale that is not finite stay even so", async () => {
		const made = model((b) => {
			const weight = unsigned(b, "w", (index) => 5 + (index % 6));
			b.initializer("w_scale", floatTensor([2, 8], randomScales(16, 4).fill(Number.NaN, 5, 6)));
			return weight;
		});
		const report = await golden(normalizeWeights({ requantize: true }), "not-finite", made);
		expect(report.diagnostics[0]?.code).toBe("weight/scale-not-finite");
	});
});

describe("what stays, and why:", () => {
	const MISSES: Readonly<Record<string, (b: ModelBuilder) => string>> = {
		"weight/indirect reshape": (b) => {
			b.initializer("shape", int64Tensor([2], [64, 8]));
			b.node("Reshape", [blockWeight(b, "w", { shape: [8, 64], axis: 1, blockSize: 32 }), "shape"], ["r"]);
			return "r";
		},
		"weight/indirect cast": (b) => {
			b.initializer("w", tensor(INT8, [64, 8], bytesOf(randomCodes(512, 1, -9, 7))));
			b.node("Cast", ["w"], ["w4"], { to: intAttribute(INT4) });
			b.initializer("s", floatTensor([2, 8], randomScales(16, 2)));
			b.node("DequantizeLinear", ["w4", "s"], ["w_dq"], BLOCKED, "w_DQ");
			return "w_dq";
		},
		"weight/data-length transposed": (b) => {
			const weight = blockWeight(b, "w", { shape: [8, 64], axis: 1, blockSize: 32 });
			b.initializer("w", tensor(INT4, [8, 64], new Uint8Array(255)));
			b.node("Transpose", [weight], ["turned"]);
			return "turned";
		},
	};

	test.each(Object.entries(MISSES))("%s", async (name, weight) => {
		const report = await golden(normalizeWeights(), `kept-${name.replace(/[/ ]/g, "-")}`, model(weight));
		expect(report.diagnostics[0]?.code).toBe(name.split(" ")[0]);
		expect(report.passes[0]?.changed).toBe(false);
	});

	test("bq-to-lpbq leaves a weight that it cannot convert exactly as it was", async () => {
		const made = new ModelBuilder();
		made.input("x", FLOAT, [4, 64]);
		made.node("MatMul", ["x", unsigned(made, "w", () => 8)], ["y"], {}, "matmul");
		made.output("y");
		const report = await runPasses(made.build(), [bqToLpbq()]);
		expect(report.passes[0]?.changed).toBe(false);
		expect(report.weights[0]?.code).toBe("weight/float-activations");
	});

	test("a weight that is a graph input, too, is not quantized in advance", async () => {
		const made = model((b) => {
			const weight = blockQuantized(b, "w");
			b.graph.addInput(b.value("w"));
			b.value("w").type = tensorType(FLOAT, [64, 8]);
			return weight;
		});
		const report = await runPasses(made, [normalizeWeights(), bqToLpbq()]);
		expect(report.passes.some(({ changed }) => changed)).toBe(false);
		expect(report.weights[0]?.code).toBe("weight/overridable");
	});

	test("include and exclude pick weights", async () => {
		const made = model((b) => unsigned(b, "w", () => 8));
		const report = await runPasses(made, [normalizeWeights({ exclude: ["w"] })]);
		expect(report.passes[0]?.changed).toBe(false);
	});
});
