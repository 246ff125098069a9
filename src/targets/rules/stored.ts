import { isOnnxOp } from "../../ir/node.js";
import { elementCount } from "../../ir/types.js";
import { nodeLabel } from "../../ir/walk.js";
import type { OperatorFacts } from "../operator-facts.js";
import { describeReader } from "../readers.js";
import type { RuleGroup } from "../rule.js";
import { strangeReaders } from "../stored-readers.js";

/** Does the operator have several scales? */
function hasScales({ inputs }: OperatorFacts): boolean {
	const scale = inputs[1];
	if (scale?.shape?.some((dim) => typeof dim !== "number") !== false) return false;
	return elementCount(scale.shape as number[]) > 1;
}

function stored(operator: OperatorFacts, isView: boolean): string | undefined {
	const { node, inputs } = operator;
	const codes = inputs[0]?.constant;
	if (!isOnnxOp(node, "DequantizeLinear") || codes === undefined || !hasScales(operator)) return undefined;
	const [found] = strangeReaders(operator);
	return found?.isView === isView
		? `constant '${node.inputs[0]!.name}' has several scales and ${describeReader(found.node)}`
		: undefined;
}

export const STORED_RULES: RuleGroup = {
	title: "Constants and values with several scales",
	rules: [
		{
			id: "htp/weight-view",
			about:
				"Between codes with several scales and their operator there is nothing, but an Identity, and a Transpose where there is one scale a channel.",
			consequence: "refused",
			measured:
				"DequantizeLinear refused in front of a Reshape and a Cast, with float block scales in front of a Transpose; right behind Identity, with one scale behind all of them",
			remedy: "fold the operator into the weight",
			appliedBy: "fold-weight-transpose",
			broken: (operator) => stored(operator, true),
		},
		{
			id: "htp/several-scales",
			about:
				"Constant codes with several scales are a weight or a bias of MatMul, Gemm, Conv or ConvTranspose, a MatMul's on the right.",
			consequence: "refused",
			measured:
				"DequantizeLinear refused in front of Add, Mul, Sub, Max, Concat, Where, Slice, PRelu, as left operand of a MatMul and as graph output, with one scale a channel and with block scales; one scale for all is right: 66 to 72 dB",
			remedy: "store it as UINT16 with one scale, or as float",
			appliedBy: "legalize-operators",
			broken: (operator) => stored(operator, false),
		},
		{
			id: "htp/activation-scales",
			about: "What is computed is quantized with one scale.",
			consequence: "refused",
			measured:
				"QuantizeLinear with one scale a channel in front of a Relu refused on v68 and v81, DequantizeLinear of INT8 inputs in front of a Mul on v73",
			remedy: "quantize it with one scale for all channels",
			broken(operator) {
				const { node, inputs } = operator;
				const { producer } = inputs[0]?.value ?? {};
				const isGiven = isOnnxOp(node, "DequantizeLinear") && !(producer && isOnnxOp(producer, "QuantizeLinear"));
				if (!isGiven && !isOnnxOp(node, "QuantizeLinear")) return undefined;
				if (inputs[0]?.constant !== undefined || !hasScales(operator)) return undefined;
				return `${node.op.type} '${nodeLabel(node)}' has several scales`;
			},
		},
	],
};
