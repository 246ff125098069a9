import { expect, test } from "vitest";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { type ModelBuilder, modelOf } from "../support/build.js";
import { int4Tensor, randomScales } from "../support/weights.js";

/* Rules about single shapes and types, each with models beside it that the emulator computes right. */

const { FLOAT, UINT16, INT16, UINT8, INT8 } = DataType;
type Codes = typeof UINT16 | typeof INT16 | typeof UINT8;

async function rulesOf(fill: (b: ModelBuilder) => void, target = "v79"): Promise<string[]> {
	const findings = await checkModel(modelOf(fill), parseTarget(`qnn-htp:${target}`));
	return findings.filter(({ consequence }) => consequence !== "slow").map(({ rule }) => rule);
}

/** `Q -> DQ`, in codes from 0 on where `zero` is 0. */
function pair(
	b: ModelBuilder,
	value: string,
	dtype: Codes = UINT16,
	zero = dtype === UINT16 ? 0x8000 : 0,
	scale = 2 ** -13,
): string {
	b.initializer(`${value}_s`, floatTensor([], [scale]));
	b.initializer(`${value}_z`, codesTensor(dtype, [], [zero]));
	b.node("QuantizeLinear", [value, `${value}_s`, `${value}_z`], [`${value}_q`]);
	b.node("DequantizeLinear", [`${value}_q`, `${value}_s`, `${value}_z`], [`${value}_dq`]);
	return `${value}_dq`;
}

type Scheme = "int8" | "int4" | "one scale" | "float";

function weight(b: ModelBuilder, shape: readonly number[], scheme: Scheme, axis = 1): string {
	const count = elementCount(shape);
	if (scheme === "float") {
		b.initializer("w", floatTensor(shape, randomScales(count, 3)));
		return "w";
	}
	const stored = (dims: readonly number[], code: number) =>
		scheme === "int4"
			? int4Tensor(dims, new Int8Array(elementCount(dims)).fill(code))
			: tensor(INT8, dims, new Uint8Array(elementCount(dims)).fill(code));
	const channels = scheme === "one scale" ? [] : [shape[axis]!];
	b.initializer("w", stored(shape, 3));
	b.initializer("w_s", floatTensor(channels, randomScales(elementCount(channels), 4)));
	b.initializer("w_z", stored(channels, 0));
	const attributes = scheme === "one scale" ? {} : { axis: intAttribute(axis) };
	b.node("DequantizeLinear", ["w", "w_s", "w_z"], ["w_dq"], attributes);
	return "w_dq";
}

function reshape(b: ModelBuilder, value: string, shape: readonly number[]): string {
	b.initializer(`${value}_shape`, int64Tensor([shape.length], shape));
	b.node("Reshape", [value, `${value}_shape`], [`${value}_reshaped`]);
	return `${value}_reshaped`;
}

test.each([
	[[1, 1, 2, 2, 1], [4, 1], true],
	[[1, 1, 2, 2, 1], [1, 1, 4, 1], true],
	[[2, 3, 1, 4, 1], [2, 3, 2, 2], true],
	[[2, 3, 1, 4, 2], [2, 3, 2, 2, 2], true],
	[[1, 1, 2, 4, 1], [1, 1, 4, 2, 1], true],
	[[1, 1, 2, 5, 1], [10, 1], false],
	[[1, 1, 2, 4, 1], [8, 1], false],
	[[1, 2, 2, 2, 1], [8, 1], false],
	[[1, 1, 3, 3, 1], [9, 1], false],
	[[2, 3, 1, 4, 1], [6, 2, 2], false],
	[[1, 1, 1, 4, 1], [1, 2, 2, 1], false],
	[[1, 1, 2, 2, 1], [4], false],
	[[1, 1, 1, 4, 2], [2, 2, 2], false],
	[[1, 2, 2, 1], [4, 1], false],
])("a Reshape of %j to %j", async (from, to, isBroken) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, from);
		b.output(pair(b, reshape(b, pair(b, "x"), to)));
	});
	expect(rules).toEqual(isBroken ? ["htp/reshape-halved"] : []);
});

