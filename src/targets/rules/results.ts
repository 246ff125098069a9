import { isOnnxOp } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import { becomesInt8, roundedStep } from "../product-steps.js";
import { clampBehind, describeReader, quantizerBehind, unquantizedReader } from "../readers.js";
import type { RuleGroup } from "../rule.js";
import type { WeightFacts } from "../weight-facts.js";
import { LINEAR } from "./producers.js";
import { typeName } from "./type-name.js";

/** The weight, where it has several scales that are no LPBQ's: for these the compiler has only kernels on integers. */
function scaledWeight({ node, weight }: OperatorFacts): WeightFacts | undefined {
	const { scheme } = weight ?? {};
	return isOnnxOp(node, ...LINEAR) && (scheme === "block" || scheme === "per-channel") ? weight : undefined;
}

/** ONNX Runtime makes another Gemm, with its operands exchanged, of a Gemm and the Transpose behind it. */
function viewsBehind({ node }: OperatorFacts): readonly string[] {
	return isOnnxOp(node, "Gemm") ? ["Reshape"] : ["Reshape", "Transpose"];
}

/** Is the Add behind the MatMul computed together with it? Block scales take INT32 there, others a float bias too. */
function isBias({ weight }: OperatorFacts, { constant, quantization }: OperandFacts): boolean {
	if (quantization?.dtype === DataType.INT32) return true;
	return weight?.scheme !== "block" && constant?.dtype === DataType.FLOAT;
}

/** What reads the result of an operator with a weight of scheme `scheme`, where that is not one QuantizeLinear. */
function unquantizedResult(operator: OperatorFacts, scheme: "block" | "per-channel"): string | undefined {
	const weight = scaledWeight(operator);
	if (weight?.scheme !== scheme) return undefined;
	const { node, fusedAdd, clamp } = operator;
	const bias = fusedAdd !== undefined && isBias(operator, fusedAdd.addend) ? fusedAdd : undefined;
	const result = clamp?.outputs[0];
	const reader =
		bias !== undefined
			? unquantizedReader(result ?? bias.output.value, ["Reshape"])
			: unquantizedReader((fusedAdd === undefined && result) || node.outputs[0]!, viewsBehind(operator));
	if (reader === undefined) return undefined;
	const what = bias === undefined ? `the result of the ${node.op.type}` : `the sum of ${node.op.type} and bias`;
	return `${what} with weight '${weight.name}' ${describeReader(reader)}, expected one QuantizeLinear`;
}

/** A weight with one scale or of floats, which ONNX Runtime makes such a weight of between quantized values. */
function plainWeight({ node, weight, inputs }: OperatorFacts): WeightFacts | undefined {
	const { scheme } = weight ?? {};
	const isPlain = (scheme === "per-tensor" || scheme === "float") && inputs[0]?.quantization !== undefined;
	return isOnnxOp(node, ...LINEAR) && isPlain ? weight : undefined;
}

/** What rounding a float weight to INT8 with one scale leaves, in dB. */
function roundedDb(weight: WeightFacts): number {
	const { largest, meanSquare } = weight.magnitude;
	return largest === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10((12 * meanSquare) / roundedStep(weight) ** 2);
}

const LEAST_ROUNDED_DB = 35;

const ACTIVATION_TYPES: readonly (DataType | undefined)[] = [
	DataType.UINT16,
	DataType.INT16,
	DataType.UINT8,
	DataType.INT8,
];

