import { intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { type Builder, type Encoding, K, model, node, type OperatorModel, pair } from "./operator-models.js";

/* Operators by element whose codes stand for small values only, or begin far below 0. */

const { UINT8, INT16 } = DataType;

/** Codes between `lo` and `hi`, one of which is 0 or on the other side of it. */
function between(lo: number, hi: number, codes = 65535): Encoding {
	const scale = (hi - lo) / codes;
	return { scale, zero: Math.round(-lo / scale) };
}

/** One code, dequantized. */
function coded(b: Builder, name: string, code: number, { dtype = DataType.UINT16, scale = 1, zero = 0 }: Encoding) {
	b.initializer(`${name}_codes`, codesTensor(dtype, [], [code]));
	b.initializer(`${name}_scale`, floatTensor([], [scale]));
	b.initializer(`${name}_zero`, codesTensor(dtype, [], [zero]));
	b.node("DequantizeLinear", [`${name}_codes`, `${name}_scale`, `${name}_zero`], [name], {}, `${name}_DQ`);
	return name;
}

/** `factor` times `x`, with the factor as a code. */
function scaledBy(b: Builder, factor: number, x: string): string {
	const factors = coded(b, "factor", 65535, { scale: factor / 65535 });
	return node(b, "Mul", [x, factors], "scaled");
}

/** `op` of `factor` times what comes in, between codes. */
function scaled(op: string, factor: number, input: Encoding, output: Encoding, inner: readonly number[] = [K]) {
	return (b: Builder, rows: number) =>
		model(b, [rows, ...inner], (_, x) => {
			const values = pair(b, scaledBy(b, factor, x), input);
			return pair(b, node(b, op, [values], "result"), output);
		});
}

const wide = (reach: number) => between(-reach, reach);
const narrow = (lo: number, hi: number): Encoding => ({ dtype: UINT8, ...between(lo, hi, 255) });
const signed = (reach: number): Encoding => ({ dtype: INT16, scale: reach / 32768, zero: 0 });

/** A Relu behind a Transpose: one behind a Mul is computed with that. */
function turnedRelu(input: Encoding, output: Encoding) {
	return (b: Builder, rows: number) =>
		model(
			b,
			[rows, K],
			(_, x) => pair(b, node(b, "Relu", [pair(b, node(b, "Transpose", [x], "turned"), input)], "positive"), output),
			input,
		);
}

export const VALUE_MODELS: readonly OperatorModel[] = [
	{ rule: "htp/small-angle", name: "a Sin up to 0.001", write: scaled("Sin", 2 ** -12, wide(0.001), wide(0.001)) },
	{
		rule: "htp/small-angle",
		name: "an Atan up to 0.0005, of rank 3",
		write: scaled("Atan", 2 ** -13, wide(0.0005), wide(0.0005), [6, K]),
	},
	{
		rule: "htp/rounded-steps",
		name: "a Ceil of values up to 0.1",
		write: scaled("Ceil", 2 ** -5, wide(0.1), between(0, 1)),
	},
	{
		rule: "htp/rounded-steps",
		name: "a Floor of values from -0.0001",
		write: scaled("Floor", 2 ** -15, between(-0.0001, 0), between(-8, 8)),
	},
	{
		rule: "htp/gelu-small",
		name: "a Gelu up to 0.0001",
		write: scaled("Gelu", 2 ** -15, between(0, 0.0001), between(0, 0.00005)),
	},
	{ rule: "htp/elu-small", name: "an Elu up to 0.002", write: scaled("Elu", 2 ** -11, wide(0.002), wide(0.002)) },
	{
		rule: "htp/selu-small",
		name: "a Selu up to 0.002",
		write: scaled("Selu", 2 ** -11, wide(0.002), wide(0.004)),
	},
	{
		rule: "htp/half-scale",
		name: "a square root by Pow of values up to 0.0001, of UINT8",
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => {
					b.initializer("half", floatTensor([], [0.5]));
					return pair(b, node(b, "Pow", [x, "half"], "root"), narrow(0, 0.01));
				},
				narrow(0, 0.0001),
			),
	},
	{
		rule: "htp/half-results",
		name: "a Neg of values up to 0.000001, to INT16",
		write: scaled("Neg", 2 ** -21, wide(1e-6), signed(1e-6)),
	},
	{
		rule: "htp/log-small",
		name: "a Log of values up to 0.000001, to INT16, with what it makes of 0 set",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const small = pair(b, scaledBy(b, 2 ** -22, x), between(0, 1e-6));
				const log = pair(b, node(b, "Log", [small], "log"), { dtype: INT16, scale: 28 / 65535, zero: 32767 });
				const isZero = node(b, "Equal", [small, coded(b, "none", 0, between(0, 1e-6))], "is_zero");
				const least = coded(b, "least", -32768, { dtype: INT16, scale: 28 / 65535, zero: 32767 });
				return pair(b, node(b, "Where", [isZero, least, log], "set"), { dtype: INT16, scale: 28 / 65535, zero: 32767 });
			}),
	},
	{
		rule: "htp/large-input",
		name: "a Mish from -200 to 100",
		sinceV69: true,
		write: scaled("Mish", 64, between(-200, 100), between(-0.5, 100)),
	},
	{
		rule: "htp/large-input",
		name: "a Softplus from -1000 to 10",
		write: scaled("Softplus", 256, between(-1000, 10), between(0, 10), [3, K]),
	},
	{
		rule: "htp/small-results",
		name: "a Mish from -5 to 0",
		sinceV69: true,
		write: scaled("Mish", 2, between(-5, 0), between(-0.31, 0)),
	},
	{
		rule: "htp/small-results",
		name: "a Mish from -5 to 0, of UINT8",
		sinceV69: true,
		write: scaled("Mish", 2, narrow(-5, 0), narrow(-0.31, 0)),
	},
	{
		rule: "htp/small-results",
		name: "a Softplus from -50 to 0",
		write: scaled("Softplus", 2, between(-50, 0), between(0, 0.7), [5, K]),
	},
	{
		rule: "htp/gelu-range",
		name: "a Gelu from -200 to 0",
		write: scaled("Gelu", 8, between(-200, 0), between(-0.17, 0)),
	},
	{ rule: "htp/mixed-range", name: "a Cos up to 250, to INT16", write: scaled("Cos", 100, wide(250), signed(1)) },
	{
		rule: "htp/mixed-range",
		name: "an Exp from -400, to INT16",
		write: scaled("Exp", 100, between(-400, 0), signed(1), [2, K]),
	},
	{
		rule: "htp/fixed-output-codes",
		name: "a Sigmoid whose codes go out",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				pair(b, node(b, "Sigmoid", [x], "gate"), { scale: 2 ** -14, zero: 0 });
				return "gate_q";
			}),
	},
	{
		rule: "htp/half-scale",
		name: "a MaxPool from -0.00004 to 0.00004, of UINT8, with another encoding behind",
		write: (b, rows) =>
			model(
				b,
				[1, 4, rows, 9],
				(_, x) => {
					b.node("MaxPool", [x], ["largest"], { kernel_shape: intsAttribute([2, 2]) }, "largest");
					return pair(b, "largest", narrow(-5e-5, 5e-5));
				},
				narrow(-4e-5, 4e-5),
			),
	},
	{
		rule: "htp/half-scale",
		name: "an Abs of values up to 0.00004, from UINT8 to UINT16",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => pair(b, node(b, "Abs", [x], "positive"), between(0, 4e-5)), narrow(-4e-5, 4e-5)),
	},
	{
		rule: "htp/cut-activation",
		name: "a Tanh that begins at 0 and ends at 0.3",
		write: scaled("Tanh", 2, wide(5), between(0, 0.3)),
	},
	{
		rule: "htp/small-sigmoid",
		name: "a Sigmoid below 0.005",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const values = pair(
					b,
					node(
						b,
						"Sub",
						[pair(b, scaledBy(b, 0.5, x), wide(4)), coded(b, "far", 65535, { scale: 8 / 65535 })],
						"moved",
					),
					between(-12, 0),
				);
				return pair(b, node(b, "Sigmoid", [values], "result"), between(0, 0.005));
			}),
	},
	{
		rule: "htp/log-softmax-range",
		name: "a LogSoftmax that begins at -0.3, of UINT8",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => pair(b, node(b, "LogSoftmax", [x], "logarithms"), narrow(-0.3, 0)), narrow(-4, 4)),
	},
	{
		rule: "htp/far-zero",
		name: "a Relu whose result has steps of 2^-27",
		write: turnedRelu(between(-6, 1), { scale: 2 ** -27, zero: 0 }),
	},
	{
		rule: "htp/far-zero",
		name: "a Relu of INT16 whose result has steps of 2^-27",
		write: turnedRelu({ dtype: INT16, scale: 2 ** -13, zero: 20000 }, { dtype: INT16, scale: 2 ** -27, zero: -0x8000 }),
	},
	{
		rule: "htp/half-results",
		name: "a PRelu of several slopes and values up to 0.000001",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				b.initializer(
					"slopes",
					floatTensor(
						[K],
						Array.from({ length: K }, (__, at) => 0.25 + (at % 3) / 8),
					),
				);
				const small = pair(b, scaledBy(b, 2 ** -21, x), wide(1e-6));
				return pair(b, node(b, "PRelu", [small, "slopes"], "bent"), wide(1e-6));
			}),
	},
];
