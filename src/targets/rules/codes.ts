import { isOnnxOp } from "../../ir/node.js";
import { nodeLabel } from "../../ir/walk.js";
import { constantOf } from "../../weights/constant.js";
import { otherEncoding } from "../code-encodings.js";
import type { OperatorFacts } from "../operator-facts.js";
import { rawCodes } from "../raw-codes.js";
import type { RuleGroup } from "../rule.js";

/** What reads or makes the same codes in another encoding, said of constants or of others. */
function conflict({ node }: OperatorFacts, isConstant: boolean): string | undefined {
	const codes = node.inputs[0];
	if (!isOnnxOp(node, "DequantizeLinear") || (constantOf(codes) !== undefined) !== isConstant) return undefined;
	const other = otherEncoding(node);
	if (other === undefined) return undefined;
	return `codes '${codes!.name}' have another scale or zero point in ${other.op.type} '${nodeLabel(other)}'`;
}

export const CODE_RULES: RuleGroup = {
	title: "Codes and their encodings",
	rules: [
		{
			id: "htp/shared-codes",
			about: "All DequantizeLinear that read a constant have the same scales and zero points.",
			consequence: "wrong",
			measured:
				"the compiler takes one of the encodings for all: with a scale four times as large -6 dB for a factor, 2 dB for weights of Conv, ConvTranspose and Gemm, LPBQ and a table, 15 dB for a bias; right for INT8 weights of MatMul and for zeros",
			remedy: "give each its own copy of the codes",
			appliedBy: "legalize-operators",
			broken: (operator) => conflict(operator, true),
		},
		{
			id: "htp/codes-encoding",
			about: "A DequantizeLinear has the scale and zero point of the QuantizeLinear in front, and of others beside it.",
			consequence: "wrong",
			measured: "0 dB in front of MatMul and as a result, -10 dB in front of Mul, with half the scale",
			remedy: "use the scale and zero point of the QuantizeLinear, and put a Mul behind it",
			broken: (operator) => conflict(operator, false),
		},
		{
			id: "htp/raw-codes",
			about:
				"Nothing but DequantizeLinear and Transpose reads what a QuantizeLinear has made, and no other operator makes what a DequantizeLinear reads of an input.",
			consequence: "refused",
			measured: "Concat, Reshape, Flatten, Squeeze, Slice, Gather and MaxPool refused, with all around them, on v73",
			remedy: "put DequantizeLinear in front and QuantizeLinear behind it, in the encoding that the codes have",
			appliedBy: "legalize-operators",
			broken({ node }) {
				const codes = rawCodes(node);
				return codes && `${node.op.type} reads the codes '${codes.name}'`;
			},
		},
	],
};
