import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { type Builder, K, model, N, node, type OperatorModel, pair, weight } from "./operator-models.js";

/* What parts of published networks break, smallest models of it, for which legalize-operators has the remedy. */

function depthwise(b: Builder, x: string, w: string, scale = 2 ** -13): string {
	b.node("Conv", [x, w], ["conv"], { group: intAttribute(N) }, "conv");
	return pair(b, "conv", { scale });
}

/** Equal numbers of `shape` behind `x`. */
function filled(b: Builder, x: string, shape: readonly number[], axis: number, isInFront = false): string {
	b.initializer("fill", codesTensor(DataType.UINT16, shape, new Array<number>(elementCount(shape)).fill(0xa000)));
	b.initializer("fill_step", floatTensor([], [2 ** -13]));
	b.initializer("fill_middle", codesTensor(DataType.UINT16, [], [0x8000]));
	b.node("DequantizeLinear", ["fill", "fill_step", "fill_middle"], ["fill_dq"], {}, "fill_DQ");
	const inputs = isInFront ? ["fill_dq", x] : [x, "fill_dq"];
	b.node("Concat", inputs, ["filled"], { axis: intAttribute(axis) }, "filled");
	return pair(b, "filled");
}

function padded(b: Builder, x: string, amounts: readonly number[]): string {
	b.initializer("pads", int64Tensor([amounts.length], amounts));
	b.initializer("value", floatTensor([], [0.5]));
	b.node("Pad", [x, "pads", "value"], ["padded"], {}, "padded");
	return pair(b, "padded");
}

export const NETWORK_MODELS: readonly OperatorModel[] = [
	{
		rule: "htp/channel-fill",
		name: "equal numbers behind the channels between two Convs",
		write: (b, rows) =>
			model(b, [1, 12, rows, 7], (_, x) => {
				b.node("Conv", [x, weight(b, "w", { shape: [12, 12, 1, 1], axis: 0 })], ["first"], {}, "first");
				const image = filled(b, pair(b, "first"), [1, 6, rows, 7], 1);
				b.node("Conv", [image, weight(b, "v", { shape: [N, 18, 1, 1], axis: 0 })], ["conv"], {}, "conv");
				return pair(b, "conv");
			}),
	},
	{
		rule: "htp/channel-fill",
		name: "one number behind the columns in front of a MatMul",
		write: (b, rows) =>
			model(b, [2, rows, 42], (_, x) => {
				const longer = filled(b, x, [2, rows, 1], -1);
				return pair(b, node(b, "MatMul", [longer, weight(b, "w", { shape: [43, N] })], "mm"));
			}),
	},
	{
		rule: "htp/channel-fill",
		name: "a Pad of channels and rows behind MaxPool",
		write: (b, rows) =>
			model(b, [1, 40, rows, 6], (_, x) => {
				b.node("MaxPool", [x], ["pool"], { kernel_shape: intsAttribute([2, 2]) }, "pool");
				const image = padded(b, pair(b, "pool"), [0, 0, 1, 0, 0, 8, 0, 0]);
				b.node("Conv", [image, weight(b, "w", { shape: [N, 48, 1, 1], axis: 0 })], ["conv"], {}, "conv");
				return pair(b, "conv");
			}),
	},
	{
		rule: "htp/channel-fill",
		name: "a Pad of the columns of a product",
		write: (b, rows) =>
			model(b, [rows, 24], (_, x) => {
				const product = pair(b, node(b, "MatMul", [x, weight(b, "w", { shape: [24, 20] })], "mm"));
				const sum = padded(b, product, [0, 0, 0, 4]);
				return pair(b, node(b, "Add", [sum, x], "sum"));
			}),
	},
	{
		rule: "htp/leading-fill",
		name: "a class token of one number in front of the sum behind a product",
		write: (b, rows) =>
			model(b, [1, 4 * rows + 32, K], (_, x) => {
				const tokens = filled(b, pair(b, node(b, "Gelu", [x], "tokens")), [1, 1, K], 1, true);
				const product = pair(b, node(b, "MatMul", [tokens, weight(b, "w", { shape: [K, K] })], "mm"));
				return pair(b, node(b, "Add", [product, tokens], "sum"), { scale: 2 ** -12 });
			}),
	},
	{
		rule: "htp/leading-fill",
		name: "a Pad in front of the rows that a product reads",
		write: (b, rows) =>
			model(b, [4 * rows + 32, K], (_, x) => {
				const longer = padded(b, pair(b, node(b, "Relu", [x], "positive")), [3, 0, 0, 0]);
				return pair(b, node(b, "MatMul", [longer, weight(b, "w")], "mm"));
			}),
	},
	{
		rule: "htp/depthwise-scale-small",
		name: "a depthwise Conv of one position, one channel of which is small",
		write: (b, rows) =>
			model(
				b,
				[1, N, rows, 3],
				(_, x) => depthwise(b, x, weight(b, "w", { shape: [N, 1, 1, 1], axis: 0, second: 2 ** -4 })),
				{ scale: 2 ** -17 },
			),
	},
	{
		rule: "htp/depthwise-scale-small",
		name: "a depthwise Conv of one position on a line",
		write: (b, rows) =>
			model(
				b,
				[1, N, rows],
				(_, x) => depthwise(b, x, weight(b, "w", { shape: [N, 1, 1], axis: 0, second: 2 ** -4 })),
				{
					scale: 2 ** -17,
				},
			),
	},
	{
		rule: "htp/depthwise-int4",
		name: "a depthwise Conv of one position with INT4 codes",
		write: (b, rows) =>
			model(b, [1, N, rows, 3], (_, x) => depthwise(b, x, weight(b, "w", { shape: [N, 1, 1, 1], axis: 0, bits: 4 }))),
	},
	{
		rule: "htp/depthwise-scale-one",
		name: "a depthwise Conv of one position with one scale",
		write: (b, rows) =>
			model(b, [1, N, rows, 3], (_, x) =>
				depthwise(b, x, weight(b, "w", { shape: [N, 1, 1, 1], axis: 0, isOne: true }), 2 ** -16),
			),
	},
	{
		rule: "htp/norm-layout",
		name: "lengths in front of a Conv and a MatMul",
		count: 2,
		write: (b, rows) =>
			model(b, [1, 2, K, rows], (_, x) => {
				b.initializer("axis", int64Tensor([1], [1]));
				b.initializer("last", int64Tensor([1], [-1]));
				b.node("ReduceL2", [x, "axis"], ["norm"], { keepdims: intAttribute(0) }, "norm");
				const length = pair(b, "norm", { scale: 2 ** -12, zero: 0 });
				const root = pair(b, node(b, "Sqrt", [length], "root"), { scale: 2 ** -13, zero: 0 });
				const mixed = pair(b, node(b, "Conv", [root, weight(b, "w", { shape: [N, K, 1], axis: 0 })], "mixed"));
				b.node("ReduceL2", [mixed, "last"], ["sizes"], { keepdims: intAttribute(0) }, "sizes");
				const sizes = pair(b, "sizes", { scale: 2 ** -12, zero: 0 });
				return pair(b, node(b, "MatMul", [sizes, weight(b, "v", { shape: [N, K] })], "product"), { scale: 2 ** -12 });
			}),
	},
];
