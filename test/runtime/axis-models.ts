import { intAttribute, stringAttribute } from "../../src/ir/attribute.js";
import { int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
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
];
