import { isOnnxOp } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { numbersOf } from "../../weights/numbers.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";

/** How far the scale of a bias may be from that of the products, as part of it. */
const TOLERANCE = 1e-3;

/** Largest INT32. */
const LARGEST = 2 ** 31 - 1;

function hasBias({ node, weight }: OperatorFacts): boolean {
	if (weight === undefined || weight.scheme === "lpbq" || weight.scheme === "float") return false;
	return isOnnxOp(node, "Conv", "ConvTranspose") || (isOnnxOp(node, "Gemm") && weight.scheme !== "block");
}

/** The worst channel: how far the bias scale is from input scale times channel scale. */
function worstBiasScale(operator: OperatorFacts): { readonly channel: number; readonly ratio: number } | undefined {
	const input = operator.inputs[0]?.quantization?.scale;
	const bias = operator.inputs[2]?.quantization;
	if (!hasBias(operator) || input === undefined || bias?.dtype !== DataType.INT32 || bias.scales === undefined)
		return undefined;
	const scales = numbersOf(bias.scales);
	const channelScales = operator.weight!.channelScales;
	let worst = { channel: -1, ratio: 1 };
	channelScales.forEach((channelScale, channel) => {
		const ratio = (scales[scales.length === 1 ? 0 : channel] ?? Number.NaN) / (input * channelScale);
		if (!(Math.abs(ratio - 1) <= Math.abs(worst.ratio - 1))) worst = { channel, ratio };
	});
	return Math.abs(worst.ratio - 1) <= TOLERANCE ? undefined : worst;
}

export const BIAS_RULES: RuleGroup = {
	title: "Biases",
	rules: [
		{
			id: "htp/bias-scale",
			about: "An INT32 bias has one scale a channel: that of the input times that of the channel's weights.",
			consequence: "wrong",
			measured:
				"12 dB for a Conv, 24 dB for a Gemm with one scale for all: the scale that the bias says is not the one used",
			remedy: "store the bias anew with such scales, or as float",
			appliedBy: "legalize-bias",
			broken(operator) {
				const worst = worstBiasScale(operator);
				if (worst === undefined) return undefined;
				return `bias '${operator.inputs[2]!.value.name}' has a scale of ${worst.ratio.toPrecision(3)} times that of the products in channel ${worst.channel}`;
			},
		},
		{
			id: "htp/bias-overflow",
			about: "A float bias, divided by the scale of the channel's products, fits 32 bits.",
			consequence: "wrong",
			measured: "2.5 dB with channel scales of 2^-23",
			remedy: "raise the channel scales of channels whose codes are all 0; otherwise add the bias with an Add",
			appliedBy: "legalize-bias",
			broken(operator) {
				const input = operator.inputs[0]?.quantization?.scale;
				const bias = operator.inputs[2]?.constant;
				if (!hasBias(operator) || input === undefined || bias?.dtype !== DataType.FLOAT) return undefined;
				const values = numbersOf(bias);
				const { channelScales } = operator.weight!;
				for (let channel = 0; channel < channelScales.length; channel++) {
					const code = Math.abs(values[channel] ?? 0) / (input * channelScales[channel]!);
					if (code > LARGEST) {
						return `bias '${operator.inputs[2]!.value.name}' is ${code.toExponential(1)} times the scale of the products in channel ${channel}, expected 2^31 at most`;
					}
				}
				return undefined;
			},
		},
	],
};
