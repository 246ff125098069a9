import { intAttribute, intsAttribute, stringAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { int4Tensor, randomCodes, randomScales } from "../support/weights.js";
import { normals } from "./models.js";
import { type Builder, K, model, N, node, type OperatorModel, pair, vector, weight } from "./operator-models.js";

/* Operators that do not compile together, biases in other steps than those of the products, and Pads that lose what they add. */

const { INT8, INT16, INT32, UINT8 } = DataType;

function padded(b: Builder, x: string, amounts: readonly number[]): string {
	b.initializer("pads", int64Tensor([amounts.length], amounts));
	return node(b, "Pad", [x, "pads"], "padded");
}

/** A matrix in blocks of 8 along the first axis, whose scales a DequantizeLinear makes. */
function lpbq(b: Builder): string {
	const blocks = [K / 8, N];
	b.initializer(
		"integers",
		codesTensor(
			UINT8,
			blocks,
			Array.from({ length: (K / 8) * N }, (_, at) => 1 + (at % 16)),
		),
	);
	b.initializer(
		"channels",
		floatTensor(
			[N],
			randomScales(N, 4).map((scale) => scale / 50),
		),
	);
	b.node("DequantizeLinear", ["integers", "channels"], ["scales"], { axis: intAttribute(1) }, "scales_DQ");
	b.initializer("codes", int4Tensor([K, N], randomCodes(K * N, 3, -7, 7)));
	b.initializer("points", int4Tensor(blocks, new Int8Array((K / 8) * N)));
	const attributes = { axis: intAttribute(0), block_size: intAttribute(8) };
	b.node("DequantizeLinear", ["codes", "scales", "points"], ["matrix"], attributes, "matrix_DQ");
	return "matrix";
}

/** What `added` makes, behind a product of floats. */
function floatSum(name: string, added: (b: Builder) => string): OperatorModel {
	return {
		rule: "htp/float-sum-8-bits",
		name,
		sinceV69: true,
		write: (b, rows) =>
			model(b, [1, rows, K], (_, x) => {
				b.initializer(
					"matrix",
					floatTensor(
						[K, N],
						normals(K * N, 7).map((value) => value / 10),
					),
				);
				const product = node(b, "MatMul", [node(b, "Tanh", [x], "tanh"), "matrix"], "product");
				return pair(b, node(b, "Add", [product, added(b)], "sum"), { dtype: UINT8, scale: 2 ** -6 });
			}),
	};
}

/** A convolution along `kernel`, whose bias has steps as many times those of the products. */
function biasedConv(name: string, op: string, kernel: readonly number[], ratio: number): OperatorModel {
	return {
		rule: "htp/conv-bias-scale",
		name,
		write: (b, rows) =>
			model(b, [1, N, ...kernel.map((_, axis) => (axis === 0 ? rows + 4 : 6))], (_, x) => {
				const w = weight(b, "w", { shape: [N, N, ...kernel], axis: op === "Conv" ? 0 : 1 });
				const steps = randomScales(N, 4).map((scale) => ((scale * 4) / 127) * 2 ** -13 * ratio);
				const codes = normals(N, 5).map((value, channel) => Math.round(value / steps[channel]!));
				b.initializer("bias", codesTensor(INT32, [N], Array.from(codes)));
				b.initializer("bias_steps", floatTensor([N], steps));
				b.node("DequantizeLinear", ["bias", "bias_steps"], ["bias_dq"], { axis: intAttribute(0) }, "bias_DQ");
				b.node(op, [x, w, "bias_dq"], ["conv"], { kernel_shape: intsAttribute(kernel) }, "conv");
				return pair(b, "conv", { scale: 2 ** -11 });
			}),
	};
}

export const COMPILED_MODELS: readonly OperatorModel[] = [
	floatSum("a vector added to a product of floats, in codes of 8 bits", (b) => vector(b, "bias", N, 0.3)),
	floatSum("a computed vector added to a product of floats, in codes of 8 bits", (b) => {
		b.input("given", DataType.FLOAT, [N]);
		return pair(b, "given", { dtype: UINT8, scale: 2 ** -5, zero: 128 });
	}),
	{
		rule: "htp/image-of-one",
		name: "an image of one element that gets a fifth axis",
		write: (b) =>
			model(b, [1, 1, 1, 1], (_, x) => {
				const mean = pair(b, node(b, "GlobalAveragePool", [x], "mean"));
				b.initializer("ones", int64Tensor([5], [1, 1, 1, 1, 1]));
				return pair(b, node(b, "Reshape", [mean, "ones"], "volume"));
			}),
	},
	{
		rule: "htp/mish-lpbq",
		name: "a Mish in front of LPBQ",
		sinceV69: true,
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const gate = pair(b, node(b, "Mish", [x], "mish"));
				return pair(b, node(b, "MatMul", [gate, lpbq(b)], "product"));
			}),
	},
	{
		rule: "htp/signed-volume",
		name: "INT16 codes behind a Conv of three dimensions",
		write: (b, rows) =>
			model(b, [1, 4, rows, 5, 6], (_, x) => {
				const w = weight(b, "w", { shape: [4, 4, 3, 3, 3], axis: 0 });
				const conv = pair(b, node(b, "Conv", [x, w], "conv"), { scale: 2 ** -12 });
				const signed = pair(b, conv, { dtype: INT16, scale: 2 ** -12 });
				return pair(b, node(b, "Relu", [signed], "relu"), { dtype: INT16, scale: 2 ** -12 });
			}),
	},
	{
		rule: "htp/signed-volume",
		name: "INT16 codes that a gate of averages is multiplied with",
		sinceV69: true,
		write: (b, rows) =>
			model(b, [1, 4, rows, 5, 6], (_, x) => {
				const given = pair(b, x, { dtype: INT16, scale: 2 ** -13 });
				const mean = pair(b, node(b, "GlobalAveragePool", [x], "mean"), { scale: 2 ** -17 });
				const gate = pair(b, mean, { dtype: INT16, scale: 2 ** -17 });
				const gated = pair(b, node(b, "Mul", [given, gate], "gated"), { dtype: INT16, scale: 2 ** -15 });
				const w = weight(b, "w", { shape: [4, 4, 1, 1, 1], axis: 0 });
				return pair(b, node(b, "Conv", [pair(b, gated, { scale: 2 ** -15 }), w], "conv"), { scale: 2 ** -14 });
			}),
	},
	{
		rule: "htp/gathered-images",
		name: "images of nine channels that a GatherND takes",
		write: (b, rows) =>
			model(b, [3, 9, rows, 8], (_, x) => {
				b.initializer("places", int64Tensor([2, 1], [2, 0]));
				return pair(b, node(b, "GatherND", [x, "places"], "images"));
			}),
	},
	{
		rule: "htp/operator-signed",
		name: "an ArgMax of INT16 codes",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const signed = pair(b, x, { dtype: INT16 });
				b.node("ArgMax", [signed], ["places"], { axis: intAttribute(1) }, "argmax");
				b.node("Cast", ["places"], ["numbers"], { to: intAttribute(DataType.FLOAT) }, "cast");
				return pair(b, "numbers", { scale: 2 ** -8 });
			}),
	},
	{
		rule: "htp/pad-quantizer",
		name: "a Pad between encodings behind a Softmax",
		write: (b, rows) =>
			model(b, [1, 4, rows, 8], (_, x) => {
				const shares = pair(b, node(b, "Softmax", [x], "softmax"), { scale: 2 ** -16, zero: 0 });
				b.initializer("pads", int64Tensor([8], [0, 0, 1, 2, 0, 0, 2, 1]));
				b.node("Pad", [shares, "pads"], ["padded"], { mode: stringAttribute("reflect") }, "pad");
				return pair(b, "padded", { scale: 2 ** -15 });
			}),
	},
	biasedConv("a Conv whose bias has twice the steps", "Conv", [3, 3], 2),
	biasedConv("a Conv of one dimension whose bias has 64 times the steps", "Conv", [3], 64),
	biasedConv("a ConvTranspose whose bias has twice the steps", "ConvTranspose", [2, 2], 2),
	...([INT8, INT16] as const).map(
		(dtype): OperatorModel => ({
			rule: "htp/pad-signed",
			name: `zeros around ${dtype === INT8 ? "INT8" : "INT16"} with a negative zero point`,
			write: (b, rows) => {
				const encoding = { dtype, scale: dtype === INT8 ? 2 ** -5 : 2 ** -13, zero: -3 };
				model(b, [1, N, rows + 2], (_, x) => pair(b, padded(b, x, [0, 0, 2, 0, 0, 2]), encoding), encoding);
			},
		}),
	),
	{
		rule: "htp/channel-fill",
		name: "zeros behind rows of a scaled input",
		sinceV69: true,
		write: (b, rows) =>
			model(b, [1, rows, 50], (_, x) => {
				b.initializer("factor", floatTensor([], [1.5]));
				const scaled = pair(b, node(b, "Mul", [x, "factor"], "scaled"), { scale: 2 ** -12 });
				return pair(b, padded(b, scaled, [0, 0, 0, 0, 0, 6]), { scale: 2 ** -12 });
			}),
	},
	{
		rule: "htp/transposed-conv-padding",
		name: "a ConvTranspose that pads beyond its kernel",
		write: (b, rows) =>
			model(b, [1, 4, rows, 6], (_, x) => {
				const w = weight(b, "w", { shape: [4, N, 2, 2], isOne: true });
				const steps = { strides: intsAttribute([2, 2]), output_padding: intsAttribute([1, 0]) };
				b.node("ConvTranspose", [x, w], ["larger"], { kernel_shape: intsAttribute([2, 2]), ...steps }, "larger");
				return pair(b, "larger", { scale: 2 ** -15 });
			}),
	},
];
