import { DataType, dataTypeName } from "../../ir/types.js";
import { eachNumber, scalarOf } from "../../weights/numbers.js";
import { repeatedByte } from "../../weights/repeated-byte.js";
import type { RuleGroup } from "../rule.js";
import type { WeightFacts } from "../weight-facts.js";

/** The byte that all zero points of a weight with one scale a channel are; none is right for UINT4. */
const TAKEN: Readonly<Record<number, number>> = {
	[DataType.INT4]: 0,
	[DataType.INT8]: 0,
	[DataType.UINT8]: 128,
};

function hasTakenZeroPoints({ dtype, site }: WeightFacts): boolean {
	const { zeroPoint, hasZeroPoint } = site.dequantization!;
	const taken = TAKEN[dtype];
	if (!hasZeroPoint) return taken === 0;
	return zeroPoint !== undefined && repeatedByte(zeroPoint.tensor) === taken;
}

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
			remedy: "store signed codes with zero points of 0",
			appliedBy: "normalize-weights",
			broken({ weight }) {
				if (weight?.scheme !== "per-channel" || hasTakenZeroPoints(weight)) return undefined;
				const { name, dtype } = weight;
				if (![DataType.UINT4, DataType.UINT8, DataType.INT4, DataType.INT8].includes(dtype as never)) return undefined;
				const expected = dtype === DataType.UINT4 ? "INT4" : `zero points of ${TAKEN[dtype]}`;
				return `weight '${name}', ${dataTypeName(dtype)}, has one scale a channel and zero points, expected ${expected}`;
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
	],
};
