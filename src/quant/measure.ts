import { type BlockLayout, expectLength, slabElements, slabRows } from "./layout.js";
import { packedByteLength } from "./packing.js";
import { MAX_KERNEL_ROWS, sumSquaresOfColumns } from "./square-kernel.js";

/** Sums of squares over some weights: of the weights, and of what an approximation is off. Sums of parts may be added. */
export interface ErrorSum {
	readonly signal: number;
	readonly error: number;
}

/** Compares an approximation with the weights that it stands for; both arrays have the same length. */
export function errorSum(values: Float32Array, approximation: Float32Array): ErrorSum {
	expectLength("approximated values", approximation.length, values.length);
	let signal = 0;
	let error = 0;
	for (let i = 0; i < values.length; i++) {
		const value = values[i]!;
		const difference = value - approximation[i]!;
		signal += value * value;
		error += difference * difference;
	}
	return { signal, error };
}

/** How far some values reach from 0. Of parts the largest is that of all, and squares may be added. */
export interface Spread {
	/** Absolute. */
	readonly largest: number;
	readonly squares: number;
}

export function spreadOf(values: Float32Array): Spread {
	// two sums, of which neither waits for the other; a comparison with a branch takes five times as long
	let [most, mostOdd, squares, squaresOdd] = [0, 0, 0, 0];
	const even = values.length & ~1;
	for (let i = 0; i < even; i += 2) {
		const square = values[i]! * values[i]!;
		const odd = values[i + 1]! * values[i + 1]!;
		most = Math.max(most, square);
		mostOdd = Math.max(mostOdd, odd);
		squares += square;
		squaresOdd += odd;
	}
	const last = even < values.length ? values[even]! ** 2 : 0;
	return { largest: Math.sqrt(Math.max(most, mostOdd, last)), squares: squares + squaresOdd + last };
}

/** Signal to quantization noise ratio in dB, 10 * log10(signal / error); Infinity when there is no error. */
export function sqnrDb(signal: number, error: number): number {
	return error === 0 ? Infinity : 10 * (Math.log10(signal) - Math.log10(error));
}

/**
 * Sums the squares of the int4 codes of every block, over its rows and spatial positions. With s and s' the scales of a
 * block before and after, the squared error of keeping the codes is the sum over blocks of (s - s')^2 times this.
 *
 * @param packed the codes of the slabs, two a byte, beginning in the low four bits of the first byte; less than 2^32 codes.
 * @param sums receives the result; a new array when left out. Numbers of 16 bits hold it for blocks of at most
 *   MAX_KERNEL_ROWS numbers.
 * @returns [slabCount, channels].
 * @throws RangeError when `packed` does not hold exactly these slabs.
 */
export function sumOfSquaredCodesPerBlock<T extends Float64Array | Uint16Array = Float64Array>(
	packed: Uint8Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	sums: T = new Float64Array(slabCount * layout.channels) as T,
): T {
	const elements = slabElements(layout, firstSlab, slabCount);
	const { channels, spatial } = layout;
	expectLength("bytes of codes", packed.length, packedByteLength(elements, 4));
	expectLength("sums", sums.length, slabCount * channels);
	const words = uint16View(packed);
	let start = 0;
	for (let slab = 0; slab < slabCount; slab++) {
		const rows = slabRows(layout, firstSlab + slab);
		if (channels === 1) sums[slab] = sumOfRun(packed, words, start, start + rows * spatial);
		else if (spatial === 1 && channels % 2 === 0 && rows <= MAX_KERNEL_ROWS) {
			const columns = packed.subarray(start / 2, (start + rows * channels) / 2);
			sums.set(sumSquaresOfColumns(columns, channels), slab * channels);
		} else sumElements(packed, start, rows, channels, spatial, sums, slab * channels);
		start += rows * channels * spatial;
	}
	return sums;
}

/** Sum of the squares of all four codes of two bytes. */
const squareSums = Uint16Array.from({ length: 0x10000 }, (_, word) => {
	return squareAt(word, 0) + squareAt(word, 1) + squareAt(word, 2) + squareAt(word, 3);
});

function squareAt(word: number, place: number): number {
	const code = (word << (28 - 4 * place)) >> 28;
	return code * code;
}

/** Sum over the contiguous elements [start, end), which may begin and end within a byte. */
function sumOfRun(packed: Uint8Array, words: Uint16Array, start: number, end: number): number {
	const sums = squareSums;
	let sum = 0;
	let element = start;
	for (; element < end && element % 4 !== 0; element++) sum += squareAt(packed[element >>> 1]!, element & 1);
	const wordEnd = end >>> 2;
	for (let word = element >>> 2; word < wordEnd; word++) sum += sums[words[word]!]!;
	for (element = Math.max(element, wordEnd * 4); element < end; element++) {
		sum += squareAt(packed[element >>> 1]!, element & 1);
	}
	return sum;
}

/** Any shape, one element after the other. */
function sumElements(
	packed: Uint8Array,
	start: number,
	rows: number,
	channels: number,
	spatial: number,
	sums: Float64Array | Uint16Array,
	first: number,
): void {
	let element = start;
	sums.fill(0, first, first + channels);
	for (let run = 0; run < rows * channels; run++) {
		let sum = 0;
		for (const end = element + spatial; element < end; element++) {
			sum += squareAt(packed[element >>> 1]!, element & 1);
		}
		sums[first + (run % channels)]! += sum;
	}
}

/** Whole pairs of bytes; a view when aligned, a copy when not. */
function uint16View(bytes: Uint8Array): Uint16Array {
	const aligned = bytes.byteOffset % 2 === 0 ? bytes : new Uint8Array(bytes);
	return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.length >>> 1);
}
