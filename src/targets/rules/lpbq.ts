import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType, dataTypeName } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { nodeLabel } from "../../ir/walk.js";
import {
	accumulatorRange,
	centered,
	fitsBits,
	type IntegerRange,
	linearRange,
	productRange,
	rangeOfBits,
} from "../../quant/range.js";
import { constantOf } from "../../weights/constant.js";
import { LARGEST_BLOCK_SCALE } from "../capabilities.js";
import { isComputedLpbqShape } from "../lpbq-blocks.js";
import type { OperatorFacts } from "../operator-facts.js";
import { describeReader, resultOf, unquantizedReader } from "../readers.js";
import type { RuleGroup } from "../rule.js";
import type { WeightFacts } from "../weight-facts.js";

/** The weight of a MatMul or Gemm whose block scales are made by a DequantizeLinear of their own. */
function lpbqWeight({ node, weight }: OperatorFacts): WeightFacts | undefined {
	return weight?.scheme === "lpbq" && isOnnxOp(node, "MatMul", "Gemm") ? weight : undefined;
}

/** The constant that an Add behind an LPBQ MatMul adds with no QuantizeLinear in between, and how it is stored. */
function fusedAddend({ node, weight }: OperatorFacts): { readonly add: Node; readonly dtype: DataType } | undefined {
	if (weight?.scheme !== "lpbq" || !isOnnxOp(node, "MatMul")) return undefined;
	const [use, ...others] = node.outputs[0]!.uses;
	if (use === undefined || others.length > 0 || !isOnnxOp(use.node, "Add")) return undefined;
	const addend = use.node.inputs[1 - use.index];
	const stored = constantOf(addend) ?? (isDequantized(addend) ? constantOf(addend?.producer?.inputs[0]) : undefined);
	return stored && { add: use.node, dtype: stored.tensor.dtype };
}

function isDequantized(value: Value | undefined): boolean {
	return value?.producer !== undefined && isOnnxOp(value.producer, "DequantizeLinear");
}

/** What an 8-bit activation is once its zero point is taken away; undefined for others. */
function eightBitActivation({ inputs }: OperatorFacts): IntegerRange | undefined {
	const quantization = inputs[0]?.quantization;
	if (quantization?.zeroPoint === undefined) return undefined;
	const { dtype, zeroPoint } = quantization;
	if (dtype !== DataType.UINT8 && dtype !== DataType.INT8) return undefined;
	return centered(rangeOfBits(8, dtype === DataType.INT8), zeroPoint);
}

/** The largest sum that some channel can come to where that does not fit 32 bits. Reads codes only where K alone does not tell. */
function overflowingSum(operator: OperatorFacts): number | undefined {
	const weight = lpbqWeight(operator);
	const activation = eightBitActivation(operator);
	if (weight === undefined || activation === undefined) return undefined;
	const { depth, largestInteger } = weight;
	const worst = linearRange({ depth, activation, weight: rangeOfBits(4), largestBlockScale: largestInteger });
	if (worst.accumulatorFitsInt32) return undefined;
	for (const { positive, negative } of weight.channelSums()) {
		const range = accumulatorRange(activation, positive, negative);
		if (!fitsBits(range, 32)) return Math.max(-range.min, range.max);
	}
	return undefined;
}

