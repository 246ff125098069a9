import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { type Builder, K, model, node, type OperatorModel, pair } from "./operator-models.js";

/* Codes of 8 bits that are made of floats, or of codes of 16 bits, and floats that are -0. */

const { UINT8 } = DataType;

function power(b: Builder, x: string, exponent: number): string {
	b.initializer("exponent", floatTensor([], [exponent]));
	return node(b, "Pow", [x, "exponent"], "power");
}

export const NARROW_MODELS: readonly OperatorModel[] = [
	{
		rule: "htp/lost-saturation",
		name: "a UINT8 quantizer that is a Relu, between UINT16",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const positive = pair(b, node(b, "Neg", [x], "negated"), { dtype: UINT8, scale: 2 ** -6, zero: 0 });
				return pair(b, node(b, "Mul", [positive, x], "product"));
			}),
	},
	{
		rule: "htp/unrounded-codes",
		name: "averages of what a Gather makes UINT8 of",
		write: (b, rows) =>
			model(b, [1, 4, 3 * rows], (_, x) => {
				b.initializer("order", int64Tensor([4], [2, 0, 3, 1]));
				b.node("Gather", [x, "order"], ["chosen"], { axis: intAttribute(1) }, "chosen");
				const codes = pair(b, "chosen", { dtype: UINT8, scale: 2 ** -5 });
				return pair(b, node(b, "GlobalAveragePool", [codes], "average"), { scale: 2 ** -14 });
			}),
	},
	{
		rule: "htp/unrounded-codes",
		name: "averages of floats in UINT8",
		write: (b, rows) =>
			model(
				b,
				[2, 4, 1, rows * 3],
				(_, x) => {
					const codes = pair(b, node(b, "Neg", [x], "negated"), { dtype: UINT8, scale: 2 ** -5 });
					return pair(b, node(b, "GlobalAveragePool", [codes], "average"), { scale: 2 ** -14 });
				},
				{},
				true,
			),
	},
	{
		rule: "htp/softmax-zero-point",
		name: "a Softmax with a zero point inside of its range, behind a Reshape",
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => {
					b.initializer("shape", int64Tensor([2], [2 * rows, K / 2]));
					const rearranged = node(b, "Reshape", [node(b, "Softmax", [x], "softmax"), "shape"], "rearranged");
					return pair(b, rearranged, { dtype: UINT8, scale: 1 / 200, zero: 25 });
				},
				{ dtype: UINT8, scale: 2 ** -5 },
			),
	},
	{
		rule: "htp/space-to-depth",
		name: "a SpaceToDepth of UINT8 that gives another scale and zero point",
		write: (b, rows) =>
			model(
				b,
				[1, 3, 2 * rows, 6],
				(_, x) => {
					b.node("SpaceToDepth", [x], ["blocks"], { blocksize: intAttribute(2) }, "blocks");
					return pair(b, "blocks", { dtype: UINT8, scale: 0.0171, zero: 100 });
				},
				{ dtype: UINT8, scale: 2 ** -6 },
			),
	},
	{
		rule: "htp/negative-zero",
		name: "squares of rounded floats",
		write: (b, rows) => model(b, [rows, K], (_, x) => power(b, node(b, "Round", [x], "rounded"), 2), {}, true),
	},
	{
		rule: "htp/negative-zero",
		name: "fourth powers of what is negated behind a Relu and a Reshape",
		write: (b, rows) =>
			model(
				b,
				[1, 4, rows, 6],
				(_, x) => {
					const negated = node(b, "Neg", [node(b, "Relu", [x], "positive")], "negated");
					b.initializer("shape", int64Tensor([2], [4, 6 * rows]));
					return power(b, node(b, "Reshape", [negated, "shape"], "rearranged"), 4);
				},
				{},
				true,
			),
	},
];
