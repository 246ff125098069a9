import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { type Builder, K, model, N, node, type OperatorModel, pair, weight } from "./operator-models.js";

/* What parts of published networks break, smallest models of it, for which legalize-operators has the remedy. */

function depthwise(b: Builder, x: string, w: string): string {
	b.node("Conv", [x, w], ["conv"], { group: intAttribute(N) }, "conv");
	return pair(b, "conv", { scale: 2 ** -13 });
}

export const NETWORK_MODELS: readonly OperatorModel[] = [
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
		rule: "htp/div-norm",
		name: "vectors divided by their lengths, which are repeated",
		write: (b, rows) =>
			model(b, [2, rows, K], (_, x) => {
				b.initializer("axis", int64Tensor([1], [-1]));
				b.initializer("least", floatTensor([], [2 ** -20]));
				b.initializer("shape", int64Tensor([3], [2, rows, K]));
				const length = pair(b, node(b, "ReduceL2", [x, "axis"], "norm"), { scale: 2 ** -12, zero: 0 });
				const clipped = pair(b, node(b, "Clip", [length, "least"], "clip"), { scale: 2 ** -12, zero: 0 });
				const expanded = pair(b, node(b, "Expand", [clipped, "shape"], "expand"), { scale: 2 ** -12, zero: 0 });
				return pair(b, node(b, "Div", [x, expanded], "div"), { scale: 2 ** -14 });
			}),
	},
];