test.each([
	[[10, 6], "MatMul", "int8", [1, 1, 2, 5, 5], true],
	[[10, 6], "MatMul", "one scale", [1, 1, 2, 5, 5], true],
	[[5, 6], "MatMul", "int4", [1, 1, 1, 5, 5], true],
	[[10, 6], "MatMul", "float", [1, 1, 2, 5, 5], false],
	[[10, 6], "MatMul", "int8", [1, 2, 5, 5], false],
	[[10, 6], "MatMul", "int8", [1, 1, 5, 2, 5], false],
	[[2, 5, 6], "MatMul", "int8", [1, 1, 2, 5, 5], false],
] as const)("%j by %s with %s to %j", async (rows, op, scheme, shape, isBroken) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, rows);
		b.node(op, [pair(b, "x"), weight(b, [6, 5], scheme)], ["y"]);
		b.output(pair(b, reshape(b, "y", shape)));
	});
	expect(rules).toEqual(isBroken ? ["htp/reshape-square"] : []);
});

test.each([
	[[1, 1, 2, 5, 16], 5, true],
	[[1, 1, 2, 5, 16], 6, false],
	[[1, 2, 5, 16], 5, false],
] as const)("QLinearMatMul of %j by %i columns", async (shape, columns, isBroken) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, shape);
		b.initializer("w", codesTensor(INT8, [16, columns], new Array(16 * columns).fill(3)));
		b.initializer("w_z", codesTensor(INT8, [], [0]));
		b.initializer("s", floatTensor([], [2 ** -6]));
		b.initializer("z", codesTensor(UINT8, [], [128]));
		b.node("QuantizeLinear", ["x", "s", "z"], ["codes"]);
		b.node("QLinearMatMul", ["codes", "s", "z", "w", "s", "w_z", "s", "z"], ["product"]);
		b.node("DequantizeLinear", ["product", "s", "z"], ["y"]);
		b.output("y");
	});
	expect(rules).toEqual(isBroken ? ["htp/product-square"] : []);
});

test("a Relu in front of the Reshape", async () => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, [10, 6]);
		b.node("MatMul", [pair(b, "x"), weight(b, [6, 5], "int8")], ["y"]);
		b.node("Relu", [pair(b, "y")], ["positive"]);
		b.output(pair(b, reshape(b, pair(b, "positive"), [1, 1, 2, 5, 5])));
	});
	expect(rules).toEqual([]);
});

test.each<[string, string, readonly number[], readonly number[] | undefined, Scheme, Codes, number, boolean]>([
	["two matrices", "v79", [2, 9, 6], undefined, "int4", UINT16, 0, true],
	["INT16", "v79", [2, 9, 6], undefined, "int4", INT16, -0x8000, true],
	["two matrices made of one", "v73", [18, 6], [2, 9, 5], "int4", UINT16, 0, true],
	["one matrix made of two", "v79", [2, 9, 6], [18, 5], "int4", UINT16, 0, true],
	["on v69", "v69", [2, 9, 6], undefined, "int4", UINT16, 0, false],
	["one matrix", "v79", [1, 9, 6], undefined, "int4", UINT16, 0, false],
	["one matrix of a matrix", "v79", [9, 6], [1, 9, 5], "int4", UINT16, 0, false],
	["INT8", "v79", [2, 9, 6], undefined, "int8", UINT16, 0, false],
	["another zero point", "v79", [2, 9, 6], undefined, "int4", UINT16, 1, false],
	["8 bits", "v79", [2, 9, 6], undefined, "int4", UINT8, 0, false],
])("a Relu on %s", async (_name, target, rows, view, scheme, dtype, zero, isBroken) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, rows);
		b.node("MatMul", [pair(b, "x", dtype), weight(b, [6, 5], scheme)], ["y"]);
		const product = pair(b, view === undefined ? "y" : reshape(b, "y", view), dtype);
		b.node("Relu", [product], ["positive"]);
		b.output(pair(b, "positive", dtype, zero, 2 ** -14));
	}, target);
	expect(rules).toEqual(isBroken ? ["htp/relu-int4-rows"] : []);
});

test.each<[string, readonly number[], readonly number[], number, Codes, boolean]>([
	["depthwise", [1, 6, 5, 5], [6, 1, 3, 3], 6, INT16, true],
	["depthwise of one dimension", [1, 6, 5], [6, 1, 3], 6, INT16, true],
	["of one channel", [1, 1, 5, 5], [1, 1, 3, 3], 1, INT16, true],
	["of three dimensions", [1, 6, 3, 5, 5], [4, 6, 1, 3, 3], 1, INT16, true],
	["depthwise on UINT16", [1, 6, 5, 5], [6, 1, 3, 3], 6, UINT16, false],
	["of two outputs a channel", [1, 6, 5, 5], [12, 1, 3, 3], 6, INT16, false],
	["of groups", [1, 6, 5, 5], [6, 2, 3, 3], 3, INT16, false],
])("a Conv %s", async (_name, image, shape, group, dtype, isBroken) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, image);
		const attributes = { group: intAttribute(group), kernel_shape: intsAttribute(shape.slice(2)) };
		b.node("Conv", [pair(b, "x", dtype), weight(b, shape, "int8", 0)], ["y"], attributes);
		b.output(pair(b, "y", dtype));
	});
	expect(rules).toEqual(isBroken ? ["htp/conv-int16"] : []);
});

