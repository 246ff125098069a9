import { isOnnxOp } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";
import type { WeightFacts } from "../weight-facts.js";
import { describeReader, unquantizedReader } from "./readers.js";
import { typeName } from "./type-name.js";

const LINEAR = ["MatMul", "Gemm", "Conv", "ConvTranspose"];

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
	const { node, fusedAdd } = operator;
	const bias = fusedAdd !== undefined && isBias(operator, fusedAdd.addend) ? fusedAdd : undefined;
	const reader =
		bias === undefined
			? unquantizedReader(node.outputs[0]!, viewsBehind(operator))
			: unquantizedReader(bias.output.value, ["Reshape"]);
	if (reader === undefined) return undefined;
	const what = bias === undefined ? `the result of the ${node.op.type}` : `the sum of ${node.op.type} and bias`;
	return `${what} with weight '${weight.name}' ${describeReader(reader)}, expected one QuantizeLinear`;
}

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
			broken: (operator) => unquantizedResult(operator, "per-channel"),
		},
		{
			id: "htp/channel-activation",
			about:
				"Input and output of an operator whose weight has one scale a channel are quantized alike: UINT16, INT16 or UINT8, with 8-bit weights also INT8.",
			consequence: "refused",
			measured: "float and mixed types are refused, INT8 with INT4 weights too; UINT16 86 dB, UINT8 43 dB",
			remedy: "quantize both to UINT16",
			broken(operator) {
				const weight = scaledWeight(operator);
				if (weight?.scheme !== "per-channel") return undefined;
				const { inputs, outputs, fusedAdd } = operator;
				const input = inputs[weight.site.input === 0 ? 1 : 0]?.quantization?.dtype;
				if (!ACTIVATION_TYPES.includes(input) || (input === DataType.INT8 && weight.dtype === DataType.INT4))
					return `the input of the ${operator.node.op.type} with weight '${weight.name}' is ${typeName(input)}, expected UINT16, INT16 or UINT8`;
				const output = (fusedAdd?.output ?? outputs[0])?.quantization?.dtype;
				if (output === undefined || output === input) return undefined;
				return `the input is ${typeName(input)} and the output ${typeName(output)}, expected the same`;
			},
		},
		{
			id: "htp/int4-zero-point",
			about: "An INT4 weight with one scale, or one a channel, has zero points.",
			consequence: "wrong",
			measured: "-7 dB without the input, 67 dB with it: the compiler takes such codes for INT8",
			remedy: "give its DequantizeLinear INT4 zero points of 0",
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
	],
};
