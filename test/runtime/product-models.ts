import { intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { randomCodes } from "../support/weights.js";
import { type Builder, K, model, node, type OperatorModel, pair } from "./operator-models.js";

/* Products without a weight on their right that break a rule for which legalize-operators has the remedy. */

const { UINT16, INT16 } = DataType;

type Wide = typeof UINT16 | typeof INT16;

/** Codes of 16 bits with one scale, as a left side of `count` rows. */
function leftCodes(b: Builder, dtype: Wide, count: number, length: number): string {
	const zero = dtype === UINT16 ? 23831 : 0;
	const codes = Array.from(randomCodes(count * length, 7, -80, 80), (code) => zero + 250 * code);
	b.initializer("left", codesTensor(dtype, [count, length], codes));
	b.initializer("left_scale", floatTensor([], [2 ** -15]));
	b.initializer("left_zero", codesTensor(dtype, [], [zero]));
	b.node("DequantizeLinear", ["left", "left_scale", "left_zero"], ["left_dq"], {}, "left_DQ");
	return "left_dq";
}

/** Of a Tile: ten times as many rows. */
function tenfold(b: Builder): string {
	b.initializer("repeats", int64Tensor([4], [1, 1, 10, 1]));
	return "repeats";
}

export const PRODUCT_MODELS: readonly OperatorModel[] = [
	...[UINT16, INT16].map((dtype) => ({
		rule: "htp/wide-left",
		name: `a constant of ${dtype === UINT16 ? "UINT16" : "INT16"} on the left`,
		write: (b: Builder, rows: number) =>
			model(
				b,
				[rows, K],
				(_, x) => pair(b, node(b, "MatMul", [leftCodes(b, dtype, 6, rows), x], "product"), { dtype, scale: 2 ** -11 }),
				{ dtype, zero: dtype === UINT16 ? 34326 : 700 },
			),
	})),
	{
		rule: "htp/batch-rows",
		name: "few rows of two heads behind a Relu",
		write: (b, rows) =>
			model(b, [1, 2, rows, K], (_, x) => {
				const positive = pair(b, node(b, "Relu", [x], "positive"), { dtype: UINT16, zero: 0 });
				const right = pair(b, node(b, "Tile", [x, tenfold(b)], "tiled"));
				b.node("Transpose", [right], ["columns"], { perm: intsAttribute([0, 1, 3, 2]) }, "columns");
				return pair(b, node(b, "MatMul", [positive, pair(b, "columns")], "product"), { scale: 2 ** -10 });
			}),
	},
	{
		rule: "htp/wide-right",
		name: "a product of UINT16, the right side of which reaches far",
		write: (b, rows) =>
			model(
				b,
				[1, 2, rows, K],
				(_, x) => {
					b.node("Transpose", [x], ["turned"], { perm: intsAttribute([0, 1, 3, 2]) }, "turned");
					const right = pair(b, "turned", { scale: 2 ** -10 });
					return pair(b, node(b, "MatMul", [x, right], "product"), { scale: 2 ** -9 });
				},
				{ scale: 2 ** -11 },
			),
	},
];
