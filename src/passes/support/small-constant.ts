import { intOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import type { Tensor } from "../../ir/tensor.js";
import { elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { constantOf } from "../../weights/constant.js";
import { elementsOf } from "../../weights/numbers.js";

/** Biases, scales and shapes have at most one number a channel; what is larger is a weight and is read in pieces. */
const MAX_ELEMENTS = 2 ** 22;

/** A constant that is small enough for memory, as numbers. */
export interface SmallConstant {
	readonly shape: readonly number[];
	readonly values: ArrayLike<number>;
}

/**
 * The numbers that `value` stands for: a constant, or one behind DequantizeLinear and Identity. undefined for what is
 * computed, may be replaced by the model's caller, is large or has a type without numbers.
 */
export function smallConstantOf(value: Value | undefined): SmallConstant | undefined {
	const constant = constantOf(value);
	if (constant !== undefined) {
		if (constant.overridable) return undefined;
		const values = valuesOf(constant.tensor);
		return values && { shape: constant.tensor.shape, values };
	}
	const producer = value?.producer;
	if (producer === undefined) return undefined;
	if (isOnnxOp(producer, "Identity")) return smallConstantOf(producer.inputs[0]);
	return isOnnxOp(producer, "DequantizeLinear") ? dequantized(producer.inputs, intOf(producer, "axis", 1)) : undefined;
}

/** Blocked scales do not occur in what is small. */
function dequantized(inputs: readonly (Value | undefined)[], axis: number): SmallConstant | undefined {
	const [codes, scale] = inputs.map(smallConstantOf);
	const zeroPoint = inputs[2] === undefined ? { shape: [], values: [0] } : smallConstantOf(inputs[2]);
	if (codes === undefined || scale === undefined || zeroPoint === undefined) return undefined;
	const { shape } = codes;
	const channels = scale.values.length;
	if (channels !== 1 && channels !== shape.at(axis)) return undefined;
	if (zeroPoint.values.length !== 1 && zeroPoint.values.length !== channels) return undefined;
	const inner = elementCount(shape.slice(axis < 0 ? axis + shape.length + 1 : axis + 1));
	const values = Float32Array.from(codes.values, (code, index) => {
		const channel = channels === 1 ? 0 : Math.floor(index / inner) % channels;
		return (code - (zeroPoint.values[zeroPoint.values.length === 1 ? 0 : channel] ?? 0)) * scale.values[channel]!;
	});
	return { shape, values };
}

/** The elements of a small tensor; undefined where it is large, has no numbers or not as many bytes as its shape says. */
export function valuesOf(tensor: Tensor): ArrayLike<number> | undefined {
	const count = elementCount(tensor.shape);
	return count > MAX_ELEMENTS ? undefined : elementsOf(tensor, 0, count);
}
