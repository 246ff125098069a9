import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { fixedShape } from "../fixed-shape.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import { ELEMENTWISE, isComputed, OF_IMAGES, sourceOf } from "./producers.js";

/** Operators between Transposes to the layout that the compiler has for them. */
const TURNING: readonly string[] = ["Conv", "ConvTranspose", "AveragePool", "GlobalAveragePool", "Resize"];

/** Operators that ONNX Runtime moves the Transpose behind these across. */
export const TURNED_ACROSS: readonly string[] = [
	...[...ELEMENTWISE, "Abs", "Div", "Sigmoid", "HardSigmoid", "Neg", "Exp", "Sqrt", "Reciprocal", "Pow"],
	...["Concat", "Pad", "Slice", "Split", "Tile", "Softmax", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"],
	...["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Not", "Where", "Max", "Min", "Sum", "Mean"],
];

/** Does a Transpose to rank 5 come behind what makes `value`, or one of the values that it is computed from? */
function isTurned(value: Value | undefined, { types }: RuleContext): boolean {
	const seen = new Set<Node>();
	const waiting = [value];
	while (waiting.length > 0) {
		const source = waiting.pop()?.producer;
		if (source === undefined || seen.has(source)) continue;
		seen.add(source);
		if (isOnnxOp(source, "Transpose", ...TURNING)) return true;
		if (isOnnxOp(source, "QuantizeLinear", "DequantizeLinear", ...TURNED_ACROSS)) waiting.push(...source.inputs);
		const [from, to] = [source.inputs[0], source.outputs[0]].map((at) => fixedShape(at && types.shapeOf(at)));
		if (!isOnnxOp(source, "Reshape") || from?.length !== 4 || to?.[0] !== from[0] || to?.[1] !== from[1]) continue;
		const image = sourceOf(source.inputs[0], TURNED_ACROSS);
		if (image !== undefined && isOnnxOp(image, ...OF_IMAGES)) return true;
	}
	return false;
}

/** Do all readers of the codes take them in another layout, or give them to the next quantizer? */
function isPassedOn(quantizer: Node): boolean {
	return quantizer.outputs[0]!.uses.every(({ node: { outputs } }) => {
		const [value] = outputs;
		if (value === undefined || value.isGraphOutput || value.uses.length === 0) return false;
		return value.uses.every(({ node }) => isOnnxOp(node, "QuantizeLinear", "Transpose", ...TURNING, ...TURNED_ACROSS));
	});
}

/** Is it a convolution on INT16 codes, which is refused itself? */
function isSignedConv(node: Node | undefined, { types }: RuleContext): boolean {
	const dequantizer = node?.inputs[0]?.producer;
	if (node === undefined || dequantizer === undefined || !isOnnxOp(node, "Conv", "ConvTranspose")) return false;
	const codes = isOnnxOp(dequantizer, "DequantizeLinear") ? dequantizer.inputs[0] : undefined;
	return codes !== undefined && types.elementTypeOf(codes) === DataType.INT16;
}

/** What makes the INT16 codes of rank 5 that the operator gets a Transpose on, if it does. */
function turnedCodes({ node, inputs, outputs }: OperatorFacts, context: RuleContext): string | undefined {
	if (isOnnxOp(node, "Transpose") && inputs[0]?.shape?.length === 5) {
		const isSigned = [inputs[0].quantization, outputs[0]?.quantization].some((one) => one?.dtype === DataType.INT16);
		return isSigned ? "it is between INT16 codes of rank 5" : undefined;
	}
	const volumes = inputs.filter((input) => input?.shape?.length === 5 && isComputed(input.value));
	if (isOnnxOp(node, ...TURNED_ACROSS) && volumes.length > 1) {
		const isSigned = (input: OperandFacts | undefined) => input?.quantization?.dtype === DataType.INT16;
		const still = volumes.filter((input) => !isTurned(input!.value, context));
		const signed = still.length < volumes.length ? still.find(isSigned) : undefined;
		return signed && `'${signed.value.name}' is of INT16 codes of rank 5, and another operand in another layout`;
	}
	const codes = outputs[0];
	if (!isOnnxOp(node, "QuantizeLinear") || codes?.dtype !== DataType.INT16 || codes.shape?.length !== 5)
		return undefined;
	if (isSignedConv(node.inputs[0]?.producer, context) || isPassedOn(node) || !isTurned(node.inputs[0], context))
		return undefined;
	return `'${codes.value.name}' are INT16 codes of rank 5, and behind an operator that works in another layout`;
}

export const SIGNED_VOLUME_RULES: RuleGroup = {
	title: "INT16 codes of rank 5",
	rules: [
		{
			id: "htp/signed-volume",
			about:
				"INT16 codes of rank 5 are not transposed: not by a Transpose, nor are the last ones behind a convolution or average of three dimensions, or behind an image whose second axis a Reshape to rank 5 keeps, where ONNX Runtime moves the Transpose to its layout across quantizers and operators on single elements.",
			consequence: "refused",
			measured:
				"Transpose refused behind Conv, ConvTranspose, AveragePool and GlobalAveragePool, with UINT16 and UINT8 codes in between, with Relu, Add, Abs, Reciprocal, Max, Sum, Split, Tile, comparisons and Where, in front of Reshapes and as graph outputs, and behind Conv, Resize, BatchNormalization, InstanceNormalization, MaxPool, AveragePool and DepthToSpace of images (a crash in front of a Reshape on v81); 61 to 87 dB with UINT16 codes of the same values, with UINT16 codes or another Conv behind",
			remedy: "store the same values as UINT16",
			appliedBy: "legalize-operators",
			broken: turnedCodes,
		},
	],
};
