import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { constantOf } from "../../weights/constant.js";

/** Does ONNX Runtime know the value before compilation: is it a constant, or made of such and of fixed shapes? */
export function isKnown(value: Value | undefined, seen = new Map<Value, boolean>()): boolean {
	if (value === undefined || constantOf(value) !== undefined) return true;
	const { producer } = value;
	if (producer === undefined) return false;
	const known = seen.get(value);
	if (known !== undefined) return known;
	seen.set(value, false);
	const read = isOnnxOp(producer, "CastLike") ? producer.inputs.slice(0, 1) : producer.inputs;
	const result = isOnnxOp(producer, "Shape") || read.every((input) => isKnown(input, seen));
	seen.set(value, result);
	return result;
}

/** Is the operator computed before compilation? */
export function isFolded({ inputs }: Node): boolean {
	return inputs.every((input) => isKnown(input));
}

/** Is the value a constant that whoever runs the model may replace? */
export function isDefault(value: Value | undefined): value is Value {
	return value?.initializer !== undefined && value.isGraphInput;
}
