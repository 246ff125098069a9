import { isOnnxOp } from "../../ir/node.js";
import { bitsPerElement, DataType, dataTypeName } from "../../ir/types.js";
import { LARGEST_BLOCK_SCALE } from "../capabilities.js";
import { fp16Fault, isFloatBlockShape } from "../float-blocks.js";
import { isComputedLpbqShape } from "../lpbq-blocks.js";
import type { OperatorFacts, QuantizationFacts } from "../operator-facts.js";
import { becomesLpbq as canBecomeLpbq } from "../provider-options.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import type { WeightFacts } from "../weight-facts.js";

function blockWeight({ weight }: OperatorFacts): WeightFacts | undefined {
	return weight?.scheme === "block" ? weight : undefined;
}

/** Does QNN make LPBQ of the weight? */
function becomesLpbq(operator: OperatorFacts, { blockQuantOptimization }: RuleContext): boolean {
	return blockQuantOptimization && canBecomeLpbq(operator);
}

function batchOf({ inputs, weight }: OperatorFacts): number | undefined {
	const shape = inputs[weight?.site.input === 0 ? 1 : 0]?.shape;
	return shape?.slice(0, -2).reduce<number>((product, dim) => product * (typeof dim === "number" ? dim : 1), 1);
}

/** Leading dimensions multiplied. */
function batchOfWeight({ shape }: WeightFacts): number {
	return shape.slice(0, -2).reduce((product, dim) => product * dim, 1);
}

function codesOf(quantization: QuantizationFacts | undefined) {
	const { dtype, scale, zeroPoint } = quantization ?? {};
	return dtype === undefined || scale === undefined || zeroPoint === undefined
		? undefined
		: { dtype, scale, zeroPoint };
}