export const RESULT_RULES: RuleGroup = {
	title: "What is around weights with several scales",
	rules: [
		{
			id: "htp/block-output",
			about:
				"The result of an operator whose weight has float block scales goes into one QuantizeLinear, through Reshape and Transpose (Gemm: Reshape) at most; a MatMul's through an Add of an INT32 vector too.",
			consequence: "refused",
			measured:
				"refused before Relu, Gelu, Sigmoid, Softmax, Clip, Mul, Concat, an Add, two readers, a float graph output; with the Add of an INT32 vector 68 dB",
			remedy: "put QuantizeLinear and DequantizeLinear behind it",
			appliedBy: "separate-matmul-outputs",
			needsEncodings: true,
			broken: (operator) => unquantizedResult(operator, "block"),
		},
		{
			id: "htp/channel-output",
			about:
				"The result of an operator whose weight has one scale a channel goes into one QuantizeLinear, through Reshape and Transpose (Gemm: Reshape) at most; a MatMul's through an Add of a vector, float or INT32, too.",
			consequence: "refused",
			measured:
				"refused before Relu, Gelu, Sigmoid, Softmax, Clip, Mul, Concat, a residual Add, the Add of a constant of shape [1, N] or [1] or of type UINT16, two readers, a float graph output; with the Add of a float vector 91 dB",
			remedy: "put QuantizeLinear and DequantizeLinear behind it",
			appliedBy: "legalize-operators",
			needsEncodings: true,
			broken: (operator) => unquantizedResult(operator, "per-channel"),
		},
		{
			id: "htp/channel-activation",
			about:
				"Input and output of an operator whose weight has one scale a channel are quantized alike: UINT16, INT16 or UINT8, with 8-bit weights also INT8.",
			consequence: "refused",
			measured: "float and mixed types are refused, INT8 with INT4 weights too; UINT16 86 dB, UINT8 43 dB",
			remedy: "quantize both to UINT16",
			appliedBy: "legalize-operators",
			needsEncodings: true,
			broken(operator) {
				const weight = scaledWeight(operator);
				if (weight?.scheme !== "per-channel") return undefined;
				const { inputs } = operator;
				const input = inputs[weight.site.input === 0 ? 1 : 0]?.quantization?.dtype;
				if (!ACTIVATION_TYPES.includes(input) || (input === DataType.INT8 && weight.dtype === DataType.INT4))
					return `the input of the ${operator.node.op.type} with weight '${weight.name}' is ${typeName(input)}, expected UINT16, INT16 or UINT8`;
				const output = operator.result?.dtype;
				if (output === undefined || output === input) return undefined;
				return `the input is ${typeName(input)} and the output ${typeName(output)}, expected the same`;
			},
		},
		{
			id: "htp/channel-scalar",
			about: "A MatMul or Gemm whose weight has one scale a channel has more than one row or more than one input.",
			consequence: "crash",
			measured:
				"compilation does not end with [1, 1] times [1, N]; with two rows, two inputs, one scale or a float weight right",
			remedy: "store the weight with one scale, or multiply with a Mul",
			appliedBy: "legalize-operators",
			broken({ node, weight, inputs }) {
				if (!isOnnxOp(node, "MatMul", "Gemm") || weight?.scheme !== "per-channel" || weight.depth !== 1)
					return undefined;
				const shape = inputs[weight.site.input === 0 ? 1 : 0]?.shape;
				const isScalar = shape?.every((dim) => dim === 1) === true;
				return isScalar ? `weight '${weight.name}' multiplies one number` : undefined;
			},
		},
		{
			id: "htp/int4-zero-point",
			about: "An INT4 weight with one scale, or one a channel, has zero points.",
			consequence: "wrong",
			measured: "-7 dB without the input, 67 dB with it: the compiler takes such codes for INT8",
			remedy: "give its DequantizeLinear INT4 zero points of 0",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, weight } = operator;
				if (!isOnnxOp(node, ...LINEAR) || weight?.dtype !== DataType.INT4) return undefined;
				if (weight.scheme !== "per-channel" && weight.scheme !== "per-tensor") return undefined;
				if (weight.site.dequantization?.hasZeroPoint === true) return undefined;
				return `weight '${weight.name}' is INT4 without zero points`;
			},
		},
		{
			id: "htp/gemm-output",
			about: "A Gemm that reads nothing but dequantized values goes into a QuantizeLinear.",
			consequence: "refused",
			measured:
				"refused before Relu, Add and as a float graph output; a MatMul, whose weight has one scale, is taken there",
			remedy: "put QuantizeLinear and DequantizeLinear behind it",
			appliedBy: "legalize-operators",
			needsEncodings: true,
			broken(operator) {
				const { node, inputs, weight } = operator;
				if (!isOnnxOp(node, "Gemm") || weight?.scheme !== "per-tensor") return undefined;
				if (inputs.some((input) => input !== undefined && input.quantization === undefined)) return undefined;
				const output = node.outputs[0]!;
				if (output.uses.some((use) => isOnnxOp(use.node, "QuantizeLinear", "Transpose"))) return undefined;
				const reader = unquantizedReader(output, ["Reshape"]);
				return reader && `the result of the Gemm with weight '${weight.name}' ${describeReader(reader)}`;
			},
		},
		{
			id: "htp/clamped-output",
			about:
				"Between a Gemm, or another linear operator with a float bias, and its QuantizeLinear there is no Relu or Clip, but one that the QuantizeLinear makes superfluous; with a quantized input and a weight that is float or has one scale.",
			consequence: "refused",
			measured:
				"Gemm with and without a bias, Conv, ConvTranspose and MatMul with Add refused before Relu, Clip; right with a zero point of 0 behind a Relu, with LeakyRelu, with a Reshape in front of the Relu, with a float result",
			remedy: "put QuantizeLinear and DequantizeLinear behind it",
			appliedBy: "legalize-operators",
			needsEncodings: true,
			broken(operator) {
				const { node, inputs, fusedAdd, clamp } = operator;
				if (plainWeight(operator) === undefined || clamp !== undefined) return undefined;
				const bias = isOnnxOp(node, "MatMul") ? fusedAdd?.addend : inputs[2];
				if (!isOnnxOp(node, "Gemm") && bias?.constant?.dtype !== DataType.FLOAT) return undefined;
				const reader = clampBehind((fusedAdd?.node ?? node).outputs[0]!);
				if (reader === undefined || quantizerBehind(reader.outputs[0]!) === undefined) return undefined;
				return `the result of the ${node.op.type} with weight '${operator.weight!.name}' ${describeReader(reader)}`;
			},
		},
		{
			id: "htp/float-weight-rounded",
			about:
				"A float weight of a Gemm or convolution between quantized values loses little as INT8 with one scale, which ONNX Runtime makes of it; of a MatMul only with an Add of a float vector behind it.",
			consequence: "wrong",
			measured: "42 dB with normally distributed weights, where a MatMul without Add has 67",
			remedy: "store the weight as INT8 with one scale a channel",
			appliedBy: "apply-precision-recipe",
			broken(operator) {
				const { weight } = operator;
				if (weight === undefined || !becomesInt8(operator)) return undefined;
				const decibels = roundedDb(weight);
				if (decibels >= LEAST_ROUNDED_DB) return undefined;
				return `weight '${weight.name}' has ${decibels.toFixed(1)} dB as INT8 with one scale, expected ${LEAST_ROUNDED_DB} or more`;
			},
		},
	],
};
