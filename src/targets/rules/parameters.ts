import { isOnnxOp } from "../../ir/node.js";
import { bitsPerElement, DataType, dataTypeName, elementCount } from "../../ir/types.js";
import { isWithin } from "../capabilities.js";
import type { OperandFacts, QuantizationFacts } from "../operator-facts.js";
import type { TriedForm } from "../operator-table.js";
import type { RuleGroup } from "../rule.js";
import type { HtpArchitecture } from "../target.js";
import { formOf } from "./compiled-form.js";
import { RMS_NORMS } from "./operators.js";
import { ELEMENTWISE, LINEAR, sourceOf } from "./producers.js";

function describeCodes(operand: OperandFacts | undefined): string {
	const { dtype } = operand?.quantization ?? operand?.moved ?? {};
	return dtype === undefined ? "FLOAT" : dataTypeName(dtype);
}

function isUnsigned(operand: OperandFacts | undefined): boolean {
	const dtype = operand?.moved?.dtype;
	return dtype === DataType.UINT16 || dtype === DataType.UINT8;
}

/** Is it of codes of 16 bits? */
function isWide(operand: OperandFacts | undefined): boolean {
	const dtype = operand?.moved?.dtype;
	return dtype !== undefined && bitsPerElement(dtype) === 16;
}

/** Is it a scale with which InstanceNormalization is computed on integers? */
function isInstanceScale(scale: OperandFacts | undefined, form: TriedForm): boolean {
	const dtype = scale?.quantization?.dtype;
	if (dtype === DataType.UINT16) return form === "16 bits";
	return dtype === DataType.UINT8 || dtype === DataType.INT8;
}

/** Has it 16 bits, and 0 in the middle? */
function isSymmetricWide({ dtype, zeroPoint = 0 }: QuantizationFacts): boolean {
	return (dtype === DataType.UINT16 && zeroPoint === 0x8000) || (dtype === DataType.INT16 && zeroPoint === 0);
}

/** Is it a scale with which LayerNormalization is computed on integers? */
function isLayerScale(scale: OperandFacts | undefined, form: TriedForm, architecture: HtpArchitecture): boolean {
	const quantization = scale?.quantization;
	if (quantization === undefined) return false;
	if (quantization.dtype === DataType.UINT8) return true;
	return form === "16 bits" && isWithin(architecture, "v73") && isSymmetricWide(quantization);
}

