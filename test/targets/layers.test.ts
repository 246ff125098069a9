import { expect, test } from "vitest";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { pair } from "../runtime/operator-models.js";
import { type ModelBuilder, modelOf } from "../support/build.js";
import { blockWeight, channelWeight, quantized, randomCodes, randomScales } from "../support/weights.js";

/* Rules that models of many layers showed: volumes, repeated pairs, packed weights; models beside each are right. */

const { FLOAT, UINT8, INT8, UINT16, INT16, INT32 } = DataType;

async function rulesOf(fill: (b: ModelBuilder) => void, target: string): Promise<string[]> {
	const findings = await checkModel(modelOf(fill), parseTarget(`qnn-htp:${target}`));
	return findings.filter(({ consequence }) => consequence !== "slow").map(({ rule }) => rule);
}

/** INT8 codes with one scale. */
function oneScale(b: ModelBuilder, shape: readonly number[]): string {
	b.initializer("w", tensor(INT8, shape, new Uint8Array(randomCodes(elementCount(shape), 3, -127, 127).buffer)));
	b.initializer("w_scale", floatTensor([], [2 ** -9]));
	b.node("DequantizeLinear", ["w", "w_scale"], ["w_dq"]);
	return "w_dq";
}

test.each([
	["Conv", 3, "quantized", "v68", []],
	["Conv", 3, "float", "v68", ["htp/conv-volume-float"]],
	["Conv", 3, "float", "v69", []],
	["Conv", 2, "float", "v68", []],
	["ConvTranspose", 3, "float", "v68", ["htp/conv-volume-float"]],
] as const)("a %s of %i dimensions with a %s result on %s", async (op, dimensions, result, target, expected) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [1, 4, ...new Array<number>(dimensions).fill(3)]);
		b.node(op, [quantized(b, "x"), oneScale(b, [4, 4, ...new Array<number>(dimensions).fill(1)])], ["y"]);
		b.output(result === "float" ? "y" : quantized(b, "y"));
	}, target);
	expect(found).toEqual(expected);
});

test.each([
	[3, 2, ["htp/transposed-conv-groups"]],
	[3, 1, []],
	[2, 2, []],
] as const)("a ConvTranspose of %i dimensions with one scale and %i groups", async (dimensions, group, expected) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [1, 4, ...new Array<number>(dimensions).fill(3)]);
		const w = oneScale(b, [4, 4, ...new Array<number>(dimensions).fill(1)]);
		b.node("ConvTranspose", [quantized(b, "x"), w], ["y"], { group: intAttribute(group) });
		b.output(quantized(b, "y"));
	}, "v79");
	expect(found).toEqual(expected);
});

test.each([
	["v68", ["htp/block-v68", "htp/block-sum-v68"]],
	["v73", []],
])("block scales and an INT32 vector behind them on %s", async (target, expected) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [5, 64]);
		b.node("MatMul", [quantized(b, "x"), blockWeight(b, "w", { shape: [64, 8], axis: 0, blockSize: 32 })], ["product"]);
		b.initializer("codes", tensor(INT32, [8], new Uint8Array(32)));
		b.initializer("step", floatTensor([], [2 ** -20]));
		b.node("DequantizeLinear", ["codes", "step"], ["bias"]);
		b.node("Add", ["product", "bias"], ["sum"]);
		b.output(quantized(b, "sum"));
	}, target);
	expect(found.toSorted()).toEqual(expected.toSorted());
});

test.each([
	[[2, 9], 64, 32, "v79", []],
	[[9], 64, 32, "v79", ["htp/packed-weight"]],
	[[2, 9], 96, 64, "v79", ["htp/packed-weight"]],
	[[2, 9], 64, 32, "v68", ["htp/packed-weight"]],
] as const)(
	"MatMulNBits of %j rows, K = %i in blocks of %i on %s",
	async (rows, depth, blockSize, target, expected) => {
		const found = await rulesOf((b) => {
			const blocks = Math.ceil(depth / blockSize);
			b.input("x", FLOAT, [...rows, depth]);
			b.initializer("w", tensor(UINT8, [8, blocks, blockSize / 2], new Uint8Array(depth * 8)));
			b.initializer("s", floatTensor([8, blocks], new Array(8 * blocks).fill(0.01)));
			const attributes = {
				K: intAttribute(depth),
				N: intAttribute(8),
				bits: intAttribute(4),
				block_size: intAttribute(blockSize),
			};
			b.node({ domain: "com.microsoft", type: "MatMulNBits", overload: "" }, ["x", "w", "s"], ["y"], attributes);
			b.model.opsetImports.set("com.microsoft", 1);
			b.output("y");
		}, target);
		expect(found).toEqual(expected);
	},
);

test.each([
	[UINT8, UINT8, 32, "v79", ["htp/packed-weight"]],
	[UINT8, UINT16, 32, "v79", []],
	[UINT16, UINT16, 32, "v79", []],
	[UINT16, UINT16, 32, "v81", ["htp/packed-weight-v81"]],
	[UINT16, UINT16, 40, "v81", []],
	[UINT16, UINT8, 32, "v81", []],
] as const)("MatMulNBits from type %i to %i of %i columns on %s", async (from, to, columns, target, expected) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [2, 9, 64]);
		b.initializer("w", tensor(UINT8, [columns, 2, 16], new Uint8Array(columns * 32)));
		b.initializer("s", floatTensor([columns, 2], new Array(2 * columns).fill(0.01)));
		const attributes = {
			K: intAttribute(64),
			N: intAttribute(columns),
			bits: intAttribute(4),
			block_size: intAttribute(32),
		};
		const read = pair(b, "x", { dtype: from });
		b.node({ domain: "com.microsoft", type: "MatMulNBits", overload: "" }, [read, "w", "s"], ["y"], attributes);
		b.model.opsetImports.set("com.microsoft", 1);
		b.output(pair(b, "y", { dtype: to }));
	}, target);
	expect(found).toEqual(expected);
});

