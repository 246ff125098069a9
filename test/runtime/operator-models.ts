import { floatAttribute, intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor, int64Tensor, type Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { type ModelBuilder, modelOf } from "../support/build.js";
import { int4Tensor, randomCodes, randomScales } from "../support/weights.js";
import { normals } from "./models.js";

/* Small models that each break one rule for which legalize-operators has the remedy. */

const { FLOAT, UINT16, UINT8, INT16, INT8, INT64 } = DataType;
export const K = 24;
export const N = 16;

export interface OperatorModel {
	readonly rule: string;
	readonly name: string;
	/** Is it nothing for a v68, which has few operators on floats? */
	readonly sinceV69?: boolean;
	/** Does it break the rule on a v68 only? */
	readonly untilV68?: boolean;
	/** How often it breaks the rule; once where absent. */
	readonly count?: number;
	/** `x -> ... -> y`; `rows` does not matter where the rule is about a number of rows. */
	write(b: Builder, rows: number): void;
}

/** What writes a model: a part of ModelBuilder. */
export type Builder = Pick<ModelBuilder, "input" | "initializer" | "node" | "output">;

/** Writes with names of its own, so that several models become one. */
function prefixed(b: Builder, prefix: string): Builder {
	const named = (name: string) => (name === "" ? "" : prefix + name);
	return {
		input: (name, ...rest) => b.input(named(name), ...rest),
		output: (name) => b.output(named(name)),
		initializer: (name, value) => b.initializer(named(name), value),
		node: (op, inputs, outputs, attributes, name = "") =>
			b.node(op, inputs.map(named), outputs.map(named), attributes, named(name)),
	};
}

/** All of `given` in one model, side by side; of several, each has its own name in front of those of its values. */
export function operatorModel(given: readonly OperatorModel[], rows: number): Model {
	return modelOf((b) => {
		for (const { name, write } of given) {
			const prefix = given.length === 1 ? "a" : name.replaceAll(/\W+/g, "_");
			write(prefixed(b, `${prefix}_`), rows);
		}
	});
}

export interface Encoding {
	readonly dtype?: typeof UINT16 | typeof INT16 | typeof UINT8 | typeof INT8;
	readonly scale?: number;
	readonly zero?: number;
}

/** `Q -> DQ`; returns the name of what comes out. */
export function pair(b: Builder, source: string, { dtype = UINT16, scale = 2 ** -13, zero }: Encoding = {}): string {
	const middle = dtype === UINT16 ? 0x8000 : dtype === UINT8 ? 0x80 : 0;
	b.initializer(`${source}_s`, floatTensor([], [scale]));
	b.initializer(`${source}_z`, codesTensor(dtype, [], [zero ?? middle]));
	b.node("QuantizeLinear", [source, `${source}_s`, `${source}_z`], [`${source}_q`], {}, `${source}_Q`);
	b.node("DequantizeLinear", [`${source}_q`, `${source}_s`, `${source}_z`], [`${source}_dq`], {}, `${source}_DQ`);
	return `${source}_dq`;
}

export function node(b: Builder, op: string, inputs: readonly string[], output: string): string {
	b.node(op, inputs, [output], {}, output);
	return output;
}

export function vector(b: Builder, name: string, length: number, factor = 1, offset = 0): string {
	const values = normals(length, name.length).map((value) => offset + value * factor);
	b.initializer(name, floatTensor([length], values));
	return name;
}

/** Dequantized codes with one scale and the zero point 0. */
function stored(b: Builder, name: string, codes: Tensor, scale: number): string {
	b.initializer(name, codes);
	b.initializer(`${name}_scale`, floatTensor([], [scale]));
	b.initializer(`${name}_zero`, codesTensor(codes.dtype, [], [0]));
	b.node("DequantizeLinear", [name, `${name}_scale`, `${name}_zero`], [`${name}_dq`], {}, `${name}_DQ`);
	return `${name}_dq`;
}

interface Weight {
	readonly shape?: readonly number[];
	readonly axis?: number;
	readonly bits?: 4 | 8;
	readonly isOne?: boolean;
	readonly hasZero?: boolean;
	/** What the scale of the second channel is multiplied with. */
	readonly second?: number;
}

/** A dequantized weight, one scale a channel unless `isOne`. */
export function weight(b: Builder, name: string, spec: Weight = {}): string {
	const { shape = [K, N], axis = 1, bits = 8, isOne = false, hasZero = true, second = 1 } = spec;
	const limit = bits === 8 ? 127 : 7;
	const codes = randomCodes(elementCount(shape), 3, -limit, limit);
	const stored = (dims: readonly number[], values: Int8Array) =>
		bits === 4 ? int4Tensor(dims, values) : tensor(INT8, dims, new Uint8Array(values.buffer));
	b.initializer(name, stored(shape, codes));
	const scaleShape = isOne ? [] : [shape[axis]!];
	const scales = isOne ? [0.1 / limit] : randomScales(shape[axis]!, 4).map((scale) => (scale * 4) / limit);
	if (!isOne && scales.length > 1) scales[1]! *= second;
	b.initializer(`${name}_scale`, floatTensor(scaleShape, scales));
	if (hasZero) b.initializer(`${name}_zero`, stored(scaleShape, new Int8Array(elementCount(scaleShape))));
	const inputs = [name, `${name}_scale`, ...(hasZero ? [`${name}_zero`] : [])];
	b.node("DequantizeLinear", inputs, [`${name}_dq`], isOne ? {} : { axis: intAttribute(axis) }, `${name}_DQ`);
	return `${name}_dq`;
}

/** `x -> Q -> DQ -> fill -> y`, x of this shape; without the quantizers where `isFloat`. */
export function model(
	b: Builder,
	shape: readonly number[],
	fill: (b: Builder, x: string) => string,
	input: Encoding = {},
	isFloat = false,
): void {
	b.input("x", FLOAT, shape);
	b.output(fill(b, isFloat ? "x" : pair(b, "x", input)));
}

/** A UINT16 constant behind a DequantizeLinear. */
function coded(b: Builder, name: string, shape: readonly number[]): string {
	const codes = Array.from(normals(elementCount(shape), 5), (value) => 0x8000 + Math.round(value * 2 ** 12));
	b.initializer(name, codesTensor(UINT16, shape, codes));
	b.initializer(`${name}_step`, floatTensor([], [2 ** -12]));
	b.initializer(`${name}_middle`, codesTensor(UINT16, [], [0x8000]));
	b.node("DequantizeLinear", [name, `${name}_step`, `${name}_middle`], [`${name}_dq`], {}, `${name}_DQ`);
	return `${name}_dq`;
}

function cast(b: Builder, source: string, to: DataType, output: string): string {
	b.node("Cast", [source], [output], { to: intAttribute(to) }, output);
	return output;
}

/** What hardly adds to a vector. */
function tiny(b: Builder, source: string): string {
	return pair(b, node(b, "Add", [pair(b, source), coded(b, "vector", [N])], "sum"));
}

export const OPERATOR_MODELS: readonly OperatorModel[] = [
	{
		rule: "htp/shared-codes",
		name: "a weight of two convolutions in two encodings",
		write: (b, rows) =>
			model(b, [1, K, rows, 3], (_, x) => {
				const w = weight(b, "w", { shape: [K, K, 1, 1], isOne: true });
				b.initializer("w_fine", floatTensor([], [2 ** -12]));
				b.node("DequantizeLinear", ["w", "w_fine", "w_zero"], ["w_fine_dq"], {}, "w_fine_DQ");
				const first = pair(b, node(b, "Conv", [x, w], "first"));
				return pair(b, node(b, "Conv", [first, "w_fine_dq"], "second"), { scale: 2 ** -15 });
			}),
	},
	{
		rule: "htp/channel-output",
		name: "a Relu behind int8 with one scale a channel",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => pair(b, node(b, "Relu", [node(b, "MatMul", [x, weight(b, "w")], "mm")], "relu"))),
	},
	{
		rule: "htp/gemm-output",
		name: "a Gemm in front of a float output",
		write: (b, rows) => model(b, [rows, K], (_, x) => node(b, "Gemm", [x, weight(b, "w", { isOne: true })], "y")),
	},
	{
		rule: "htp/clamped-output",
		name: "a Relu behind a MatMul of one scale and a float bias",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const product = node(b, "MatMul", [x, weight(b, "w", { isOne: true })], "mm");
				return pair(b, node(b, "Relu", [node(b, "Add", [product, vector(b, "bias", N)], "sum")], "relu"));
			}),
	},
	{
		rule: "htp/channel-activation",
		name: "a Reshape in front of int8, UINT8 behind it",
		write: (b, rows) =>
			model(b, [rows, 2 * K], (_, x) => {
				b.initializer("shape", int64Tensor([2], [2 * rows, K]));
				const flat = node(b, "Reshape", [x, "shape"], "flat");
				const product = node(b, "MatMul", [flat, weight(b, "w")], "mm");
				return pair(b, product, { dtype: UINT8, scale: 2 ** -5 });
			}),
	},
	{
		rule: "htp/bias-activations",
		name: "UINT8 behind a Gemm of one scale and a float bias",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const gemm = node(b, "Gemm", [x, weight(b, "w", { isOne: true }), vector(b, "bias", N)], "gemm");
				return pair(b, gemm, { dtype: UINT8, scale: 2 ** -5 });
			}),
	},
	{
		rule: "htp/int4-zero-point",
		name: "int4 without zero points",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => pair(b, node(b, "MatMul", [x, weight(b, "w", { bits: 4, hasZero: false })], "mm"))),
	},
	{
		rule: "htp/conv-int4-bias",
		name: "a bias beside int4 with one scale",
		write: (b, rows) =>
			model(b, [1, K, rows, 3], (_, x) => {
				const w = weight(b, "w", { shape: [N, K, 1, 1], axis: 0, bits: 4, isOne: true });
				return pair(b, node(b, "Conv", [x, w, vector(b, "bias", N)], "conv"));
			}),
	},
	{
		rule: "htp/softmax-zero-point",
		name: "a Softmax with a zero point inside of its range",
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => pair(b, node(b, "Softmax", [x], "softmax"), { dtype: UINT8, scale: 1 / 200, zero: 25 }),
				{ dtype: UINT8, scale: 2 ** -5 },
			),
	},
	{
		rule: "htp/fixed-output-bias",
		name: "a Sigmoid in front of a bias",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const gate = pair(b, node(b, "Sigmoid", [x], "sigmoid"), { scale: 2 ** -15 });
				return pair(b, node(b, "Gemm", [gate, weight(b, "w"), vector(b, "bias", N)], "gemm"));
			}),
	},
	{
		rule: "htp/lost-saturation",
		name: "a quantizer that is a Relu, in front of a float factor",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const norm = node(b, "LayerNormalization", [x, vector(b, "gamma", K, 0.2, 1)], "norm");
				const positive = pair(b, norm, { zero: 0 });
				b.initializer("factor", floatTensor([], [0.7]));
				return pair(b, node(b, "Mul", [positive, "factor"], "mul"));
			}),
	},
	{
		rule: "htp/operator-rank",
		name: "LayerNormalization of rank 5",
		write: (b, rows) =>
			model(b, [1, 2, 1, rows, K], (_, x) =>
				pair(b, node(b, "LayerNormalization", [x, vector(b, "gamma", K, 0.2, 1)], "norm")),
			),
	},
	{
		rule: "htp/matmul-rank",
		name: "a MatMul of rank 5",
		write: (b, rows) => model(b, [1, 2, 1, rows, K], (_, x) => pair(b, node(b, "MatMul", [x, weight(b, "w")], "mm"))),
	},
	{
		rule: "htp/layer-norm-16-rows",
		name: "16 rows out of a LayerNormalization",
		write: (b) =>
			model(b, [1, 16, K], (_, x) => {
				const norm = pair(b, node(b, "LayerNormalization", [x, vector(b, "gamma", K, 0.2, 1)], "norm"));
				return pair(b, node(b, "MatMul", [norm, weight(b, "w")], "mm"));
			}),
	},
	{
		rule: "htp/tanh-16-rows",
		name: "16 rows in a Tanh",
		write: (b) =>
			model(b, [16, K], (_, x) => {
				const product = pair(b, node(b, "MatMul", [x, weight(b, "w")], "mm"));
				return pair(b, node(b, "Tanh", [product], "tanh"), { scale: 2 ** -15 });
			}),
	},
	{
		rule: "htp/layer-norm-16-rows",
		name: "16 rows out of a LayerNormalization into a Gemm",
		write: (b) =>
			model(b, [16, K], (_, x) => {
				const norm = pair(b, node(b, "LayerNormalization", [x, vector(b, "gamma", K, 0.2, 1)], "norm"));
				return pair(b, node(b, "Gemm", [norm, weight(b, "w"), vector(b, "bias", N)], "gemm"));
			}),
	},
	{
		rule: "htp/operator-rank",
		name: "Tanh of rank 5",
		write: (b, rows) =>
			model(b, [1, 2, 1, rows, K], (_, x) => pair(b, node(b, "Tanh", [x], "tanh"), { scale: 2 ** -15 })),
	},
	{
		rule: "htp/operator-rank",
		name: "Max of rank 5, of two values",
		write: (b, rows) =>
			model(b, [1, 2, 1, rows, K], (_, x) =>
				pair(b, node(b, "Max", [x, pair(b, node(b, "Sigmoid", [x], "other"), { scale: 2 ** -15 })], "max")),
			),
	},
	{
		rule: "htp/operator-rank",
		name: "ReduceLogSumExp of rank 5",
		sinceV69: true,
		write: (b, rows) =>
			model(b, [1, 2, 3, rows, K], (_, x) => {
				b.initializer("axes", int64Tensor([1], [-1]));
				return pair(b, node(b, "ReduceLogSumExp", [x, "axes"], "sum"), { dtype: INT16 });
			}),
	},
	{
		rule: "htp/transposed-conv-add",
		name: "a vector behind a ConvTranspose",
		write: (b, rows) =>
			model(b, [1, K, rows, 3], (_, x) => {
				const conv = node(b, "ConvTranspose", [x, weight(b, "w", { shape: [K, N, 1, 1] })], "conv");
				return pair(b, node(b, "Add", [pair(b, conv), coded(b, "vector", [N, 1, 1])], "sum"));
			}),
	},
	{
		rule: "htp/transposed-conv-add",
		name: "a vector behind a ConvTranspose and an Identity",
		write: (b, rows) =>
			model(b, [1, K, rows, 3], (_, x) => {
				const conv = node(b, "ConvTranspose", [x, weight(b, "w", { shape: [K, N, 1, 1] })], "conv");
				const same = node(b, "Identity", [pair(b, conv)], "same");
				return pair(b, node(b, "Add", [pair(b, same), coded(b, "vector", [N, 1, 1])], "sum"));
			}),
	},
	{
		rule: "htp/transposed-conv-add",
		name: "a vector behind a ConvTranspose with one scale for all",
		write: (b, rows) =>
			model(b, [1, K, rows, 3], (_, x) => {
				const w = weight(b, "w", { shape: [K, N, 1, 1], isOne: true });
				const conv = node(b, "ConvTranspose", [x, w], "conv");
				return pair(b, node(b, "Add", [pair(b, conv), coded(b, "vector", [N, 1, 1])], "sum"));
			}),
	},
	{
		rule: "htp/transposed-conv-groups",
		name: "groups of a ConvTranspose with one scale a channel",
		write: (b, rows) =>
			model(b, [1, K, rows, 3], (_, x) => {
				const w = weight(b, "w", { shape: [K, N / 2, 1, 1], bits: 4 });
				b.node("ConvTranspose", [x, w], ["conv"], { group: intAttribute(2) }, "conv");
				return pair(b, "conv");
			}),
	},
	{
		rule: "htp/channel-scale-large",
		name: "products of int4 that are coarser than the result",
		write: (b, rows) =>
			model(
				b,
				[rows, 4],
				(_, x) => {
					const product = node(b, "MatMul", [x, weight(b, "w", { shape: [4, N], bits: 4 })], "mm");
					return pair(b, product, { scale: 2 ** -14 });
				},
				{ scale: 2 ** -8 },
			),
	},
	{
		rule: "htp/channel-scalar",
		name: "a number times a row of one scale a channel",
		write: (b) =>
			model(b, [1, 1], (_, x) => {
				const product = node(b, "MatMul", [x, weight(b, "w", { shape: [1, N] })], "mm");
				return pair(b, product, { scale: 2 ** -19 });
			}),
	},
	{
		rule: "htp/bias-overflow",
		name: "a bias far larger than one channel's products",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const w = weight(b, "w", { second: 2 ** -9 });
				return pair(b, node(b, "Gemm", [x, w, vector(b, "bias", N, 16)], "gemm"), { scale: 2 ** -9 });
			}),
	},
	{
		rule: "htp/bias-overflow",
		name: "a bias far larger than the products of one scale",
		write: (b, rows) =>
			model(
				b,
				[1, K, rows, 3],
				(_, x) => {
					const w = weight(b, "w", { shape: [N, K, 1, 1], isOne: true });
					const bias = vector(b, "bias", N, 1000);
					return pair(b, node(b, "Conv", [x, w, bias], "conv"), { scale: 2 ** -4 });
				},
				{ scale: 2 ** -15 },
			),
	},
	{
		rule: "htp/gemm-factors",
		name: "alpha and beta beside a float weight",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				b.initializer("w", floatTensor([K, N], normals(K * N, 3)));
				const factors = { alpha: floatAttribute(0.5), beta: floatAttribute(0.25) };
				b.node("Gemm", [x, "w", vector(b, "bias", N)], ["y"], factors, "gemm");
				return "y";
			}),
	},
	{
		rule: "htp/softmax-8-bits",
		name: "a long Softmax of 8 bits",
		write: (b, rows) =>
			model(
				b,
				[rows, 512],
				(_, x) => pair(b, node(b, "Softmax", [x], "softmax"), { dtype: UINT8, scale: 8e-5, zero: 0 }),
				{ dtype: UINT8, scale: 2 ** -5 },
			),
	},
	{
		rule: "htp/softmax-flat",
		name: "a Softmax of small numbers",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => pair(b, node(b, "Softmax", [x], "softmax"), { scale: 2 ** -20, zero: 0 }), {
				scale: 2 ** -20,
			}),
	},
	{
		rule: "htp/softmax-right",
		name: "a Softmax on the right of a product",
		write: (b, rows) =>
			model(b, [rows, 96], (_, x) => {
				const soft = pair(b, node(b, "Softmax", [x], "softmax"), { scale: 2 ** -16, zero: 0 });
				const turned = pair(b, node(b, "Transpose", [soft], "turned"), { scale: 2 ** -16, zero: 0 });
				return pair(b, node(b, "MatMul", [x, turned], "product"));
			}),
	},
	{
		rule: "htp/zeros-scale",
		name: "zeros with the scale 1 in front of a product",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const product = pair(b, node(b, "MatMul", [x, weight(b, "w")], "product"));
				const zeros = stored(b, "zeros", codesTensor(UINT16, [N], new Uint16Array(N)), 2);
				return pair(b, node(b, "Add", [zeros, product], "sum"));
			}),
	},
	{
		rule: "htp/tanh-small",
		name: "a Tanh of small numbers",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => pair(b, node(b, "Tanh", [x], "tanh"), { scale: 2 ** -25 }), { scale: 2 ** -25 }),
	},
	{
		rule: "htp/scatter-updates",
		name: "updates in another encoding than the data",
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => {
					b.initializer(
						"indices",
						int64Tensor(
							[rows, 2],
							Array.from({ length: rows * 2 }, (_, at) => 3 + 5 * (at % 2)),
						),
					);
					const updates = coded(b, "updates", [rows, 2]);
					b.node("ScatterElements", [x, "indices", updates], ["y"], { axis: intAttribute(1) }, "scatter");
					return pair(b, "y", { scale: 2 ** -11 });
				},
				{ scale: 2 ** -11 },
			),
	},
	{
		rule: "htp/float-factor",
		name: "a factor that fp16 has not",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				b.initializer("factor", floatTensor([], [1e-9]));
				return pair(b, node(b, "Mul", [x, "factor"], "mul"), { scale: 2 ** -43 });
			}),
	},
	{
		rule: "htp/float-factor",
		name: "a divisor that fp16 has not",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				b.initializer("divisor", floatTensor([], [1e-6]));
				return pair(b, node(b, "Div", [x, "divisor"], "div"), { scale: 2 ** 7 });
			}),
	},
	{
		rule: "htp/operator-signed",
		name: "Neg of INT16",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => pair(b, node(b, "Neg", [x], "neg"), { dtype: INT16 }), { dtype: INT16 }),
	},
	{
		rule: "htp/operator-signed",
		name: "HardSwish of INT16 between Transposes",
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => {
					const product = node(b, "HardSwish", [node(b, "Transpose", [x], "turned")], "hard_swish");
					return pair(b, node(b, "Transpose", [product], "back"), { dtype: INT16 });
				},
				{ dtype: INT16 },
			),
	},
	{
		rule: "htp/operator-refused",
		name: "LRN of UINT16",
		write: (b, rows) =>
			model(b, [1, K, rows, 3], (_, x) => {
				b.node("LRN", [x], ["lrn"], { size: intAttribute(3) }, "lrn");
				return pair(b, "lrn");
			}),
	},
	{
		rule: "htp/operator-wrong",
		name: "CumSum of UINT8",
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => {
					b.initializer("axis", int64Tensor([], [1]));
					return pair(b, node(b, "CumSum", [x, "axis"], "sum"), { dtype: UINT8, scale: 2 ** -3 });
				},
				{ dtype: UINT8, scale: 2 ** -5 },
			),
	},
	{
		rule: "htp/conv-int16",
		name: "a depthwise Conv of INT16",
		write: (b, rows) =>
			model(
				b,
				[1, K, rows, 3],
				(_, x) => {
					const w = weight(b, "w", { shape: [K, 1, 1, 1], axis: 0 });
					b.node("Conv", [x, w], ["conv"], { group: intAttribute(K) }, "conv");
					return pair(b, "conv", { dtype: INT16 });
				},
				{ dtype: INT16 },
			),
	},
	{
		rule: "htp/relu-int4-rows",
		name: "a Relu of several matrices behind INT4 with one scale a channel",
		write: (b, rows) =>
			model(b, [2, rows, K], (_, x) => {
				const product = pair(b, node(b, "MatMul", [x, weight(b, "w", { bits: 4 })], "mm"));
				return pair(b, node(b, "Relu", [product], "relu"), { scale: 2 ** -14, zero: 0 });
			}),
	},
	{
		rule: "htp/instance-norm-rank",
		name: "an InstanceNormalization of rank 3",
		sinceV69: true,
		write: (b, rows) =>
			model(b, [1, 4, 8 * rows], (_, x) => {
				const parameters = [
					stored(b, "factors", codesTensor(UINT16, [4], [0xffff, 0xc000, 0x8000, 0xa000]), 2 ** -15),
					stored(b, "offsets", codesTensor(DataType.INT32, [4], [0, 1000, -1000, 500]), 2 ** -12),
				];
				return pair(b, node(b, "InstanceNormalization", [x, ...parameters], "normal"));
			}),
	},
	{
		rule: "htp/prelu-slopes",
		name: "slopes of 16 bits behind a transposed input",
		write: (b, rows) =>
			model(b, [1, 4, 6, rows], (_, x) => {
				b.node("Transpose", [x], ["turned"], { perm: intsAttribute([0, 1, 3, 2]) }, "turned");
				const slopes = stored(b, "slopes", codesTensor(UINT16, [4, 1, 1], [0, 3000, 20000, 65535]), 2 ** -16);
				return pair(b, node(b, "PRelu", [pair(b, "turned"), slopes], "prelu"));
			}),
	},
	{
		rule: "htp/instance-norm-parameters",
		name: "an InstanceNormalization with a float scale",
		write: (b, rows) =>
			model(b, [1, 4, rows, 6], (_, x) => {
				const offsets = codesTensor(DataType.INT32, [4], [0, 1000, -1000, 500]);
				const parameters = [vector(b, "factors", 4, 0.2, 1), stored(b, "offsets", offsets, 2 ** -12)];
				return pair(b, node(b, "InstanceNormalization", [x, ...parameters], "normal"));
			}),
	},
	{
		rule: "htp/reshape-square",
		name: "a matrix that becomes squares of rank 5",
		write: (b, rows) =>
			model(b, [2 * N, rows], (_, x) => {
				const product = pair(b, node(b, "MatMul", [x, weight(b, "w", { shape: [rows, N] })], "mm"));
				b.initializer("shape", int64Tensor([5], [1, 1, 2, N, N]));
				return pair(b, node(b, "Reshape", [product, "shape"], "squares"));
			}),
	},
	{
		rule: "htp/reshape-halved",
		name: "a Reshape of rank 5 to half of a length",
		write: (b, rows) =>
			model(b, [1, 1, rows, 2, 1], (_, x) => {
				b.initializer("shape", int64Tensor([2], [2 * rows, 1]));
				return pair(b, node(b, "Reshape", [x, "shape"], "column"));
			}),
	},
	{
		rule: "htp/conv-int4-volume",
		name: "a Conv of three dimensions with INT4",
		write: (b, rows) =>
			model(b, [1, 4, rows, 3, 3], (_, x) => {
				const w = weight(b, "w", { shape: [N, 4, 2, 2, 2], axis: 0, bits: 4 });
				return pair(b, node(b, "Conv", [x, w], "conv"));
			}),
	},
	{
		rule: "htp/gemm-bias-shape",
		name: "a bias of one number beside one scale a channel",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => pair(b, node(b, "Gemm", [x, weight(b, "w"), vector(b, "bias", 1)], "gemm"))),
	},
	{
		rule: "htp/exponent-type",
		name: "an exponent of INT64",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				b.initializer("exponent", int64Tensor([], [2]));
				return pair(b, node(b, "Pow", [x, "exponent"], "square"), { scale: 2 ** -11, zero: 0 });
			}),
	},
	{
		rule: "htp/relu-rank",
		name: "a Relu of floats of rank 5",
		write: (b, rows) =>
			model(b, [2, rows, K], (_, x) => {
				b.initializer("shape", int64Tensor([5], [1, 2, 1, rows, K]));
				const scaled = node(b, "Mul", [x, vector(b, "factor", K)], "scaled");
				return pair(b, node(b, "Relu", [node(b, "Reshape", [scaled, "shape"], "reshaped")], "relu"));
			}),
	},
	{
		rule: "htp/channel-scale-small",
		name: "a Gemm of floats that are made INT8, of tiny inputs",
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => {
					b.initializer("w", floatTensor([K, N], normals(K * N, 3)));
					return tiny(b, node(b, "Gemm", [x, "w"], "gemm"));
				},
				{ scale: 2 ** -34 },
			),
	},
	{
		rule: "htp/channel-scale-small",
		name: "a Gemm of one scale, of tiny inputs",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => tiny(b, node(b, "Gemm", [x, weight(b, "w", { isOne: true })], "gemm")), {
				scale: 2 ** -34,
			}),
	},
	{
		rule: "htp/cast-uint8",
		name: "UINT8 that becomes FLOAT",
		write: (b, rows) => {
			b.input("x", UINT8, [rows, K]);
			const floats = cast(b, "x", FLOAT, "floats");
			b.output(node(b, "Mul", [floats, vector(b, "factor", K)], "mul"));
		},
	},
	{
		rule: "htp/cast-fractions",
		name: "floats without their fractions",
		write: (b, rows) => {
			b.input("x", FLOAT, [rows, K]);
			b.output(cast(b, cast(b, "x", INT64, "integers"), FLOAT, "truncated"));
		},
	},
	{
		rule: "htp/layer-norm-16-rows",
		name: "16 rows out of a Relu of a product that is not quantized",
		write: (b) =>
			model(b, [1, 16, K], (_, x) => {
				const product = node(b, "MatMul", [x, weight(b, "v", { shape: [K, K], isOne: true })], "product");
				const relu = pair(b, node(b, "Relu", [product], "relu"));
				return pair(b, node(b, "MatMul", [relu, weight(b, "w")], "mm"));
			}),
	},
	{
		rule: "htp/conv-pads-8-bits",
		name: "a Conv of UINT8 that pads",
		write: (b, rows) =>
			model(
				b,
				[1, K, rows, 3],
				(_, x) => {
					b.initializer("w", floatTensor([N, K, 3, 3], normals(N * K * 9, 3)));
					b.node("Conv", [x, "w"], ["y"], { pads: intsAttribute([1, 1, 1, 1]) }, "conv");
					return "y";
				},
				{ dtype: UINT8, scale: 2 ** -5 },
			),
	},
];
