import { intOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { constantOf } from "../../weights/constant.js";
import { HTP_CAPABILITIES } from "../capabilities.js";
import { fixedOutput } from "../fixed-outputs.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import { codeInterval } from "../readers.js";
import type { RuleGroup } from "../rule.js";
import { sourceOf } from "./producers.js";
import { typeName } from "./type-name.js";

function hasBlockScales({ weight }: OperatorFacts): boolean {
	return weight?.scheme === "lpbq" || weight?.scheme === "block";
}

function activation(operator: OperatorFacts): OperandFacts | undefined {
	return operator.inputs[operator.weight?.site.input === 0 ? 1 : 0];
}

/** What the kernels take: scales are those of a uint16 grid. */
const SIXTEEN_BITS: readonly (number | undefined)[] = [DataType.UINT16, DataType.INT16];

/** Zero points of a Softmax's output, by type, that the compiler takes for symmetric and replaces. */
const SYMMETRIC: Readonly<Partial<Record<DataType, number>>> = { [DataType.UINT16]: 2 ** 15, [DataType.INT16]: 0 };
const SYMMETRIC_SCALE = 2 ** -15;

/** Operators that a v68 computes on floats where one operand is float. */
const FLOAT_ON_V68 = ["Sub", "Div", "Min", "Max", "Mean", "Where"];

const EIGHT_BITS: readonly (number | undefined)[] = [DataType.UINT8, DataType.INT8];
const LONG_ROW = 33;
/** Elements of a Softmax, times what its largest code stands for. */
const LONG_PRODUCT = 32;
const VIEWS: readonly string[] = ["Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"];
const LARGE_PROBABILITY = 0.25;
const LEAST_WIDTH = 0.5;
const LEAST_TANH = 2 ** -6;

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
			id: "htp/softmax-zero-point",
			about: "The output of a Softmax of 8 bits has the smallest code as zero point; UINT8 128 also.",
			consequence: "wrong",
			measured: "UINT8 with zero point 1 23 dB, 25 -5 dB, with 0 42 dB, with 128 41 dB; INT8 with -128 42 dB, 0 -20 dB",
			remedy: "quantize its output with the smallest code as zero point",
			appliedBy: "legalize-operators",
			broken({ node, outputs }) {
				const { dtype, zeroPoint } = outputs[0]?.quantization ?? {};
				if (!isOnnxOp(node, "Softmax") || zeroPoint === undefined) return undefined;
				const taken = dtype === DataType.UINT8 ? [0, 128] : dtype === DataType.INT8 ? [-128] : undefined;
				if (taken === undefined || taken.includes(zeroPoint)) return undefined;
				return `the output has the zero point ${zeroPoint}, expected ${taken.join(" or ")}`;
			},
		},
		{
			id: "htp/softmax-8-bits",
			about:
				"A Softmax of 8 bits at both ends is not over more than 32 elements with an output encoding that ends below a quarter.",
			consequence: "wrong",
			measured:
				"20 to 35 dB with UINT8 and INT8, on every architecture: 128 elements up to 0.07 27 dB, 512 up to 0.02 20 to 25 dB; 33 to 60 up to 0.1 23 to 34 dB; 38 to 42 dB with 32 elements; 41 dB with a UINT16 output, which is computed on floats, 37 dB where that becomes UINT8 again",
			remedy: "quantize its output as UINT16, and that with 8 bits",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs }) {
				const [input, output] = [inputs[0]?.quantization?.dtype, outputs[0]?.quantization];
				if (!isOnnxOp(node, "Softmax") || output?.scale === undefined || output.dtype !== input) return undefined;
				const length = inputs[0]!.shape?.at(intOf(node, "axis", -1));
				const largest = output.scale * 255;
				if (!EIGHT_BITS.includes(input) || typeof length !== "number" || length < LONG_ROW) return undefined;
				if (largest >= LARGE_PROBABILITY) return undefined;
				return `its output of 8 bits is up to ${largest.toPrecision(2)}, of rows of ${length}`;
			},
		},
		{
			id: "htp/softmax-flat",
			about: "The input encoding of a Softmax, whose input and output have one type, is a half wide or more.",
			consequence: "wrong",
			measured:
				"20 dB with inputs from -0.1 to 0.1, 13 dB of 5 elements, 56 dB with -0.35 to 0.35; UINT8 26 dB; 67 dB with UINT16 in and INT16 out, which is computed on floats",
			remedy: "quantize its output with another type, and that as it was",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs }) {
				const [input, output] = [inputs[0]?.quantization, outputs[0]?.quantization];
				const range = input && codeInterval(input);
				if (!isOnnxOp(node, "Softmax") || range === undefined || output?.dtype !== input?.dtype) return undefined;
				if (range.hi - range.lo >= LEAST_WIDTH) return undefined;
				return `its input lies between ${range.lo.toPrecision(2)} and ${range.hi.toPrecision(2)}`;
			},
		},
		{
			id: "htp/softmax-right",
			about: "No MatMul reads on its right, as UINT16, what a Softmax over 32 elements or more has made.",
			consequence: "wrong",
			measured:
				"of UINT16 on the right the lower eight bits hardly count, and a Softmax over many elements has little else: 31 dB over 64 elements, 26 dB over 128, 15 dB over 625, on every architecture; 37 dB over 24; 60 dB as INT16, 38 dB with the Softmax on the left",
			remedy: "quantize it as INT16, or on v68 and v69 transpose both sides of the product",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [, right] }) {
				return isOnnxOp(node, "MatMul") ? longSoftmax(right) : undefined;
			},
		},
		{
			id: "htp/wide-right",
			about: "A MatMul of two computed values of 16 bits does not read UINT16 on its right, but for a Softmax.",
			consequence: "slow",
			since: "v73",
			measured:
				"of UINT16 on the right the lower eight bits hardly count: 40 dB with normal values that use all codes, 34, 28 and 22 dB with half, a quarter and an eighth of them, 20 to 35 dB in attention; 77, 71, 65 and 60 dB as INT16 with the zero point 0; right with 8 bits on either side; what passes by hides it, a block of an encoder has 64 dB at its output",
			remedy: "quantize it as INT16 with the zero point 0",
			appliedBy: "legalize-operators",
			broken({ node, weight, inputs: [left, right] }) {
				const { dtype, codes } = right?.quantization ?? {};
				if (!isOnnxOp(node, "MatMul") || weight !== undefined || dtype !== DataType.UINT16) return undefined;
				if (codes !== undefined || !SIXTEEN_BITS.includes(left?.quantization?.dtype)) return undefined;
				return softmaxBehind(right) === undefined ? `'${right!.value.name}' is UINT16` : undefined;
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
			id: "htp/int16-product",
			about:
				"A MatMul of two computed values reads INT16 on its right with the zero point 0 only, on v68 and v69 not at all.",
			consequence: "refused",
			measured:
				"refused with another zero point on every architecture, whatever the one on the left is, with 0 on v68; 77 and 81 dB with 0 on v73 and v81; INT8 and UINT16 with any",
			remedy: "quantize it with the zero point 0, or on v68 and v69 all as UINT16",
			appliedBy: "legalize-operators",
			broken({ node, weight, inputs: [, right] }, { architecture }) {
				const { dtype, zeroPoint, codes } = right?.quantization ?? {};
				if (!isOnnxOp(node, "MatMul") || weight !== undefined || codes !== undefined) return undefined;
				if (dtype !== DataType.INT16) return undefined;
				if (HTP_CAPABILITIES[architecture].wideProducts && zeroPoint === 0) return undefined;
				return `'${right!.value.name}' is INT16 with the zero point ${zeroPoint ?? "of several scales"}`;
			},
		},
		{
			id: "htp/product-types",
			about:
				"A MatMul of two computed values has not the type of its left side as its result's where that is INT16 and the right UINT16 or UINT8, or UINT8 and the right UINT16.",
			consequence: "refused",
			measured:
				"of all triples of UINT8, UINT16, INT16 and INT8 those three, on every architecture and of rank 2 and 4; right with another type behind, 42 and 68 dB",
			remedy: "quantize the result as UINT16 first",
			appliedBy: "legalize-operators",
			broken({ node, weight, inputs: [left, right], outputs: [result] }) {
				const [dtype, other] = [left?.quantization?.dtype, right?.quantization?.dtype];
				if (!isOnnxOp(node, "MatMul") || weight !== undefined || right?.quantization?.codes !== undefined)
					return undefined;
				if (dtype === undefined || result?.quantization?.dtype !== dtype) return undefined;
				const isRefused =
					dtype === DataType.INT16
						? other === DataType.UINT16 || other === DataType.UINT8
						: dtype === DataType.UINT8 && other === DataType.UINT16;
				return isRefused
					? `'${left!.value.name}' is ${typeName(dtype)}, as the result, and '${right!.value.name}' ${typeName(other)}`
					: undefined;
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

/** The Softmax whose result `operand` is, views aside. */
function softmaxBehind(operand: OperandFacts | undefined): Node | undefined {
	const source = sourceOf(operand?.quantization?.node.outputs[0], VIEWS);
	return source !== undefined && isOnnxOp(source, "Softmax") ? source : undefined;
}

/** What is at fault with the right side of a product that is a Softmax over many elements, as UINT16. */
function longSoftmax(right: OperandFacts | undefined): string | undefined {
	const length = right?.shape?.at(-2);
	if (right?.quantization?.dtype !== DataType.UINT16 || softmaxBehind(right) === undefined) return undefined;
	const range = codeInterval(right!.quantization!);
	if (typeof length !== "number" || range === undefined || length * range.hi < LONG_PRODUCT) return undefined;
	return `its right side is a Softmax over ${length} elements with codes up to ${range.hi.toPrecision(2)}`;
}

/** How the encoding of the Sigmoid or Tanh in front differs from the fixed one. */
function wrongEncoding(operator: OperatorFacts): string | undefined {
	const producer = producerOf(operator);
	const { dtype, scale, zeroPoint } = activation(operator)?.quantization ?? {};
	if (producer === undefined || dtype === undefined) return undefined;
	const fixed = fixedOutput(producer.op.type, dtype);
	if (fixed === undefined || (scale === fixed.scale && zeroPoint === fixed.zeroPoint)) return undefined;
	return `the output of ${producer.op.type} has the scale ${scale} and zero point ${zeroPoint}, expected ${fixed.scale} and ${fixed.zeroPoint}`;
}
