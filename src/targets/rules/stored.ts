import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { nodeLabel } from "../../ir/walk.js";
import type { OperatorFacts } from "../operator-facts.js";
import { describeReader } from "../readers.js";
import type { RuleGroup } from "../rule.js";
import { LINEAR } from "./producers.js";

/** Operators that fold-weight-transpose and normalize-weights take out of the way of a weight. */
const VIEWS = ["Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast"];

/** Does the operator have several scales? */
function hasScales({ inputs }: OperatorFacts): boolean {
	const scale = inputs[1];
	if (scale?.shape?.some((dim) => typeof dim !== "number") !== false) return false;
	return elementCount(scale.shape as number[]) > 1;
}

interface Reader {
	readonly node: Node | "output";
	/** Is it a view, behind which the weight is one? */
	readonly isView: boolean;
}

/** What reads codes with several scales where only an operator may that multiplies with them, or adds them to its products. */
function strangeReader({ node, inputs }: OperatorFacts): Reader | undefined {
	const isInt32 = inputs[0]?.constant?.dtype === DataType.INT32;
	const isLpbq = inputs[1]?.quantization !== undefined;
	const isBlock = node.attributes.has("block_size");
	const search = (value: Value): Reader | undefined => {
		if (value.isGraphOutput) return { node: "output", isView: false };
		for (const { node: reader, index } of value.uses) {
			const isOperand = isOnnxOp(reader, ...LINEAR) && (index > 0 || isLpbq);
			if (isOperand || (isOnnxOp(reader, "DequantizeLinear") && index === 1)) continue;
			if (isOnnxOp(reader, "Gather", "QuantizeLinear") || (isInt32 && isOnnxOp(reader, "Add"))) continue;
			const isSeen = isOnnxOp(reader, "Identity") || (isOnnxOp(reader, "Transpose") && !isBlock) || isLpbq;
			if (isOnnxOp(reader, "Identity", ...VIEWS)) {
				const behind = search(reader.outputs[0]!);
				if (behind !== undefined) return behind;
				if (!isSeen) return { node: reader, isView: true };
				continue;
			}
			return { node: reader, isView: false };
		}
		return undefined;
	};
	return search(node.outputs[0]!);
}

function stored(operator: OperatorFacts, isView: boolean): string | undefined {
	const { node, inputs } = operator;
	const codes = inputs[0]?.constant;
	if (!isOnnxOp(node, "DequantizeLinear") || codes === undefined || !hasScales(operator)) return undefined;
	const found = strangeReader(operator);
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
			remedy: "store it with one scale, or as float",
			broken: (operator) => stored(operator, false),
		},
		{
			id: "htp/activation-scales",
			about: "What is computed is quantized with one scale.",
			consequence: "refused",
			measured: "QuantizeLinear with one scale a channel in front of a Relu refused on v68 and v81",
			remedy: "quantize it with one scale for all channels",
			broken(operator) {
				const { node, inputs } = operator;
				if (!isOnnxOp(node, "QuantizeLinear") || inputs[0]?.constant !== undefined || !hasScales(operator))
					return undefined;
				return `QuantizeLinear '${nodeLabel(node)}' has several scales`;
			},
		},
	],
};
