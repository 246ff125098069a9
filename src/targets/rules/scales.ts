import type { OperatorFacts } from "../operator-facts.js";
import { becomesLpbq } from "../provider-options.js";
import type { RuleContext, RuleGroup } from "../rule.js";

/** Products smaller than the output's step times this are lost. */
const SMALLEST_RATIO = 2 ** -24;

/** The first channel with codes other than 0 whose scale is as `isBad` says. In fp16 there are no channel scales. */
function liveChannel(operator: OperatorFacts, context: RuleContext, isBad: (scale: number) => boolean) {
	const { weight } = operator;
	if (weight === undefined || weight.scheme === "float") return undefined;
	if (weight.scheme === "block" && !(context.blockQuantOptimization && becomesLpbq(operator))) return undefined;
	const { channelScales } = weight;
	for (let channel = 0; channel < channelScales.length; channel++) {
		const scale = channelScales[channel]!;
		if (isBad(scale) && !weight.isDead(channel)) return { channel, scale };
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
				"Input scale times channel scale is at least 2^-24 of the output scale where a channel has codes other than 0.",
			consequence: "wrong",
			measured: "77 dB with 2^-24, 0.1 dB with 2^-25",
			remedy: "set the codes of such a channel to 0",
			appliedBy: "legalize-weights",
			broken(operator, context) {
				const input = operator.inputs[operator.weight?.site.input === 0 ? 1 : 0]?.quantization?.scale;
				const output = operator.result?.scale;
				if (input === undefined || output === undefined) return undefined;
				const found = liveChannel(operator, context, (scale) => scale > 0 && (input * scale) / output < SMALLEST_RATIO);
				if (found === undefined) return undefined;
				const ratio = (input * found.scale) / output;
				return `channel ${found.channel} of weight '${operator.weight!.name}' has products of 2^${Math.log2(ratio).toFixed(1)} output steps, expected 2^-24 or more`;
			},
		},
	],
};
