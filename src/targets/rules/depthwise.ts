import { bitsPerElement, DataType } from "../../ir/types.js";
import type { QuantizationFacts } from "../operator-facts.js";
import { isPointwiseDepthwise, POINTWISE_DEPTHWISE_RATIO, POINTWISE_DEPTHWISE_SPREAD } from "../pointwise-depthwise.js";
import { codeSteps } from "../product-steps.js";
import { codeInterval } from "../readers.js";
import type { RuleGroup } from "../rule.js";

export const DEPTHWISE_RULES: RuleGroup = {
	title: "Depthwise convolutions of one position",
	rules: [
		{
			id: "htp/depthwise-scale-small",
			about:
				"Of a depthwise Conv of one position, on 16-bit activations, input scale times channel scale is at least 2^-15 of the output scale in every channel, those of nothing but 0 too, or in one 256 times as large as the smallest.",
			consequence: "wrong",
			measured:
				"-10 to -70 dB with 2^-15.05 in one channel, on every architecture, with and without a bias, one scale and one a channel: all channels are wrong; 73 dB with 2^-14.95, 138 dB with 2^-16 beside 2^-8, -15 dB beside 2^-9; right with one channel, steps of two, kernels of 2x2 and two outputs a channel; a RepViT has 8 dB instead of 57",
			remedy: "raise the scales of these channels and round their codes anew, which is half an output step at most",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, weight, inputs, result } = operator;
				const { dtype, scale: input } = inputs[0]?.quantization ?? {};
				const output = result?.scale;
				if (weight === undefined || input === undefined || output === undefined) return undefined;
				if (dtype === undefined || bitsPerElement(dtype) !== 16 || !isPointwiseDepthwise(node, weight.shape))
					return undefined;
				const steps = Array.from(codeSteps(operator), (scale) => (input * scale) / output);
				const smallest = Math.min(...steps);
				if (!(smallest < POINTWISE_DEPTHWISE_RATIO)) return undefined;
				if (Math.max(...steps) >= POINTWISE_DEPTHWISE_SPREAD * smallest) return undefined;
				return `channel ${steps.indexOf(smallest)} of weight '${weight.name}' has products of 2^${Math.log2(smallest).toFixed(1)} output steps, expected 2^-15 or more`;
			},
		},
		{
			id: "htp/depthwise-scale-one",
			about:
				"The weight of a depthwise Conv of one position has a scale a channel, or the encoding of its result reaches as far as that of its input, at either end, but for 8-bit activations from v73 on.",
			consequence: "wrong",
			measured:
				"the input is cut to the range of the result: 36 dB with nine tenths of its range, 24 with seven, 4 where it begins at 0, 63 and more with 99 in a hundred; -16 to 5 dB with random models, of 8 and 4 bits, on activations of 16 bits on every architecture, of 8 on v68 and v69, of 4 to 16 channels, one and two dimensions; 53 and 78 dB with one a channel, 50 dB and more with kernels of 1x2 and 3x3, steps of two, two outputs a channel and one channel, 41 dB with 8 bits from v73 on",
			remedy: "repeat the scale for every channel",
			appliedBy: "legalize-operators",
			broken({ node, weight, inputs, result }, { architecture }) {
				const [activation, codes] = inputs.map((input) => input?.quantization);
				if (weight === undefined || activation === undefined || codes?.granularity !== "tensor") return undefined;
				if (result !== undefined && covers(result, activation)) return undefined;
				const isWide = activation.dtype !== undefined && bitsPerElement(activation.dtype) === 16;
				if (!isWide && architecture !== "v68" && architecture !== "v69") return undefined;
				return isPointwiseDepthwise(node, weight.shape) ? `weight '${weight.name}' has one scale` : undefined;
			},
		},
		{
			id: "htp/depthwise-int4",
			about: "A depthwise Conv of one position has no INT4 weight.",
			consequence: "crash",
			measured:
				"the compiler's process ends, on every architecture, with 8 and 32 channels, one and two dimensions, with and without a bias; 58 dB with one channel, with steps of two and with two outputs a channel",
			remedy: "make the codes INT8, 16 times as large, and the scales a sixteenth",
			appliedBy: "legalize-operators",
			broken({ node, weight }) {
				if (weight?.dtype !== DataType.INT4 || !isPointwiseDepthwise(node, weight.shape)) return undefined;
				return `weight '${weight.name}' is INT4 [${weight.shape.join(", ")}]`;
			},
		},
	],
};

/** Does an encoding reach, at both ends, as far as all but a hundredth of another one? */
function covers(outer: QuantizationFacts, inner: QuantizationFacts): boolean {
	const [out, within] = [codeInterval(outer), codeInterval(inner)];
	if (out === undefined || within === undefined) return false;
	const slack = (within.hi - within.lo) / 100;
	return out.lo <= within.lo + slack && out.hi >= within.hi - slack;
}
