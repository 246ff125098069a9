import { DataType } from "../../ir/types.js";
import type { OperatorFacts, QuantizationFacts } from "../operator-facts.js";
import { codeSteps } from "../product-steps.js";
import { becomesLpbq } from "../provider-options.js";
import type { RuleContext, RuleGroup } from "../rule.js";

/** Products smaller than the output's step times this are lost. */
const SMALLEST_RATIO = 2 ** -24;

/**
 * Products larger than the output's step times this are too coarse: sums of 16-bit codes are kept in steps of 256, so that
 * about 80 of these products are off.
 */
const LARGEST_RATIO = 0.5;

/** Finer codes than those of 8 bits there are none; products larger than this leave too little. */
const COARSE_RATIO = 2;

/** With 8-bit activations the factor that sums are multiplied with is less than 256; a v68 loses digits before. */
const NARROW_RATIO = { v68: 16, later: 255 };

/** The first channel with codes other than 0 whose scale is as `isBad` says. In fp16 there are no channel scales. */
function liveChannel(operator: OperatorFacts, context: RuleContext, isBad: (scale: number) => boolean) {
	const { weight } = operator;
	if (weight?.scheme === "block" && !(context.blockQuantOptimization && becomesLpbq(operator))) return undefined;
	const scales = codeSteps(operator);
	for (let channel = 0; channel < scales.length; channel++) {
		const scale = scales[channel]!;
		if (isBad(scale) && (weight!.scheme === "float" || !weight!.isDead(channel))) return { channel, scale };
	}
	return undefined;
}

export const SCALE_RULES: RuleGroup = {
	title: "Scales",
	rules: [
		{
			id: "htp/channel-scale",
			about: "The scale of a channel whose codes are not all 0 is a positive number.",
			consequence: "wrong",
			measured:
				"0 dB with a denormal scale, 10 dB with a negative one, 15 dB with 0, 3 dB with NaN; right where all codes are 0",
			remedy: "set the codes of such a channel to 0 and its scale to that of another, or fit it anew",
			appliedBy: "lpbq-to-bq",
			broken(operator, context) {
				const found = liveChannel(
					operator,
					context,
					(scale) => !(scale >= 2 ** -126) || scale === Number.POSITIVE_INFINITY,
				);
				return found && `channel ${found.channel} of weight '${operator.weight!.name}' has the scale ${found.scale}`;
			},
		},
		{
			id: "htp/channel-scale-small",
			about:
				"Input scale times channel scale is at least 2^-24 of the output scale where a channel has codes other than 0. A float weight that ONNX Runtime makes INT8 of has the scale of these codes.",
			consequence: "wrong",
			measured: "77 dB with 2^-24, 0.1 dB with 2^-25; with float weights right with 2^-23.5, -7 dB with 2^-26.9",
			remedy: "set the codes of such a channel to 0, or quantize the input in coarser steps",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				const input = inputOf(operator)?.scale;
				const output = operator.result?.scale;
				if (input === undefined || output === undefined) return undefined;
				const found = liveChannel(operator, context, (scale) => scale > 0 && (input * scale) / output < SMALLEST_RATIO);
				if (found === undefined) return undefined;
				const ratio = (input * found.scale) / output;
				return `channel ${found.channel} of weight '${operator.weight!.name}' has products of 2^${Math.log2(ratio).toFixed(1)} output steps, expected 2^-24 or more`;
			},
		},
		{
			id: "htp/channel-scale-large",
			about:
				"Input scale times channel scale is half of the output scale at most where activations have 16 bits and the weight is INT4 with a scale a channel, else twice the output scale; 255 times where activations have 8 bits, 16 times on a v68.",
			consequence: "wrong",
			measured:
				"sums of codes are kept in steps of 256: where a result fills its codes 44 dB with a quarter, 38 dB with half, 32 dB with 1, 27 dB with 2 (v68 23), 18 dB with 16; 6 dB less where it fills half of them; with 8-bit activations right up to 255, 0 dB with 256; on a v68 40 dB with 12, 33 dB with 20, 20 dB with 90, -3 dB with 256",
			remedy:
				"quantize the input in finer steps, or make INT4 codes 16 times as large, INT8, and the scale a sixteenth, which is the same weight",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				return largeProducts(operator, context, largestRatio(operator, context), Number.POSITIVE_INFINITY);
			},
		},
		{
			id: "htp/channel-scale-coarse",
			about: "Input scale times channel scale is half of the output scale at most where activations have 16 bits.",
			consequence: "slow",
			measured:
				"computed with fewer digits: where a result fills its codes 38 dB with half, 32 dB with 1, 27 dB with 2; a silero VAD has such a channel, and 34 dB at its outputs",
			remedy: "quantize the input in finer steps; finer codes than those of INT8 there are none",
			broken(operator, context) {
				if (!isSixteenBits(inputOf(operator)?.dtype)) return undefined;
				return largeProducts(operator, context, LARGEST_RATIO, largestRatio(operator, context));
			},
		},
	],
};

/** The largest product, in output steps, that an operator may have. */
function largestRatio(operator: OperatorFacts, { architecture }: RuleContext): number {
	if (!isSixteenBits(inputOf(operator)?.dtype)) return architecture === "v68" ? NARROW_RATIO.v68 : NARROW_RATIO.later;
	const { weight } = operator;
	const isWidened =
		weight?.site.stored.tensor.dtype === DataType.INT4 && weight.scheme !== "lpbq" && weight.scheme !== "block";
	return isWidened ? LARGEST_RATIO : COARSE_RATIO;
}

/** What is said of the first channel whose products are larger than `above` output steps, and no more than `most`. */
function largeProducts(operator: OperatorFacts, context: RuleContext, above: number, most: number): string | undefined {
	const input = inputOf(operator)?.scale;
	const output = operator.result?.scale;
	if (input === undefined || output === undefined) return undefined;
	const ratioOf = (scale: number) => (input * scale) / output;
	const found = liveChannel(operator, context, (scale) => ratioOf(scale) > above && ratioOf(scale) <= most);
	if (found === undefined) return undefined;
	return `channel ${found.channel} of weight '${operator.weight!.name}' has products of ${ratioOf(found.scale).toPrecision(3)} output steps, expected ${above} at most`;
}

/** What is multiplied with the weight. */
function inputOf({ inputs, weight }: OperatorFacts): QuantizationFacts | undefined {
	return inputs[weight?.site.input === 0 ? 1 : 0]?.quantization;
}

function isSixteenBits(dtype: DataType | undefined): boolean {
	return dtype === DataType.UINT16 || dtype === DataType.INT16;
}
