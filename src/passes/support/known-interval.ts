import { intOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { hull, type Interval, intervalOf } from "../../quant/grid.js";
import { isView } from "../../weights/activation.js";
import { encodingAt, rangeOf } from "./qdq.js";
import { smallConstantOf } from "./small-constant.js";

/** Operators back from a value that are looked at. */
const MAX_DEPTH = 12;

/** Operators whose results never leave an interval. */
const BOUNDED: Readonly<Record<string, Interval>> = {
	Sigmoid: { lo: 0, hi: 1 },
	HardSigmoid: { lo: 0, hi: 1 },
	Softmax: { lo: 0, hi: 1 },
	Tanh: { lo: -1, hi: 1 },
	Erf: { lo: -1, hi: 1 },
	Sin: { lo: -1, hi: 1 },
	Cos: { lo: -1, hi: 1 },
};

/** What is known of values from elsewhere, such as a calibration. */
export type GivenInterval = (value: Value) => Interval | undefined;

/**
 * An interval that `value` cannot leave, by the encodings, constants and operators that it comes from, and by what `given`
 * says of any of these; undefined where nothing does.
 */
export function knownInterval(
	value: Value | undefined,
	depth: number = MAX_DEPTH,
	given?: GivenInterval,
): Interval | undefined {
	if (value === undefined) return undefined;
	const stated = given?.(value);
	if (stated !== undefined) return stated;
	const constant = smallConstantOf(value);
	if (constant !== undefined) {
		const range = rangeOf(constant.values);
		return Number.isFinite(range.hi - range.lo) ? range : undefined;
	}
	const { producer } = value;
	return producer === undefined || depth === 0 ? undefined : resultInterval(producer, depth - 1, given);
}

function resultInterval(node: Node, depth: number, given: GivenInterval | undefined): Interval | undefined {
	const bounded = isOnnxOp(node, ...Object.keys(BOUNDED)) ? BOUNDED[node.op.type] : undefined;
	if (bounded !== undefined) return bounded;
	const inputs = (...indexes: number[]) => indexes.map((index) => knownInterval(node.inputs[index], depth, given));
	if (isOnnxOp(node, "DequantizeLinear")) {
		const encoding = encodingAt(node);
		return encoding && intervalOf(encoding);
	}
	if (isView(node) || isOnnxOp(node, "Slice", "Split", "Expand")) return inputs(0)[0];
	if (isOnnxOp(node, "Gather") && intOf(node, "axis", 0) >= 0) return inputs(0)[0];
	if (isOnnxOp(node, "Relu")) {
		const [input] = inputs(0);
		return input && { lo: Math.max(input.lo, 0), hi: Math.max(input.hi, 0) };
	}
	if (isOnnxOp(node, "Clip")) {
		const [input, min, max] = inputs(0, 1, 2);
		const lo = min?.lo ?? input?.lo;
		const hi = max?.hi ?? input?.hi;
		return lo === undefined || hi === undefined ? undefined : { lo, hi };
	}
	if (isOnnxOp(node, "Concat")) {
		const all = inputs(...node.inputs.keys());
		return all.every((one) => one !== undefined) ? hull(...all) : undefined;
	}
	if (isOnnxOp(node, "Add", "Sub", "Mul")) {
		const [a, b] = inputs(0, 1);
		return a && b && combined(node.op.type, a, b);
	}
	return undefined;
}

function combined(op: string, a: Interval, b: Interval): Interval {
	if (op === "Add") return { lo: a.lo + b.lo, hi: a.hi + b.hi };
	if (op === "Sub") return { lo: a.lo - b.hi, hi: a.hi - b.lo };
	return rangeOf([a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi]);
}
