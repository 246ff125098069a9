import type { TensorData } from "../../ir/data.js";
import { bytesOf } from "../../ir/tensor.js";
import { NIBBLES_A_WORD, transposeNibbles } from "../../quant/nibble-transpose.js";
import { stripwise } from "./strips.js";

const STRIP_BYTES = 2 ** 24;

/** Bytes read at a time. */
const READ_BYTES = 2 ** 20;

/** Rows of which this part or less is wanted are not read whole, unless they are so short that the disk reads them anyway. */
const NARROW_SHARE = 16;
const SHORT_ROW_BYTES = 4096;

/** Do the rows and the columns of a matrix of 4-bit elements fill whole words? */
export function hasWholeWords(rows: number, columns: number): boolean {
	return rows % NIBBLES_A_WORD === 0 && columns % NIBBLES_A_WORD === 0;
}

/** The transpose [columns, rows] of the matrix [rows, columns] of 4-bit elements, both sides in whole words. */
export function transposedNibbles(
	data: TensorData,
	rows: number,
	columns: number,
	stripBytes: number = STRIP_BYTES,
): TensorData {
	const wordRowBytes = rows * 4;
	const whole = Math.max(1, Math.floor(stripBytes / wordRowBytes)) * wordRowBytes;
	return stripwise(data.byteLength, whole, (start, end) => {
		const first = start / wordRowBytes;
		return bytesOf(turnedWords(data, rows, columns / NIBBLES_A_WORD, first, end / wordRowBytes - first));
	});
}

/** The transpose of `wanted` words from `first` on of all rows. */
function turnedWords(data: TensorData, rows: number, words: number, first: number, wanted: number): Uint32Array {
	const outWords = rows / NIBBLES_A_WORD;
	const out = new Uint32Array(wanted * NIBBLES_A_WORD * outWords);
	const rowBytes = words * 4;
	const isNarrow = rowBytes > NARROW_SHARE * wanted * 4 && rowBytes > SHORT_ROW_BYTES;
	const readWords = isNarrow ? wanted : words;
	const step = Math.max(1, Math.floor(READ_BYTES / (readWords * 4 * NIBBLES_A_WORD))) * NIBBLES_A_WORD;
	for (let row = 0; row < rows; row += step) {
		const count = Math.min(step, rows - row);
		const source = isNarrow
			? narrowRows(data, row, count, rowBytes, first * 4, wanted * 4)
			: data.read(row * rowBytes, (row + count) * rowBytes);
		transposeNibbles(wordsOf(source), readWords, isNarrow ? 0 : first, wanted, out, outWords, row);
	}
	return out;
}

/** `length` bytes from `start` on of each of `count` rows. */
function narrowRows(
	data: TensorData,
	firstRow: number,
	count: number,
	rowBytes: number,
	start: number,
	length: number,
): Uint8Array {
	const result = new Uint8Array(count * length);
	for (let row = 0; row < count; row++) {
		const at = (firstRow + row) * rowBytes + start;
		result.set(data.read(at, at + length), row * length);
	}
	return result;
}

function wordsOf(bytes: Uint8Array): Uint32Array {
	const aligned = bytes.byteOffset % 4 === 0 ? bytes : Uint8Array.from(bytes);
	return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 2);
}
