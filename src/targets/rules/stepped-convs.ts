import { intOf, intsOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { bitsPerElement } from "../../ir/types.js";
import { convWindows } from "../conv-windows.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";

const hasStepsOfTwo = ({ node }: OperatorFacts) => intsOf(node, "strides").join() === "2,2";

export const STEPPED_CONV_RULES: RuleGroup = {
	title: "Convolutions with steps of two",
	rules: [
		{
			id: "htp/conv-line-pads",
			about:
				"On 16-bit activations a Conv with steps of 2 in both directions, whose kernel is one row or one column of several positions, has no pads in front of the axis along which it is one; a Pad of zeros in front counts.",
			consequence: "wrong",
			measured:
				"-3 to 0 dB with kernels of [1, 2], [1, 3], [1, 5], [2, 1] and [3, 1], pads of 1, 2 and 3, UINT16 and INT16, INT8 and INT16 weights, groups, two outputs a channel, on v68, v73, v79 and v81; 77 to 100 dB with 8 bits, with such pads behind only, with steps of [1, 2], [2, 1], [2, 4], [3, 3] and [4, 4], dilations of 2, [1, 1], [2, 2], and depthwise",
			remedy: "let it make every column, and take every second one with a Slice",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs, weight } = operator;
				const dtype = inputs[0]?.quantization?.dtype;
				const windows = convWindows(operator);
				if (dtype === undefined || bitsPerElement(dtype) !== 16 || windows === undefined) return undefined;
				if (!hasStepsOfTwo(operator) || intsOf(node, "dilations").some((step) => step > 1)) return undefined;
				const { kernel, pads } = windows;
				const group = intOf(node, "group", 1);
				if (kernel.every((length) => length === 1) || (group > 1 && group === weight?.shape[0])) return undefined;
				const axis = kernel.findIndex((length, at) => length === 1 && pads[at]! > 0);
				return axis === -1
					? undefined
					: `it has steps of 2, a kernel [${kernel.join(", ")}] and pads by ${pads[axis]} in front of axis ${axis + 2}`;
			},
		},
		{
			id: "htp/conv-batch-steps",
			about: "A Conv of several images with steps of 2 in both directions has a kernel of less than 9 columns.",
			consequence: "wrong",
			measured:
				"between codes, on v68, v73, v79 and v81: kernels of 9 and 10 columns and 1 to 9 rows -9 to 1 dB, those of 11 and 12 crash while they run (0 dB on v68) or are as wrong, for batches of 2 to 5, 3 and 16 channels, images of 16x16 to 64x64, with pads and without; 70 to 88 dB with one image, 8 columns, 11 rows of 3 columns, and steps of [1, 2], [2, 1], [3, 3], [2, 3], [3, 2] and [4, 4]",
			remedy: "let it make every column, and take every second one with a Slice",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs, weight } = operator;
				const [input] = inputs;
				const [batch] = input?.shape ?? [];
				const columns = weight?.shape.length === 4 ? weight.shape[3]! : 0;
				if (!isOnnxOp(node, "Conv") || input?.quantization === undefined || columns < 9) return undefined;
				if (intOf(node, "group", 1) !== 1 || !hasStepsOfTwo(operator)) return undefined;
				return typeof batch === "number" && batch > 1
					? `it has steps of 2, a kernel of ${columns} columns and ${batch} images`
					: undefined;
			},
		},
	],
};
