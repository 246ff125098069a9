import { lostFill } from "../lost-fill.js";
import type { RuleGroup } from "../rule.js";

export const FILL_RULES: RuleGroup = {
	title: "Constants behind channels",
	rules: [
		{
			id: "htp/channel-fill",
			about:
				"No Concat with a constant of one number, and no Pad, appends to the channels without filling up the last 32 of them, where there are some to fill; channels are on the second axis of an image, on the last axis of anything else.",
			consequence: "wrong",
			measured:
				"what is appended is not written, on every architecture: -8 to 23 dB for 42 + 6, 8 + 8, 33 + 31 and 80 + 16 channels, of 16 and 8 bits, behind MatMul, LayerNormalization, Conv, pools, Resize and graph inputs of rank 2 to 4, in front of the same; 74 to 98 dB for 32 + 1, 40 + 31 and 48 + 48, with different numbers, with two constants, with the constant in front, along other axes, behind Sigmoid and Softmax, and where nothing but a Slice reads it",
			remedy: "append one more number, another one, with Concat, and cut it off",
			appliedBy: "legalize-operators",
			broken(operator, { types }) {
				const fill = lostFill(operator, types);
				return fill && `${fill.count} equal numbers are appended to ${fill.channels} channels, on axis ${fill.axis}`;
			},
		},
	],
};
