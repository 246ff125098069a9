import { everyPiece, type TensorData } from "../ir/data.js";
import type { Tensor } from "../ir/tensor.js";
import { bitsPerElement, elementCount } from "../ir/types.js";

/** Answers so far; data never change. */
const known = new WeakMap<TensorData, number | "several">();

/**
 * The byte that the data of `tensor` repeat: 0x88 where all elements are 4-bit eights. undefined where there are several
 * or none. What pads the last byte of 4-bit elements does not count.
 */
export function repeatedByte(tensor: Tensor): number | undefined {
	let byte = known.get(tensor.data);
	if (byte === undefined) {
		byte = findRepeatedByte(tensor) ?? "several";
		known.set(tensor.data, byte);
	}
	return byte === "several" ? undefined : byte;
}

function findRepeatedByte({ dtype, shape, data }: Tensor): number | undefined {
	const width = bitsPerElement(dtype) ?? 8;
	const usedBits = (elementCount(shape) * width) % 8;
	const whole = usedBits === 0 ? data.byteLength : data.byteLength - 1;
	const mask = usedBits === 0 ? 0xff : (1 << usedBits) - 1;
	let first: number | undefined;
	const repeats = everyPiece(data, (bytes, start) => {
		first ??= whole === 0 ? repeatElement(bytes[0]!, width) : bytes[0]!;
		const count = Math.min(bytes.byteLength, whole - start);
		if (count > 0 && bytes[0] !== first) return false;
		// all bytes are the same where they equal themselves one byte on
		if (count > 1 && Buffer.compare(bytes.subarray(1, count), bytes.subarray(0, count - 1)) !== 0) return false;
		return count === bytes.byteLength || ((bytes[count]! ^ first) & mask) === 0;
	});
	return repeats ? first : undefined;
}

/** A byte full of the first element of `byte`. */
function repeatElement(byte: number, width: number): number {
	const largest = (1 << width) - 1;
	return (byte & largest) * (0xff / largest);
}