export const LPBQ_RULES: RuleGroup = {
	title: "LPBQ weights: int4 codes, integer block scales, channel scales",
	rules: [
		{
			id: "htp/lpbq-block-size",
			about:
				"Blocks of LPBQ are of 16 or a multiple of 32, and K is a multiple of 32 and of the block size; with 32 channels at most, or fewer than 32 inputs, blocks are a multiple of 8 that divides K.",
			consequence: "wrong",
			since: "v69",
			measured:
				"-15 to 4 dB for blocks of 4, 8, 24, 40, 48, 80; K = 48, 80, 112 in blocks of 16; a last block cut short; right with 32 channels, 82 to 85 dB, but for blocks of 4",
			remedy: "pad K with zero rows, cut the blocks anew, or store one scale a channel",
			appliedBy: "legalize-weights",
			broken(operator) {
				const weight = lpbqWeight(operator);
				if (weight === undefined || weight.depth === 0) return undefined;
				const { depth, blockSize, channels } = weight;
				if (isComputedLpbqShape(depth, blockSize, channels)) return undefined;
				return `weight '${weight.name}' has K = ${depth} in blocks of ${blockSize}, expected blocks of 16 or a multiple of 32, and K a multiple of 32 and of the block size`;
			},
		},
		{
			id: "htp/lpbq-single-channel",
			about: "An LPBQ weight has two output channels or more.",
			consequence: "refused",
			measured: "MatMul refused for N = 1; N = 2 is right, 72 dB",
			remedy: "store it in the exact-BQ form (77 dB) or with one scale a channel",
			appliedBy: "legalize-weights",
			broken(operator) {
				const weight = lpbqWeight(operator);
				return weight?.channels === 1 ? `weight '${weight.name}' has N = 1, expected 2 or more` : undefined;
			},
		},
		{
			id: "htp/lpbq-rank",
			about: "An LPBQ weight is a matrix.",
			consequence: "refused",
			measured: "weights of rank 3 and 4 are refused",
			remedy: "drop the leading dimensions of 1",
			appliedBy: "legalize-weights",
			broken(operator) {
				const weight = lpbqWeight(operator);
				if (weight === undefined || weight.shape.length === 2) return undefined;
				return `weight '${weight.name}' has rank ${weight.shape.length}, expected 2`;
			},
		},
		{
			id: "htp/lpbq-indirect",
			about: "An LPBQ weight is stored [K, N]: nothing stands between it and its operator.",
			consequence: "refused",
			measured: "DequantizeLinear refused when a Transpose follows it",
			remedy: "fold the operator into the weight",
			appliedBy: "fold-weight-transpose",
			broken(operator) {
				const weight = lpbqWeight(operator);
				if (weight?.indirect === undefined) return undefined;
				return `${weight.indirect.op.type} '${nodeLabel(weight.indirect)}' stands between weight '${weight.name}' and its operator`;
			},
		},
		{
			id: "htp/lpbq-left",
			about: "An LPBQ weight is the right operand.",
			consequence: "refused",
			measured: "MatMul with the weight on the left is refused",
			remedy: "transpose both sides of the product, or store the weight with one scale a channel",
			broken(operator) {
				const weight = lpbqWeight(operator);
				if (weight === undefined || weight.site.input !== 0) return undefined;
				return `weight '${weight.name}' is the left operand`;
			},
		},
		{
			id: "htp/lpbq-zero-point",
			about: "An LPBQ weight has a zero point of its own type, all zero.",
			consequence: "refused",
			measured: "without an INT4 zero point the weight is taken for int8 and refused",
			remedy: "add an INT4 zero point of zeros",
			appliedBy: "legalize-weights",
			broken(operator) {
				const weight = lpbqWeight(operator);
				if (weight === undefined || weight.site.dequantization?.hasZeroPoint !== false) return undefined;
				return `weight '${weight.name}' has no zero point`;
			},
		},
		{
			id: "htp/lpbq-asymmetric",
			about: "The zero points of an LPBQ weight are zero.",
			consequence: "wrong",
			measured: "UINT4 with zero point 8: -8 dB, the sign of the result is turned",
			remedy: "store INT4 codes with zero points of zero",
			appliedBy: "legalize-weights",
			broken(operator) {
				const weight = lpbqWeight(operator);
				if (weight === undefined || weight.isSymmetric) return undefined;
				return `weight '${weight.name}', ${dataTypeName(weight.dtype)}, has zero points other than 0`;
			},
		},
		{
			id: "htp/lpbq-codes",
			about: "The codes of an LPBQ weight are INT4.",
			consequence: "refused",
			measured: "INT8 codes are refused",
			remedy: "store the weight as INT4, or INT8 with one scale a channel",
			appliedBy: "legalize-weights",
			broken(operator) {
				const weight = lpbqWeight(operator);
				if (weight === undefined || weight.dtype === DataType.INT4 || weight.dtype === DataType.UINT4) return undefined;
				return `weight '${weight.name}' is ${dataTypeName(weight.dtype)}, expected INT4`;
			},
		},
		{
			id: "htp/lpbq-integer-type",
			about: "The integer block scales of LPBQ are constants of type UINT8.",
			consequence: "refused",
			measured: "INT8 and UINT16 are refused",
			remedy: "store them as UINT8",
			appliedBy: "legalize-weights",
			broken(operator) {
				const weight = lpbqWeight(operator);
				if (weight === undefined || weight.integerScales?.dtype === DataType.UINT8) return undefined;
				const type = weight.integerScales === undefined ? "computed" : dataTypeName(weight.integerScales.dtype);
				return `the integer block scales of weight '${weight.name}' are ${type}, expected UINT8 constants`;
			},
		},
		{
			id: "htp/lpbq-integer-range",
			about: "The integer block scales of LPBQ are 16 at most, so that their products with the codes fit eight bits.",
			consequence: "wrong",
			measured: "18 times 7 is right, 19 times 7 is not: -12 dB; 255: -4 dB",
			remedy: "fit the scales anew with integers from 1 to 16",
			appliedBy: "lpbq-to-bq",
			broken(operator) {
				const weight = lpbqWeight(operator);
				if (weight === undefined || weight.largestInteger <= LARGEST_BLOCK_SCALE) return undefined;
				const { min, max } = productRange(rangeOfBits(4), { min: 0, max: weight.largestInteger });
				return `weight '${weight.name}' has integer block scales up to ${weight.largestInteger}, expected ${LARGEST_BLOCK_SCALE} at most: times codes they can be ${min} to ${max}`;
			},
		},
		{
			id: "htp/lpbq-accumulator",
			about: "The sums of codes times codes of an LPBQ operator with 8-bit activations fit 32 bits.",
			consequence: "wrong",
			measured:
				"right with sums up to 2^31 - 1, wrong from 2^31 on; with 16-bit activations right up to 2^35, which is less: their codes are 257 times as large",
			remedy: "cut the inputs in two, multiply both and add",
			broken(operator) {
				const sum = overflowingSum(operator);
				if (sum === undefined) return undefined;
				const { name, depth } = operator.weight!;
				return `the sums of weight '${name}', K = ${depth}, can reach 2^${Math.log2(sum).toFixed(2)}, expected less than 2^31`;
			},
		},
		{
			id: "htp/lpbq-add-fused",
			about: "A QuantizeLinear stands between an LPBQ MatMul and an Add of a float constant.",
			consequence: "wrong",
			measured: "0.5 dB: ONNX Runtime makes a Gemm of both, whose integer block scales are read in the wrong order",
			remedy: "put QuantizeLinear and DequantizeLinear between them",
			appliedBy: "separate-matmul-outputs",
			needsEncodings: true,
			broken(operator) {
				const fused = fusedAddend(operator);
				if (fused === undefined || fused.dtype !== DataType.FLOAT) return undefined;
				return `Add '${nodeLabel(fused.add)}' reads the result of the LPBQ MatMul with no QuantizeLinear in between`;
			},
		},
		{
			id: "htp/lpbq-add-crash",
			about: "A QuantizeLinear stands between an LPBQ MatMul and an Add of a dequantized constant.",
			consequence: "crash",
			measured: "segmentation fault with a UINT16 constant",
			remedy: "put QuantizeLinear and DequantizeLinear between them",
			appliedBy: "separate-matmul-outputs",
			needsEncodings: true,
			broken(operator) {
				const fused = fusedAddend(operator);
				if (fused === undefined || fused.dtype === DataType.FLOAT || fused.dtype === DataType.INT32) return undefined;
				return `Add '${nodeLabel(fused.add)}' adds a dequantized ${dataTypeName(fused.dtype)} constant to the result of the LPBQ MatMul with no QuantizeLinear in between`;
			},
		},
		{
			id: "htp/lpbq-output",
			about:
				"The result of an LPBQ operator goes into one QuantizeLinear, through Reshape and Transpose at most, and a Relu or Clip directly behind it that the QuantizeLinear makes superfluous.",
			consequence: "refused",
			measured:
				"both DequantizeLinear of the weight refused before Relu, Gelu, Sigmoid, Softmax, a residual Add, two readers, a float graph output; right with a Relu in front of a zero point of 0, 88 dB",
			remedy: "put QuantizeLinear and DequantizeLinear behind it",
			appliedBy: "separate-matmul-outputs",
			needsEncodings: true,
			broken(operator) {
				if (lpbqWeight(operator) === undefined) return undefined;
				const fused = fusedAddend(operator);
				if (fused !== undefined && fused.dtype !== DataType.INT32) return undefined;
				const reader = unquantizedReader(fused === undefined ? resultOf(operator) : operator.node.outputs[0]!);
				if (reader === undefined) return undefined;
				return `the result of the LPBQ ${operator.node.op.type} ${describeReader(reader)}, expected one QuantizeLinear`;
			},
		},
	],
};
