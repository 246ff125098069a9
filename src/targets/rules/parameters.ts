import { isOnnxOp } from "../../ir/node.js";
import { bitsPerElement, DataType, dataTypeName, elementCount } from "../../ir/types.js";
import type { OperandFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";
import { formOf } from "./compiled-form.js";
import { ELEMENTWISE, LINEAR, sourceOf } from "./producers.js";

function describeCodes(operand: OperandFacts | undefined): string {
	const { dtype } = operand?.quantization ?? {};
	return dtype === undefined ? "FLOAT" : dataTypeName(dtype);
}

/** Operators whose kernels write images in a layout that the kernel of PRelu takes. */
const IMAGES: readonly string[] = [
	...LINEAR,
	"AveragePool",
	"BatchNormalization",
	"GlobalAveragePool",
	"InstanceNormalization",
	"LayerNormalization",
	"MaxPool",
	"Resize",
	"Softmax",
];

export const PARAMETER_RULES: RuleGroup = {
	title: "Parameters of normalizations and activations",
	rules: [
		{
			id: "htp/batch-norm-parameters",
			about: "Scale, bias, mean and variance of a BatchNormalization are floats.",
			consequence: "wrong",
			measured:
				"quantized ones: 0.7 to 76 dB on UINT16, 0.7 to 40 dB on UINT8, by the channels' factors, on v68, v73 and v79; refused on INT8, and where only some are quantized; floats: 100 to 113 dB on UINT16, 36 to 47 dB on UINT8 and INT8",
			remedy: "store them as floats",
			appliedBy: "legalize-operators",
			broken({ node, inputs }) {
				if (!isOnnxOp(node, "BatchNormalization")) return undefined;
				const at = inputs.findIndex((input, index) => index > 0 && input?.quantization?.codes !== undefined);
				return at === -1
					? undefined
					: `'${node.inputs[at]!.name}' is ${dataTypeName(inputs[at]!.quantization!.dtype!)}, expected FLOAT`;
			},
		},
		{
			id: "htp/instance-norm-parameters",
			about:
				"The bias of an InstanceNormalization between codes is INT32 on v68, and where it is INT32, the scale is codes of no more bits than the input's.",
			consequence: "refused",
			measured:
				"v68 takes no float parameters, no bias of 8 or 16 bits ('memory allocation related error'), later ones compute with these in fp16, 66 to 69 dB; with INT32 the scale as FLOAT, and UINT16 between codes of 8 bits, is refused everywhere; 101 dB with an INT32 bias and UINT8 or UINT16 scales between 16 bits, 40 dB between 8",
			remedy: "quantize the scale in the type of the input, and the bias as INT32",
			appliedBy: "legalize-operators",
			broken(operator, { architecture }) {
				const { node, inputs } = operator;
				const form = formOf(operator);
				if (!isOnnxOp(node, "InstanceNormalization") || form === undefined || form === "float") return undefined;
				const [, scale, bias] = inputs;
				const type = scale?.quantization?.dtype;
				const isInteger = bias?.quantization?.dtype === DataType.INT32;
				const isNarrow = type !== undefined && bitsPerElement(type)! <= (form === "8 bits" ? 8 : 16);
				if (isInteger ? isNarrow : architecture !== "v68") return undefined;
				return `the scale is ${describeCodes(scale)} and the bias ${describeCodes(bias)}, expected codes and INT32`;
			},
		},
		{
			id: "htp/prelu-slopes",
			about:
				"A PRelu with several slopes as UINT16 codes reads what a linear operator, a normalization, a pool, Resize or Softmax has made, operators on single elements in between.",
			consequence: "refused",
			measured:
				"fails to compile ('memory allocation related error') behind graph inputs, Reshape, Transpose and Concat, on v68, v73 and v79; 75 to 80 dB behind Conv, pools and Softmax; 84 dB with float slopes, behind all",
			remedy: "store the slopes as floats",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs } = operator;
				const [input, slope] = inputs;
				const { codes, dtype } = slope?.quantization ?? {};
				if (!isOnnxOp(node, "PRelu") || codes === undefined || dtype !== DataType.UINT16) return undefined;
				if (formOf(operator) !== "16 bits" || elementCount(codes.shape) === 1) return undefined;
				const source = sourceOf(input?.value, ELEMENTWISE);
				if (source !== undefined && isOnnxOp(source, ...IMAGES)) return undefined;
				return `'${slope!.value.name}' is UINT16, and its input ${source === undefined ? "a graph input" : `comes from ${source.op.type}`}`;
			},
		},
	],
};
