import { expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { type ModelBuilder, modelOf } from "../support/build.js";
import { blockWeight, quantized, randomCodes } from "../support/weights.js";

/* Convolutions of three dimensions and sums that a v68 makes a Gemm of, each with models beside it that are right. */

const { FLOAT, INT8, INT32 } = DataType;

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
