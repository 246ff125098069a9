import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { constantOf } from "../../weights/constant.js";
import { fixedOutput } from "../fixed-outputs.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import { codeInterval } from "../readers.js";
import type { RuleGroup } from "../rule.js";
import { EIGHT_BITS, SIXTEEN_BITS } from "./code-types.js";
import { typeName } from "./type-name.js";

function hasBlockScales({ weight }: OperatorFacts): boolean {
	return weight?.scheme === "lpbq" || weight?.scheme === "block";
}

function activation(operator: OperatorFacts): OperandFacts | undefined {
	return operator.inputs[operator.weight?.site.input === 0 ? 1 : 0];
}

/** Zero points of a Softmax's output, by type, that the compiler takes for symmetric and replaces. */
const SYMMETRIC: Readonly<Partial<Record<DataType, number>>> = { [DataType.UINT16]: 2 ** 15, [DataType.INT16]: 0 };
const SYMMETRIC_SCALE = 2 ** -15;

/** Operators that a v68 computes on floats where one operand is float. */
const FLOAT_ON_V68 = ["Sub", "Div", "Min", "Max", "Mean", "Where"];

const COMPARISONS = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"];

/** Operators that a mask goes through. */
const OF_MASKS = ["Not", "And", "Or", "Xor", "Reshape", "Unsqueeze", "Squeeze", "Expand"];

/** Does a Where choose by what `node` makes? */
function isMask(node: Node): boolean {
	return node.outputs[0]!.uses.some(
		(use) => isOnnxOp(use.node, "Where") || (isOnnxOp(use.node, ...OF_MASKS) && isMask(use.node)),
	);
}

/** A v68 compares codes with floats in images of no more rows. */
const COMPARED_ROWS = 8;

const LEAST_TANH = 2 ** -6;
/** By so much a scale may differ, and codes are right to 48 dB. */
const SAME_SCALE = 2 ** -8;

/** The operator whose quantized result the operator reads. */
function producerOf(operator: OperatorFacts): Node | undefined {
	return activation(operator)?.quantization?.node.inputs[0]?.producer?.inputs[0]?.producer;
}

function hasBias({ node, inputs, fusedAdd }: OperatorFacts): boolean {
	return isOnnxOp(node, "MatMul") ? fusedAdd !== undefined : inputs[2] !== undefined;
}

