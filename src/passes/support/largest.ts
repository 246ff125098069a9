import { intAttribute, intsAttribute } from "../../ir/attribute.js";
import { int64Tensor } from "../../ir/tensor.js";
import type { Value } from "../../ir/value.js";
import type { NodeWriter } from "./node-writer.js";

/** The operator set since which ReduceMax has its axes as an input. */
const AXES_AS_INPUT = 18;

/** The largest of `value` along `axes`, which stay with length 1. */
export function largestAlong(writer: NodeWriter, value: Value, axes: readonly number[], opset: number): Value {
	const isInput = opset >= AXES_AS_INPUT;
	const operands = isInput ? [writer.constant("axes", int64Tensor([axes.length], axes))] : [];
	const attributes = { keepdims: intAttribute(1), ...(isInput ? {} : { axes: intsAttribute(axes) }) };
	return writer.emit("ReduceMax", [value, ...operands], attributes);
}
