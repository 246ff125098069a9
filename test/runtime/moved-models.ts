import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { type Builder, model, node, type OperatorModel, pair, vector, weight } from "./operator-models.js";

/* Codes that are moved between axes or become floats, and averages of floats with pads. */

const { INT16, UINT8 } = DataType;

function reshaped(b: Builder, x: string, shape: readonly number[], name: string): string {
	b.initializer(`${name}_shape`, int64Tensor([shape.length], shape));
	return node(b, "Reshape", [x, `${name}_shape`], name);
}

function blocks(b: Builder, x: string): string {
	b.node("SpaceToDepth", [x], ["blocks"], { blocksize: intAttribute(2) }, "blocks");
	return "blocks";
}

function padded(b: Builder, x: string, amounts: readonly number[]): string {
	b.initializer("pads", int64Tensor([amounts.length], amounts));
	return node(b, "Pad", [x, "pads"], "padded");
}

/** An image whose windows overlap by pads. */
function averaged(shape: (rows: number) => readonly number[], kernel: readonly number[], pads: readonly number[]) {
	return (b: Builder, rows: number) =>
		model(
			b,
			shape(rows),
			(_, x) => {
				const attributes = { kernel_shape: intsAttribute(kernel), pads: intsAttribute(pads) };
				b.node("AveragePool", [x], ["average"], attributes, "average");
				return "average";
			},
			{},
			true,
		);
}

