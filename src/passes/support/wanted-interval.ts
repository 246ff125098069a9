import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Use, Value } from "../../ir/value.js";
import { hull, type Interval, intervalOf } from "../../quant/grid.js";
import { geluInverse, sigmoidInverse, siluInverse, tanhInverse } from "../../quant/saturation.js";
import { isView } from "../../weights/activation.js";
import { knownInterval } from "./known-interval.js";
import { encodingAt } from "./qdq.js";
import { smallConstantOf } from "./small-constant.js";

/** Operators onward from a value that are looked at. */
const MAX_DEPTH = 12;

/** Finer than what any 16-bit encoding of results between -1 and 1 tells apart. */
const FINE_STEP = 2 ** -16;

/** What the readers of a value can tell apart: outside of the interval nothing, inside what differs by a step. */
export interface Wanted extends Interval {
	/** Of the quantizer that is next; undefined where none is. */
	readonly step: number | undefined;
}

/**
 * The interval to which `value` can be clamped without any reader noticing, by the quantizers that follow: what they clamp
 * themselves, taken back through the operators in between. undefined where a reader wants all there is, or nobody knows.
 */
export function wantedInterval(value: Value, depth: number = MAX_DEPTH): Wanted | undefined {
	if (value.isGraphOutput || value.uses.length === 0 || depth === 0) return undefined;
	const all: Wanted[] = [];
	for (const use of value.uses) {
		const wanted = wantedBy(use, value, depth - 1);
		if (wanted === undefined) return undefined;
		all.push(wanted);
	}
	return joined(all);
}

/** What several readers want together. */
function joined(all: readonly Wanted[]): Wanted {
	const steps = all.flatMap(({ step }) => step ?? []);
	return { ...hull(...all), step: steps.length === 0 ? undefined : Math.min(...steps) };
}

function wantedBy({ node, index }: Use, value: Value, depth: number): Wanted | undefined {
	if (isOnnxOp(node, "QuantizeLinear") && index === 0) {
		const encoding = encodingAt(node);
		return encoding && { ...intervalOf(encoding), step: encoding.scale };
	}
	if (isOnnxOp(node, "Sigmoid") && isOnlyGate(node, value)) return wantedBySilu(node.outputs[0]!.uses[0]!.node, depth);
	if (isOnnxOp(node, "Mul") && isGateOf(node.inputs[1 - index], value)) return wantedBySilu(node, depth);
	const isMove = isView(node) || isOnnxOp(node, "Slice", "Split", "Gather", "Expand");
	if (isMove ? index !== 0 : !isOnnxOp(node, "Concat") && node.outputs.length > 1) return undefined;
	const wanted = wantedOfResults(node, depth);
	if (isMove || isOnnxOp(node, "Concat")) return wanted;
	return takenBack(node, index, wanted);
}

function wantedOfResults(node: Node, depth: number): Wanted | undefined {
	const all = node.outputs.filter(({ uses }) => uses.length > 0).map((output) => wantedInterval(output, depth));
	if (node.outputs.some(({ isGraphOutput }) => isGraphOutput)) return undefined;
	return all.length > 0 && all.every((wanted) => wanted !== undefined) ? joined(all) : undefined;
}

