import { type BlockLayout, expectLength, slabElements, slabRows } from "./layout.js";
import { packedByteLength } from "./packing.js";

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

/** Signal to quantization noise ratio in dB, 10 * log10(signal / error); Infinity when there is no error. */
export function sqnrDb(signal: number, error: number): number {
	return error === 0 ? Infinity : 10 * (Math.log10(signal) - Math.log10(error));
}

/**
 * Sums the squares of the int4 codes of every block, over its rows and spatial positions. With s and s' the scales of a
 * block before and after, the squared error of keeping the codes is the sum over blocks of (s - s')^2 times this.
 *
 * @param packed the codes of the slabs, two a byte, beginning in the low four bits of the first byte; less than 2^32 codes.
 * @returns [slabCount, channels].
 * @throws RangeError when `packed` does not hold exactly these slabs.
 */
export function sumOfSquaredCodesPerBlock(
	packed: Uint8Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
): Float64Array {
	const elements = slabElements(layout, firstSlab, slabCount);
	expectLength("bytes of codes", packed.length, packedByteLength(elements, 4));
	const { channels, spatial } = layout;
	const sums = new Float64Array(slabCount * channels);
	const words = uint16View(packed);
	const lanes = new Int32Array(Math.floor(channels / 2));
	let start = 0;
	for (let slab = 0; slab < slabCount; slab++) {
		const rows = slabRows(layout, firstSlab + slab);
		if (channels === 1) sums[slab] = sumOfRun(packed, words, start, start + rows * spatial);
		else if (spatial === 1 && channels % 2 === 0 && rows <= MAX_LANE_ROWS) {
			sumColumns(packed, start >>> 1, rows, lanes);
			unpackLanes(lanes, sums, slab * channels);
		} else sumElements(packed, start, rows, channels, spatial, sums, slab * channels);
		start += rows * channels * spatial;
	}
	return sums;
}

/** Squares of both codes of a byte: the low code's in bits 0..15, the high code's above. */
const squarePairs = Int32Array.from({ length: 0x100 }, (_, byte) => squareAt(byte, 0) | (squareAt(byte, 1) << 16));

/** Sum of the squares of all four codes of two bytes. */
const squareSums = Uint16Array.from({ length: 0x10000 }, (_, word) => {
	return squareAt(word, 0) + squareAt(word, 1) + squareAt(word, 2) + squareAt(word, 3);
});

/** Most squares, up to 64 each, that 16 bits hold the sum of. */
const MAX_LANE_ROWS = 1023;

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

/** Sums two columns a lane, over rows of whole bytes. */
function sumColumns(packed: Uint8Array, firstByte: number, rows: number, lanes: Int32Array): void {
	const pairs = squarePairs;
	const width = lanes.length;
	lanes.fill(0);
	let row = 0;
	for (; row + 3 < rows; row += 4) {
		const a = firstByte + row * width;
		const b = a + width;
		const c = b + width;
		const d = c + width;
		for (let j = 0; j < width; j++) {
			lanes[j]! += pairs[packed[a + j]!]! + pairs[packed[b + j]!]! + pairs[packed[c + j]!]! + pairs[packed[d + j]!]!;
		}
	}
	for (; row < rows; row++) {
		const a = firstByte + row * width;
		for (let j = 0; j < width; j++) lanes[j]! += pairs[packed[a + j]!]!;
	}
}

function unpackLanes(lanes: Int32Array, sums: Float64Array, first: number): void {
	for (let j = 0; j < lanes.length; j++) {
		sums[first + 2 * j] = lanes[j]! & 0xffff;
		sums[first + 2 * j + 1] = lanes[j]! >>> 16;
	}
}

/** Any shape, one element after the other. */
function sumElements(
	packed: Uint8Array,
	start: number,
	rows: number,
	channels: number,
	spatial: number,
	sums: Float64Array,
	first: number,
): void {
	let element = start;
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
	const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
	return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.length >>> 1);
}
