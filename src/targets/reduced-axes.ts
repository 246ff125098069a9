import { intsOf } from "../ir/attribute.js";
import type { Node } from "../ir/node.js";
import { constantOf } from "../weights/constant.js";
import { numbersOf } from "../weights/numbers.js";

/** The axes that a reduction of `rank` axes names, from 0 on; none where it names none, which are all. */
export function reducedAxes(node: Node, rank: number): Set<number> {
	const stated = constantOf(node.inputs[1])?.tensor;
	const axes = stated === undefined ? intsOf(node, "axes") : numbersOf(stated);
	return new Set(Array.from(axes, (axis) => (axis < 0 ? axis + rank : axis)));
}
