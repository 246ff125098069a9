import { intAttribute } from "../../ir/attribute.js";
import { int64Tensor } from "../../ir/tensor.js";
import type { Dimension } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import type { GraphWriter } from "./node-writer.js";

/** A length, INT64 scalar: a constant where it is known, else what Shape says of `axis` of `value`. */
export function lengthOf(writer: GraphWriter, value: Value, axis: number, known: Dimension | undefined): Value {
	if (typeof known === "number") return scalar(writer, known);
	const shape = writer.emit("Shape", [value], {}, "shape");
	return writer.emit("Gather", [shape, scalar(writer, axis)], { axis: intAttribute(0) }, "length");
}

/** start, start + 1, ... end - 1: INT64 [end - start]. */
export function rangeOf(writer: GraphWriter, start: Value, end: Value): Value {
	return writer.emit("Range", [start, end, scalar(writer, 1)], {}, "positions");
}

export function scalar(writer: GraphWriter, value: number): Value {
	return writer.constant("number", int64Tensor([], [value]));
}

/** An INT64 vector, such as a shape. */
export function vector(writer: GraphWriter, label: string, ...values: readonly number[]): Value {
	return writer.constant(label, int64Tensor([values.length], values));
}
