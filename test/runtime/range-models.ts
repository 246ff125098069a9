import { type Attribute, floatAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { type Builder, type Encoding, K, model, node, type OperatorModel, pair } from "./operator-models.js";

/* Operators between codes whose values reach too far, or not far enough. */

const { UINT8, INT16 } = DataType;

/** x / 66 + 0.06, between codes that reach over a quarter. */
function smallPositive(b: Builder, x: string, encoding: Encoding): string {
	b.node("HardSigmoid", [x], ["small"], { alpha: floatAttribute(0.015), beta: floatAttribute(0.06) }, "small");
	return pair(b, "small", encoding);
}

/** `op` of an image whose values reach up to 500000. */
function beyondHalf(op: string, attributes: Record<string, Attribute>, encoding: Encoding) {
	return (b: Builder, rows: number) =>
		model(b, [1, 4, rows, 6], (_, x) => {
			b.initializer("factor", codesTensor(DataType.UINT16, [], [0xffff]));
			b.initializer("factor_s", floatTensor([], [2]));
			b.initializer("factor_z", codesTensor(DataType.UINT16, [], [0]));
			b.node("DequantizeLinear", ["factor", "factor_s", "factor_z"], ["factor_dq"], {}, "factor_DQ");
			const large = pair(b, node(b, "Mul", [x, "factor_dq"], "large"), { scale: 2 ** 4 });
			b.node(op, [large], ["moved"], attributes, "moved");
			const result = pair(b, "moved", encoding);
			return encoding.dtype === undefined ? pair(b, node(b, "Abs", [result], "size"), encoding) : result;
		});
}

export const RANGE_MODELS: readonly OperatorModel[] = [
	...[[K], [2, 3, K]].map((inner) => ({
		rule: "htp/log-zero",
		name: `a Log of what is 0 in places, rank ${inner.length + 1}`,
		write: (b: Builder, rows: number) =>
			model(b, [rows, ...inner], (_, x) => {
				const positive = pair(b, node(b, "Relu", [x], "positive"), { scale: 2 ** -14, zero: 0 });
				return pair(b, node(b, "Log", [positive], "log"), { dtype: INT16, scale: 2 ** -12, zero: 16384 });
			}),
	})),
	{
		rule: "htp/reciprocal-range",
		name: "a Reciprocal up to 200, of UINT16",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const small = smallPositive(b, x, { scale: 2 ** -18, zero: 0 });
				return pair(b, node(b, "Reciprocal", [small], "inverse"), { scale: 200 / 65535, zero: 0 });
			}),
	},
	{
		rule: "htp/reciprocal-range",
		name: "a Reciprocal of values up to 0.25, of UINT8",
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => {
					const small = smallPositive(b, x, { dtype: UINT8, scale: 2 ** -10, zero: 0 });
					return pair(b, node(b, "Reciprocal", [small], "inverse"), { dtype: UINT8, scale: 20 / 255, zero: 0 });
				},
				{ dtype: UINT8, scale: 2 ** -5 },
			),
	},
	{
		rule: "htp/reciprocal-range",
		name: "a Reciprocal of values from -0.25 to 0.5, whose results end at 20",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const small = smallPositive(b, x, { scale: 0.75 / 65535, zero: 21845 });
				return pair(b, node(b, "Reciprocal", [small], "inverse"), { scale: 20 / 65535, zero: 0 });
			}),
	},
	{
		rule: "htp/square-range",
		name: "squares of values below 0.001",
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => {
					b.initializer("two", floatTensor([], [2]));
					return pair(b, node(b, "Pow", [x, "two"], "square"), { scale: 2 ** -36, zero: 0 });
				},
				{ scale: 2.3e-8 },
			),
	},
	...[2 ** 10, 2 ** -13].map((factor) => ({
		rule: "htp/norm-range",
		name: `a ReduceL2 of values around ${factor}`,
		write: (b: Builder, rows: number) =>
			model(b, [2, rows, K], (_, x) => {
				b.initializer("factor", floatTensor([1], [factor]));
				b.initializer("axis", int64Tensor([1], [-1]));
				const scaled = pair(b, node(b, "Mul", [x, "factor"], "scaled"), { scale: factor * 2 ** -13 });
				return pair(b, node(b, "ReduceL2", [scaled, "axis"], "norm"), { scale: (factor * 10) / 65535, zero: 0 });
			}),
	})),
	...(
		[
			[3, 2 ** 8, 2 ** 20],
			[-2, 2 ** -12, 2 ** 28],
		] as const
	).map(([exponent, factor, largest]) => ({
		rule: "htp/power-range",
		name: `a Pow of ${exponent} whose results reach up to ${largest}`,
		write: (b: Builder, rows: number) =>
			model(b, [rows, K], (_, x) => {
				b.node("HardSigmoid", [x], ["small"], { alpha: floatAttribute(0.1), beta: floatAttribute(0.6) }, "small");
				b.initializer("factor", floatTensor([1], [factor]));
				b.initializer("exponent", floatTensor([], [exponent]));
				const positive = pair(b, node(b, "Mul", [pair(b, "small"), "factor"], "scaled"), {
					scale: factor / 65535,
					zero: 0,
				});
				return pair(b, node(b, "Pow", [positive, "exponent"], "power"), { scale: largest / 65535, zero: 0 });
			}),
	})),
	...(
		[
			[100, 2 ** 15],
			[2 ** 20, 2 ** 12],
		] as const
	).map(([dividend, factor]) => ({
		rule: "htp/float-dividend",
		name: `${dividend} divided by values up to ${factor}`,
		write: (b: Builder, rows: number) =>
			model(b, [rows, K], (_, x) => {
				b.node("HardSigmoid", [x], ["small"], { alpha: floatAttribute(0.1), beta: floatAttribute(0.6) }, "small");
				b.initializer("factor", floatTensor([1], [factor]));
				b.initializer("dividend", floatTensor([1], [dividend]));
				const divisor = pair(b, node(b, "Mul", [pair(b, "small"), "factor"], "scaled"), {
					scale: factor / 65535,
					zero: 0,
				});
				const quotient = node(b, "Div", ["dividend", divisor], "quotient");
				return pair(b, quotient, { scale: (8 * dividend) / factor / 65535, zero: 0 });
			}),
	})),
	{
		rule: "htp/elu-range",
		name: "an Elu of values up to 32768",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				b.initializer("factor", floatTensor([], [2 ** 15]));
				const large = pair(b, node(b, "Mul", [x, "factor"], "large"), { scale: 1 });
				return pair(b, node(b, "Elu", [large], "elu"), { scale: 0.5, zero: 100 });
			}),
	},
	{
		rule: "htp/half-range",
		name: "a Relu from UINT16 to INT16 of values beyond half floats",
		sinceV69: true,
		write: beyondHalf("Relu", {}, { dtype: INT16, scale: 2 ** 4 }),
	},
	{
		rule: "htp/half-range",
		name: "a MaxPool between encodings of values beyond half floats",
		sinceV69: true,
		write: beyondHalf("MaxPool", { kernel_shape: intsAttribute([2, 2]) }, { scale: 20 }),
	},
	{
		rule: "htp/half-range",
		name: "a Transpose between encodings of values beyond half floats",
		sinceV69: true,
		write: beyondHalf("Transpose", { perm: intsAttribute([0, 1, 3, 2]) }, { scale: 20 }),
	},
];
