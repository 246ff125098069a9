import { intsOf } from "../ir/attribute.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { constantOf } from "../weights/constant.js";
import { numbersOf } from "../weights/numbers.js";

/** Does `node` average over all positions: is it a GlobalAveragePool, or a ReduceMean over all axes but the first two of `rank`? */
export function isGlobalAverage(node: Node, rank: number): boolean {
	if (isOnnxOp(node, "GlobalAveragePool")) return true;
	if (!isOnnxOp(node, "ReduceMean") || rank < 3) return false;
	const axes = constantOf(node.inputs[1])?.tensor;
	const stated = node.attributes.has("axes")
		? intsOf(node, "axes")
		: axes === undefined
			? []
			: Array.from(numbersOf(axes));
	const places = new Set(stated.map((axis) => (axis < 0 ? axis + rank : axis)));
	return places.size === rank - 2 && !places.has(0) && !places.has(1);
}
