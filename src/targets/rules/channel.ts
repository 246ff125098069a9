import { intOf, intsOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { DataType, dataTypeName } from "../../ir/types.js";
import { eachNumber, numbersOf, scalarOf } from "../../weights/numbers.js";
import { repeatedByte } from "../../weights/repeated-byte.js";
import { HTP_CAPABILITIES } from "../capabilities.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";
import type { WeightFacts } from "../weight-facts.js";
import { activationType, takesWeightType } from "../weight-types.js";

/** The byte that all zero points of a weight with one scale a channel are; none is right for UINT4. */
const TAKEN: Readonly<Record<number, number>> = {
	[DataType.INT4]: 0,
	[DataType.INT8]: 0,
	[DataType.UINT8]: 128,
};

function hasTakenZeroPoints({ dtype, site }: WeightFacts): boolean {
	const { zeroPoint, hasZeroPoint } = site.dequantization!;
	const taken = TAKEN[dtype];
	if (taken === undefined) return false;
	if (!hasZeroPoint) return taken === 0;
	return zeroPoint !== undefined && repeatedByte(zeroPoint.tensor) === taken;
}

/** Least distance from the zero point that codes of 16 bits should reach. */
const WIDE_REACH = 2 ** 12;

/**
 * A weight whose codes have 16 bits, with one scale or one a channel. On the left of a MatMul such a product is computed on
 * floats, whatever the codes are, but beside another operand of the same type.
 */
function wideWeight(operator: OperatorFacts): WeightFacts | undefined {
	const { weight } = operator;
	const isWide = weight?.dtype === DataType.UINT16 || weight?.dtype === DataType.INT16;
	const isStored = weight?.scheme === "per-tensor" || weight?.scheme === "per-channel";
	if (!isWide || !isStored || (weight.site.input === 0 && rightQuantization(operator)?.dtype !== weight.dtype))
		return undefined;
	return weight;
}

function rightQuantization({ inputs }: OperatorFacts) {
	return inputs[1]?.quantization;
}

const MIDDLES: Readonly<Record<number, number>> = { [DataType.UINT16]: 2 ** 15, [DataType.INT16]: 0 };

export const CHANNEL_RULES: RuleGroup = {
	title: "Weights without blocks",
	rules: [
		{
			id: "htp/channel-zero-point",
			about:
				"Zero points of weights with one scale a channel are 0 for INT4 and INT8, 128 for UINT8; UINT4 codes are not taken.",
			consequence: "refused",
			measured:
				"refused for Conv, MatMul and Gemm, zero points all the same or not; UINT4 with zero points 8, too; UINT4 with 0 compiles, -16 dB",
			remedy: "store signed codes with zero points of 0, of more bits where that takes them",
			appliedBy: "legalize-operators",
			broken({ weight }) {
				if (weight?.scheme !== "per-channel" || hasTakenZeroPoints(weight)) return undefined;
				const { name, dtype } = weight;
				if (![DataType.UINT4, DataType.UINT8, DataType.INT4, DataType.INT8].includes(dtype as never)) return undefined;
				const expected = dtype === DataType.UINT4 ? "INT4" : `zero points of ${TAKEN[dtype]}`;
				return `weight '${name}', ${dataTypeName(dtype)}, has one scale a channel and zero points, expected ${expected}`;
			},
		},
		{
			id: "htp/weight-type",
			about:
				"A weight without blocks is stored as INT8, UINT8 or INT4 beside UINT8, as INT8 beside INT8, as INT8 or INT4 beside INT16; beside UINT16 also as UINT8, INT16 or UINT16. With one scale and no bias UINT4 is taken beside UINT8 and UINT16, too, and all beside INT8; UINT4 of a Gemm also with a bias.",
			consequence: "refused",
			measured:
				"of 24 pairs of types for Conv, depthwise Conv, ConvTranspose, MatMul and Gemm, on every architecture: all others are refused, with one scale a channel and with a bias",
			remedy: "store INT8, INT4 or INT16 codes around 0, or quantize what it is multiplied with as unsigned",
			appliedBy: "legalize-operators",
			broken(operator, { architecture }) {
				const { weight, node } = operator;
				const isStored = weight?.scheme === "per-tensor" || weight?.scheme === "per-channel";
				if (!isStored || weight.site.input === 0 || takesWeightType(operator, weight.dtype, architecture))
					return undefined;
				const isNamed = weight.scheme === "per-channel" && weight.dtype === DataType.UINT4;
				const beside = activationType(operator);
				if (isNamed || beside === undefined || (wideWeight(operator) && !HTP_CAPABILITIES[architecture].wideProducts))
					return undefined;
				return `weight '${weight.name}' of the ${node.op.type} is ${dataTypeName(weight.dtype)} beside ${dataTypeName(beside)}`;
			},
		},
		{
			id: "htp/int4-asymmetric",
			about: "Codes of an INT4 weight with one scale, less its zero point, fit into 4 bits.",
			consequence: "wrong",
			measured:
				"-3 to -22 dB for Conv, MatMul and Gemm where a code less the zero point is beyond -8 or 7, 55 dB else; UINT4, INT8 and UINT8 are right with any zero point",
			remedy: "store UINT4 codes, or the zero point 0",
			appliedBy: "legalize-operators",
			broken({ weight }) {
				if (weight?.scheme !== "per-tensor" || weight.dtype !== DataType.INT4 || weight.isSymmetric) return undefined;
				const { stored, dequantization } = weight.site;
				const zeroPoint = scalarOf(dequantization?.zeroPoint);
				let beyond: number | undefined;
				eachNumber(stored.tensor, (code) => {
					const value = code - (zeroPoint ?? 0);
					if (value < -8 || value > 7) beyond = code;
					return beyond === undefined;
				});
				return beyond === undefined
					? undefined
					: `weight '${weight.name}', INT4, has the code ${beyond} and the zero point ${zeroPoint}, whose difference has more than 4 bits`;
			},
		},
		{
			id: "htp/wide-codes",
			about: "Codes of a weight of 16 bits, less the zero point, reach 4096.",
			consequence: "wrong",
			since: "v73",
			measured:
				"the product of the lower eight bits of both sides is left out: with codes up to 127, as some quantizers store those of 8 bits, 26 to 37 dB, and -15 to -10 dB where activations use the lower eight bits only; with up to 1024 49 to 56 dB, 4096 62 to 68 dB, 32767 76 to 92 dB",
			remedy: "store them as INT8 or UINT8 where they fit, else times a power of two",
			appliedBy: "legalize-operators",
			broken(operator) {
				const weight = wideWeight(operator);
				const { min, max } = weight?.reach ?? {};
				if (min === undefined || max === undefined || Math.max(-min, max) >= WIDE_REACH || min === max)
					return undefined;
				return `codes of weight '${weight!.name}', less the zero point, are ${min} to ${max}, expected ${WIDE_REACH} or more of 16 bits`;
			},
		},
		{
			id: "htp/wide-zero-point",
			about:
				"The zero point of an INT16 weight is 0; that of an UINT16 one 32768 in a Gemm, where there may be one scale a channel, which other operators do not take.",
			consequence: "refused",
			since: "v73",
			measured:
				"INT16 with 5 refused for Conv, MatMul and Gemm, UINT16 with 20000 and 129 for Gemm; right for Conv and MatMul",
			remedy: "store INT16 codes with the zero point 0",
			appliedBy: "legalize-operators",
			broken(operator) {
				const weight = wideWeight(operator);
				const zeroPoint = weight?.site.dequantization?.zeroPoint;
				if (weight === undefined || weight.site.input === 0) return undefined;
				const isGemm = isOnnxOp(operator.node, "Gemm");
				const first = zeroPoint === undefined ? 0 : (numbersOf(zeroPoint.tensor)[0] ?? 0);
				const isTaken =
					weight.dtype === DataType.INT16
						? weight.isSymmetric
						: isGemm
							? first === 2 ** 15
							: weight.scheme === "per-tensor";
				return isTaken
					? undefined
					: `weight '${weight.name}', ${dataTypeName(weight.dtype)}, has ${weight.scheme === "per-tensor" ? "" : "one scale a channel and "}the zero point ${first}`;
			},
		},
		{
			id: "htp/wide-weight",
			about: "No weight has codes of 16 bits.",
			consequence: "refused",
			until: "v69",
			measured: "refused for Conv, ConvTranspose, MatMul and Gemm, INT16 and UINT16",
			remedy: "store 8 bits; each channel is rounded anew where they are not enough",
			appliedBy: "legalize-operators",
			broken(operator) {
				const weight = wideWeight(operator);
				if (weight === undefined || weight.site.input === 0) return undefined;
				return `weight '${weight.name}' is ${dataTypeName(weight.dtype)}`;
			},
		},
		{
			id: "htp/wide-dilated",
			about:
				"A Conv between codes whose weight has codes of 16 bits has dilations of 1, or steps, or computes every channel from one of its own.",
			consequence: "wrong",
			since: "v73",
			measured:
				"the lower eight bits of the weight are left out: 18 to 29 dB with codes that deviate by a twentieth to a tenth of the range above the zero point, 34 dB with three tenths, 42 dB with all of it, UINT16 and INT16, one scale and one a channel, biases, 1 to 64 channels, groups, two outputs a channel, kernels of 1, [1, 3], [3, 1], 3 and 5, of one and two dimensions, dilations of [1, 2], [2, 1], 2, 3 and 4, also along an axis where they say nothing, on v73, v79 and v81; 56 to 73 dB with dilations of 1, 82 to 84 dB with steps of 2 or 3 in either direction, 57 to 84 dB depthwise, 68 dB with a float on either side or an Add behind, 79 dB with 8 bits",
			remedy:
				"leave dilations out where they say nothing, else store 8 bits; each channel is rounded anew where they are not enough",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, result } = operator;
				const weight = wideWeight(operator);
				const dilations = intsOf(node, "dilations");
				const isDilated = isOnnxOp(node, "Conv") && dilations.some((dilation) => dilation > 1);
				if (weight === undefined || !isDilated || intsOf(node, "strides").some((step) => step > 1)) return undefined;
				const isOwn = weight.channels === intOf(node, "group", 1) && weight.shape[1] === 1;
				if (isOwn || activationType(operator) !== DataType.UINT16 || result === undefined) return undefined;
				return `weight '${weight.name}' is ${dataTypeName(weight.dtype)}, and the dilations are [${dilations.join(", ")}]`;
			},
		},
		{
			id: "htp/wide-left",
			about:
				"A constant of 16 bits on the left of a MatMul has another type than what it is multiplied with, unless the zero point of that is 32768 for UINT16, 0 for INT16, from v69 on.",
			consequence: "refused",
			measured:
				"MatMul refused with UINT16 beside UINT16 of the zero point 34326 or 0 and INT16 beside INT16 of 700, whatever the constant's own is, on v68 with any; 84 to 93 dB with the zero point in the middle, 68 to 71 dB with UINT16 beside INT16 and the other way round, 84 to 87 dB on v68",
			remedy: "store the same codes as the other type of 16 bits",
			appliedBy: "legalize-operators",
			broken(operator, { architecture }) {
				const weight = wideWeight(operator);
				const zeroPoint = rightQuantization(operator)?.zeroPoint;
				if (weight === undefined || weight.site.input !== 0) return undefined;
				if (architecture !== "v68" && zeroPoint === MIDDLES[weight.dtype]) return undefined;
				const type = dataTypeName(weight.dtype);
				return `weight '${weight.name}' is ${type}, as is '${operator.inputs[1]!.value.name}' with the zero point ${zeroPoint ?? "of several scales"}`;
			},
		},
	],
};
