import { type ElementType, elementTypeOf, numbersOf } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { isOnnxOp } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { codesOf, type Encoding, encodingAt, sameEncoding } from "../passes/support/qdq.js";

/** What the integers of an input stand for, as all that reads it says; undefined where something else reads it. */
export function inputEncoding({ uses }: Value): Encoding | undefined {
	const [first, ...others] = uses.map(({ node, index }) =>
		index === 0 && isOnnxOp(node, "DequantizeLinear") ? encodingAt(node) : undefined,
	);
	if (first === undefined) return undefined;
	return others.every((other) => other !== undefined && sameEncoding(first, other)) ? first : undefined;
}

/** Floats as the codes that stand for them: rounded half to even, and cut off where these end. */
export function encodedAs({ type, shape, bytes }: NumpyArray, encoding: Encoding): NumpyArray {
	const numbers = numbersOf(type, new Uint8Array(bytes).buffer);
	return { type: elementTypeOf(encoding.dtype) as ElementType, shape, bytes: codesOf(numbers, encoding) };
}
