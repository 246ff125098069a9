import { intsOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { convWindows } from "../conv-windows.js";
import { fixedShape } from "../fixed-shape.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";
import { sourceOf } from "./producers.js";

/** Numbers of channels that are right. */
const RIGHT_CHANNELS: readonly number[] = [8, 16];

const isPadded = (pads: readonly number[]) => pads.some((amount) => amount > 0);

/** Does a Conv pad, or leave elements out? */
export function hasPadsOrGaps(operator: OperatorFacts): boolean {
	const windows = convWindows(operator);
	if (windows === undefined) return false;
	const strides = intsOf(operator.node, "strides");
	return isPadded(windows.pads) || windows.kernel.some((length, axis) => (strides[axis] ?? 1) > length);
}

/** Does a Conv pad, or leave elements out, or an average pad, or run along a single row? */
function isAffected(operator: OperatorFacts, height: number): boolean {
	const { node } = operator;
	if (isOnnxOp(node, "AveragePool")) return height === 1 || isPadded(intsOf(node, "pads"));
	return hasPadsOrGaps(operator);
}

/** Does the Transpose put the last axis behind the first? */
function isToChannels(node: Node): boolean {
	return ["0,2,1", "0,3,1,2"].includes(intsOf(node, "perm").join());
}

/** The shape of an image that a LayerNormalization and a Transpose have made, where the operator gets it wrong. */
function brokenImage(operator: OperatorFacts): readonly number[] | undefined {
	const { node, inputs } = operator;
	const shape = fixedShape(inputs[0]?.shape);
	if (!isOnnxOp(node, "Conv", "AveragePool") || inputs[0]?.quantization === undefined) return undefined;
	if (shape?.length !== 4 && !(shape?.length === 3 && shape[0] === 1)) return undefined;
	const [channels, height, width] = [shape[1]!, shape.length === 4 ? shape[2]! : 1, shape.at(-1)!];
	if (height > 7 || width < 16 || width % 8 !== 0 || RIGHT_CHANNELS.includes(channels)) return undefined;
	const transpose = sourceOf(inputs[0].value, []);
	if (transpose === undefined || !isOnnxOp(transpose, "Transpose") || !isToChannels(transpose)) return undefined;
	const norm = sourceOf(transpose.inputs[0], []);
	if (norm === undefined || !isOnnxOp(norm, "LayerNormalization")) return undefined;
	return isAffected(operator, height) ? shape : undefined;
}

export const TURNED_NORM_RULES: RuleGroup = {
	title: "Normalized rows that become channels",
	rules: [
		{
			id: "htp/norm-channels",
			about:
				"Between a LayerNormalization and a Conv with pads or strides beyond its kernel, or an AveragePool with pads or of one row, there is more than a Transpose to channels where these have up to 7 rows of 16 elements, or another multiple of 8, but for 8 and 16 channels and several sequences of rank 3.",
			consequence: "wrong",
			measured:
				"-17 to 1 dB, or the compiler crashes, on every architecture, of 16 and 8 bits: behind [1, 16, 64] a Conv with a kernel of 3 and pads of 1 -11 dB, depthwise -12, of 104 and 256 elements 1 dB, with a kernel of 1 and steps of 2 -1 dB, an AveragePool -17 dB; 3 x 16 elements -6 dB, 7 x 16 0 dB; 70 dB with 8, 12, 20, 28, 36 or 100 elements, 8 rows and more, 8 or 16 channels, two sequences of rank 3, a Conv without pads whose steps are no longer than its kernel, ConvTranspose, MaxPool and Pad, behind MatMul, Add, Softmax, RMS normalization and LpNormalization, and with a Relu, Tanh, Mul or Reshape between",
			remedy: "put a Pad of nothing in front",
			appliedBy: "legalize-operators",
			broken(operator) {
				const shape = brokenImage(operator);
				return shape && `a LayerNormalization makes its [${shape.join(", ")}], turned by a Transpose`;
			},
		},
	],
};
