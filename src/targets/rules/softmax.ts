import { intOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { codeInterval } from "../readers.js";
import type { RuleGroup } from "../rule.js";
import { EIGHT_BITS } from "./code-types.js";

const LONG_ROW = 33;
const LARGE_PROBABILITY = 0.25;
const LEAST_WIDTH = 0.5;

export const SOFTMAX_RULES: RuleGroup = {
	title: "Softmax",
	rules: [
		{
			id: "htp/softmax-zero-point",
			about:
				"The output of a Softmax of 8 bits, behind views too, has the smallest code as zero point; UINT8 128 also.",
			consequence: "wrong",
			measured: "UINT8 with zero point 1 23 dB, 25 -5 dB, with 0 42 dB, with 128 41 dB; INT8 with -128 42 dB, 0 -20 dB",
			remedy: "quantize its output with the smallest code as zero point",
			appliedBy: "legalize-operators",
			broken({ node, outputs }) {
				const { dtype, zeroPoint } = outputs[0]?.moved ?? {};
				if (!isOnnxOp(node, "Softmax") || zeroPoint === undefined) return undefined;
				const taken = dtype === DataType.UINT8 ? [0, 128] : dtype === DataType.INT8 ? [-128] : undefined;
				if (taken === undefined || taken.includes(zeroPoint)) return undefined;
				return `the output has the zero point ${zeroPoint}, expected ${taken.join(" or ")}`;
			},
		},
		{
			id: "htp/softmax-8-bits",
			about:
				"A Softmax of 8 bits at both ends, behind views too, is not over more than 32 elements with an output encoding that ends below a quarter.",
			consequence: "wrong",
			measured:
				"20 to 35 dB with UINT8 and INT8, on every architecture: 128 elements up to 0.07 27 dB, 512 up to 0.02 20 to 25 dB; 33 to 60 up to 0.1 23 to 34 dB; 38 to 42 dB with 32 elements; 41 dB with a UINT16 output, which is computed on floats, 37 dB where that becomes UINT8 again",
			remedy: "quantize its output as UINT16, and that with 8 bits",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs }) {
				const [input, output] = [inputs[0]?.moved?.dtype, outputs[0]?.moved];
				if (!isOnnxOp(node, "Softmax") || output?.scale === undefined || output.dtype !== input) return undefined;
				const length = inputs[0]!.shape?.at(intOf(node, "axis", -1));
				const largest = output.scale * 255;
				if (!EIGHT_BITS.includes(input) || typeof length !== "number" || length < LONG_ROW) return undefined;
				if (largest >= LARGE_PROBABILITY) return undefined;
				return `its output of 8 bits is up to ${largest.toPrecision(2)}, of rows of ${length}`;
			},
		},
		{
			id: "htp/softmax-flat",
			about:
				"The input encoding of a Softmax, whose input and output have one type, views aside, is a half wide or more.",
			consequence: "wrong",
			measured:
				"20 dB with inputs from -0.1 to 0.1, 13 dB of 5 elements, 56 dB with -0.35 to 0.35; UINT8 26 dB; 67 dB with UINT16 in and INT16 out, which is computed on floats",
			remedy: "quantize its output with another type, and that as it was",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs }) {
				const [input, output] = [inputs[0]?.moved, outputs[0]?.moved];
				const range = input && codeInterval(input);
				if (!isOnnxOp(node, "Softmax") || range === undefined || output?.dtype !== input?.dtype) return undefined;
				if (range.hi - range.lo >= LEAST_WIDTH) return undefined;
				return `its input lies between ${range.lo.toPrecision(2)} and ${range.hi.toPrecision(2)}`;
			},
		},
	],
};
