import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { randomCodes } from "../support/weights.js";
import { type Builder, model, node, type OperatorModel, pair } from "./operator-models.js";

/* Six axes, one of which is a batch of one. */

function integers(b: Builder, name: string, values: readonly number[]): string {
	b.initializer(name, int64Tensor([values.length], values));
	return name;
}

function scalar(b: Builder, name: string, value: number): string {
	b.initializer(name, floatTensor([], [value]));
	return pair(b, name);
}

const WIDE = { scale: 2 ** -11 };

export const RANK_MODELS: readonly OperatorModel[] = [
	{
		rule: "htp/rank",
		name: "offsets and points of deformable attention",
		count: 8,
		write: (b, rows) =>
			model(b, [1, rows, 4 * 3 * 2 * 2 + 4], (_, x) => {
				b.node("Split", [x, integers(b, "lengths", [48, 4])], ["a", "c"], { axis: intAttribute(2) }, "split");
				const offsets = pair(
					b,
					node(b, "Reshape", [pair(b, "a"), integers(b, "six", [1, rows, 4, 3, 2, 2])], "offsets"),
				);
				const boxes = pair(b, node(b, "Reshape", [pair(b, "c"), integers(b, "five", [1, rows, 1, 1, 4])], "boxes"));
				const points = pair(b, node(b, "Unsqueeze", [boxes, integers(b, "level", [4])], "points"));
				const part = (name: string, from: number, to: number, axis: number) => {
					const bounds = [from, to, axis].map((value, at) => integers(b, `${name}${at}`, [value]));
					return pair(b, node(b, "Slice", [points, ...bounds], name));
				};
				const scaled = pair(b, node(b, "Mul", [offsets, part("sizes", 2, 4, -1)], "scaled"), WIDE);
				const places = pair(b, node(b, "Add", [part("centers", 0, 2, 5), scaled], "places"), WIDE);
				const grid = pair(b, node(b, "Sub", [places, scalar(b, "half", 0.5)], "grid"), WIDE);
				b.initializer("second", int64Tensor([], [1]));
				b.node("Gather", [grid, "second"], ["one"], { axis: intAttribute(3) }, "one");
				return pair(b, "one", WIDE);
			}),
	},
	{
		rule: "htp/rank",
		name: "queries and keys of windows",
		count: 5,
		write: (b, rows) =>
			model(b, [1, 6 * rows, 2 * 2 * 8], (_, x) => {
				const six = pair(b, node(b, "Reshape", [x, integers(b, "cut", [1, rows, 6, 2, 2, 8])], "six"));
				b.node("Transpose", [six], ["turned"], { perm: intsAttribute([3, 0, 4, 2, 1, 5]) }, "turn");
				const parts = [pair(b, "turned"), integers(b, "ones", [1, 1])];
				b.node("Split", parts, ["q", "k"], { axis: intAttribute(0) }, "split");
				const front = integers(b, "front", [0]);
				const [q, k] = ["q", "k"].map((name) => pair(b, node(b, "Squeeze", [pair(b, name), front], `${name}s`)));
				return pair(b, node(b, "Add", [q!, k!], "sum"), WIDE);
			}),
	},
	{
		rule: "htp/rank",
		name: "blocks of several windows, no axes of which stay beside each other",
		count: 3,
		write: (b, rows) =>
			model(b, [3 * rows * 2 * 4, 8], (_, x) => {
				const positive = pair(b, node(b, "Relu", [x], "positive"));
				const six = pair(b, node(b, "Reshape", [positive, integers(b, "cut", [3, rows, 2, 2, 2, 8])], "six"));
				b.node("Transpose", [six], ["turned"], { perm: intsAttribute([0, 2, 4, 1, 3, 5]) }, "turn");
				return pair(b, node(b, "Reshape", [pair(b, "turned"), integers(b, "rows", [-1, 8])], "blocks"));
			}),
	},
	{
		rule: "htp/rank",
		name: "the largest of queries that are pooled",
		count: 2,
		write: (b, rows) =>
			model(b, [1, 2, 3 * 4 * rows, 8], (_, x) => {
				const positive = pair(b, node(b, "Relu", [x], "positive"));
				const six = pair(b, node(b, "Reshape", [positive, integers(b, "cut", [1, 2, 3, 4, rows, 8])], "six"));
				const attributes = { keepdims: intAttribute(0) };
				b.node("ReduceMax", [six, integers(b, "axes", [3])], ["largest"], attributes, "largest");
				return pair(b, "largest");
			}),
	},
	{
		rule: "htp/rank",
		name: "neighbours in rows, gathered as exporters write im2col",
		count: 3,
		write: (b, rows) =>
			model(b, [1, 6, rows + 2], (_, x) => {
				const line = pair(b, node(b, "Reshape", [x, integers(b, "five", [1, 3, 1, 2, rows + 2])], "line"));
				const places = [0, 1, 2].flatMap((at) => Array.from({ length: rows }, (_, row) => at + row));
				b.initializer("places", int64Tensor([3, rows], places));
				b.node("Gather", [line, "places"], ["windows"], { axis: intAttribute(4) }, "windows");
				b.node("Transpose", [pair(b, "windows")], ["turned"], { perm: intsAttribute([0, 1, 2, 4, 3, 5]) }, "turn");
				return pair(b, node(b, "Reshape", [pair(b, "turned"), integers(b, "channels", [1, 9, 2, rows])], "columns"));
			}),
	},
	{
		rule: "htp/product-square",
		name: "squares of rank 5 by a QLinearMatMul with one scale",
		write: (b, rows) =>
			model(b, [1, 1, 2, rows, 16], (_, x) => {
				const codes = randomCodes(16 * rows, 3, -127, 127);
				b.initializer("w", tensor(DataType.INT8, [16, rows], new Uint8Array(codes.buffer)));
				b.initializer("w_scale", floatTensor([], [2 ** -9]));
				b.initializer("w_zero", tensor(DataType.INT8, [], new Uint8Array(1)));
				b.initializer("step", floatTensor([], [2 ** -6]));
				b.initializer("middle", codesTensor(DataType.UINT8, [], [128]));
				b.node("QuantizeLinear", [x, "step", "middle"], ["codes"], {}, "codes");
				const weight = ["w", "w_scale", "w_zero"];
				b.node("QLinearMatMul", ["codes", "step", "middle", ...weight, "step", "middle"], ["product"], {}, "product");
				return node(b, "DequantizeLinear", ["product", "step", "middle"], "squares");
			}),
	},
];
