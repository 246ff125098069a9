import { intsOf } from "../ir/attribute.js";
import { isOnnxOp } from "../ir/node.js";
import { numbersOf } from "../weights/numbers.js";
import { fixedShape } from "./fixed-shape.js";
import type { OperatorFacts } from "./operator-facts.js";

/** An axis that a Resize interpolates along by another factor than its lengths have. */
export interface InexactScale {
	readonly axis: number;
	/** Of the input. */
	readonly length: number;
	/** Of the output. */
	readonly count: number;
	/** As the Resize states it. */
	readonly scale: number;
}

/** By how many elements of the input the last one may be taken from another place. */
const MOST_SHIFT = 0.01;

/** Do `count` elements lie as far apart as `scale` says where they are spread over `length`? */
export function isExactScale(length: number, count: number, scale: number): boolean {
	return Math.abs(length - count / scale) <= MOST_SHIFT;
}

/** The axes of a Resize whose output is shorter than their scale makes it. */
export function inexactScales(operator: OperatorFacts): InexactScale[] {
	const { node, inputs, outputs } = operator;
	const [from, to] = [inputs[0], outputs[0]].map((operand) => fixedShape(operand?.shape));
	const constant = inputs[2]?.constant;
	if (!isOnnxOp(node, "Resize") || constant === undefined || from === undefined || to === undefined) return [];
	const stated = intsOf(node, "axes");
	return Array.from(numbersOf(constant), (scale, at) => {
		const axis = ((stated[at] ?? at) + from.length) % from.length;
		return { axis, length: from[axis]!, count: to[axis]!, scale };
	}).filter(({ length, count, scale }) => !isExactScale(length, count, scale));
}
