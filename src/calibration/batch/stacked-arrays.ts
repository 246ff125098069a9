import { bytesPerElement } from "../../arrays/element-type.js";
import type { NumpyArray } from "../../arrays/npz.js";
import { product } from "./rule.js";

/** Puts arrays of one shape and type behind each other along an axis, the last one again until there are `size`. */
export function stackArrays(arrays: readonly NumpyArray[], axis: number, size: number): NumpyArray {
	const { type, shape } = arrays[0]!;
	const outer = product(shape.slice(0, axis));
	const chunk = product(shape.slice(axis)) * bytesPerElement(type);
	const bytes = new Uint8Array(outer * size * chunk);
	for (let sample = 0; sample < size; sample++) {
		const own = arrays[Math.min(sample, arrays.length - 1)]!.bytes;
		for (let row = 0; row < outer; row++) {
			bytes.set(own.subarray(row * chunk, (row + 1) * chunk), (row * size + sample) * chunk);
		}
	}
	return { type, shape: shape.map((length, at) => (at === axis ? size * length : length)), bytes };
}

/** What sample `index` of `size` has in an array; in the array's own memory where it lies together there. */
export function unstackArray(
	{ type, shape, bytes }: NumpyArray,
	axis: number,
	size: number,
	index: number,
): NumpyArray {
	const own = shape.map((length, at) => (at === axis ? length / size : length));
	const outer = product(own.slice(0, axis));
	const chunk = bytes.length / outer / size;
	if (outer === 1) return { type, shape: own, bytes: bytes.subarray(index * chunk, (index + 1) * chunk) };
	const found = new Uint8Array(outer * chunk);
	for (let row = 0; row < outer; row++) {
		const start = (row * size + index) * chunk;
		found.set(bytes.subarray(start, start + chunk), row * chunk);
	}
	return { type, shape: own, bytes: found };
}
