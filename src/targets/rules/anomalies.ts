import { isOnnxOp } from "../../ir/node.js";
import { bitsPerElement, type Dimension } from "../../ir/types.js";
import type { OperatorFacts } from "../operator-facts.js";
import { becomesLpbq } from "../provider-options.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import { isBlockProduct, isIntegerProduct, sourceOf } from "./producers.js";

/** A matrix of 16 rows: no batch of them. */
function hasSixteenRows(shape: readonly Dimension[] | undefined): boolean {
	return shape?.at(-2) === 16 && shape.slice(0, -2).every((dim) => dim === 1);
}

/** The same of images, [1, C, 16] or [1, C, 1, 16]. */
function hasSixteenPositions(shape: readonly Dimension[] | undefined): boolean {
	return shape?.at(-1) === 16 && shape[0] === 1 && shape.slice(2, -1).every((dim) => dim === 1);
}

/** Is the weight computed by the kernel that has this fault: on integers, but for LPBQ as it is written? */
function isConvolved(operator: OperatorFacts, { blockQuantOptimization }: RuleContext): boolean {
	const { scheme } = operator.weight ?? {};
	return scheme === "per-channel" || (scheme === "block" && blockQuantOptimization && becomesLpbq(operator));
}

export const ANOMALY_RULES: RuleGroup = {
	title: "Faults of this version of the compiler",
	rules: [
		{
			id: "htp/layer-norm-16-rows",
			about:
				"A MatMul or Gemm behind a LayerNormalization or a MatMul with float block scales does not multiply one matrix of exactly 16 rows, unless its weight is LPBQ in the double-dq form, has one scale or is float.",
			consequence: "wrong",
			measured:
				"-1 dB with weights of one scale a channel and in the exact-BQ form; right for 1 to 15, 17 and more rows, and for [2, 8] and [4, 4] rows",
			remedy: "put a Reshape to [4, 4, K] in front and one behind",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				const { node, inputs } = operator;
				if (!isOnnxOp(node, "MatMul", "Gemm") || !isConvolved(operator, context)) return undefined;
				if (!hasSixteenRows(inputs[0]?.shape) || inputs[0]!.quantization === undefined) return undefined;
				const producer = sourceOf(inputs[0]!.value, ["Reshape"]);
				if (producer === undefined) return undefined;
				if (!isOnnxOp(producer, "LayerNormalization") && !isBlockProduct(producer, context)) return undefined;
				return `its 16 rows come out of ${producer.op.type} '${producer.name}'`;
			},
		},
		{
			id: "htp/tanh-16-rows",
			about:
				"A Tanh of 16 bits behind an operator with a quantized weight has not exactly 16 rows in one matrix, or 16 positions in one line.",
			consequence: "wrong",
			measured:
				"-4 dB behind MatMul, Gemm and Conv with LPBQ weights, one scale and one a channel, on v68 too, also with Mul and Add of constants in between; right for 15, 17 and 32 rows, for [2, 8] and [4, 4], behind float block scales, with 8 bits, and with a Relu in between",
			remedy: "put a Reshape to [4, 4, N] in front and one behind",
			appliedBy: "legalize-operators",
			broken({ node, inputs }, context) {
				const [input] = inputs;
				const bits = input?.quantization?.dtype && bitsPerElement(input.quantization.dtype);
				if (!isOnnxOp(node, "Tanh") || bits !== 16) return undefined;
				const producer = sourceOf(input!.value, ["Reshape", "Mul", "Add", "Sub", "Div"]);
				if (producer === undefined || !isIntegerProduct(producer, context)) return undefined;
				const isImage = isOnnxOp(producer, "Conv", "ConvTranspose");
				if (!(isImage ? hasSixteenPositions : hasSixteenRows)(input!.shape)) return undefined;
				return `its 16 ${isImage ? "positions" : "rows"} come out of ${producer.op.type} '${producer.name}'`;
			},
		},
	],
};