export const MOVED_MODELS: readonly OperatorModel[] = [
	{
		rule: "htp/space-to-depth",
		name: "a SpaceToDepth that gives another scale and zero point",
		write: (b, rows) =>
			model(b, [1, 3, 2 * rows, 6], (_, x) => pair(b, blocks(b, x), { scale: 2 ** -12, zero: 0x7000 })),
	},
	{
		rule: "htp/space-to-depth",
		name: "a SpaceToDepth and a Reshape",
		write: (b, rows) =>
			model(b, [1, 2, 2 * rows, 6], (_, x) =>
				pair(b, reshaped(b, blocks(b, x), [1, 8, 3 * rows], "line"), { scale: 2 ** -12, zero: 0x7000 }),
			),
	},
	{
		rule: "htp/int16-fifth-axis",
		name: "a MaxPool, a Relu and a Reshape to rank 5",
		write: (b, rows) =>
			model(
				b,
				[1, 4, rows + 2, 6],
				(_, x) => {
					b.node("MaxPool", [x], ["pool"], { kernel_shape: intsAttribute([3, 3]) }, "pool");
					const five = reshaped(b, pair(b, "pool", { dtype: INT16 }), [1, 2, 2, rows, 4], "five");
					return pair(b, node(b, "Relu", [five], "positive"), { dtype: INT16, zero: -0x8000 });
				},
				{ dtype: INT16 },
			),
	},
	{
		rule: "htp/operator-form",
		name: "a GatherND of matrices out of five axes",
		write: (b, rows) =>
			model(b, [2, 1, 3, rows, 6], (_, x) => {
				b.initializer("places", int64Tensor([1, 2, 3], [1, 0, -1, 0, 0, 1]));
				return pair(b, node(b, "GatherND", [x, "places"], "matrices"));
			}),
	},
	{
		rule: "htp/operator-rank",
		name: "the largest of a vector and codes of rank 5",
		write: (b, rows) =>
			model(b, [1, 2, 3, rows, 8], (_, x) =>
				pair(b, node(b, "Max", [pair(b, vector(b, "least", 8, 0.2)), x], "largest")),
			),
	},
	{
		rule: "htp/reciprocal-floats",
		name: "a Reciprocal of codes as floats",
		write: (b, rows) =>
			model(b, [1, 3, rows, 8], (_, x) => {
				const positive = pair(b, node(b, "Sigmoid", [x], "positive"), { scale: 2 ** -16, zero: 0 });
				return node(b, "Reciprocal", [positive], "inverse");
			}),
	},
	{
		rule: "htp/average-pads",
		name: "pads of rows alone",
		sinceV69: true,
		write: averaged((rows) => [1, 8, rows + 2, 7], [3, 3], [1, 0, 1, 0]),
	},
	{
		rule: "htp/average-pads",
		name: "pads around one channel",
		untilV68: true,
		write: averaged((rows) => [1, 1, rows + 2, 7], [3, 3], [1, 1, 1, 1]),
	},
	{
		rule: "htp/gathered-zero-point",
		name: "a Gather that gives another zero point",
		sinceV69: true,
		write: (b, rows) =>
			model(b, [2, rows, 6], (_, x) => {
				b.initializer("places", int64Tensor([3], [4, 0, -1]));
				b.node("Gather", [x, "places"], ["taken"], { axis: intAttribute(1) }, "taken");
				return pair(b, "taken", { zero: 0x7000 });
			}),
	},
	{
		rule: "htp/gathered-zero-point",
		name: "a Tile of 8 bits that gives another zero point",
		write: (b, rows) =>
			model(
				b,
				[1, 2, rows, 6],
				(_, x) => {
					b.initializer("repeats", int64Tensor([4], [1, 1, 3, 1]));
					const tiled = node(b, "Tile", [x, "repeats"], "tiled");
					return pair(b, tiled, { dtype: UINT8, scale: 2 ** -5, zero: 100 });
				},
				{ dtype: UINT8, scale: 2 ** -5, zero: 128 },
			),
	},
	{
		rule: "htp/channel-fill",
		name: "a Pad that makes 32 channels of 31 behind a Conv",
		untilV68: true,
		write: (b, rows) =>
			model(b, [1, 12, rows, 7], (_, x) => {
				b.node("Conv", [x, weight(b, "w", { shape: [31, 12, 1, 1], axis: 0 })], ["conv"], {}, "conv");
				const bounded = pair(b, node(b, "Tanh", [pair(b, "conv")], "bounded"), { scale: 2 ** -15 });
				return pair(b, padded(b, bounded, [0, 0, 0, 0, 0, 1, 0, 0]), { scale: 2 ** -15 });
			}),
	},
	{
		rule: "htp/channel-fill",
		name: "a Pad of an average and its columns",
		untilV68: true,
		write: (b, rows) =>
			model(b, [2, 9, rows + 1, 7], (_, x) => {
				b.node("AveragePool", [x], ["average"], { kernel_shape: intsAttribute([2, 2]) }, "average");
				return pair(b, padded(b, pair(b, "average"), [0, 0, 0, 1, 0, 4, 0, 1]));
			}),
	},
	{
		rule: "htp/float-comparison-v68",
		name: "a choice by codes that are less than a vector of floats",
		write: (b, rows) =>
			model(b, [rows, 8], (_, x) => {
				const mask = node(b, "Less", [x, vector(b, "bound", 8, 0.2)], "mask");
				return pair(
					b,
					node(b, "Where", [node(b, "Not", [mask], "other"), x, pair(b, node(b, "Neg", [x], "less"))], "kept"),
				);
			}),
	},
	{
		rule: "htp/weighted-sum",
		name: "a sum of rows times a vector",
		untilV68: true,
		write: (b, rows) =>
			model(b, [1, rows, 12], (_, x) => {
				b.initializer("axis", int64Tensor([1], [-1]));
				const weighted = pair(b, node(b, "Mul", [x, pair(b, vector(b, "factors", 12))], "weighted"));
				b.node("ReduceSum", [weighted, "axis"], ["sum"], { keepdims: intAttribute(0) }, "sum");
				return pair(b, "sum", { scale: 2 ** -11 });
			}),
	},
	{
		rule: "htp/gather-signed",
		name: "elements of INT16 along an axis of one",
		sinceV69: true,
		write: (b, rows) =>
			model(
				b,
				[1, 1, rows, 8],
				(_, x) => {
					b.initializer("places", int64Tensor([1, 1, rows, 8], new Array<number>(rows * 8).fill(0)));
					b.node("GatherElements", [x, "places"], ["taken"], { axis: intAttribute(1) }, "taken");
					return pair(b, "taken", { dtype: INT16 });
				},
				{ dtype: INT16 },
			),
	},
	{
		rule: "htp/signed-volume",
		name: "INT16 codes of rank 5 behind a MaxPool of an image",
		sinceV69: true,
		write: (b, rows) =>
			model(b, [1, 4, 4 * rows, 6], (_, x) => {
				const attributes = { kernel_shape: intsAttribute([3, 3]), pads: intsAttribute([1, 1, 1, 1]) };
				b.node("MaxPool", [x], ["largest"], attributes, "pool");
				const volume = reshaped(b, pair(b, "largest"), [1, 4, 4, rows, 6], "volume");
				return pair(b, pair(b, volume), { dtype: INT16 });
			}),
	},
	{
		rule: "htp/conv-int16",
		name: "a ConvTranspose of three dimensions of INT16",
		write: (b, rows) =>
			model(
				b,
				[1, 4, 2, rows, 3],
				(_, x) => {
					const w = weight(b, "w", { shape: [4, 4, 2, 2, 2], isOne: true });
					b.node("ConvTranspose", [x, w], ["spread"], { strides: intsAttribute([2, 2, 2]) }, "spread");
					return pair(b, pair(b, "spread", { dtype: INT16 }));
				},
				{ dtype: INT16 },
			),
	},
	{
		rule: "htp/vector-transpose",
		name: "a Transpose of one axis behind a MaxPool",
		write: (b, rows) =>
			model(b, [1, 4, rows, 6], (_, x) => {
				b.node("MaxPool", [x], ["largest"], { kernel_shape: intsAttribute([1, 1]) }, "pool");
				const line = pair(b, reshaped(b, pair(b, "largest"), [-1], "line"));
				b.node("Transpose", [line], ["turned"], { perm: intsAttribute([0]) }, "turned");
				return pair(b, "turned");
			}),
	},
	{
		rule: "htp/int16-fifth-axis",
		name: "an Unsqueeze of INT16 behind a MaxPool",
		write: (b, rows) =>
			model(b, [1, 4, rows, 6], (_, x) => {
				b.node("MaxPool", [x], ["largest"], { kernel_shape: intsAttribute([2, 2]) }, "pool");
				b.initializer("axis", int64Tensor([1], [1]));
				const volume = node(b, "Unsqueeze", [pair(b, "largest", { dtype: INT16 }), "axis"], "volume");
				return pair(b, volume, { dtype: INT16 });
			}),
	},
	{
		rule: "htp/signed-volume",
		name: "INT16 codes of rank 5 behind a comparison and a Where",
		sinceV69: true,
		write: (b, rows) =>
			model(b, [1, 4, rows, 5, 6], (_, x) => {
				const conv = node(b, "Conv", [x, weight(b, "w", { shape: [4, 4, 1, 1, 1], axis: 0 })], "conv");
				b.node("GreaterOrEqual", [pair(b, conv), x], ["larger"], {}, "larger");
				return pair(b, node(b, "Where", ["larger", "conv_dq", x], "chosen"), { dtype: INT16 });
			}),
	},
];