test.each([
	["coarse, then fine", 0.004, 0.001, []],
	["fine, then coarse", 0.001, 0.004, ["htp/bias-repeated-pairs"]],
	["twice the same", 0.001, 0.001, []],
] as const)("an INT32 bias behind two pairs, %s", async (_name, first, second, expected) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [5, 8]);
		const input = quantized(b, quantized(b, "x", first), second);
		const steps = randomScales(4, 2).map((step) => step * second);
		b.initializer("codes", tensor(INT32, [4], new Uint8Array(16).fill(1)));
		b.initializer("steps", floatTensor([4], steps));
		b.node("DequantizeLinear", ["codes", "steps"], ["bias"], { axis: intAttribute(0) });
		b.node("Gemm", [input, channelWeight(b, "w", [8, 4], 1), "bias"], ["y"]);
		b.output(quantized(b, "y"));
	}, "v79");
	expect(found).toEqual(expected);
});

test.each([
	["through another type", UINT16, 0.002, "MaxPool", ["htp/bias-returned-codes"]],
	["through another type, with one scale", UINT16, 0.001, "MaxPool", []],
	["through another type, behind an Add", UINT16, 0.002, "Add", []],
	["of one type", INT16, 0.002, "MaxPool", []],
	["through 8 bits", UINT8, 0.002, "MaxPool", []],
] as const)("a float bias behind three pairs %s", async (_name, other, last, op, expected) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [1, 8, 6, 6]);
		const read = pair(b, "x", { dtype: INT16, scale: 0.001 });
		const kernel = { kernel_shape: intsAttribute([1, 1]) };
		b.node(op, op === "Add" ? [read, read] : [read], ["made"], op === "Add" ? {} : kernel);
		const first = pair(b, "made", { dtype: INT16, scale: 0.001 });
		const input = pair(b, pair(b, first, { dtype: other, scale: last }), { dtype: INT16, scale: last });
		b.initializer("bias", floatTensor([4], [1, 2, 3, 4]));
		b.node("Conv", [input, channelWeight(b, "w", [4, 8, 1, 1], 0), "bias"], ["y"]);
		b.output(pair(b, "y", { dtype: INT16, scale: 0.001 }));
	}, "v79");
	expect(found).toEqual(expected);
});

test.each([
	["Min", "float", "v68", ["htp/float-operand-v68"]],
	["Min", "float", "v69", []],
	["Add", "float", "v68", []],
	["Min", "codes", "v68", []],
] as const)("a %s with %s on %s", async (op, kind, target, expected) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [5, 8]);
		b.initializer("c", floatTensor([8], new Array(8).fill(0.5)));
		b.node(op, [quantized(b, "x"), kind === "codes" ? quantized(b, "c") : "c"], ["y"]);
		b.output(quantized(b, "y"));
	}, target);
	expect(found).toEqual(expected);
});

test.each([
	["Exp", "float", "MatMul", "v68", ["htp/float-island-v68"]],
	["Exp", "codes", "MatMul", "v68", []],
	["Exp", "float", "Relu", "v68", []],
	["Exp", "float", "MatMul", "v69", []],
	["Sigmoid", "float", "MatMul", "v68", []],
] as const)("a %s of %s in front of a %s on %s", async (op, kind, reader, target, expected) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [5, 8]);
		b.initializer("c", floatTensor([8], new Array(8).fill(0.5)));
		b.node("Add", [quantized(b, "x"), "c"], ["sum"]);
		b.node(op, [kind === "codes" ? quantized(b, "sum") : "sum"], ["made"]);
		const codes = quantized(b, "made");
		b.node(reader, reader === "MatMul" ? [codes, channelWeight(b, "w", [8, 4], 1)] : [codes], ["y"]);
		b.output(quantized(b, "y"));
	}, target);
	expect(found).toEqual(expected);
});

test.each([
	[0, "v79", []],
	[7, "v79", ["htp/int16-product"]],
	[0, "v68", ["htp/int16-product"]],
] as const)("INT16 with the zero point %i on the right of a product on %s", async (zero, target, expected) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [5, 8]);
		b.input("y", FLOAT, [8, 5]);
		const coded = (value: string, point: number) => {
			b.initializer(`${value}_s`, floatTensor([], [2 ** -13]));
			b.initializer(`${value}_z`, codesTensor(DataType.INT16, [], [point]));
			b.node("QuantizeLinear", [value, `${value}_s`, `${value}_z`], [`${value}_q`]);
			b.node("DequantizeLinear", [`${value}_q`, `${value}_s`, `${value}_z`], [`${value}_dq`]);
			return `${value}_dq`;
		};
		b.node("MatMul", [coded("x", 3), coded("y", zero)], ["product"]);
		b.output(coded("product", 0));
	}, target);
	expect(found).toEqual(expected);
});