test.each([
	["INT32 bias", 16, "v79", 2 ** 20, false],
	["INT32 bias", 16, "v79", 2 ** 29, true],
	["INT32 bias", 16, "v68", 2 ** 29, true],
	["INT32 bias beside scales that stay floats", 15.5, "v79", 2 ** 29, false],
] as const)(
	"%s of a Conv with block scales, the second %f sixteenths: %s, %f",
	async (_name, second, target, code, isBroken) => {
		const rules = await rulesOf((b) => {
			b.input("x", FLOAT, [1, 64, 3, 3]);
			const scales = Float32Array.from({ length: 64 }, (_, at) => ((at % 2 === 0 ? 16 : second) / 16) * 2 ** -6);
			b.initializer("w", int4Tensor([32, 64, 1, 1], new Int8Array(32 * 64).fill(3)));
			b.initializer("w_s", floatTensor([32, 2, 1, 1], scales));
			b.node("DequantizeLinear", ["w", "w_s"], ["w_dq"], { axis: intAttribute(1), block_size: intAttribute(32) });
			b.initializer("c", codesTensor(DataType.INT32, [32], new Array(32).fill(code)));
			b.initializer("c_s", floatTensor([32], new Array(32).fill(2 ** -19)));
			b.node("DequantizeLinear", ["c", "c_s"], ["c_dq"], { axis: intAttribute(0) });
			b.node("Conv", [pair(b, "x"), "w_dq", "c_dq"], ["y"]);
			b.output(pair(b, "y"));
		}, target);
		expect(rules.includes("htp/bias-overflow")).toBe(isBroken);
	},
);

test.each([
	[1, true, false],
	[1.002, true, false],
	[1.25, true, true],
	[0.5, true, true],
	[16, true, true],
	[32, true, false],
	[1.25, false, false],
] as const)(
	"the bias of a Conv in %f times the steps of its products, in the exact form: %s",
	(factor, isExact, isWrong) =>
		expect(
			rulesOf((b) => {
				b.input("x", FLOAT, [1, 64, 3, 3]);
				const scales = Float32Array.from({ length: 64 }, (_, at) => (isExact || at % 2 === 0 ? 1 : 0.97) * 2 ** -6);
				b.initializer("w", int4Tensor([32, 64, 1, 1], new Int8Array(32 * 64).fill(3)));
				b.initializer("w_s", floatTensor([32, 2, 1, 1], scales));
				b.node("DequantizeLinear", ["w", "w_s"], ["w_dq"], { axis: intAttribute(1), block_size: intAttribute(32) });
				b.initializer("c", codesTensor(DataType.INT32, [32], new Array(32).fill(1000)));
				b.initializer("c_s", floatTensor([32], new Array(32).fill(factor * 2 ** -23)));
				b.node("DequantizeLinear", ["c", "c_s"], ["c_dq"], { axis: intAttribute(0) });
				b.node("Conv", [pair(b, "x"), "w_dq", "c_dq"], ["y"]);
				b.output(pair(b, "y"));
			}),
		).resolves.toEqual(isWrong ? ["htp/block-bias-scale"] : []),
);

