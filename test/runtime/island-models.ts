import { intAttribute, intsAttribute, stringAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { normals } from "./models.js";
import { type Builder, K, model, node, type OperatorModel, pair, vector, weight } from "./operator-models.js";

/* What a v68 computes on floats in front of operators on codes that do not compile behind these. */

const rule = "htp/float-island-v68";
const ofChains = "htp/float-chain-v68";
const ofLengths = "htp/norm-layout";

/** The small positive encoding of exponentials. */
const GROWN = { scale: 2 ** -9, zero: 0 };

function product(b: Builder, x: string, scale = 2 ** -13): string {
	return pair(b, node(b, "MatMul", [x, weight(b, "w")], "mm"), { scale });
}

/** Exp(x + c), the sum on floats. */
function grown(b: Builder, x: string): string {
	return pair(b, node(b, "Exp", [node(b, "Add", [x, vector(b, "c", K, 0.1)], "sum")], "grown"), GROWN);
}

/** The lengths of the vectors of `x` along `axes`. */
function lengths(b: Builder, x: string, axes: readonly number[], scale: number): string {
	b.initializer("axes", int64Tensor([axes.length], axes));
	return pair(b, node(b, "ReduceL2", [x, "axes"], "norm"), { scale, zero: 0 });
}

export const ISLAND_MODELS: readonly OperatorModel[] = [
	{
		rule,
		name: "an Exp of floats in front of a product",
		write: (b, rows) => model(b, [rows, K], (_, x) => product(b, grown(b, x), 2 ** -10)),
	},
	{
		rule,
		name: "a Resize to other steps in front of a product",
		write: (b, rows) =>
			model(b, [1, 2, rows, K / 2], (_, x) => {
				b.initializer("scales", floatTensor([4], [1, 1, 1, 2]));
				const attributes = {
					mode: stringAttribute("nearest"),
					coordinate_transformation_mode: stringAttribute("asymmetric"),
					nearest_mode: stringAttribute("floor"),
				};
				b.node("Resize", [x, "", "scales"], ["larger"], attributes, "larger");
				return product(b, pair(b, "larger", { scale: 2 ** -12.5, zero: 0x7000 }));
			}),
	},
	{
		rule,
		name: "a LogSoftmax with a float result in front of a product",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				b.node("LogSoftmax", [x], ["logs"], { axis: intAttribute(-1) }, "logs");
				return product(b, pair(b, node(b, "Mul", ["logs", vector(b, "c", K, 0.01, 0.5)], "halves")));
			}),
	},
	{
		rule,
		name: "an Exp of UINT8 to UINT16 in front of a pool",
		write: (b, rows) =>
			model(
				b,
				[1, 4, rows, 5],
				(_, x) => pair(b, node(b, "GlobalAveragePool", [pair(b, node(b, "Exp", [x], "grown"), GROWN)], "mean")),
				{ dtype: DataType.UINT8, scale: 2 ** -5 },
			),
	},
	{
		rule,
		name: "an Exp of floats added to a convolution",
		write: (b, rows) =>
			model(b, [1, 4, rows, K], (_, x) => {
				const w = weight(b, "w", { shape: [4, 4, 1, 1], axis: 0 });
				const image = pair(b, node(b, "Conv", [x, w], "conv"), { scale: 2 ** -10 });
				return pair(b, node(b, "Add", [grown(b, x), image], "joined"), { scale: 2 ** -9 });
			}),
	},
	{
		rule: ofChains,
		name: "an Exp of floats, halved, in front of a product on floats",
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => {
					const sum = node(b, "Tanh", [node(b, "Exp", [x], "grown")], "bent");
					b.initializer("w", floatTensor([K, 6], normals(6 * K, 7)));
					return node(b, "MatMul", [sum, "w"], "mm");
				},
				{},
				true,
			),
	},
	{
		rule: ofChains,
		name: "the square of the means of images of floats",
		write: (b, rows) =>
			model(
				b,
				[1, 4, rows, K],
				(_, x) => {
					b.initializer("axes", int64Tensor([2], [2, 3]));
					const mean = node(b, "ReduceMean", [x, "axes"], "mean");
					return node(b, "Mul", [mean, mean], "square");
				},
				{},
				true,
			),
	},
	{
		rule: "htp/operator-refused",
		untilV68: true,
		name: "a Gather of columns of floats",
		write: (b, rows) =>
			model(
				b,
				[3, rows, K],
				(_, x) => {
					b.initializer("at", int64Tensor([2, 2], [1, 0, K - 1, 2]));
					b.node("Gather", [x, "at"], ["columns"], { axis: intAttribute(2) }, "columns");
					return "columns";
				},
				{},
				true,
			),
	},
	{
		rule: ofLengths,
		name: "lengths of floats in front of a pool whose quantizer goes in front",
		write: (b, rows) =>
			model(b, [1, 4, rows, K], (_, x) => {
				b.initializer("axes", int64Tensor([1], [1]));
				const length = node(b, "ReduceL2", [x, "axes"], "norm");
				b.node("MaxPool", [length], ["most"], { kernel_shape: intsAttribute([2, 2]) }, "most");
				return pair(b, "most", { scale: 2 ** -13, zero: 0 });
			}),
	},
	{
		rule: ofLengths,
		name: "vectors divided by their lengths, which are repeated, in front of a product",
		write: (b, rows) =>
			model(b, [2, rows, K], (_, x) => {
				b.initializer("least", floatTensor([], [2 ** -20]));
				b.initializer("shape", int64Tensor([3], [2, rows, K]));
				const length = lengths(b, x, [-1], 2 ** -12);
				const clipped = pair(b, node(b, "Clip", [length, "least"], "clip"), { scale: 2 ** -12, zero: 0 });
				const expanded = pair(b, node(b, "Expand", [clipped, "shape"], "expand"), { scale: 2 ** -12, zero: 0 });
				return product(b, pair(b, node(b, "Div", [x, expanded], "div"), { scale: 2 ** -14 }), 2 ** -15);
			}),
	},
	{
		rule: ofLengths,
		name: "lengths of positions in front of a pool",
		write: (b, rows) =>
			model(b, [1, 4, rows, K], (_, x) =>
				pair(b, node(b, "GlobalMaxPool", [lengths(b, x, [1], 2 ** -13)], "most"), { scale: 2 ** -13, zero: 0 }),
			),
	},
	{
		rule: ofLengths,
		name: "lengths of whole channels in front of a product",
		write: (b, rows) =>
			model(b, [1, rows, 4, K], (_, x) => {
				const length = lengths(b, x, [1, 2], 2 ** -11);
				return product(b, length, 2 ** -9);
			}),
	},
];
