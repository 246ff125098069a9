import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { randomScales } from "../support/weights.js";
import { normals } from "./models.js";
import { type Builder, K, model, N, node, type OperatorModel, pair, vector, weight } from "./operator-models.js";

/* Convolutions of three dimensions and what is beside them, which each break a rule for which legalize-operators has the remedy. */

function transposed(b: Builder, x: string, w: string): string {
	b.node("ConvTranspose", [x, w], ["conv"], { group: intAttribute(2) }, "conv");
	return pair(b, "conv");
}

/** The INT32 bias of a half beside `weight(b, "w")` and an input of this scale. */
function halves(b: Builder, scale: number): string {
	const steps = randomScales(N, 4).map((step) => ((step * 4) / 127) * scale);
	const codes = Array.from(steps, (step) => Math.round(0.5 / step));
	b.initializer("bias", codesTensor(DataType.INT32, [N], codes));
	b.initializer("bias_scale", floatTensor([N], steps));
	b.node("DequantizeLinear", ["bias", "bias_scale"], ["bias_dq"], { axis: intAttribute(0) }, "bias_DQ");
	return "bias_dq";
}

export const VOLUME_MODELS: readonly OperatorModel[] = [
	{
		rule: "htp/transposed-conv-groups",
		name: "groups of a ConvTranspose of three dimensions with one scale",
		write: (b, rows) =>
			model(b, [1, 4, rows, 3, 3], (_, x) =>
				transposed(b, x, weight(b, "w", { shape: [4, N / 2, 2, 2, 2], isOne: true })),
			),
	},
	{
		rule: "htp/transposed-conv-groups",
		name: "groups of a ConvTranspose of three dimensions with a float weight",
		write: (b, rows) =>
			model(b, [1, 4, rows, 3, 3], (_, x) => {
				b.initializer("w", floatTensor([4, N / 2, 1, 1, 1], normals(2 * N, 3)));
				return transposed(b, x, "w");
			}),
	},
	{
		rule: "htp/conv-volume-float",
		name: "a Conv of three dimensions with a float result",
		write: (b, rows) =>
			model(b, [1, 4, rows, 3, 3], (_, x) => {
				b.node("Conv", [x, weight(b, "w", { shape: [N, 4, 2, 2, 2], isOne: true })], ["conv"], {}, "conv");
				return "conv";
			}),
	},
	{
		rule: "htp/conv-volume-float",
		name: "a Conv of three dimensions between two types",
		write: (b, rows) =>
			model(b, [1, 4, rows, 3, 3], (_, x) => {
				b.node("Conv", [x, weight(b, "w", { shape: [N, 4, 1, 1, 1], isOne: true })], ["conv"], {}, "conv");
				return pair(b, "conv", { dtype: DataType.UINT8, scale: 2 ** -8 });
			}),
	},
	{
		rule: "htp/operator-rank",
		name: "a BatchNormalization of three dimensions",
		write: (b, rows) =>
			model(b, [1, 4, rows, 3, 3], (_, x) => {
				const parameters = ["scale", "offset", "mean"].map((name) => vector(b, name, 4));
				const inputs = [x, ...parameters, vector(b, "variance", 4, 0.1, 1)];
				return pair(b, node(b, "BatchNormalization", inputs, "normal"), { scale: 2 ** -11 });
			}),
	},
	{
		rule: "htp/bias-repeated-pairs",
		name: "a Gemm with an INT32 bias behind two pairs",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const coarse = pair(b, x, { scale: 2 ** -11 });
				return pair(b, node(b, "Gemm", [coarse, weight(b, "w"), halves(b, 2 ** -11)], "gemm"));
			}),
	},
	{
		rule: "htp/int16-product",
		name: "a product of INT16 with a zero point on the right",
		write: (b, rows) =>
			model(
				b,
				[1, rows, K],
				(_, x) => {
					b.node("Transpose", [x], ["turned"], { perm: intsAttribute([0, 2, 1]) }, "turned");
					const right = pair(b, "turned", { dtype: DataType.INT16, zero: 100 });
					return pair(b, node(b, "MatMul", [x, right], "product"), { dtype: DataType.INT16, scale: 2 ** -9 });
				},
				{ dtype: DataType.INT16 },
			),
	},
	{
		rule: "htp/product-types",
		name: "a product of INT16 with UINT8 on the right",
		write: (b, rows) =>
			model(
				b,
				[1, rows, K],
				(_, x) => {
					b.node("Transpose", [x], ["turned"], { perm: intsAttribute([0, 2, 1]) }, "turned");
					const right = pair(b, "turned", { dtype: DataType.UINT8, scale: 2 ** -5, zero: 128 });
					return pair(b, node(b, "MatMul", [x, right], "product"), { dtype: DataType.INT16, scale: 2 ** -9 });
				},
				{ dtype: DataType.INT16 },
			),
	},
	{
		rule: "htp/float-operand-v68",
		name: "a Min with floats in front of a product",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const least = pair(b, node(b, "Min", [x, vector(b, "bound", K)], "least"));
				return pair(b, node(b, "MatMul", [least, weight(b, "w")], "mm"));
			}),
	},
	{
		rule: "htp/float-operand-v68",
		name: "a Where with floats",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				const mask = Uint8Array.from({ length: K }, (_, index) => index % 2);
				b.initializer("mask", tensor(DataType.BOOL, [K], mask));
				return pair(b, node(b, "Where", ["mask", x, vector(b, "other", K)], "chosen"));
			}),
	},
	{
		rule: "htp/product-types",
		name: "a product of UINT8 with INT16 on the right",
		sinceV69: true,
		write: (b, rows) =>
			model(
				b,
				[1, rows, K],
				(_, x) => {
					b.node("Transpose", [x], ["turned"], { perm: intsAttribute([0, 2, 1]) }, "turned");
					const right = pair(b, "turned", { dtype: DataType.INT16 });
					const product = node(b, "MatMul", [x, right], "product");
					return pair(b, product, { dtype: DataType.UINT8, scale: 2 ** -1, zero: 128 });
				},
				{ dtype: DataType.UINT8, scale: 2 ** -5, zero: 128 },
			),
	},
	{
		rule: "htp/conv-int4-volume",
		name: "a Conv of three dimensions with INT4 of one scale",
		write: (b, rows) =>
			model(b, [1, 4, rows, 3, 3], (_, x) => {
				const w = weight(b, "w", { shape: [N, 4, 2, 2, 2], isOne: true, bits: 4 });
				return pair(b, node(b, "Conv", [x, w], "conv"));
			}),
	},
	{
		rule: "htp/bias-returned-codes",
		name: "a MatMul with a bias behind INT16, UINT16 and INT16 again",
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => {
					const signed = pair(b, node(b, "MatMul", [x, weight(b, "w")], "first"), { dtype: DataType.INT16 });
					const unsigned = pair(b, signed, { scale: 2 ** -12 });
					const again = pair(b, unsigned, { dtype: DataType.INT16, scale: 2 ** -12 });
					const product = node(b, "MatMul", [again, weight(b, "v", { shape: [N, N] })], "product");
					const sum = node(b, "Add", [product, vector(b, "bias", N)], "sum");
					return pair(b, sum, { dtype: DataType.INT16, scale: 2 ** -12 });
				},
				{ dtype: DataType.INT16 },
			),
	},
	{
		rule: "htp/bias-returned-codes",
		name: "a Conv with a bias behind INT16 from 0 on, a Relu of UINT16 and INT16 again",
		write: (b, rows) =>
			model(
				b,
				[2, N, rows, 5],
				(_, x) => {
					const made = node(b, "Conv", [x, weight(b, "w", { shape: [N, N, 1, 1], axis: 0 })], "made");
					const signed = pair(b, made, { dtype: DataType.INT16, zero: -0x8000 });
					const unsigned = pair(b, signed, { zero: 0 });
					const cut = pair(b, node(b, "Relu", [unsigned], "cut"), { zero: 0 });
					const again = pair(b, cut, { dtype: DataType.INT16, scale: 2 ** -12 });
					const inputs = [again, weight(b, "v", { shape: [N, N, 1, 1], axis: 0 }), vector(b, "bias", N)];
					return pair(b, node(b, "Conv", inputs, "conv"), { dtype: DataType.INT16, scale: 2 ** -12 });
				},
				{ dtype: DataType.INT16 },
			),
	},
];
