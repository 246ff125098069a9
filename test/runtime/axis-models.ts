import { intAttribute, stringAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { normals } from "./models.js";
import { model, node, type OperatorModel, pair } from "./operator-models.js";

/* Operators along one axis of five, and Einsums whose right side has its zero point elsewhere. */

export const AXIS_MODELS: readonly OperatorModel[] = [
	{
		rule: "htp/operator-rank",
		name: "CumSum along an axis in the middle of five",
		write: (b, rows) =>
			model(b, [1, 2, rows, 3, 4], (_, x) => {
				b.initializer("axis", int64Tensor([], [-3]));
				return pair(b, node(b, "CumSum", [x, "axis"], "sums"), { scale: 2 ** -10 });
			}),
	},
	{
		rule: "htp/operator-rank",
		name: "LogSoftmax along an axis in the middle of five",
		write: (b, rows) =>
			model(b, [1, 2, rows, 3, 4], (_, x) => {
				b.node("LogSoftmax", [x], ["logits"], { axis: intAttribute(2) }, "logits");
				return pair(b, "logits");
			}),
	},
	{
		rule: "htp/operator-rank",
		name: "the largest along an axis in the middle of five",
		write: (b, rows) =>
			model(b, [2, 1, rows, 3, 4], (_, x) => {
				b.initializer("count", int64Tensor([1], [3]));
				b.node("TopK", [x, "count"], ["largest", "places"], { axis: intAttribute(-3) }, "top");
				return pair(b, "largest");
			}),
	},
	{
		rule: "htp/operator-rank",
		name: "the place of the largest along an axis in the middle of five",
		write: (b, rows) =>
			model(b, [2, 1, rows, 3, 4], (_, x) => {
				b.node("ArgMax", [x], ["place"], { axis: intAttribute(2), keepdims: intAttribute(0) }, "argmax");
				b.node("Cast", ["place"], ["number"], { to: intAttribute(DataType.FLOAT) }, "cast");
				return pair(b, "number", { scale: 2 ** -11, zero: 0 });
			}),
	},
	{
		rule: "htp/einsum",
		sinceV69: true,
		name: "scores of keys whose zero point is not in the middle",
		write: (b, rows) =>
			model(b, [1, 3, rows, 8], (_, x) => {
				b.input("keys", DataType.FLOAT, [1, 3, 7, 8]);
				const keys = pair(b, "keys", { zero: 30000 });
				b.node("Einsum", [x, keys], ["y"], { equation: stringAttribute("bhqd,bhkd->bhqk") }, "einsum");
				return pair(b, "y", { scale: 2 ** -11 });
			}),
	},
	...([2, 3] as const).map(
		(rank): OperatorModel => ({
			rule: "htp/reshaped-product",
			name: `heads as one axis of ${rank}, their product and heads again`,
			sinceV69: true,
			write: (b, rows) =>
				model(
					b,
					[rows, 4, 6],
					(_, x) => {
						b.initializer("flat", int64Tensor([rank], [...new Array<number>(rank - 1).fill(1), 24].with(0, rows)));
						b.initializer("heads", int64Tensor([3], [rows, 4, 6]));
						b.initializer("w", floatTensor([24, 24], normals(24 * 24, 5)));
						const joined = node(b, "Reshape", [node(b, "Relu", [x], "positive"), "flat"], "joined");
						const product = node(b, "MatMul", [joined, "w"], "product");
						return node(b, "Relu", [node(b, "Reshape", [product, "heads"], "parted")], "result");
					},
					{},
					true,
				),
		}),
	),
	{
		rule: "htp/reshaped-product",
		name: "a Gemm behind a Flatten, with heads around it",
		sinceV69: true,
		write: (b, rows) =>
			model(
				b,
				[rows, 4, 6],
				(_, x) => {
					b.initializer("heads", int64Tensor([3], [rows, 4, 6]));
					b.initializer("w", floatTensor([24, 24], normals(24 * 24, 6)));
					return node(b, "Reshape", [node(b, "Gemm", [node(b, "Flatten", [x], "flat"), "w"], "product"), "heads"], "y");
				},
				{},
				true,
			),
	},
];
