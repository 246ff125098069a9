import { bytesData, computedData, type TensorData } from "../../ir/data.js";
import { elementCount } from "../../ir/types.js";
import { packUint4, unpackUint4 } from "../../quant/packing.js";

/**
 * The tensor of shape `from` repeated along the axes where it has length 1 and `to` has more. Elements have 4 bits or
 * whole bytes; they are copied when they are read.
 */
export function expandedData(
	bytes: Uint8Array,
	bits: number,
	from: readonly number[],
	to: readonly number[],
): TensorData {
	if (elementCount(from) === elementCount(to)) return bytesData(bytes);
	const total = elementCount(to);
	const width = Math.max(1, bits / 8);
	const elements = bits === 4 ? unpackUint4(bytes, 0, elementCount(from)) : bytes;
	const strides = stridesOf(from, to);
	return computedData(Math.ceil((total * bits) / 8), (start, end) => {
		const first = Math.floor((start * 8) / bits);
		const last = Math.max(first, Math.min(total, Math.ceil((end * 8) / bits)));
		const result = new Uint8Array((last - first) * width);
		for (let at = first; at < last; at++) {
			const source = sourceOf(at, to, strides) * width;
			for (let byte = 0; byte < width; byte++) result[(at - first) * width + byte] = elements[source + byte]!;
		}
		const skipped = start - (first * bits) / 8;
		return (bits === 4 ? packUint4(result) : result).subarray(skipped, skipped + end - start);
	});
}

/** How far one step along each axis of the result goes in the source: 0 where it repeats. */
function stridesOf(from: readonly number[], to: readonly number[]): number[] {
	return to.map((_, axis) => (from[axis] === 1 ? 0 : elementCount(from.slice(axis + 1))));
}

function sourceOf(element: number, to: readonly number[], strides: readonly number[]): number {
	let rest = element;
	let source = 0;
	for (let axis = to.length - 1; axis >= 0; axis--) {
		const index = rest % to[axis]!;
		rest = (rest - index) / to[axis]!;
		source += index * strides[axis]!;
	}
	return source;
}
