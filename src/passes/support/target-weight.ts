import { DataType } from "../../ir/types.js";
import type { BlockWeight } from "./block-weight.js";
import { gatherChannels, shared, spooledChannels } from "./channel-order.js";
import { channelTasks, type InputFactors } from "./input-factors.js";
import type { QuantizeTools, WeightFitOptions } from "./quantized-weight.js";

/** Weights with more elements are left as they are: what is to be made good is in memory, as is what comes of it. */
export const LARGEST_TARGET: number = 2 ** 25;

/** What codes are to come near: the weight, or where errors in front of it are known, what makes these good. */
export async function aimedAt(
	source: BlockWeight,
	factors: InputFactors | undefined,
	{ moments }: Pick<WeightFitOptions, "moments">,
	tools: QuantizeTools,
): Promise<BlockWeight> {
	const errors = moments?.errors;
	return factors === undefined || errors === undefined ? source : targetWeight(source, errors, factors, tools);
}

/**
 * The float weight that codes should come near for the output of its layer to be right, given what weights before it have
 * become (quant/output-targets.ts). Its floats are in memory meanwhile, then they wait in the spool.
 *
 * @param source as many inputs deep as the factors, its channels group by group.
 * @param errors means of errors of outputs times inputs, [channelCount, depth].
 */
async function targetWeight(
	source: BlockWeight,
	errors: Float32Array,
	inputs: InputFactors,
	{ pool, spool }: QuantizeTools,
): Promise<BlockWeight> {
	const { layout } = source;
	const { depth, channelCount } = layout;
	const [weights, wanted] = [shared(Float32Array, errors.length), shared(Float32Array, errors.length)];
	wanted.set(errors);
	gatherChannels(source, 0, channelCount, weights);
	await pool.each(
		channelTasks(inputs, channelCount, 0, channelCount),
		({ first, last, factors }) => ({
			kind: "gptq-targets",
			weights: weights.subarray(first * depth, last * depth),
			errors: wanted.subarray(first * depth, last * depth),
			factors,
			depth,
		}),
		() => undefined,
	);
	return { ...source, float: { dtype: DataType.FLOAT, data: spooledChannels(layout, weights, 32, spool) } };
}
