import { type Attribute, intsAttribute } from "../../src/ir/attribute.js";
import { int64Tensor } from "../../src/ir/tensor.js";
import { type Builder, model, N, type OperatorModel, pair } from "./operator-models.js";

/* Zeros around images that the compiler loses. */

function padded(b: Builder, x: string, amounts: readonly number[]): string {
	b.initializer("pads", int64Tensor([8], amounts));
	b.node("Pad", [x, "pads"], ["padded"], {}, "pad");
	return "padded";
}

/** The largest of zeros and of what is below 0. */
function lostZeros(isFloat: boolean, own: Readonly<Record<string, Attribute>>): OperatorModel {
	const pads = "pads" in own ? " of a pool that pads itself" : "";
	return {
		rule: "htp/pad-maximum",
		name: `the largest of zeros and of what is below 0${pads}, on ${isFloat ? "floats" : "codes"}`,
		write: (b, rows) =>
			model(
				b,
				[1, N, rows + 4, 9],
				(_, x) => {
					b.node("Abs", [x], ["size"], {}, "abs");
					b.node("Neg", [isFloat ? "size" : pair(b, "size")], ["below"], {}, "neg");
					const around = padded(b, isFloat ? "below" : pair(b, "below"), [0, 0, 1, 1, 0, 0, 1, 1]);
					const attributes = { kernel_shape: intsAttribute([3, 3]), strides: intsAttribute([2, 2]), ...own };
					b.node("MaxPool", [around], ["largest"], attributes, "pool");
					return isFloat ? "largest" : pair(b, "largest");
				},
				{},
				isFloat,
			),
	};
}

export const PAD_MODELS: readonly OperatorModel[] = [lostZeros(true, {}), lostZeros(false, {})];

/** The largest of what is below 0, the last windows of which end with the image or its pads. */
function lastColumns(
	name: string,
	columns: number,
	pads: readonly number[],
	kernel: readonly number[],
	isFloat = false,
): OperatorModel {
	return {
		rule: "htp/max-columns",
		name,
		write: (b, rows) =>
			model(
				b,
				[1, N, rows + 3, columns],
				(_, x) => {
					b.node("Abs", [x], ["size"], {}, "abs");
					b.node("Neg", [isFloat ? "size" : pair(b, "size")], ["below"], {}, "neg");
					const attributes = {
						kernel_shape: intsAttribute(kernel),
						strides: intsAttribute([2, 2]),
						pads: intsAttribute(pads),
					};
					b.node("MaxPool", [isFloat ? "below" : pair(b, "below")], ["largest"], attributes, "pool");
					return isFloat ? "largest" : pair(b, "largest", { scale: 2 ** -12 });
				},
				{},
				isFloat,
			),
	};
}

/** In front of pools that pad themselves. */
export const PADDED_POOL_MODELS: readonly OperatorModel[] = [
	...[true, false].map((isFloat) => lostZeros(isFloat, { pads: intsAttribute([1, 0, 1, 1]) })),
	lastColumns("columns and pads that windows of two cover", 8, [1, 1, 1, 1], [2, 2]),
	lastColumns("columns that windows of four cover, on floats", 9, [0, 1, 0, 0], [3, 4], true),
];
