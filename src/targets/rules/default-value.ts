import type { Value } from "../../ir/value.js";

/** Is the value a constant that whoever runs the model may replace? */
export function isDefault(value: Value | undefined): value is Value {
	return value?.initializer !== undefined && value.isGraphInput;
}