/** From what is wanted of the result of `node` to what is wanted of its input `index`. */
function takenBack(node: Node, index: number, wanted: Wanted | undefined): Wanted | undefined {
	if (isOnnxOp(node, "Sigmoid")) return saturating(wanted, sigmoidInverse, { lo: 0, hi: 1 });
	if (isOnnxOp(node, "Tanh")) return saturating(wanted, tanhInverse, { lo: -1, hi: 1 });
	if (isOnnxOp(node, "Clip") && index === 0) return throughClip(node, wanted);
	if (wanted === undefined) return undefined;
	const { lo, hi, step } = wanted;
	if (isOnnxOp(node, "Gelu")) return saturating(wanted, geluInverse, wanted);
	if (isOnnxOp(node, "Relu")) return { lo: Math.max(lo, 0), hi: Math.max(hi, 0), step };
	if (isOnnxOp(node, "HardSwish")) return { lo: -3, hi: Math.max(hi, 3), step };
	const other = knownInterval(node.inputs[1 - index]);
	if (node.inputs[0] === node.inputs[1] || other === undefined) return undefined;
	if (isOnnxOp(node, "Add")) return { lo: lo - other.hi, hi: hi - other.lo, step };
	if (isOnnxOp(node, "Sub")) {
		return index === 0
			? { lo: lo + other.lo, hi: hi + other.hi, step }
			: { lo: other.lo - hi, hi: other.hi - lo, step };
	}
	const factors = smallConstantOf(node.inputs[1 - index])?.values;
	if (factors === undefined) return undefined;
	if (isOnnxOp(node, "Mul")) return divided(wanted, factors);
	if (isOnnxOp(node, "Div") && index === 0)
		return divided(
			wanted,
			Array.from(factors, (factor) => 1 / factor),
		);
	return undefined;
}

/** `x * Sigmoid(x)`: from what is wanted of the product to what is wanted of x. */
function wantedBySilu(product: Node, depth: number): Wanted | undefined {
	const wanted = wantedOfResults(product, depth);
	return wanted && saturating(wanted, siluInverse, wanted);
}

/** Is `gate` a Sigmoid of `value`, quantized or not? */
function isGateOf(gate: Value | undefined, value: Value): boolean {
	let producer = gate?.producer;
	while (producer !== undefined && isOnnxOp(producer, "DequantizeLinear", "QuantizeLinear")) {
		producer = producer.inputs[0]?.producer;
	}
	return producer !== undefined && isOnnxOp(producer, "Sigmoid") && producer.inputs[0] === value;
}

/** Does the Sigmoid go straight into the product with what it reads, and nowhere else? */
function isOnlyGate(sigmoid: Node, value: Value): boolean {
	const uses = sigmoid.outputs[0]?.uses ?? [];
	const [use] = uses;
	if (use === undefined || uses.length > 1 || sigmoid.outputs[0]!.isGraphOutput) return false;
	return isOnnxOp(use.node, "Mul") && use.node.inputs[1 - use.index] === value;
}

function saturating(
	wanted: Wanted | undefined,
	inverse: (wanted: Interval, step: number) => Interval,
	all: Interval,
): Wanted {
	const step = wanted?.step ?? FINE_STEP;
	return { ...inverse(wanted ?? all, step), step };
}

function throughClip(node: Node, wanted: Wanted | undefined): Wanted | undefined {
	const [min, max] = [1, 2].map((index) => smallConstantOf(node.inputs[index])?.values[0]);
	const lo = Math.max(min ?? Number.NEGATIVE_INFINITY, wanted?.lo ?? Number.NEGATIVE_INFINITY);
	const hi = Math.min(max ?? Number.POSITIVE_INFINITY, wanted?.hi ?? Number.POSITIVE_INFINITY);
	return Number.isFinite(lo) && Number.isFinite(hi) && lo <= hi ? { lo, hi, step: wanted?.step } : undefined;
}

function divided({ lo, hi, step }: Wanted, factors: ArrayLike<number>): Wanted | undefined {
	let smallest = Number.POSITIVE_INFINITY;
	let largest = 0;
	const parts: Interval[] = [];
	for (let index = 0; index < factors.length; index++) {
		const factor = factors[index]!;
		if (factor === 0) continue;
		smallest = Math.min(smallest, Math.abs(factor));
		largest = Math.max(largest, Math.abs(factor));
		parts.push({ lo: Math.min(lo / factor, hi / factor), hi: Math.max(lo / factor, hi / factor) });
	}
	if (parts.length === 0 || !Number.isFinite(largest)) return undefined;
	const whole = parts.reduce((a, b) => hull(a, b));
	return { ...whole, step: step === undefined ? undefined : step / largest };
}