export const ACTIVATION_RULES: RuleGroup = {
	title: "Activations",
	rules: [
		{
			id: "htp/activation-type",
			about:
				"Input and output of an operator with block scales are quantized alike: UINT16 or INT16, with LPBQ also UINT8.",
			consequence: "refused",
			measured: "INT8, float and mixed types are refused; UINT8 with float block scales too",
			remedy: "quantize both to UINT16",
			appliedBy: "legalize-operators",
			needsEncodings: true,
			broken(operator) {
				if (!hasBlockScales(operator) || isOnnxOp(operator.node, "MatMulNBits")) return undefined;
				const input = activation(operator)?.quantization;
				const output = operator.result;
				const taken = operator.weight!.scheme === "lpbq" ? [...SIXTEEN_BITS, DataType.UINT8] : SIXTEEN_BITS;
				if (input === undefined || !taken.includes(input.dtype)) {
					return `the input is ${typeName(input?.dtype)}, expected ${taken.map(typeName).join(", ")}`;
				}
				if (output === undefined || output.dtype === input.dtype) return undefined;
				return `the input is ${typeName(input.dtype)} and the output ${typeName(output.dtype)}, expected the same`;
			},
		},
		{
			id: "htp/fixed-output",
			about:
				"Sigmoid and Tanh in front of an LPBQ MatMul have the output encoding that the compiler gives them: 1/65536 and 0, 1/32768 and 32768; as INT16 1/32768 and 0.",
			consequence: "refused",
			measured: "'Failed to compose Qnn graph', also where the CPU is a fallback",
			remedy: "quantize their output so",
			appliedBy: "legalize-activations",
			broken(operator) {
				if (operator.weight?.scheme !== "lpbq") return undefined;
				return wrongEncoding(operator);
			},
		},
		{
			id: "htp/fixed-output-bias",
			about:
				"Sigmoid, Tanh and Softmax in front of an operator with a bias, whose weight has several scales, have the 16-bit output encoding that the compiler gives them; Softmax any that is not symmetric.",
			consequence: "wrong",
			measured:
				"Sigmoid with zero point 32768 7 dB, with a scale 2 % off 35 dB; Tanh 33 dB; INT16 Sigmoid of scale 2^-16 3 dB; Softmax with zero point 32768 6 dB; right without a bias, with one scale and with 8 bits",
			remedy: "quantize their output so, or add the bias behind a QuantizeLinear",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { scheme } = operator.weight ?? {};
				if ((scheme !== "per-channel" && scheme !== "block") || !hasBias(operator)) return undefined;
				const wrong = wrongEncoding(operator);
				if (wrong !== undefined) return wrong;
				const producer = producerOf(operator);
				const { dtype, scale, zeroPoint } = activation(operator)?.quantization ?? {};
				if (producer === undefined || !isOnnxOp(producer, "Softmax") || dtype === undefined) return undefined;
				if (isOnnxOp(operator.node, "Conv") || zeroPoint !== SYMMETRIC[dtype]) return undefined;
				if (dtype === DataType.INT16 && scale === SYMMETRIC_SCALE) return undefined;
				return `the output of Softmax has the scale ${scale} and the symmetric zero point ${zeroPoint}, expected the smallest code`;
			},
		},
		{
			id: "htp/fixed-output-codes",
			about:
				"Sigmoid, Tanh and HardSigmoid of 16 bits, whose codes are an output of the graph, views between included, have the encoding that the compiler gives them; HardSigmoid has that of Sigmoid.",
			consequence: "wrong",
			measured:
				"the output is in the compiler's encoding, whatever the model says, on every architecture: Sigmoid and HardSigmoid up to 0.5 6 dB, up to 1 in steps of 1/65535 right, as INT16 9 dB; Tanh 6 to 29 dB; right with a pair of quantizers in front, where the output is float, and with 8 bits",
			remedy: "quantize it so first",
			appliedBy: "legalize-operators",
			broken({ node, outputs: [output] }) {
				const { dtype, scale, zeroPoint, node: quantize } = (output && codesOfOutput(node, output)) ?? {};
				const fixed =
					dtype === undefined
						? undefined
						: fixedOutput(isOnnxOp(node, "HardSigmoid") ? "Sigmoid" : node.op.type, dtype);
				if (fixed === undefined || scale === undefined || quantize?.outputs[0]?.isGraphOutput !== true)
					return undefined;
				if (Math.abs(scale / fixed.scale - 1) < SAME_SCALE && zeroPoint === fixed.zeroPoint) return undefined;
				return `the output has the scale ${scale} and zero point ${zeroPoint}, expected ${fixed.scale} and ${fixed.zeroPoint}`;
			},
		},
		{
			id: "htp/float-operand-v68",
			about:
				"No Sub, Div, Min, Max or Where between codes reads floats on v68, where it would be computed on these, and there is no Mean.",
			consequence: "refused",
			until: "v68",
			measured:
				"the graph fails to compile where a MatMul, Gemm or Conv is behind, next to it or further on, whatever its weight, a Where also alone; 58 to 67 dB with the constant in codes, but for Mean; right with Add, Mul and Sum, 61 to 92 dB, and without a product behind",
			remedy: "store the constant in codes, and write a Mean as Sum and Mul",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs: [output] }) {
				if (!isOnnxOp(node, ...FLOAT_ON_V68) || output?.quantization === undefined) return undefined;
				const operands = isOnnxOp(node, "Where") ? inputs.slice(1) : inputs;
				if (!operands.some((operand) => operand?.quantization !== undefined)) return undefined;
				if (isOnnxOp(node, "Mean")) return "a Mean is computed on floats";
				const float = operands.find(
					(operand) => operand?.dtype === DataType.FLOAT && operand.quantization === undefined,
				);
				return float && `${node.op.type} reads the floats '${float.value.name}'`;
			},
		},
		{
			id: "htp/float-comparison-v68",
			about:
				"No Equal, Less, Greater or their like on a v68 reads floats where a Where chooses by what it makes, nor compares them with codes of more than 8 rows, on the last axis but two.",
			consequence: "refused",
			until: "v68",
			measured:
				"'memory allocation related error' with codes and a constant in floats, and with floats, in front of a Where between codes, a Not in between, too, for [5, 24], [2, 24, 32], [64, 64] and [1, 8, 4, 12]; without a Where for [1, 32, 4, 12] and [9, 8, 12], not for [1, 8, 4, 12], [5, 24] and [2, 24, 32]; 89 dB and more with the constant in codes, and on a v69",
			remedy: "store the constant in codes",
			appliedBy: "legalize-operators",
			broken({ node, inputs }) {
				if (!isOnnxOp(node, ...COMPARISONS)) return undefined;
				const float = inputs.find((operand) => operand?.dtype === DataType.FLOAT && operand.quantization === undefined);
				const codes = inputs.find((operand) => operand?.quantization !== undefined);
				const rows = codes?.shape?.at(-3);
				const isDeep = typeof rows === "number" && rows > COMPARED_ROWS;
				return float && (isDeep || isMask(node)) ? `${node.op.type} reads the floats '${float.value.name}'` : undefined;
			},
		},
		{
			id: "htp/zeros-scale",
			about:
				"The scale of a constant that an Add or Sub reads as codes is at most 16 times that of the result, of 16 bits 8192 times.",
			consequence: "wrong",
			measured:
				"zeros with the scale 1, as quantizers write them: in front of what a MatMul has made -15 dB with 16384 times, 82 dB with 8192; of 8 bits 33 dB with 64 times, 25 dB with 200, 55 dB with 16, on every architecture",
			remedy: "give zeros the scale of the result, or leave the Add out",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs }) {
				const result = outputs[0]?.quantization;
				const largest = EIGHT_BITS.includes(result?.dtype) ? 16 : 8192;
				if (!isOnnxOp(node, "Add", "Sub") || result?.scale === undefined) return undefined;
				for (const input of inputs) {
					const { scale, node: dequantize } = input?.quantization ?? {};
					if (scale === undefined || constantOf(dequantize?.inputs[0]) === undefined) continue;
					const ratio = scale / result.scale;
					if (ratio > largest)
						return `'${input!.value.name}' has ${ratio.toPrecision(3)} times the scale of the result`;
				}
				return undefined;
			},
		},
		{
			id: "htp/tanh-small",
			about: "The output encoding of a Tanh with 16 bits at both ends is up to 1/64 or more.",
			consequence: "wrong",
			measured:
				"steps of 2^-15, whatever the encoding says: 49 dB up to 0.024, 37 dB up to 0.007, 28 dB up to 0.0024; 68 dB with UINT16 in and INT16 out, which is computed on floats; right with 8 bits",
			remedy: "quantize its output with another type, and that as it was",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs }) {
				const [input, output] = [inputs[0]?.quantization, outputs[0]?.quantization];
				const range = output && codeInterval(output);
				if (!isOnnxOp(node, "Tanh") || range === undefined || output?.dtype !== input?.dtype) return undefined;
				const largest = Math.max(-range.lo, range.hi);
				if (!SIXTEEN_BITS.includes(output?.dtype) || largest >= LEAST_TANH) return undefined;
				return `its output is up to ${largest.toPrecision(2)}`;
			},
		},
	],
};

/** How the encoding of the Sigmoid or Tanh in front differs from the fixed one. */
function wrongEncoding(operator: OperatorFacts): string | undefined {
	const producer = producerOf(operator);
	const { dtype, scale, zeroPoint } = activation(operator)?.quantization ?? {};
	if (producer === undefined || dtype === undefined) return undefined;
	const fixed = fixedOutput(producer.op.type, dtype);
	if (fixed === undefined || (scale === fixed.scale && zeroPoint === fixed.zeroPoint)) return undefined;
	return `the output of ${producer.op.type} has the scale ${scale} and zero point ${zeroPoint}, expected ${fixed.scale} and ${fixed.zeroPoint}`;
}

/** What quantizes the output of `node`, Transposes in between aside; a HardSigmoid keeps its encoding through other views, too. */
function codesOfOutput(node: Node, output: OperandFacts) {
	if (!isOnnxOp(node, "Sigmoid", "Tanh", "HardSigmoid")) return undefined;
	const view = output.value.uses[0]?.node;
	const isKept = view !== undefined && (isOnnxOp(node, "HardSigmoid") || isOnnxOp(view, "Transpose"));
	return isKept ? output.moved : output.quantization;
}
