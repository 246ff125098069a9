import { floatOf, intOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { elementCount } from "../../ir/types.js";
import type { Use, Value } from "../../ir/value.js";
import { smallConstantOf } from "./small-constant.js";

/** y = factor x + shift, with numbers a channel. */
export interface Affine {
	readonly factors: Float64Array;
	readonly shifts: Float64Array;
}

/** What the reader `use` of a value of `rank` axes with `channels` along the second does to it; undefined where it is more than that. */
export function affineAt(use: Use, channels: number, rank: number): Affine | undefined {
	const { node, index } = use;
	if (isOnnxOp(node, "BatchNormalization")) return index === 0 ? normalization(node, channels) : undefined;
	if (!isOnnxOp(node, "Add", "Sub", "Mul", "Div") || node.inputs[0] === node.inputs[1]) return undefined;
	const vector = channelVector(node.inputs[1 - index], channels, rank);
	if (vector === undefined) return undefined;
	const zeros = new Float64Array(channels);
	const ones = zeros.map(() => 1);
	switch (node.op.type) {
		case "Add":
			return { factors: ones, shifts: vector };
		case "Sub":
			if (index === 1) return { factors: ones.map(() => -1), shifts: vector };
			return { factors: ones, shifts: vector.map((value) => -value) };
		case "Mul":
			return { factors: vector, shifts: zeros };
		default:
			return index === 0 ? { factors: vector.map((value) => 1 / value), shifts: zeros } : undefined;
	}
}

/** First `a`, then `b`. */
export function composed(a: Affine, b: Affine): Affine {
	return {
		factors: a.factors.map((factor, channel) => factor * b.factors[channel]!),
		shifts: a.shifts.map((shift, channel) => shift * b.factors[channel]! + b.shifts[channel]!),
	};
}

function normalization(node: Node, channels: number): Affine | undefined {
	const isUsed = (value: Value) => value.uses.length > 0 || value.isGraphOutput;
	if (intOf(node, "training_mode", 0) !== 0 || node.outputs.slice(1).some(isUsed)) return undefined;
	const [scale, bias, mean, variance] = node.inputs.slice(1, 5).map((value) => smallConstantOf(value)?.values);
	if ([scale, bias, mean, variance].some((values) => values?.length !== channels)) return undefined;
	const epsilon = floatOf(node, "epsilon", 1e-5);
	const factors = Float64Array.from(scale!, (value, channel) => value / Math.sqrt(variance![channel]! + epsilon));
	const shifts = factors.map((factor, channel) => bias![channel]! - mean![channel]! * factor);
	return { factors, shifts };
}

/** A constant with one number for all, or one a channel, as one a channel. */
function channelVector(value: Value | undefined, channels: number, rank: number): Float64Array | undefined {
	const constant = smallConstantOf(value);
	if (constant === undefined || constant.shape.length > rank) return undefined;
	const { shape, values } = constant;
	if (elementCount(shape) === 1) return new Float64Array(channels).fill(values[0]!);
	const axis = shape.length - (rank - 1);
	return axis >= 0 && shape[axis] === channels && elementCount(shape) === channels
		? Float64Array.from(values)
		: undefined;
}
