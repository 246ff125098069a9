import { intAttribute } from "../../src/ir/attribute.js";
import { int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { K, model, node, type OperatorModel, pair } from "./operator-models.js";

/* Codes of 8 bits that are made of floats, or of codes of 16 bits. */

const { UINT8 } = DataType;

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
];
