import { intOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { elementCount } from "../../ir/types.js";
import type { WeightSite } from "../../weights/weight-site.js";

/** What GPTQ distinguishes of a weight. */
export interface GptqInputs {
	/** Inputs of each channel. */
	readonly depth: number;
	/** Groups of channels with inputs of their own. */
	readonly groups: number;
	/** Channels of all groups. */
	readonly channels: number;
}

/**
 * Inputs of each channel that GPTQ distinguishes, and in how many groups; undefined where it has no part. Of a kernel with
 * several positions every one has inputs, as long as a channel has one scale.
 */
export function gptqInputs({ node, stored, axes }: WeightSite, isBlock: boolean): GptqInputs | undefined {
	const { shape } = stored.tensor;
	const [depth, channels] = [shape[axes!.blockAxis]!, shape[axes!.channelAxis]!];
	const groups = isOnnxOp(node, "Conv", "ConvTranspose") ? intOf(node, "group", 1) : 1;
	if (elementCount(shape) === depth * channels && groups === 1) return { depth, groups, channels };
	if (!isOnnxOp(node, "Conv") || isBlock) return undefined;
	return { depth: elementCount(shape.slice(1)), groups, channels };
}
