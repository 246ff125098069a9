/** Elements of any width that can be moved about. */
export type Elements = Uint8Array | Uint16Array | Uint32Array;

/** Elements of a square that stays in a core's cache while it is turned. */
const TILE = 32;

/**
 * Puts a part of a matrix into its transpose: `out[(c * outColumns + firstRow + r) * run + i] = source[r][c * run + i]`.
 * Elements move in runs of `run`, which stay as they are.
 *
 * @param source rows of `columns` runs each, row-major.
 * @param outColumns runs in a row of the transpose, that is the rows of the whole matrix.
 * @param firstRow which row of the matrix the first one of `source` is.
 */
export function transposeInto<T extends Elements>(
	source: T,
	columns: number,
	run: number,
	out: T,
	outColumns: number,
	firstRow: number,
): void {
	const rows = source.length / (columns * run);
	for (let row = 0; row < rows; row += TILE) {
		const rowEnd = Math.min(row + TILE, rows);
		for (let column = 0; column < columns; column += TILE) {
			const columnEnd = Math.min(column + TILE, columns);
			if (run === 1) turnTile(source, columns, out, outColumns, firstRow, row, rowEnd, column, columnEnd);
			else turnRuns(source, columns, run, out, outColumns, firstRow, row, rowEnd, column, columnEnd);
		}
	}
}

function turnTile(
	source: Elements,
	columns: number,
	out: Elements,
	outColumns: number,
	firstRow: number,
	row: number,
	rowEnd: number,
	column: number,
	columnEnd: number,
): void {
	for (let c = column; c < columnEnd; c++) {
		let to = c * outColumns + firstRow + row;
		for (let from = row * columns + c, end = rowEnd * columns; from < end; from += columns) out[to++] = source[from]!;
	}
}

function turnRuns(
	source: Elements,
	columns: number,
	run: number,
	out: Elements,
	outColumns: number,
	firstRow: number,
	row: number,
	rowEnd: number,
	column: number,
	columnEnd: number,
): void {
	for (let r = row; r < rowEnd; r++) {
		for (let c = column; c < columnEnd; c++) {
			const from = (r * columns + c) * run;
			const to = (c * outColumns + firstRow + r) * run;
			for (let i = 0; i < run; i++) out[to + i] = source[from + i]!;
		}
	}
}
