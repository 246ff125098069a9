import { floatAttribute, intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { normals } from "./models.js";
import { type Builder, K, model, N, node, type OperatorModel, pair, vector, weight } from "./operator-models.js";

/* What the compiler makes one operator of, and computes wrong. */

function convolved(b: Builder, x: string, channels: number): string {
	const w = weight(b, "w", { shape: [N, channels, 1, 1], axis: 0 });
	b.node("Conv", [x, w], ["conv"], {}, "conv");
	return pair(b, "conv");
}

function silu(b: Builder, x: string): string {
	const gate = pair(b, node(b, "Sigmoid", [x], "gate"), { scale: 2 ** -16, zero: 0 });
	return pair(b, node(b, "Mul", [x, gate], "product"));
}

function clipNode(b: Builder, x: string, lo: number, hi: number): string {
	b.initializer("lo", floatTensor([], [lo]));
	b.initializer("hi", floatTensor([], [hi]));
	return node(b, "Clip", [x, "lo", "hi"], "clip");
}

function clip(b: Builder, x: string, lo: number, hi: number, encoding = {}): string {
	return pair(b, clipNode(b, x, lo, hi), encoding);
}

/** From -0.375 to 0.3. */
const UP_TO_THIRD = { scale: 0.675 / 65535, zero: 36408 };

/** A product with values down to -10 or so. */
function farBelow(b: Builder, x: string, shape?: readonly number[]): string {
	b.initializer("factor", floatTensor([], [8]));
	const larger = pair(b, node(b, "Mul", [x, pair(b, "factor", { scale: 2 ** -11 })], "larger"), { scale: 2 ** -10 });
	const w = shape === undefined ? weight(b, "w") : weight(b, "w", { shape, axis: 0 });
	const product = node(b, shape === undefined ? "MatMul" : "Conv", [larger, w], "product");
	return pair(b, product, { scale: 2 ** -11 });
}

/** From -0.1875 to 0.3125. */
const NARROW = { scale: 2 ** -17, zero: 0x6000 };

/** A scale of 1 for every column, in symmetric codes of UINT16. */
function symmetric(b: Builder, name: string, length: number): string {
	b.initializer(name, codesTensor(DataType.UINT16, [length], new Array<number>(length).fill(65535)));
	b.initializer(`${name}_step`, floatTensor([], [1 / 32767]));
	b.initializer(`${name}_middle`, codesTensor(DataType.UINT16, [], [0x8000]));
	b.node("DequantizeLinear", [name, `${name}_step`, `${name}_middle`], [`${name}_dq`], {}, `${name}_DQ`);
	return `${name}_dq`;
}

export const FUSED_MODELS: readonly OperatorModel[] = [
	{
		rule: "htp/silu-size",
		name: "SiLU behind a Conv",
		write: (b, rows) => model(b, [1, 4, 2 * rows, 7], (_, x) => silu(b, convolved(b, x, 4))),
	},
	{
		rule: "htp/silu-size",
		name: "SiLU of ten rows behind MaxPool, the factors exchanged",
		write: (b, rows) =>
			model(b, [1, 4, 10, rows + 8], (_, x) => {
				const attributes = { kernel_shape: intsAttribute([3, 3]), pads: intsAttribute([1, 1, 1, 1]) };
				b.node("MaxPool", [convolved(b, x, 4)], ["pool"], attributes, "pool");
				const largest = pair(b, "pool");
				const gate = pair(b, node(b, "Sigmoid", [largest], "gate"), { scale: 2 ** -16, zero: 0 });
				return pair(b, node(b, "Mul", [gate, largest], "product"));
			}),
	},
	{
		rule: "htp/silu-size",
		name: "SiLU of a sum, of many channels",
		write: (b, rows) =>
			model(b, [1, 8 * rows, 8, 7], (_, x) => silu(b, pair(b, node(b, "Add", [x, vector(b, "shift", 7, 0.2)], "sum")))),
	},
	{
		rule: "htp/silu-size",
		name: "SiLU behind a MatMul of rank 4",
		write: (b, rows) =>
			model(b, [1, 2 * rows, 7, 8], (_, x) => {
				const product = node(b, "MatMul", [x, weight(b, "w", { shape: [8, N] })], "mm");
				return silu(b, pair(b, product));
			}),
	},
	{
		rule: "htp/silu-size",
		name: "SiLU of ten matrices in front of a MatMul",
		write: (b, rows) =>
			model(b, [10, 10 * rows, 32], (_, x) => {
				const product = node(b, "MatMul", [silu(b, x), weight(b, "w", { shape: [32, N] })], "mm");
				return pair(b, product, { scale: 2 ** -12 });
			}),
	},
	{
		rule: "htp/softplus-size",
		name: "Softplus of ten matrices behind a MatMul",
		write: (b, rows) =>
			model(b, [10, 20 * rows, 8], (_, x) => {
				const product = pair(b, node(b, "MatMul", [x, weight(b, "w", { shape: [8, 32] })], "mm"));
				return pair(b, node(b, "Softplus", [product], "positive"));
			}),
	},
	{
		rule: "htp/mish-size",
		name: "Mish of nine matrices behind a MatMul",
		sinceV69: true,
		write: (b, rows) =>
			model(b, [9, 16 * rows, 8], (_, x) => {
				const product = pair(b, node(b, "MatMul", [x, weight(b, "w", { shape: [8, 128] })], "mm"));
				return pair(b, node(b, "Mish", [product], "curved"));
			}),
	},
	{
		rule: "htp/clip-range",
		name: "a Clip behind a Conv, quantized further than its limits",
		write: (b, rows) => model(b, [1, 4, rows, 6], (_, x) => clip(b, convolved(b, x, 4), -0.5, 0.75)),
	},
	{
		rule: "htp/clip-range",
		name: "a Clip of a sum whose limits are both above 0",
		write: (b, rows) => model(b, [rows, 24], (_, x) => clip(b, pair(b, node(b, "Add", [x, x], "sum")), 0.25, 0.75)),
	},
	{
		rule: "htp/clip-range",
		name: "a Clip of a product",
		write: (b, rows) =>
			model(b, [rows, 24], (_, x) => {
				const product = pair(b, node(b, "MatMul", [x, weight(b, "w")], "mm"));
				return clip(b, product, -0.25, 0.5);
			}),
	},
	{
		rule: "htp/clip-range",
		name: "a Relu behind a Clip, quantized further than its limits",
		write: (b, rows) =>
			model(b, [1, 4, rows, 6], (_, x) => {
				const within = clip(b, convolved(b, x, 4), 0, 0.5, { scale: 2 ** -17, zero: 0 });
				return pair(b, node(b, "Relu", [pair(b, within)], "relu"));
			}),
	},
	{
		rule: "htp/clip-range",
		name: "a LeakyRelu of a product behind a quantizer that cuts off",
		write: (b, rows) =>
			model(b, [rows, 24], (_, x) => {
				b.node("MatMul", [x, weight(b, "w")], ["mm"], {}, "mm");
				b.node("LeakyRelu", [pair(b, "mm", { scale: 2 ** -16 })], ["leaky"], { alpha: floatAttribute(0.25) }, "leaky");
				return pair(b, "leaky");
			}),
	},
	{
		rule: "htp/clip-range",
		name: "a MaxPool behind a Clip of a convolution, quantized further than the Clip's limits",
		write: (b, rows) =>
			model(b, [1, 4, rows, 6], (_, x) => {
				const window = { kernel_shape: intsAttribute([2, 2]) };
				b.node("MaxPool", [clipNode(b, convolved(b, x, 4), -0.5, 0.75)], ["largest"], window, "largest");
				return pair(b, "largest");
			}),
	},
	{
		rule: "htp/clip-range",
		name: "a Relu right behind a Clip of a product",
		write: (b, rows) =>
			model(b, [rows, 24], (_, x) => {
				const product = pair(b, node(b, "MatMul", [x, weight(b, "w")], "mm"));
				return pair(b, node(b, "Relu", [clipNode(b, product, -0.5, 0.5)], "relu"), { scale: 2 ** -14, zero: 0 });
			}),
	},
	{
		rule: "htp/clip-range",
		name: "a Clip right behind a Relu of a sum",
		write: (b, rows) =>
			model(b, [rows, 24], (_, x) => {
				const positive = node(b, "Relu", [pair(b, node(b, "Add", [x, x], "sum"))], "relu");
				return pair(b, clipNode(b, positive, -0.5, 0.5), { scale: 2 ** -16 });
			}),
	},
	{
		rule: "htp/clip-range",
		name: "two Relus and a Clip above 0 of a sum",
		write: (b, rows) =>
			model(b, [rows, 24], (_, x) => {
				const relu = node(b, "Relu", [pair(b, node(b, "Add", [x, x], "sum"))], "relu");
				return pair(b, clipNode(b, node(b, "Relu", [relu], "again"), 0.125, 0.5), { scale: 2 ** -14 });
			}),
	},
	{
		rule: "htp/clip-range",
		name: "a Clip between two Relus behind a Conv, whose encoding reaches further",
		write: (b, rows) =>
			model(b, [1, 4, rows, 6], (_, x) => {
				const relu = node(b, "Relu", [convolved(b, x, 4)], "relu");
				return pair(b, node(b, "Relu", [clipNode(b, relu, -0.5, 0.5)], "again"), { scale: 2 ** -14, zero: 0 });
			}),
	},
	{
		rule: "htp/hard-swish-cut",
		name: "a HardSwish behind a Conv and a quantizer that cuts off",
		write: (b, rows) =>
			model(b, [1, 4, rows, 6], (_, x) => {
				const w = weight(b, "w", { shape: [N, 4, 1, 1], axis: 0 });
				b.node("Conv", [x, w], ["conv"], {}, "conv");
				return pair(b, node(b, "HardSwish", [pair(b, "conv", { scale: 2 ** -16, zero: 0x2000 })], "swish"), NARROW);
			}),
	},
	{
		rule: "htp/hard-swish-cut",
		name: "a HardSwish behind a MatMul of rank 4 and a quantizer from 0 on",
		write: (b, rows) =>
			model(b, [1, 3, rows, 24], (_, x) => {
				const product = node(b, "MatMul", [x, weight(b, "w")], "mm");
				return pair(b, node(b, "HardSwish", [pair(b, product, { scale: 2 ** -16, zero: 0 })], "swish"), NARROW);
			}),
	},
	{
		rule: "htp/pad-average",
		name: "an AveragePool of 2 behind a Pad behind a Conv",
		write: (b, rows) =>
			model(b, [1, 4, rows + 4, 10], (_, x) => {
				b.initializer("pads", int64Tensor([8], [0, 0, 1, 1, 0, 0, 1, 1]));
				b.node("Pad", [convolved(b, x, 4), "pads"], ["padded"], {}, "padded");
				const window = { kernel_shape: intsAttribute([2, 2]), strides: intsAttribute([2, 2]) };
				b.node("AveragePool", [pair(b, "padded")], ["average"], window, "average");
				return pair(b, "average");
			}),
	},
	{
		rule: "htp/softplus-size",
		name: "Softplus behind a Conv",
		write: (b, rows) =>
			model(b, [1, 4, 2 * rows, 7], (_, x) =>
				pair(b, node(b, "Softplus", [convolved(b, x, 4)], "softplus"), { scale: 2 ** -13, zero: 0 }),
			),
	},
	{
		rule: "htp/softplus-size",
		name: "Softplus behind a MatMul of rank 4 and a Relu",
		write: (b, rows) =>
			model(b, [1, 2 * rows, 7, 8], (_, x) => {
				const product = pair(b, node(b, "MatMul", [x, weight(b, "w", { shape: [8, N] })], "mm"));
				const positive = pair(b, node(b, "Relu", [product], "relu"));
				return pair(b, node(b, "Softplus", [positive], "softplus"), { scale: 2 ** -13, zero: 0 });
			}),
	},
	{
		rule: "htp/reduce-column",
		name: "the largest of a column",
		write: (b, rows) =>
			model(b, [1, 3, rows, 1], (_, x) => {
				b.initializer("axes", int64Tensor([2], [2, 3]));
				return pair(b, node(b, "ReduceMax", [x, "axes"], "largest"));
			}),
	},
	{
		rule: "htp/reduce-column",
		name: "the smallest of a column, without the axes",
		write: (b, rows) =>
			model(b, [2, rows, 1], (_, x) => {
				b.initializer("axes", int64Tensor([2], [-1, -2]));
				b.node("ReduceMin", [x, "axes"], ["smallest"], { keepdims: intAttribute(0) }, "smallest");
				return pair(b, "smallest");
			}),
	},
	{
		rule: "htp/mean-of-one",
		name: "the mean over the channels and the width of a convolution of one column",
		write: (b, rows) =>
			model(b, [1, 4, rows, 1], (_, x) => {
				b.initializer("axes", int64Tensor([2], [1, -1]));
				return pair(b, node(b, "ReduceMean", [convolved(b, x, 4), "axes"], "mean"), { scale: 2 ** -17 });
			}),
	},
	{
		rule: "htp/mean-of-one",
		name: "the mean of each of several rows, without the axes",
		write: (b, rows) =>
			model(b, [rows, 1, 24], (_, x) => {
				b.initializer("axes", int64Tensor([2], [1, 2]));
				const product = pair(b, node(b, "MatMul", [x, weight(b, "w")], "mm"));
				b.node("ReduceMean", [product, "axes"], ["mean"], { keepdims: intAttribute(0) }, "mean");
				return pair(b, "mean", { scale: 2 ** -17 });
			}),
	},
	{
		rule: "htp/hard-swish-range",
		name: "a HardSwish of values far below 0 whose encoding ends at 0.3",
		write: (b, rows) =>
			model(
				b,
				[1, 4, rows, 40],
				(_, x) => pair(b, node(b, "HardSwish", [farBelow(b, x, [4, 4, 1, 1])], "swish"), UP_TO_THIRD),
				{ scale: 2 ** -12 },
			),
	},
	{
		rule: "htp/hard-swish-range",
		name: "a Transpose behind a HardSwish with such an encoding",
		write: (b, rows) =>
			model(
				b,
				[1, 4, rows, 40],
				(_, x) => {
					b.node("HardSwish", [farBelow(b, x, [4, 4, 1, 1])], ["swish"], {}, "swish");
					b.node("Transpose", ["swish"], ["turned"], { perm: intsAttribute([0, 2, 3, 1]) }, "turned");
					return pair(b, "turned", UP_TO_THIRD);
				},
				{ scale: 2 ** -12 },
			),
	},
	{
		rule: "htp/hard-swish-range",
		name: "a HardSwish behind a MatMul with such an encoding",
		write: (b, rows) =>
			model(b, [rows, 24], (_, x) => pair(b, node(b, "HardSwish", [farBelow(b, x)], "swish"), UP_TO_THIRD), {
				scale: 2 ** -12,
			}),
	},
	{
		rule: "htp/tanh-product",
		name: "a Tanh of small sums of products and biases on floats",
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => {
					b.initializer("w", small([K, N]));
					return node(
						b,
						"Tanh",
						[node(b, "Add", [node(b, "MatMul", [x, "w"], "product"), vector(b, "bias", N, 0.01)], "sum")],
						"y",
					);
				},
				{},
				true,
			),
	},
	{
		rule: "htp/tanh-product",
		name: "a Tanh of a small result of a Conv with a weight of floats between codes",
		sinceV69: true,
		write: (b, rows) =>
			model(b, [1, K, rows, 5], (_, x) => {
				b.initializer("w", small([N, K, 1, 1]));
				return pair(b, node(b, "Tanh", [node(b, "Conv", [x, "w"], "product")], "y"), { scale: 2 ** -16 });
			}),
	},
	{
		rule: "htp/silu-size",
		name: "a gated feed-forward layer of three matrices of 12 rows",
		sinceV69: true,
		write: (b) =>
			model(b, [3, 12, 64], (_, x) => {
				const gamma = symmetric(b, "gamma", 64);
				const norm = pair(b, node(b, "LayerNormalization", [x, gamma], "norm"));
				const both = node(b, "MatMul", [norm, weight(b, "both_w", { shape: [64, 192] })], "both");
				b.initializer("parts", int64Tensor([2], [96, 96]));
				const whole = pair(b, both, { scale: 2 ** -14 });
				b.node("Split", [whole, "parts"], ["up", "gate"], { axis: intAttribute(-1) }, "split");
				const [up, gate] = ["up", "gate"].map((part) => pair(b, part, { scale: 2 ** -14 })) as [string, string];
				const sigmoid = pair(b, node(b, "Sigmoid", [gate], "sigmoid"), { scale: 2 ** -16, zero: 0 });
				const silu = pair(b, node(b, "Mul", [gate, sigmoid], "silu"), { scale: 2.3 / 65535, zero: 8548 });
				const gated = pair(b, node(b, "Mul", [silu, up], "gated"), { scale: 2 ** -14 });
				return pair(b, node(b, "MatMul", [gated, weight(b, "down_w", { shape: [96, N] })], "down"));
			}),
	},
];

/** A weight of floats whose products have a standard deviation of 0.1. */
function small(shape: readonly number[]) {
	return floatTensor(
		shape,
		normals(K * N, 7).map((value) => value * 0.02),
	);
}
