import { intOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { elementCount } from "../../ir/types.js";
import type { WeightSite } from "../../weights/weight-site.js";

/**
 * Inputs of each channel that GPTQ distinguishes, and in how many groups; undefined where it has no part. Of a kernel with
 * several positions every one has inputs, as long as a channel has one scale.
 */
export function gptqInputs(
	{ node, stored, axes }: WeightSite,
	isBlock: boolean,
): { readonly depth: number; readonly groups: number } | undefined {
	const { shape } = stored.tensor;
	const [depth, channels] = [shape[axes!.blockAxis]!, shape[axes!.channelAxis]!];
	const groups = isOnnxOp(node, "Conv", "ConvTranspose") ? intOf(node, "group", 1) : 1;
	if (elementCount(shape) === depth * channels && groups === 1) return { depth, groups };
	if (!isOnnxOp(node, "Conv") || isBlock) return undefined;
	return { depth: elementCount(shape.slice(1)), groups };
}
