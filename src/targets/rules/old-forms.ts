import { stringOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { clipLimits } from "../clip-limits.js";
import type { OperatorFacts } from "../operator-facts.js";
import { codeInterval } from "../readers.js";
import type { RuleGroup } from "../rule.js";

/** What the compiler reads otherwise of an operator of a set below 11. */
function misread({ node, outputs: [output] }: OperatorFacts): string | undefined {
	if (isOnnxOp(node, "Clip")) {
		const limits = clipLimits(node);
		const range = output?.quantization && codeInterval(output.quantization);
		if (limits === undefined || (range !== undefined && range.lo >= limits.lo && range.hi <= limits.hi))
			return undefined;
		return Number.isFinite(limits.lo) || Number.isFinite(limits.hi) ? "the limits of a Clip" : undefined;
	}
	const isInterpolated = isOnnxOp(node, "Resize") && stringOf(node, "mode") === "linear";
	return isInterpolated ? "the places that a linear Resize takes samples at" : undefined;
}

export const OLD_FORM_RULES: RuleGroup = {
	title: "Old operator sets",
	rules: [
		{
			id: "htp/old-form",
			about: "Clip and linear Resize are those of operator set 11 or later.",
			consequence: "wrong",
			measured:
				"of sets 7 to 10 limits of a Clip are not kept (-11 to 6 dB behind Conv, Relu, MatMul and inputs, on floats and codes), a linear Resize takes samples half an element beside (1 to 6 dB), on v68, v73, v79 and v81; right are a Clip whose quantizer cuts off as much, a Pad, a nearest Resize, Upsample, Slice, Squeeze, reductions, Softmax and Split; from set 11 on 60 dB and more",
			remedy: "raise the operator set",
			appliedBy: "upgrade-opset",
			broken(operator, { known }) {
				if (operator.opset >= 11 || known.isFolded(operator.node)) return undefined;
				const what = misread(operator);
				return what && `in operator set ${operator.opset} the compiler does not know ${what}`;
			},
		},
	],
};
