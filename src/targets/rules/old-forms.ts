import { stringOf } from "../../ir/attribute.js";
import { isOnnxOp, isStandardDomain } from "../../ir/node.js";
import { clipLimits } from "../clip-limits.js";
import type { OperatorFacts } from "../operator-facts.js";
import { codeInterval } from "../readers.js";
import type { RuleGroup } from "../rule.js";

/** The first operator set that the compiler takes anything of. */
const FIRST_SET = 7;

/** What the compiler reads otherwise of an operator of an old set. */
function misread({ node, opset, outputs: [output] }: OperatorFacts): string | undefined {
	if (isOnnxOp(node, "RoiAlign") && opset < 16) return "that the pixels of a RoiAlign are not moved by half of one";
	if (opset >= 11) return undefined;
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
			id: "htp/first-set",
			about: `The operator set is ${FIRST_SET} or later.`,
			consequence: "refused",
			measured: `58 models of operator set 6, all that there were, with Conv, Elu, MatMul, Softmax, Pad and others, left to the CPU on v79, Relu and MatMul on v68, v73 and v81, too; the same in set ${FIRST_SET} right`,
			remedy: "raise the operator set",
			appliedBy: "upgrade-opset",
			broken({ node, opset }, { known }) {
				if (!isStandardDomain(node.op.domain) || opset >= FIRST_SET || known.isFolded(node)) return undefined;
				return `in operator set ${opset} no operator is taken`;
			},
		},
		{
			id: "htp/old-form",
			about: "Clip and linear Resize are those of operator set 11 or later, RoiAlign that of 16.",
			consequence: "wrong",
			measured:
				"of sets 7 to 10 limits of a Clip are not kept (-11 to 6 dB behind Conv, Relu, MatMul and inputs, on floats and codes), a linear Resize takes samples half an element beside (1 to 6 dB), on v68, v73, v79 and v81; right are a Clip whose quantizer cuts off as much, a Pad, a nearest Resize, Upsample, Slice, Squeeze, reductions, Softmax and Split; from set 11 on 60 dB and more; RoiAlign of sets 10 and 15 0.3 to 2.9 dB on v73, v79 and v81, from 16 on 70 dB",
			remedy: "raise the operator set",
			appliedBy: "upgrade-opset",
			broken(operator, { known }) {
				if (known.isFolded(operator.node)) return undefined;
				const what = misread(operator);
				return what && `in operator set ${operator.opset} the compiler does not know ${what}`;
			},
		},
	],
};
