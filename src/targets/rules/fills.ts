import { leadingFill } from "../leading-fill.js";
import { lostFill } from "../lost-fill.js";
import type { RuleGroup } from "../rule.js";

export const FILL_RULES: RuleGroup = {
	title: "Constants beside activations",
	rules: [
		{
			id: "htp/channel-fill",
			about:
				"No Concat with a constant of one number, and no Pad, appends to the channels without filling up the last 32 of them, where there are some to fill; channels are on the second axis of an image, on the last axis of anything else, and of a graph's input that only elementwise operators, with constants, are between. Up to v69 no Pad does so, whatever reads it, behind products, convolutions, pools, Resize, LogSoftmax, LpNormalization, Where, ReduceMax and Slices of Pads, with operators by element, Split, Concat, Transpose and Reshapes of other axes in between, unless the codes begin at 0, or it is a product of one matrix of 16 rows or more, a multiple of 8.",
			consequence: "wrong",
			measured:
				"what is appended is not written, on every architecture: -8 to 23 dB for 42 + 6, 8 + 8, 33 + 31 and 80 + 16 channels, of 16 and 8 bits, behind MatMul, LayerNormalization, Conv, pools, Resize and graph inputs of rank 2 to 4, in front of the same; 74 to 98 dB for 32 + 1, 40 + 31 and 48 + 48, with different numbers, with two constants, with the constant in front, along other axes, behind Sigmoid and Softmax, and where nothing but a Slice reads it; 0 to 18 dB for a Pad behind Mul, Add, Sub or Div of a graph's input and a constant, with 5 to 16 and more than 32 numbers in a row: x * 2 of [1, 7, 50] and 6 zeros, an image [1, 3, 4, 50] too; 69 to 90 dB with 17 to 31, with one row, behind a product, a sum of two activations and constants one a channel that are multiplied with, and on v68; on v68 and v69 -17 to 29 dB in front of outputs of the graph and others, for 31 + 1, 8 + 24 and 40 + 24 channels, too, with pads of other axes as well: the smallest code is there; 57 to 140 dB from the next multiple of 32 on, in front of the axis, behind graph inputs, Relu and normalizations, and on v73",
			remedy: "append one more number, another one, with Concat, and cut it off",
			appliedBy: "legalize-operators",
			broken(operator, { types, architecture }) {
				const fill = lostFill(operator, types, architecture);
				return fill && `${fill.count} equal numbers are appended to ${fill.channels} channels, on axis ${fill.axis}`;
			},
		},
		{
			id: "htp/leading-fill",
			about:
				"No Concat with a constant of one number, and no Pad, puts rows in front of a multiple of 4 rows of 16 bits that become more than 32, unless it is a multiple of 4 rows too; where a product with a constant matrix reads them, or adds them to what it makes.",
			consequence: "refused",
			measured:
				"QNN_COMMON_ERROR_MEM_ALLOC while the graph is finalized, on every architecture: 1, 2, 3, 5, 7 and 17 rows in front of 16, 28, 32, 36, 64 and 196 of a MatMul, Transpose, Slice, LayerNormalization, Gelu or sum, of 8 to 384 columns, a class token of zeros among them; 80 dB for 4 and 8 rows, in front of 31, 33, 34 and 50, for 32 rows in all, of 8 bits, with numbers that differ, behind graph inputs, Sigmoid, Tanh and Softmax",
			remedy: "put one more row of another number in front, and cut it off",
			appliedBy: "legalize-operators",
			broken(operator, { types }) {
				const fill = leadingFill(operator, types);
				return fill && `${fill.count} rows of equal numbers are in front of ${fill.rows}, on axis ${fill.axis}`;
			},
		},
	],
};
