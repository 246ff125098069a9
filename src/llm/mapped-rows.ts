import { computedData } from "../ir/data.js";
import { bytesOf, type Tensor, tensor } from "../ir/tensor.js";
import { DataType } from "../ir/types.js";

/**
 * A FLOAT matrix, or a vector as a row, with neighbouring columns of each row changed in place by `change`, when it is read.
 */
export function mappedColumns(
	source: Tensor,
	first: number,
	count: number,
	change: (columns: Float32Array) => void,
): Tensor {
	const width = source.shape.at(-1)!;
	return mappedRows(source, (start, end) => {
		const rows = rowsOf(source, start, end);
		for (let row = 0; row < end - start; row++) change(rows.subarray(row * width + first, row * width + first + count));
		return rows;
	});
}

/**
 * A FLOAT matrix of which `height` neighbouring rows each are multiplied from the left by a matrix [height, height], when it
 * is read.
 */
export function mappedBlocks(source: Tensor, height: number, matrixOf: (block: number) => Float64Array): Tensor {
	const width = source.shape[1]!;
	return mappedRows(source, (start, end) => {
		const made = new Float32Array((end - start) * width);
		for (let block = Math.floor(start / height); block * height < end; block++) {
			const top = block * height;
			const rows = rowsOf(source, top, top + height);
			const matrix = matrixOf(block);
			for (let row = Math.max(start, top); row < Math.min(end, top + height); row++) {
				const sums = new Float64Array(width);
				for (let k = 0; k < height; k++) {
					const factor = matrix[(row - top) * height + k]!;
					for (let column = 0, at = k * width; column < width; column++, at++) sums[column]! += factor * rows[at]!;
				}
				made.set(sums, (row - start) * width);
			}
		}
		return made;
	});
}

/** @param make the rows [start, end). */
function mappedRows({ shape, data }: Tensor, make: (start: number, end: number) => Float32Array): Tensor {
	const rowBytes = 4 * shape.at(-1)!;
	const mapped = computedData(data.byteLength, (start, end) => {
		const [first, last] = [Math.floor(start / rowBytes), Math.ceil(end / rowBytes)];
		return bytesOf(make(first, last)).subarray(start - first * rowBytes, end - first * rowBytes);
	});
	return tensor(DataType.FLOAT, shape, mapped);
}

/** A copy of some rows. */
export function rowsOf({ shape, data }: Tensor, start: number, end: number): Float32Array {
	const rowBytes = 4 * shape.at(-1)!;
	return new Float32Array(Uint8Array.from(data.read(start * rowBytes, end * rowBytes)).buffer);
}