export const BLOCK_RULES: RuleGroup = {
	title: "Weights with float block scales",
	rules: [
		{
			id: "htp/block-v68",
			about: "v68 has no block scales but those of LPBQ.",
			consequence: "refused",
			until: "v68",
			measured: "MatMul and Conv refused, with the exact-BQ form too where enable_block_quant_weight_optimization is 0",
			remedy: "make the weight LPBQ",
			appliedBy: "bq-to-lpbq",
			needsEncodings: true,
			broken(operator, context) {
				const weight = blockWeight(operator);
				if (weight === undefined || isOnnxOp(operator.node, "Gemm") || becomesLpbq(operator, context)) return undefined;
				return `weight '${weight.name}' has float block scales`;
			},
		},
		{
			id: "htp/block-zero-point",
			about:
				"Weights with block scales are symmetric: INT4 or INT8 with zero points of zero, or UINT4 or UINT8 without any.",
			consequence: "wrong",
			measured: "INT4 with zero points 0 dB; UINT4 with zero point 8 -13 dB; UINT8 -12 dB",
			remedy: "store INT4 codes with zero points of zero, or one scale a channel",
			appliedBy: "legalize-weights",
			broken(operator) {
				const weight = blockWeight(operator);
				const dequantization = weight?.site.dequantization;
				if (weight === undefined || dequantization?.hasZeroPoint !== true) return undefined;
				if (weight.isSymmetric && weight.dtype !== DataType.UINT4 && weight.dtype !== DataType.UINT8) return undefined;
				return `weight '${weight.name}', ${dataTypeName(weight.dtype)}, has ${weight.isSymmetric ? "a zero point" : "zero points other than 0"}`;
			},
		},
		{
			id: "htp/block-rounded",
			about:
				"Where one weight of a model for v68 is in the exact-BQ form, so that QNN is to make LPBQ of block scales, all are.",
			consequence: "wrong",
			until: "v68",
			measured: "20 to 36 dB: QNN rounds other scales to 1 to 16 times a sixteenth of the channel's largest",
			remedy: "make all of them LPBQ",
			appliedBy: "bq-to-lpbq",
			broken(operator, context) {
				const weight = blockWeight(operator);
				if (weight === undefined || !becomesLpbq(operator, context) || weight.isExact) return undefined;
				return `the block scales of weight '${weight.name}' are ${(weight.exact.worst * 100).toFixed(1)} % off 1 to 16 times a channel scale`;
			},
		},
		{
			id: "htp/exact-block-size",
			about:
				"Blocks of the exact-BQ form are of 16 or a multiple of 32, and K is a multiple of 32 and of the block size; with 32 channels at most, or fewer than 32 inputs, blocks are a multiple of 8 that divides K.",
			consequence: "wrong",
			measured:
				"K = 80 in blocks of 16: -0.2 dB; K = 100 in blocks of 32: -15 dB; blocks of 8: -10 dB or a segmentation fault; with 32 channels K = 48 in blocks of 16 is right, 82 dB, with 33 it is not, 33 dB; blocks of 4 -9 dB",
			remedy: "pad K with zero rows, cut the blocks anew, or store one scale a channel",
			appliedBy: "legalize-weights",
			broken(operator, context) {
				const weight = blockWeight(operator);
				if (weight === undefined || !becomesLpbq(operator, context)) return undefined;
				const { depth, blockSize, channels } = weight;
				if (isComputedLpbqShape(depth, blockSize, channels)) return undefined;
				return `weight '${weight.name}' has K = ${depth} in blocks of ${blockSize}, expected blocks of 16 or a multiple of 32, and K a multiple of 32 and of the block size`;
			},
		},
		{
			id: "htp/block-size",
			about: "Float block scales are for blocks of a multiple of 8, INT8 of 4, that divides K.",
			consequence: "refused",
			since: "v69",
			measured:
				"INT4: blocks of 4, 12 and a last block cut short are refused; 8, 24, 40, 48 are right; INT8: 2, 3 and 33 are refused, 4, 12 and 20 right",
			remedy: "cut the blocks anew, or store one scale a channel",
			appliedBy: "legalize-weights",
			broken(operator, context) {
				const weight = blockWeight(operator);
				if (weight === undefined || becomesLpbq(operator, context) || weight.depth === 0) return undefined;
				if (isFloatBlockShape(weight.dtype, weight.depth, weight.blockSize)) return undefined;
				return `weight '${weight.name}' has K = ${weight.depth} in blocks of ${weight.blockSize}, expected a multiple of ${bitsPerElement(weight.dtype) === 8 ? 4 : 8} that divides K`;
			},
		},
		{
			id: "htp/block-rank",
			about: "A MatMul's weight with float block scales is a matrix.",
			consequence: "wrong",
			measured: "[3, 64, 20]: -27 dB, on v68 too; [1, 64, 20]: 69 dB",
			remedy: "drop the leading dimensions of 1, or store one scale a column",
			appliedBy: "legalize-weights",
			broken(operator) {
				const weight = blockWeight(operator);
				if (weight === undefined || !isOnnxOp(operator.node, "MatMul") || batchOfWeight(weight) === 1) return undefined;
				return `weight '${weight.name}' has shape [${weight.shape.join(", ")}], expected a matrix`;
			},
		},
		{
			id: "htp/block-range",
			about: "Float block scales, what they multiply and the result lie in the range of fp16.",
			consequence: "wrong",
			since: "v69",
			measured:
				"-10 dB with inputs up to 2^17, 24 dB with results above 65504; 31 dB with block scales of 2^-21, 28 dB with inputs up to 2^-20",
			remedy: "make the weight LPBQ, or store one scale a channel",
			appliedBy: "legalize-weights",
			broken(operator, context) {
				const weight = blockWeight(operator);
				if (weight === undefined || becomesLpbq(operator, context)) return undefined;
				const input = codesOf(operator.inputs[weight.site.input === 0 ? 1 : 0]?.quantization);
				const largest = weight.exact.channelScales.reduce((a, b) => Math.max(a, b), 0) * LARGEST_BLOCK_SCALE;
				const fault = fp16Fault(weight.dtype, largest, input, codesOf(operator.result));
				return fault && `weight '${weight.name}' or its activations exceed fp16: ${fault}`;
			},
		},
		{
			id: "htp/block-batch",
			about: "A MatMul with float block scales multiplies one matrix: all dimensions but the last two are 1.",
			consequence: "refused",
			since: "v69",
			measured: "memory allocation error when the graph is finalized, also where the CPU is a fallback",
			remedy: "make the weight LPBQ, or put a Reshape around the MatMul",
			appliedBy: "bq-to-lpbq",
			needsEncodings: true,
			broken(operator, context) {
				const weight = blockWeight(operator);
				if (weight === undefined || !isOnnxOp(operator.node, "MatMul") || becomesLpbq(operator, context))
					return undefined;
				const batch = batchOf(operator) ?? 1;
				return batch > 1 ? `it multiplies ${batch} matrices with weight '${weight.name}'` : undefined;
			},
		},
		{
			id: "htp/block-fp16",
			about: "Float block scales are computed in fp16.",
			consequence: "slow",
			since: "v69",
			measured: "67 dB, where LPBQ has 77 on v73 and later",
			remedy: "make the weight LPBQ",
			appliedBy: "bq-to-lpbq",
			needsEncodings: true,
			broken(operator, context) {
				const weight = blockWeight(operator);
				if (weight === undefined || becomesLpbq(operator, context)) return undefined;
				return `weight '${weight.name}' has float block scales`;
			},
		},
	],
};
