import { computedData, type TensorData } from "../../ir/data.js";
import { packUint4, unpackUint4 } from "../../quant/packing.js";

/** A tensor seen as [outer, rows, columns], of elements of so many bits: 4 or a multiple of 8. */
export interface RowLayout {
	readonly bits: number;
	readonly outer: number;
	readonly rows: number;
	readonly columns: number;
}

/** A row of the result that is all zeros. */
export const ZERO_ROW = -1;

/**
 * [outer, sources.length, columns]: row r is row `sources[r]` of the same outer index of `data`, or zeros. Made when it is
 * read.
 */
export function gatheredRows(data: TensorData, layout: RowLayout, sources: Int32Array): TensorData {
	const { bits, outer, columns } = layout;
	const total = outer * sources.length * columns;
	return computedData(Math.ceil((total * bits) / 8), (start, end) => {
		const first = Math.floor((start * 8) / bits);
		const last = Math.max(first, Math.min(total, Math.ceil((end * 8) / bits)));
		const skipped = start - (first * bits) / 8;
		return gather(data, layout, sources, first, last).subarray(skipped, skipped + end - start);
	});
}

/** The bytes of the elements [first, last) of the result; of four bits, `first` is even. */
function gather(
	data: TensorData,
	{ bits, rows, columns }: RowLayout,
	sources: Int32Array,
	first: number,
	last: number,
): Uint8Array {
	const width = Math.max(1, bits / 8);
	const result = new Uint8Array((last - first) * width);
	for (let at = first; at < last; ) {
		const row = Math.floor(at / columns);
		const outer = Math.floor(row / sources.length);
		const inOuter = row - outer * sources.length;
		const run = runLength(sources, inOuter);
		const end = Math.min(last, (row + run) * columns);
		const source = sources[inOuter]!;
		if (source !== ZERO_ROW) {
			const from = (outer * rows + source) * columns + at - row * columns;
			result.set(readElements(data, bits, from, end - at), (at - first) * width);
		}
		at = end;
	}
	return bits === 4 ? packUint4(result) : result;
}

/** How many rows from `row` on follow one another in the source, too, or are all zeros. */
function runLength(sources: Int32Array, row: number): number {
	const first = sources[row]!;
	const step = first === ZERO_ROW ? 0 : 1;
	let length = 1;
	while (row + length < sources.length && sources[row + length] === first + length * step) length++;
	return length;
}

/** One byte an element of four bits, else the elements' bytes. */
function readElements(data: TensorData, bits: number, first: number, count: number): Uint8Array {
	if (bits !== 4) return data.read((first * bits) / 8, ((first + count) * bits) / 8);
	const bytes = data.read(Math.floor(first / 2), Math.ceil((first + count) / 2));
	return unpackUint4(bytes, first % 2, count);
}