/** Is it a scale with which RMS normalization is computed between integers of the type? */
function isRmsScale({ quantization }: OperandFacts, between: DataType | undefined): boolean {
	const { dtype, zeroPoint = 0 } = quantization!;
	if (between === DataType.UINT16) return dtype !== DataType.INT8;
	if (between === DataType.INT16) return dtype === DataType.UINT8 || (dtype === DataType.INT16 && zeroPoint === 0);
	return between === DataType.UINT8 && dtype === DataType.UINT8;
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
				"The bias of an InstanceNormalization between codes is INT32 on v68; where it is INT32, input and output are unsigned codes of one type, and the scale is UINT16, UINT8 or INT8 of no more bits.",
			consequence: "refused",
			measured:
				"v68 takes no float parameters, no bias of 8 or 16 bits ('memory allocation related error'), later ones compute with these in fp16, 66 to 73 dB, 49 to 56 between 8 bits, on signed codes too; with INT32 refused everywhere: the scale as FLOAT or INT16, UINT16 between codes of 8 bits, every scale between INT16 or INT8, between two types and on floats; 102 to 140 dB with an INT32 bias and UINT8, INT8 or UINT16 scales between UINT16, 44 to 47 dB between UINT8",
			remedy:
				"quantize the scale in the type of the input, made unsigned, and the bias as INT32; on floats, store both as floats",
			appliedBy: "legalize-operators",
			broken(operator, { architecture }) {
				const { node, inputs } = operator;
				const form = formOf(operator);
				if (!isOnnxOp(node, "InstanceNormalization") || form === undefined) return undefined;
				const [input, scale, bias] = inputs;
				const isInteger = bias?.quantization?.dtype === DataType.INT32;
				if (form === "float" || !isInteger) {
					if (form === "float" ? !isInteger : architecture !== "v68") return undefined;
				} else if (isUnsigned(input) && isInstanceScale(scale, form)) {
					return undefined;
				}
				return `the input is ${describeCodes(input)}, the scale ${describeCodes(scale)} and the bias ${describeCodes(bias)}`;
			},
		},
		{
			id: "htp/instance-norm-floats",
			about: "The bias of an InstanceNormalization between codes of 16 bits is INT32.",
			consequence: "slow",
			since: "v69",
			measured:
				"with a scale and bias of floats or other codes it is computed in fp16: 68 to 74 dB where the mean of a channel is 0, 39 to 47 dB where it is 100 times the deviation, 20 dB at 1000 times; with a UINT16 scale and an INT32 bias between UINT16 99 to 140, 88 to 97 and 60 to 77 dB, on v69, v73, v79 and v81, of rank 3 and 4; between 8 bits floats are as good",
			remedy: "quantize the scale as UINT16 and the bias as INT32, between UINT16",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input, , bias], outputs: [output] }) {
				if (!isOnnxOp(node, "InstanceNormalization") || !isWide(input) || !isWide(output)) return undefined;
				if (bias?.quantization?.dtype === DataType.INT32) return undefined;
				return `the bias is ${describeCodes(bias)}`;
			},
		},
		{
			id: "htp/layer-norm-parameters",
			about:
				"A LayerNormalization with an INT32 bias, or with a quantized scale and no bias, is between UINT16 or UINT8; its scale is UINT8, or between UINT16 symmetric of 16 bits, which v68 and v69 do not take. With an INT32 bias it is between codes of one type.",
			consequence: "refused",
			measured:
				"refused between INT16 and INT8; between UINT16 with UINT16 scales of another zero point than 32768, INT8 and FLOAT; between UINT8 with all but UINT8; 2 to 12 dB between UINT16 without bias with INT16 scales of another zero point than 0; 86 dB with an INT32 bias and 92 dB without one between UINT16, 38 and 44 dB between UINT8; biases of other types are computed with in fp16, 71 to 73 dB, as are float scales without bias, 70 dB",
			remedy:
				"quantize the scale symmetrically; on v68 and v69, between signed codes and of 8 bits, store scale and bias as floats",
			appliedBy: "legalize-operators",
			broken(operator, { architecture }) {
				const { node, inputs } = operator;
				const form = formOf(operator);
				if (!isOnnxOp(node, "LayerNormalization") || form === undefined) return undefined;
				const [input, scale, bias] = inputs;
				const isInteger = bias?.quantization?.dtype === DataType.INT32;
				if (bias === undefined ? form === "float" || scale?.quantization === undefined : !isInteger) return undefined;
				if (form !== "float" && isUnsigned(input) && isLayerScale(scale, form, architecture)) return undefined;
				const zeroPoint = scale?.quantization?.zeroPoint;
				const codes = zeroPoint === undefined ? "" : ` with zero point ${zeroPoint}`;
				return `the input is ${describeCodes(input)}, the scale ${describeCodes(scale)}${codes} and ${bias === undefined ? "there is no bias" : `the bias ${describeCodes(bias)}`}`;
			},
		},
		{
			id: "htp/norm-scale-type",
			about:
				"The quantized scale of an RMS normalization is UINT8 between UINT8, UINT8 or INT16 with zero point 0 between INT16, and not INT8 between UINT16; there is none between INT8.",
			consequence: "refused",
			measured:
				"all others are refused, on every architecture; 82 to 83 dB between 16 bits, 35 dB between UINT8 with UINT8; with float scales 68 and 40 dB, which v68 does not take",
			remedy: "store the scale as float, or quantize it with the type of the input, symmetrically",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs } = operator;
				const form = formOf(operator);
				if (!RMS_NORMS.includes(node.op.type) || form === undefined || form === "float") return undefined;
				const [input, scale] = inputs;
				if (scale?.quantization === undefined || isRmsScale(scale, input?.moved?.dtype)) return undefined;
				return `the input is ${describeCodes(input)} and the scale ${describeCodes(scale)} with zero point ${scale.quantization.zeroPoint ?? 0}`;
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
