import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { type Builder, model, node, type OperatorModel, pair, vector } from "./operator-models.js";

/* Codes that are moved between axes or become floats, and averages of floats with pads. */

const { INT16 } = DataType;

function reshaped(b: Builder, x: string, shape: readonly number[], name: string): string {
	b.initializer(`${name}_shape`, int64Tensor([shape.length], shape));
	return node(b, "Reshape", [x, `${name}_shape`], name);
}

function blocks(b: Builder, x: string): string {
	b.node("SpaceToDepth", [x], ["blocks"], { blocksize: intAttribute(2) }, "blocks");
	return "blocks";
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
];