const { BOOL, INT32, INT64 } = DataType;
test.each<[string, DataType, readonly (DataType | string)[], string, string[]]>([
	["an image", UINT8, [FLOAT, "Relu"], "v79", ["htp/cast-uint8"]],
	["an image on v68", UINT8, [FLOAT, "Relu"], "v68", []],
	["an image by way of INT32", UINT8, [INT32, FLOAT, "Relu"], "v79", []],
	["to an integer and back", FLOAT, [INT64, FLOAT], "v79", ["htp/cast-fractions"]],
	["transposed in between", FLOAT, [INT64, "Transpose", FLOAT], "v68", ["htp/cast-fractions"]],
	["computed in between", FLOAT, [INT64, "Abs", FLOAT], "v79", []],
	["a condition", FLOAT, [BOOL, FLOAT], "v79", []],
	["an output of INT32", FLOAT, [INT32], "v79", []],
	["an output of INT64", FLOAT, [INT64], "v79", ["htp/cast-output"]],
	["an output of INT64 by way of INT32", UINT8, [INT32, INT64], "v79", []],
	["INT16 that is widened", INT16, [INT32], "v79", []],
	["to INT8", FLOAT, [INT8], "v79", ["htp/cast-type"]],
	["from UINT16", UINT16, [INT32], "v79", ["htp/cast-type"]],
])("casts: %s", async (_name, from, steps, target, expected) => {
	const rules = await rulesOf((b) => {
		b.input("x", from, [3, 4]);
		let value = "x";
		for (const [at, step] of steps.entries()) {
			const [op, attributes] = typeof step === "string" ? [step, {}] : ["Cast", { to: intAttribute(step) }];
			b.node(op, [value], [`y${at}`], attributes);
			value = `y${at}`;
		}
		b.output(value);
	}, target);
	expect(rules).toEqual(expected);
});

test.each([
	["Relu", [16, 6], "one scale", true],
	["Relu", [4, 4, 6], "one scale", false],
	["Relu", [17, 6], "one scale", false],
	["Relu", [16, 6], "float", false],
	["", [16, 6], "one scale", false],
] as const)("16 rows behind %s, %j, of a product with %s", async (op, shape, scheme, isBroken) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, shape);
		b.node("MatMul", [pair(b, "x"), weight(b, [6, 5], scheme)], ["y"]);
		if (op !== "") b.node(op, ["y"], ["z"]);
		b.initializer("v", tensor(INT8, [5, 4], new Uint8Array(20).fill(3)));
		b.initializer("v_s", floatTensor([4], randomScales(4, 5)));
		b.node("DequantizeLinear", ["v", "v_s"], ["v_dq"], { axis: intAttribute(1) });
		b.node("MatMul", [pair(b, op === "" ? "y" : "z"), "v_dq"], ["p"]);
		b.output(pair(b, "p"));
	});
	expect(rules).toEqual(isBroken ? ["htp/layer-norm-16-rows"] : []);
});

test.each([
	["v68", "Conv", UINT8, 3, 1, true],
	["v69", "Conv", UINT8, 3, 1, false],
	["v68", "Conv", UINT16, 3, 1, false],
	["v68", "Conv", UINT8, 3, 0, false],
	["v68", "Conv", UINT8, 1, 1, false],
	["v68", "ConvTranspose", UINT8, 3, 0, true],
] as const)(
	"on %s a %s of codes of type %i, a kernel of %i and pads of %i",
	async (target, op, dtype, size, pad, isBroken) => {
		const rules = await rulesOf((b) => {
			b.input("x", FLOAT, [1, 4, 5, 5]);
			const pads = { pads: intsAttribute([pad, pad, pad, pad]) };
			b.node(op, [pair(b, "x", dtype), weight(b, [4, 4, size, size], "float")], ["y"], pads);
			b.output("y");
		}, target);
		expect(rules).toEqual(isBroken ? ["htp/conv-pads-8-bits"] : []);
	},
);

test.each([
	["right", false],
	["left", true],
])("on v68 an Add of a constant on the %s of a Conv of codes of 8 bits", async (side, isBroken) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, [1, 4, 5, 5]);
		const pads = { pads: intsAttribute([1, 1, 1, 1]) };
		b.node("Conv", [pair(b, "x", UINT8, 0), weight(b, [4, 4, 3, 3], "float")], ["y"], pads);
		b.initializer("c", floatTensor([4, 1, 1], randomScales(4, 6)));
		b.node("Add", side === "right" ? ["y", "c"] : ["c", "y"], ["z"]);
		b.output(pair(b, "z", UINT8, 0));
	}, "v68");
	expect(rules).toEqual(isBroken ? ["htp/conv-pads-8-bits"] : []);
});

test.each([
	["v68", 5, FLOAT, true],
	["v68", 4, FLOAT, false],
	["v69", 5, FLOAT, false],
	["v68", 5, UINT16, false],
] as const)("on %s a Relu of rank %i, of type %i", async (target, rank, dtype, isBroken) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, new Array(rank).fill(2));
		b.node("Relu", [dtype === UINT16 ? pair(b, "x") : "x"], ["y"]);
		b.output(dtype === UINT16 ? pair(b, "y", UINT16, 0) : "y");
	}, target);
	expect(rules).toEqual(isBroken ? ["htp/relu-rank"] : []);
});

