import { intOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { DataType, dataTypeName } from "../../ir/types.js";
import { numbersOf } from "../../weights/numbers.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";

function isGemm({ node, weight }: OperatorFacts, scheme: "lpbq" | "block"): boolean {
	return isOnnxOp(node, "Gemm") && weight?.scheme === scheme;
}

function factor({ node }: OperatorFacts, name: "alpha" | "beta"): number {
	const attribute = node.attributes.get(name);
	return attribute?.kind === "float" ? attribute.value : 1;
}

export const GEMM_RULES: RuleGroup = {
	title: "Gemm",
	rules: [
		{
			id: "htp/lpbq-gemm-transposed",
			about: "A Gemm with an LPBQ weight has transB = 1.",
			consequence: "wrong",
			measured: "0.5 dB: the integer block scales are not transposed with the weight",
			remedy: "make it a MatMul",
			appliedBy: "lower-gemm",
			broken(operator) {
				if (!isGemm(operator, "lpbq") || intOf(operator.node, "transB", 0) === 1) return undefined;
				return `transB is 0, expected 1 with the LPBQ weight '${operator.weight!.name}'`;
			},
		},
		{
			id: "htp/lpbq-gemm-bias",
			about: "The bias of a Gemm with an LPBQ weight is zero.",
			consequence: "wrong",
			measured: "1.1 dB: the bias is dropped",
			remedy: "make it a MatMul, QuantizeLinear, DequantizeLinear and Add",
			appliedBy: "lower-gemm",
			broken(operator) {
				const bias = operator.inputs[2];
				if (!isGemm(operator, "lpbq") || bias?.constant?.dtype !== DataType.FLOAT) return undefined;
				const largest = numbersOf(bias.constant).reduce((max, value) => Math.max(max, Math.abs(value)), 0);
				return largest === 0 ? undefined : `bias '${bias.value.name}' is up to ${largest.toPrecision(3)}, expected 0`;
			},
		},
		{
			id: "htp/lpbq-gemm-bias-crash",
			about: "The bias of a Gemm with an LPBQ weight is not a dequantized constant.",
			consequence: "crash",
			measured: "segmentation fault with a UINT16 bias behind a DequantizeLinear",
			remedy: "make it a MatMul, QuantizeLinear, DequantizeLinear and Add",
			appliedBy: "lower-gemm",
			broken(operator) {
				const bias = operator.inputs[2];
				const dtype = bias?.quantization?.dtype;
				if (!isGemm(operator, "lpbq") || bias?.quantization === undefined || dtype === DataType.INT32) return undefined;
				return `bias '${bias.value.name}' is dequantized from ${dtype === undefined ? "codes" : dataTypeName(dtype)}`;
			},
		},
		{
			id: "htp/lpbq-gemm-form",
			about: "A Gemm with an LPBQ weight has a constant float bias.",
			consequence: "refused",
			measured: "refused without a bias and with a dequantized INT32 one",
			remedy: "make it a MatMul",
			appliedBy: "lower-gemm",
			broken(operator) {
				if (!isGemm(operator, "lpbq")) return undefined;
				const bias = operator.inputs[2];
				if (bias?.constant?.dtype === DataType.FLOAT) return undefined;
				if (bias?.quantization !== undefined && bias.quantization.dtype !== DataType.INT32) return undefined;
				const found =
					bias === undefined ? "there is none" : bias.quantization === undefined ? "it is computed" : "it is INT32";
				return `a constant float bias is expected, ${found}`;
			},
		},
		{
			id: "htp/lpbq-gemm-factors",
			about: "A Gemm with an LPBQ weight has alpha = 1 and does not transpose its input.",
			consequence: "wrong",
			measured: "alpha = 0.5 is ignored: 0 dB",
			remedy: "make it a MatMul",
			appliedBy: "lower-gemm",
			broken(operator) {
				if (!isGemm(operator, "lpbq")) return undefined;
				if (factor(operator, "alpha") !== 1) return `alpha is ${factor(operator, "alpha")}, expected 1`;
				return intOf(operator.node, "transA", 0) === 0 ? undefined : "transA is 1, expected 0";
			},
		},
		{
			id: "htp/gemm-factors",
			about: "A Gemm has alpha = 1 and beta = 1.",
			consequence: "refused",
			measured:
				"refused with 0.5 for one or the other, with a bias and without, whether the weight is float or has one scale, one a channel or one a block",
			remedy: "multiply the weight's scales by alpha and the bias by beta",
			appliedBy: "lower-gemm",
			broken(operator) {
				if (!isOnnxOp(operator.node, "Gemm") || isGemm(operator, "lpbq")) return undefined;
				for (const name of ["alpha", "beta"] as const) {
					if (factor(operator, name) !== 1) return `${name} is ${factor(operator, name)}, expected 1`;
				}
				return undefined;
			},
		},
		{
			id: "htp/block-gemm-bias",
			about: "The bias of a Gemm with block scales is absent or INT32.",
			consequence: "refused",
			measured: "a float bias and a UINT16 one are refused, INT32 is right: 67 dB",
			remedy: "make it a MatMul, QuantizeLinear, DequantizeLinear and Add",
			appliedBy: "lower-gemm",
			broken(operator) {
				const bias = operator.inputs[2];
				if (!isGemm(operator, "block") || bias === undefined || bias.quantization?.dtype === DataType.INT32)
					return undefined;
				return `bias '${bias.value.name}' is ${bias.quantization === undefined ? "float" : dataTypeName(bias.quantization.dtype ?? 0)}, expected INT32 or none`;
			},
		},
		{
			id: "htp/block-gemm-v68",
			about: "A Gemm has no block scales on v68, in no form.",
			consequence: "refused",
			until: "v68",
			measured: "refused with enable_block_quant_weight_optimization 0 and 1",
			remedy: "make it a MatMul with LPBQ weights",
			appliedBy: "lower-gemm",
			broken(operator) {
				return isGemm(operator, "block") ? `weight '${operator.weight!.name}' has block scales` : undefined;
			},
		},
		{
			id: "htp/block-sum-v68",
			about: "A QuantizeLinear stands between a MatMul with block scales and an Add of an INT32 vector on v68.",
			consequence: "refused",
			until: "v68",
			measured:
				"the Gemm that ONNX Runtime makes of both is refused, exact-BQ form or not, with INT32 scales of any size, one or one a channel; 69 dB on v73, in fp16",
			remedy: "put QuantizeLinear and DequantizeLinear between them",
			appliedBy: "separate-matmul-outputs",
			needsEncodings: true,
			broken({ weight, fusedAdd }) {
				if (weight?.scheme !== "block" || fusedAdd?.addend.quantization?.dtype !== DataType.INT32) return undefined;
				return `the result with weight '${weight.name}' is added to the INT32 '${fusedAdd.addend.value.name}'`;
			},
		},
		{
			id: "htp/gemm-bias-shape",
			about:
				"The bias of a Gemm whose weight has one scale a channel is a vector of one number a channel; with one scale or floats it is no vector of one number.",
			consequence: "refused",
			measured:
				"refused as [], [1], [1, N], [M, 1] and [M, N] with one scale a channel; with one scale and floats only [1] is, where there are more channels; on v68 and v81",
			remedy: "store it with one number a channel, or add it with an Add",
			appliedBy: "legalize-operators",
			broken({ node, weight, inputs: [, , bias] }) {
				if (!isOnnxOp(node, "Gemm") || weight === undefined || bias?.constant === undefined) return undefined;
				const { shape } = bias.constant;
				if (weight.channels === 1 || (shape.length === 1 && shape[0] === weight.channels)) return undefined;
				const isPlain = weight.scheme === "per-tensor" || weight.scheme === "float";
				if (!isPlain && weight.scheme !== "per-channel") return undefined;
				if (isPlain && (shape.length !== 1 || shape[0] !== 1)) return undefined;
				return `bias '${bias.value.name}' is [${shape.join(", ")}], expected [${weight.channels}]`;
			},
		},
	],
};
