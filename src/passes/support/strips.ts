import { computedData, type TensorData } from "../../ir/data.js";

/** Strips that are kept: several weights are worked on at a time, each from its beginning to its end. */
const MAX_STRIPS = 4;

interface Strip {
	readonly start: number;
	readonly bytes: Uint8Array;
}

/** The strip that each of the last few readers is at; the longest unused first. */
const strips = new Map<object, Strip>();

/**
 * Bytes that are made `stripBytes` at a time, for what is slow to make in small pieces. A strip stays in memory until it was
 * read to its end; of all data together no more than a few do.
 *
 * @param make is called with the ends of a strip, a multiple of `stripBytes` and the next one or the end of the data.
 */
export function stripwise(
	byteLength: number,
	stripBytes: number,
	make: (start: number, end: number) => Uint8Array,
): TensorData {
	const key = {};
	return computedData(byteLength, (start, end) => {
		const result = new Uint8Array(end - start);
		for (let at = start; at < end; ) {
			const first = at - (at % stripBytes);
			const last = Math.min(first + stripBytes, byteLength);
			const bytes = stripAt(key, first, () => make(first, last));
			const stop = Math.min(end, last);
			result.set(bytes.subarray(at - first, stop - first), at - start);
			if (stop === last) strips.delete(key);
			at = stop;
		}
		return result;
	});
}

function stripAt(key: object, start: number, make: () => Uint8Array): Uint8Array {
	const known = strips.get(key);
	strips.delete(key);
	if (known === undefined && strips.size >= MAX_STRIPS) strips.delete(strips.keys().next().value!);
	const strip = known?.start === start ? known : { start, bytes: make() };
	strips.set(key, strip);
	return strip.bytes;
}
