/*
 * Turning matrices of 4-bit elements around, eight by eight: a 32-bit word holds eight elements of a row, and three rounds
 * of exchanging halves, bytes and nibbles between eight words make of eight rows eight columns.
 */

/** Elements of a word: sides of matrices that are turned here are multiples of it. */
export const NIBBLES_A_WORD = 8;

/** Sides of a square, in words of a row and in rows, of which both orders stay in a core's cache. */
const TILE_WORDS = 16;
const TILE_ROWS = TILE_WORDS * NIBBLES_A_WORD;

/**
 * Puts a part of a matrix into its transpose: element [c][firstRow + r] of `out` becomes element [r][c] of `source`.
 *
 * @param source rows of `words` words each, row-major; a multiple of eight rows.
 * @param skipped words of a row of `source` in front of those that are wanted.
 * @param wanted words of a row that are wanted: 8 * `wanted` rows of `out`.
 * @param out rows of `outWords` words each.
 * @param firstRow which element of a row of `out` the first row of `source` is; a multiple of eight.
 */
export function transposeNibbles(
	source: Uint32Array,
	words: number,
	skipped: number,
	wanted: number,
	out: Uint32Array,
	outWords: number,
	firstRow: number,
): void {
	const rows = source.length / words;
	for (let row = 0; row < rows; row += TILE_ROWS) {
		const rowEnd = Math.min(row + TILE_ROWS, rows);
		for (let word = 0; word < wanted; word += TILE_WORDS) {
			const wordEnd = Math.min(word + TILE_WORDS, wanted);
			for (let at = word; at < wordEnd; at++) {
				const to = at * NIBBLES_A_WORD * outWords + firstRow / NIBBLES_A_WORD;
				turnWords(source, words, skipped + at, row, rowEnd, out, outWords, to);
			}
		}
	}
}

/** Turns the words of one column of words, rows [row, rowEnd). */
function turnWords(
	source: Uint32Array,
	words: number,
	column: number,
	row: number,
	rowEnd: number,
	out: Uint32Array,
	outWords: number,
	origin: number,
): void {
	for (let at = row; at < rowEnd; at += NIBBLES_A_WORD) {
		const from = at * words + column;
		let a = source[from]!;
		let b = source[from + words]!;
		let c = source[from + 2 * words]!;
		let d = source[from + 3 * words]!;
		let e = source[from + 4 * words]!;
		let f = source[from + 5 * words]!;
		let g = source[from + 6 * words]!;
		let h = source[from + 7 * words]!;

		let t = ((a >>> 16) ^ e) & 0xffff;
		e ^= t;
		a ^= t << 16;
		t = ((b >>> 16) ^ f) & 0xffff;
		f ^= t;
		b ^= t << 16;
		t = ((c >>> 16) ^ g) & 0xffff;
		g ^= t;
		c ^= t << 16;
		t = ((d >>> 16) ^ h) & 0xffff;
		h ^= t;
		d ^= t << 16;

		t = ((a >>> 8) ^ c) & 0xff00ff;
		c ^= t;
		a ^= t << 8;
		t = ((b >>> 8) ^ d) & 0xff00ff;
		d ^= t;
		b ^= t << 8;
		t = ((e >>> 8) ^ g) & 0xff00ff;
		g ^= t;
		e ^= t << 8;
		t = ((f >>> 8) ^ h) & 0xff00ff;
		h ^= t;
		f ^= t << 8;

		t = ((a >>> 4) ^ b) & 0xf0f0f0f;
		b ^= t;
		a ^= t << 4;
		t = ((c >>> 4) ^ d) & 0xf0f0f0f;
		d ^= t;
		c ^= t << 4;
		t = ((e >>> 4) ^ f) & 0xf0f0f0f;
		f ^= t;
		e ^= t << 4;
		t = ((g >>> 4) ^ h) & 0xf0f0f0f;
		h ^= t;
		g ^= t << 4;

		const to = origin + at / NIBBLES_A_WORD;
		out[to] = a;
		out[to + outWords] = b;
		out[to + 2 * outWords] = c;
		out[to + 3 * outWords] = d;
		out[to + 4 * outWords] = e;
		out[to + 5 * outWords] = f;
		out[to + 6 * outWords] = g;
		out[to + 7 * outWords] = h;
	}
}
