import { expect, test } from "vitest";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { node, pair, weight } from "../runtime/operator-models.js";
import { type GraphBuilder, modelOf } from "../support/build.js";

const { FLOAT, INT8, INT16, INT32, UINT8 } = DataType;

async function isFault(about: string, write: (b: GraphBuilder) => void): Promise<boolean> {
	const findings = await checkModel(modelOf(write), parseTarget("qnn-htp:v79"));
	return findings.some(({ rule }) => rule === about);
}

/** As measured on the emulator: 43 dB and more where it is right. */
test.each([
	[2, 2, 0, 1, true],
	[4, 2, 0, 1, true],
	[3, 3, 1, 2, true],
	[2, 3, 0, 2, true],
	[1, 2, 0, 1, false],
	[3, 2, 0, 1, false],
	[2, 3, 0, 1, false],
	[2, 2, 1, 1, false],
	[4, 3, 0, 2, false],
])("ConvTranspose with a kernel of %i, steps of %i, pads of %i and an output_padding of %i", async (...given) => {
	const [length, step, pad, extra, isWrong] = given;
	const found = await isFault("htp/transposed-conv-padding", (b) => {
		b.input("x", FLOAT, [1, 4, 7]);
		const attributes = {
			strides: intsAttribute([step]),
			pads: intsAttribute([pad, pad]),
			output_padding: intsAttribute([extra]),
		};
		b.node("ConvTranspose", [pair(b, "x"), weight(b, "w", { shape: [4, 6, length], isOne: true })], ["y"], attributes);
		b.output(pair(b, "y"));
	});
	expect(found).toBe(isWrong);
});

test.each([
	["Conv", [3], 1, false],
	["Conv", [3], 64, true],
	["Conv", [3, 3], 1.7, true],
	["Conv", [3, 3], 16, true],
	["Conv", [3, 3], 64, false],
	["ConvTranspose", [2, 2], 0.5, true],
	["ConvTranspose", [2, 2, 2], 1000, false],
] as const)("%s of %o with a bias in %d times the steps of the products", async (op, kernel, ratio, isWrong) => {
	const found = await isFault("htp/conv-bias-scale", (b) => {
		b.input("x", FLOAT, [1, 4, ...kernel.map(() => 6)]);
		const taps = kernel.reduce((product, length) => product * length, 1);
		b.initializer("codes", codesTensor(INT8, [4, 4, ...kernel], new Array<number>(16 * taps).fill(3)));
		b.initializer("steps", floatTensor([4], [0.01, 0.02, 0.03, 0.04]));
		b.node("DequantizeLinear", ["codes", "steps"], ["w"], { axis: intAttribute(op === "Conv" ? 0 : 1) });
		b.initializer("bias", codesTensor(INT32, [4], [100, 200, -300, 400]));
		b.initializer(
			"bias_steps",
			floatTensor(
				[4],
				[0.01, 0.02, 0.03, 0.04].map((step) => step * 2 ** -13 * ratio),
			),
		);
		b.node("DequantizeLinear", ["bias", "bias_steps"], ["bias_dq"], { axis: intAttribute(0) });
		b.node(op, [pair(b, "x"), "w", "bias_dq"], ["y"], { kernel_shape: intsAttribute(kernel) });
		b.output(pair(b, "y"));
	});
	expect(found).toBe(isWrong);
});

test.each([
	[INT8, -3, INT8, true],
	[INT16, -1, INT16, true],
	[INT8, 0, INT8, false],
	[INT8, 5, INT8, false],
	[INT8, -3, UINT8, false],
])(
	"zeros around codes of type %i with the zero point %i, in front of type %i",
	async (dtype, zero, behind, isWrong) => {
		const found = await isFault("htp/pad-signed", (b) => {
			b.input("x", FLOAT, [1, 4, 16]);
			b.initializer("pads", int64Tensor([6], [0, 0, 2, 0, 0, 2]));
			b.output(pair(b, node(b, "Pad", [pair(b, "x", { dtype, zero }), "pads"], "longer"), { dtype: behind }));
		});
		expect(found).toBe(isWrong);
	},
);

test.each([
	[[1, 0, 0], true],
	[[0, 1, 1], false],
])("ConvTranspose of a volume with an output_padding of %o", async (padding, isWrong) => {
	const found = await isFault("htp/transposed-conv-padding", (b) => {
		b.input("x", FLOAT, [1, 4, 3, 3, 4]);
		const attributes = { strides: intsAttribute([2, 2, 2]), output_padding: intsAttribute(padding) };
		b.node("ConvTranspose", [pair(b, "x"), weight(b, "w", { shape: [4, 6, 3, 3, 3], isOne: true })], ["y"], attributes);
		b.output(pair(b, "y"));
	});
	expect(found).toBe(isWrong);
});

/** x * factor and zeros behind its rows. */
test.each([
	[[1, 7, 50], [1], "Mul", true],
	[[5, 7], [1], "Sub", true],
	[[1, 7, 50], [50], "Add", true],
	[[1, 7, 50], [50], "Mul", false],
	[[1, 7, 20], [1], "Mul", false],
	[[1, 1, 50], [1], "Mul", false],
	[[1, 7, 63], [1], "Mul", false],
	[[1, 7, 50], [1], "Max", false],
] as const)("zeros behind %o, with a constant %o and %s in front", async (shape, constant, op, isWrong) => {
	const found = await isFault("htp/channel-fill", (b) => {
		b.input("x", FLOAT, shape);
		b.initializer("factor", floatTensor(constant, new Array<number>(constant[0]).fill(1.5)));
		b.initializer("pads", int64Tensor([2 * shape.length], [...shape.map(() => 0), ...shape.map(() => 0).with(-1, 4)]));
		const scaled = pair(b, node(b, op, [pair(b, "x"), "factor"], "scaled"));
		b.output(pair(b, node(b, "Pad", [scaled, "pads"], "longer")));
	});
	expect(found).toBe(isWrong);
});