test.each([
	["Gemm", 2 ** -40, true],
	["Gemm", 2 ** -16, false],
	["MatMul", 2 ** -40, false],
] as const)("a %s of floats with inputs in steps of %f", async (op, scale, isBroken) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, [3, 6]);
		b.node(op, [pair(b, "x", UINT16, 0x8000, scale), weight(b, [6, 5], "float")], ["y"]);
		b.output(pair(b, "y"));
	});
	expect(rules).toEqual(isBroken ? ["htp/channel-scale-small"] : []);
});

test.each([
	[96, UINT16, 2 ** -16, true],
	[24, UINT16, 2 ** -16, false],
	[96, INT16, 2 ** -15, false],
	[96, UINT16, 2 ** -18, false],
] as const)(
	"a Softmax over %i elements on the right of a product, as codes of type %i with the scale %f",
	async (length, dtype, scale, isWrong) => {
		const rules = await rulesOf((b) => {
			b.input("x", FLOAT, [5, length]);
			b.node("Softmax", [pair(b, "x")], ["p"]);
			b.node("Transpose", [pair(b, "p", dtype, 0, scale)], ["t"]);
			b.node("MatMul", ["x_dq", pair(b, "t", dtype, 0, scale)], ["y"]);
			b.output(pair(b, "y"));
		});
		expect(rules).toEqual(isWrong ? ["htp/softmax-right"] : []);
	},
);

test.each<[string, string, readonly number[], number, Codes, number, boolean]>([
	["v79", "just fits", [8, 128, 3], 2031, UINT16, 1, false],
	["v79", "is too wide", [8, 128, 3], 2047, UINT16, 1, true],
	["v79", "is half as wide with 8 bits", [8, 128, 3], 2048, UINT8, 1, false],
	["v79", "has many taps", [8, 64, 9], 1040, UINT16, 1, true],
	["v79", "is one row of an image", [8, 128, 1, 3], 2100, UINT16, 1, true],
	["v79", "has the one channel of a group", [128, 1, 3], 4096, UINT16, 128, false],
	["v68", "just fits", [8, 128, 3], 991, UINT16, 1, false],
	["v68", "is too wide", [8, 128, 3], 1023, UINT16, 1, true],
])("%s: the window of a Conv %s", async (architecture, _name, shape, dilation, dtype, group, isBroken) => {
	const kernel = shape.slice(2);
	const ones = kernel.slice(0, -1).map(() => 1);
	const length = (kernel.at(-1)! - 1) * dilation + 5;
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, [1, shape[1]! * group, ...ones, length]);
		const attributes = {
			group: intAttribute(group),
			kernel_shape: intsAttribute(kernel),
			dilations: intsAttribute([...ones, dilation]),
		};
		b.node("Conv", [pair(b, "x", dtype), weight(b, shape, "int8", 0)], ["y"], attributes);
		b.output(pair(b, "y", dtype));
	}, architecture);
	expect(rules).toEqual(isBroken ? ["htp/conv-window"] : []);
});

test.each([
	[5, 1, true],
	[5, 2, false],
	[4, 1, false],
])("a Tile of rank %i with repeats up to %i", async (rank, repeats, isBroken) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, new Array<number>(rank).fill(2));
		b.initializer("repeats", int64Tensor([rank], [repeats, ...new Array<number>(rank - 1).fill(1)]));
		b.node("Tile", ["x", "repeats"], ["y"]);
		b.output("y");
	});
	expect(rules.filter((rule) => rule === "htp/tile-ones")).toEqual(isBroken ? ["htp/tile-ones"] : []);
});

test.each([
	[1e5, true],
	[1e2, false],
])("the bias %f of the last channel of a ConvTranspose with groups", async (last, isBroken) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, [1, 4, 3, 3]);
		b.initializer("w", floatTensor([4, 2, 1, 1], [0.5, -0.3, 0.2, 0.1, 0.4, -0.5, 0.3, 0.2]));
		b.initializer("bias", floatTensor([8], [0, 0, 0, 0, 0, 0, 0, last]));
		b.node("ConvTranspose", [pair(b, "x"), "w", "bias"], ["y"], { group: intAttribute(4) });
		b.output(pair(b, "y"));
	});
	expect(rules.includes("htp/bias-overflow")).toBe(isBroken);
});
