import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { type Builder, K, model, N, node, type OperatorModel, pair, vector, weight } from "./operator-models.js";

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

function turned(b: Builder, x: string, perm: readonly number[]): string {
	b.node("Transpose", [x], ["turned"], { perm: intsAttribute([...perm]) }, "turned");
	return pair(b, "turned");
}

function reshaped(b: Builder, x: string, name: string, shape: readonly number[]): string {
	b.initializer(`${name}_shape`, int64Tensor([shape.length], shape));
	return pair(b, node(b, "Reshape", [x, `${name}_shape`], name));
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
	{
		rule: "htp/norm-16-positions",
		name: "16 positions of a line out of a LayerNormalization",
		write: (b) =>
			model(b, [1, 16, K], (_, x) => {
				const norm = pair(b, node(b, "LayerNormalization", [x, vector(b, "gamma", K, 0.2, 1)], "norm"));
				const line = turned(b, norm, [0, 2, 1]);
				return pair(b, node(b, "Conv", [line, weight(b, "w", { shape: [N, K, 1], axis: 0 })], "conv"));
			}),
	},
	{
		rule: "htp/outer-product",
		name: "a column and a row of every image multiplied",
		write: (b, rows) =>
			model(b, [3, 5, rows], (_, x) => {
				const positive = pair(b, node(b, "Relu", [x], "positive"));
				const column = reshaped(b, positive, "column", [3, 5, rows, 1]);
				const row = reshaped(b, positive, "row", [3, 5, 1, rows]);
				return pair(b, node(b, "Mul", [column, row], "product"), { scale: 2 ** -11 });
			}),
	},
	{
		rule: "htp/turned-pad",
		name: "a row behind the values of linear attention",
		write: (b) =>
			model(b, [1, 64, 32], (_, x) => {
				const heads = reshaped(b, turned(b, x, [0, 2, 1]), "heads", [1, 4, 8, 64]);
				const longer = pair(b, padded(b, heads, [0, 0, 0, 0, 0, 0, 1, 0]), { scale: 2 ** -13 });
				b.initializer("keys_shape", int64Tensor([4], [1, 4, 64, 8]));
				const keys = pair(b, node(b, "Reshape", [x, "keys_shape"], "keys"), { dtype: DataType.UINT8, scale: 2 ** -5 });
				return pair(b, node(b, "MatMul", [longer, keys], "mm"));
			}),
	},
	{
		rule: "htp/first-of-four",
		name: "the first of four features, as integers",
		write: (b) => {
			b.input("x", DataType.FLOAT, [17, 4]);
			b.initializer("first", int64Tensor([], [0]));
			b.initializer("factor", floatTensor([], [256]));
			b.node("Mul", ["x", "factor"], ["scaled"], {}, "scaled");
			b.node("Cast", ["scaled"], ["features"], { to: intAttribute(DataType.INT32) }, "features");
			b.node("Gather", ["features", "first"], ["id"], { axis: intAttribute(-1) }, "id");
			b.node("Cast", ["id"], ["y"], { to: intAttribute(DataType.FLOAT) }, "y");
			b.output("y");
		},
	},
	{
		rule: "htp/compared-top-k",
		name: "the larger half chosen",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				b.initializer("k", int64Tensor([1], [K / 2]));
				b.node("TopK", [x, "k"], ["numbers", "indices"], {}, "largest");
				const numbers = pair(b, "numbers");
				for (const [name, value] of Object.entries({ from: K / 2 - 1, to: K / 2, at: -1 }))
					b.initializer(name, int64Tensor([1], [value]));
				b.node("Slice", [numbers, "from", "to", "at"], ["least"], {}, "least");
				const isChosen = node(b, "GreaterOrEqual", [x, pair(b, "least")], "is_chosen");
				b.node("Cast", [isChosen], ["chosen"], { to: intAttribute(DataType.FLOAT) }, "chosen");
				return pair(b, "chosen", { scale: 2 ** -15, zero: 0 });
			}),
		sinceV69: true,
	},
];
