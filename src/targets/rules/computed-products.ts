import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { HTP_CAPABILITIES } from "../capabilities.js";
import type { OperandFacts } from "../operator-facts.js";
import { codeInterval } from "../readers.js";
import type { RuleGroup } from "../rule.js";
import { SIXTEEN_BITS } from "./code-types.js";
import { sourceOf } from "./producers.js";
import { typeName } from "./type-name.js";

/** Elements of a Softmax, times what its largest code stands for. */
const LONG_PRODUCT = 32;
const VIEWS: readonly string[] = ["Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"];

/** The Softmax whose result `operand` is, views aside. */
function softmaxBehind(operand: OperandFacts | undefined): Node | undefined {
	const source = sourceOf(operand?.quantization?.node.outputs[0], VIEWS);
	return source !== undefined && isOnnxOp(source, "Softmax") ? source : undefined;
}

/** What is at fault with the right side of a product that is a Softmax over many elements, as UINT16. */
function longSoftmax(right: OperandFacts | undefined): string | undefined {
	const length = right?.shape?.at(-2);
	if (right?.quantization?.dtype !== DataType.UINT16 || softmaxBehind(right) === undefined) return undefined;
	const range = codeInterval(right!.quantization!);
	if (typeof length !== "number" || range === undefined || length * range.hi < LONG_PRODUCT) return undefined;
	return `its right side is a Softmax over ${length} elements with codes up to ${range.hi.toPrecision(2)}`;
}

export const COMPUTED_PRODUCT_RULES: RuleGroup = {
	title: "Products of two computed values",
	rules: [
		{
			id: "htp/softmax-right",
			about: "No MatMul reads on its right, as UINT16, what a Softmax over 32 elements or more has made.",
			consequence: "wrong",
			measured:
				"of UINT16 on the right the lower eight bits hardly count, and a Softmax over many elements has little else: 31 dB over 64 elements, 26 dB over 128, 15 dB over 625, on every architecture; 37 dB over 24; 60 dB as INT16, 38 dB with the Softmax on the left",
			remedy: "quantize it as INT16, or on v68 and v69 transpose both sides of the product",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [, right] }) {
				return isOnnxOp(node, "MatMul") ? longSoftmax(right) : undefined;
			},
		},
		{
			id: "htp/wide-right",
			about: "A MatMul of two computed values of 16 bits does not read UINT16 on its right, but for a Softmax.",
			consequence: "slow",
			since: "v73",
			measured:
				"of UINT16 on the right the lower eight bits hardly count: 40 dB with normal values that use all codes, 34, 28 and 22 dB with half, a quarter and an eighth of them, 20 to 35 dB in attention; 77, 71, 65 and 60 dB as INT16 with the zero point 0; right with 8 bits on either side; what passes by hides it, a block of an encoder has 64 dB at its output",
			remedy: "quantize it as INT16 with the zero point 0",
			appliedBy: "legalize-operators",
			broken({ node, weight, inputs: [left, right] }) {
				const { dtype, codes } = right?.quantization ?? {};
				if (!isOnnxOp(node, "MatMul") || weight !== undefined || dtype !== DataType.UINT16) return undefined;
				if (codes !== undefined || !SIXTEEN_BITS.includes(left?.quantization?.dtype)) return undefined;
				return softmaxBehind(right) === undefined ? `'${right!.value.name}' is UINT16` : undefined;
			},
		},
		{
			id: "htp/int16-product",
			about:
				"A MatMul of two computed values reads INT16 on its right with the zero point 0 only, on v68 and v69 not at all.",
			consequence: "refused",
			measured:
				"refused with another zero point on every architecture, whatever the one on the left is, with 0 on v68; 77 and 81 dB with 0 on v73 and v81; INT8 and UINT16 with any",
			remedy: "quantize it with the zero point 0, or on v68 and v69 all as UINT16",
			appliedBy: "legalize-operators",
			broken({ node, weight, inputs: [, right] }, { architecture }) {
				const { dtype, zeroPoint, codes } = right?.quantization ?? {};
				if (!isOnnxOp(node, "MatMul") || weight !== undefined || codes !== undefined) return undefined;
				if (dtype !== DataType.INT16) return undefined;
				if (HTP_CAPABILITIES[architecture].wideProducts && zeroPoint === 0) return undefined;
				return `'${right!.value.name}' is INT16 with the zero point ${zeroPoint ?? "of several scales"}`;
			},
		},
		{
			id: "htp/product-types",
			about:
				"A MatMul of two computed values has not the type of its left side as its result's where that is INT16 and the right UINT16 or UINT8, or UINT8 and the right UINT16 or INT16.",
			consequence: "refused",
			measured:
				"of all triples of UINT8, UINT16, INT16 and INT8 those four, on every architecture and of rank 2 and 4; right with another type behind, 42 and 68 dB",
			remedy: "quantize the result as UINT16 first",
			appliedBy: "legalize-operators",
			broken({ node, weight, inputs: [left, right], outputs: [result] }) {
				const [dtype, other] = [left?.quantization?.dtype, right?.quantization?.dtype];
				if (!isOnnxOp(node, "MatMul") || weight !== undefined || right?.quantization?.codes !== undefined)
					return undefined;
				if (dtype === undefined || result?.quantization?.dtype !== dtype) return undefined;
				const isRefused =
					dtype === DataType.INT16
						? other === DataType.UINT16 || other === DataType.UINT8
						: dtype === DataType.UINT8 && SIXTEEN_BITS.includes(other);
				return isRefused
					? `'${left!.value.name}' is ${typeName(dtype)}, as the result, and '${right!.value.name}' ${typeName(other)}`
					: undefined;
			},
		},
	],
};
