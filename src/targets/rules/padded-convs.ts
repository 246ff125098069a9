import { intsOf, stringOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { bitsPerElement, DataType, elementCount } from "../../ir/types.js";
import { convPlane, convWindows, isDepthwise } from "../conv-windows.js";
import { fixedShape } from "../fixed-shape.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";

const isOne = (numbers: readonly number[]) => numbers.every((number) => number === 1);

const readsSixteenBits = ({ inputs }: OperatorFacts) =>
	bitsPerElement(inputs[0]?.quantization?.dtype ?? DataType.UNDEFINED) === 16;

/** Does a Conv move on by one, over neighbours? */
const isDense = ({ node }: OperatorFacts) => isOne(intsOf(node, "strides")) && isOne(intsOf(node, "dilations"));

/** How many positions an auto_pad of SAME leaves out along each axis, where that is what it does. */
function leftOut({ node, inputs }: OperatorFacts): readonly number[] {
	const [lengths, kernel] = inputs.slice(0, 2).map((input) => fixedShape(input?.shape)?.slice(2));
	const isSame = (stringOf(node, "auto_pad") ?? "").startsWith("SAME");
	if (!isOnnxOp(node, "Conv") || !isSame || lengths === undefined || kernel === undefined) return [];
	return lengths.map((length, at) => {
		const [stride, dilation] = ["strides", "dilations"].map((name) => intsOf(node, name)[at] ?? 1) as [number, number];
		return length - (Math.ceil(length / stride) - 1) * stride - dilation * (kernel[at]! - 1) - 1;
	});
}

/** Channels up to which pads beyond the kernel are right. */
const FEW = { inputs: 4, outputs: 32 };

/** Rows of 16 bits that a kernel of one position is refused on where it pads in front of them. */
const REFUSED_ROW = { least: 32, multiple: 4 };

export const PADDED_CONV_RULES: RuleGroup = {
	title: "Convolutions that pad in front",
	rules: [
		{
			id: "htp/conv-pads-beyond",
			about:
				"A Conv between codes without steps and dilations, whose kernel has several positions and which has more than 4 inputs or 32 outputs, pads above by no more than the kernel is high, or to the left by as much as it is wide; a Pad of zeros in front counts.",
			consequence: "wrong",
			measured:
				"with 33 outputs and more the compiler crashes, UINT16, UINT8 and INT16, groups and depthwise, kernels of [1, 3], [2, 3], [3, 1], [3, 3] and [5, 5], volumes too; with fewer and 16 inputs -12 to 2 dB with [1, 3], [2, 3] and [5, 5], on every architecture; 41 to 87 dB with 4 inputs and 16 outputs, with pads as high as the kernel, with 3 to the left of one 3 wide, with so many to the left only, behind, with steps or dilations of 2 and [1, 1]",
			remedy: "put a Pad in front, and pads of 0 with the auto_pad VALID, which keeps both apart",
			appliedBy: "legalize-operators",
			broken(operator) {
				const plane = convPlane(operator);
				if (plane === undefined || !isDense(operator) || isOne(plane.kernel)) return undefined;
				if (operator.inputs[0]?.quantization === undefined || operator.result === undefined) return undefined;
				const [outputs = 0, inputs = 0] = operator.weight?.shape ?? [];
				if (inputs <= FEW.inputs && outputs <= FEW.outputs) return undefined;
				const [[height, width], [above, left]] = [plane.kernel, plane.pads];
				if (above <= height || left >= width) return undefined;
				return `it pads by [${above}, ${left}] in front of rows and columns, whose kernel is [${height}, ${width}]`;
			},
		},
		{
			id: "htp/conv-row-pads",
			about:
				"A Conv of one position without steps does not pad to the left of a single row of 16 bits whose length is a multiple of 4 and 32 or more; a Pad of zeros in front counts.",
			consequence: "refused",
			measured:
				"memory allocation error with 32, 36, 40, 48, 52, 56, 64, 100, 128 and 200 positions, 4 to 128 channels, 1 to 40 outputs, one and more images, UINT16 and INT16, INT8 and float weights, groups, pads of 1 and 2, as image and volume of one row too, on v68, v69, v73, v79 and v81; 81 to 88 dB with 8 to 31, 33, 34, 42, 63, 65 and 127 positions, with pads behind only, steps of 2, two rows, a kernel of 3 and depthwise, 42 and more with UINT8",
			remedy: "put a Pad in front, and pads of 0 with the auto_pad VALID, which keeps both apart",
			appliedBy: "legalize-operators",
			broken(operator) {
				const lengths = fixedShape(operator.inputs[0]?.shape)?.slice(2);
				const windows = convWindows(operator);
				const plane = convPlane(operator);
				if (lengths === undefined || windows === undefined || !isOne(windows.kernel) || !isDense(operator))
					return undefined;
				const columns = lengths.at(-1)!;
				const isRow = elementCount(lengths) === columns && plane!.pads[0] === 0 && plane!.pads[1] > 0;
				const isRefused = columns >= REFUSED_ROW.least && columns % REFUSED_ROW.multiple === 0;
				if (!isRow || !isRefused || !readsSixteenBits(operator) || isDepthwise(operator)) return undefined;
				return `it pads by ${plane!.pads[1]} in front of a row of ${columns} positions`;
			},
		},
		{
			id: "htp/conv-top-pads",
			about:
				"A Conv of one position on 16 bits, with more than 32 outputs and no steps, pads above only where it pads to the left; a Pad of zeros in front counts.",
			consequence: "wrong",
			since: "v69",
			until: "v69",
			measured:
				"-9 to 7 dB with 33, 40 and 64 outputs, 1 to 32 channels, one and more images, of 1 to 32 rows, UINT16 and INT16, INT8 and float weights, groups, volumes; 58 to 85 dB with 32 outputs, with pads to the left as well, to the left, below and to the right only, with steps, depthwise and on floats, 42 dB with UINT8; right on v68 and v73",
			remedy: "put a Pad in front, and pads of 0 with the auto_pad VALID, which keeps both apart",
			appliedBy: "legalize-operators",
			broken(operator) {
				const windows = convWindows(operator);
				if (windows === undefined || !isOne(windows.kernel) || !isDense(operator)) return undefined;
				const [above, left] = convPlane(operator)!.pads;
				const outputs = fixedShape(operator.inputs[1]?.shape)?.[0] ?? 0;
				if (above === 0 || left > 0 || outputs <= 32 || !readsSixteenBits(operator) || isDepthwise(operator))
					return undefined;
				return `it pads by ${above} above, not to the left, for ${outputs} outputs`;
			},
		},
		{
			id: "htp/conv-same-pads",
			about: "A Conv with an auto_pad of SAME leaves out less than two positions of each axis.",
			consequence: "refused",
			measured:
				"the process ends (narrowing_error) with kernels of 1 in steps of 3 on 9 and 32 positions, SAME_UPPER and SAME_LOWER, INT8 and float weights, one and two dimensions, on every architecture; 61 to 85 dB with one position left out, and with pads in numbers",
			remedy: "write its pads in numbers",
			appliedBy: "legalize-operators",
			broken(operator) {
				const axis = leftOut(operator).findIndex((count) => count >= 2);
				if (axis === -1) return undefined;
				return `it leaves out ${leftOut(operator)[axis]} positions of axis ${axis + 2}`;
			},
		},
	],
};
