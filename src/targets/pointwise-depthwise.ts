import { intOf, intsOf } from "../ir/attribute.js";
import { isOnnxOp, type Node } from "../ir/node.js";

/**
 * The smallest product, in output steps, that a depthwise Conv of one position takes of 16-bit codes. Where the largest of
 * any channel is {@link POINTWISE_DEPTHWISE_SPREAD} times as large, smaller ones are right again.
 */
export const POINTWISE_DEPTHWISE_RATIO = 2 ** -15;

export const POINTWISE_DEPTHWISE_SPREAD = 256;

/**
 * Does `node` multiply each of several channels with a number of its own: a Conv of one or two dimensions, whose kernel has
 * one position and steps of one? The compiler has a kernel for it.
 *
 * @param shape of its weight.
 */
export function isPointwiseDepthwise(node: Node, shape: readonly number[]): boolean {
	if (!isOnnxOp(node, "Conv") || (shape.length !== 3 && shape.length !== 4)) return false;
	const channels = shape[0]!;
	return (
		channels > 1 &&
		intOf(node, "group", 1) === channels &&
		shape.slice(1).every((length) => length === 1) &&
		intsOf(node, "strides").every((stride) => stride === 1)
	);
}
