import { intOf, intsOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { bitsPerElement } from "../../ir/types.js";
import { convPlane, isDepthwise } from "../conv-windows.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";

const hasStepsOfTwo = ({ node }: OperatorFacts) => intsOf(node, "strides").join() === "2,2";

export const STEPPED_CONV_RULES: RuleGroup = {
	title: "Convolutions with steps of two",
	rules: [
		{
			id: "htp/conv-line-pads",
			about:
				"A Conv with steps of 2 along rows and columns, whose kernel is one row or one column of several positions there, has no pads in front of the axis along which it is one, but for one row of it above 8-bit activations, or floats on a v68; a Pad of zeros in front counts.",
			consequence: "wrong",
			measured:
				"-3 to 0 dB with kernels of [1, 2], [1, 3], [1, 5], [2, 1] and [3, 1], pads of 1, 2 and 3, UINT16 and INT16, INT8 and INT16 weights, groups, two outputs a channel, on floats since v69, with [3, 3, 1] and [3, 1, 3] of volumes, on v68, v73, v79 and v81; with 8 bits -3 to 0 dB with [2, 1], [3, 1] and [7, 1], 42 and more with [1, 2], [1, 3] and [1, 5]; 77 to 100 dB with such pads behind only, with steps of [1, 2], [2, 1], [2, 4], [3, 3] and [4, 4], dilations of 2, [1, 1], [2, 2], [1, 3, 3], and depthwise",
			remedy: "put a Pad in front, and pads of 0 with the auto_pad VALID, which keeps both apart",
			appliedBy: "legalize-operators",
			broken(operator, { architecture }) {
				const plane = convPlane(operator);
				if (plane === undefined || isDepthwise(operator)) return undefined;
				const { kernel, pads, strides, dilations } = plane;
				if (strides.join() !== "2,2" || dilations.some((step) => step > 1)) return undefined;
				const axis = kernel.findIndex((length, at) => length === 1 && pads[at]! > 0 && kernel[1 - at]! > 1);
				const dtype = operator.inputs[0]?.quantization?.dtype;
				const isFloat = dtype === undefined;
				const isRight = isFloat ? architecture === "v68" : axis === 0 && bitsPerElement(dtype) !== 16;
				if (axis === -1 || isRight) return undefined;
				return `it has steps of 2, a kernel of [${kernel.join(", ")}] and pads by ${pads[axis]} in front of the ${axis === 0 ? "rows" : "columns"}`;
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
