import { isOnnxOp } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { nodeLabel } from "../../ir/walk.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";
import { ELEMENTWISE, OF_IMAGES, sourceOf } from "./producers.js";

function isDeep(operand: OperandFacts | undefined): boolean {
	return operand?.shape?.length === 5;
}

/** What makes an image whose INT16 codes a Reshape or Unsqueeze gives a fifth axis: ONNX Runtime puts a Transpose in front of that. */
function fifthAxis({ node, inputs: [input], outputs: [output], result }: OperatorFacts): string | undefined {
	const codes = isOnnxOp(node, "Unsqueeze") ? [output?.moved] : [input?.moved, output?.moved, result];
	const isInt16 = codes.some((one) => one?.dtype === DataType.INT16);
	if (!isOnnxOp(node, "Reshape", "Unsqueeze") || !isInt16 || !isDeep(output) || isDeep(input)) return undefined;
	const source = sourceOf(input!.value, ELEMENTWISE);
	const isImage = source !== undefined && isOnnxOp(source, ...OF_IMAGES);
	return isImage ? `INT16 codes that ${source.op.type} '${nodeLabel(source)}' makes get a fifth axis` : undefined;
}

export const MOVED_CODE_RULES: RuleGroup = {
	title: "Codes that are moved",
	rules: [
		{
			id: "htp/space-to-depth",
			about: "A SpaceToDepth gives codes of the scale and zero point that it reads, or of another type.",
			consequence: "wrong",
			measured:
				"the codes stay what they are: -8 to 28 dB with another scale or zero point, UINT16 and UINT8, 1 to 4 channels, blocks of 2 and 3, behind graph inputs, Relu, Conv and Transpose, with a Reshape behind, on every architecture; 136 dB with the same encoding, 48 dB and more with another type; DepthToSpace is right with any",
			remedy: "quantize its result as its input is, and again behind, of 8 bits both as UINT16",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], result }) {
				const from = input?.moved;
				if (!isOnnxOp(node, "SpaceToDepth") || from?.scale === undefined || result?.scale === undefined)
					return undefined;
				if (from.dtype !== result.dtype) return undefined;
				if (from.scale === result.scale && from.zeroPoint === result.zeroPoint) return undefined;
				return `it reads scale ${from.scale} and zero point ${from.zeroPoint}, and gives ${result.scale} and ${result.zeroPoint}`;
			},
		},
		{
			id: "htp/gathered-zero-point",
			about:
				"A Gather, GatherElements or Tile between codes of one type and scale gives those of the zero point that it reads.",
			consequence: "refused",
			measured:
				"left to the CPU on every architecture, with UINT16, INT16, UINT8 and INT8, by a tensor and by one index, along any axis, ranks 2 to 4; 72 dB and more with another scale, too, and with one encoding; Reshape, Transpose, Slice, Split, Squeeze, Expand, Concat, Pad, GatherND and others are right with another zero point",
			remedy: "quantize its result as its input is, and again behind",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], result }) {
				const from = input?.moved;
				if (!isOnnxOp(node, "Gather", "GatherElements", "Tile") || from?.scale === undefined) return undefined;
				if (from.dtype !== result?.dtype || from.scale !== result?.scale || from.zeroPoint === result.zeroPoint)
					return undefined;
				return `it reads codes with the zero point ${from.zeroPoint}, and gives ${result.zeroPoint}, of the scale ${from.scale}`;
			},
		},
		{
			id: "htp/int16-fifth-axis",
			about: "No Reshape or Unsqueeze makes INT16 codes of rank 5 of what an operator on images made.",
			consequence: "refused",
			measured:
				"refused behind BatchNormalization, Conv and MaxPool on every architecture, as ONNX Runtime puts a Transpose in front of the Reshape; an Unsqueeze of any axis whose result is INT16 too, on v73 and v81; 67 to 136 dB with UINT16, of rank 4, and behind Relu",
			remedy: "quantize as UINT16 in front and behind",
			appliedBy: "legalize-operators",
			broken: fifthAxis,
		},
	],
};
