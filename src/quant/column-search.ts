import { columnKernel, RECORD, ROWS_AT_ONCE, SEARCH_COLUMNS, SIGNALS_BYTES } from "./column-kernel.js";
import { MAX_BLOCK_SCALE_INT } from "./lpbq.js";
import { instantiateWasm, type WasmInstance } from "./wasm.js";

const ROW_BYTES = 4 * SEARCH_COLUMNS;

/* Indices of a record's fields in arrays of four bytes. */
const [CHANNEL_SCALE, FIRST, LAST, INT] = [
	RECORD.channelScale / 4,
	RECORD.first / 4,
	RECORD.last / 4,
	RECORD.int / 4,
] as const;
/* In arrays of eight bytes. */
const [POWERS, SQUARES] = [RECORD.powers / 8, RECORD.squares / 8] as const;

export interface SearchCapacity {
	/** Sets of sixteen columns, each with its records. */
	readonly strips: number;
	readonly records: number;
	/** Values of a block. */
	readonly rows: number;
	/** Values that columns are found in. */
	readonly source: number;
}

/**
 * Finds, for sixteen blocks at a time, the columns of a strip, and for each of its records, which have a channel scale for
 * every column, the integer block scale with the least sum of h * |error|^exponent, h being 1 or an importance. All
 * integers that a record allows count, and the smallest wins a tie. Errors are added up from search to search.
 */
export class ColumnSearch {
	/** Where columns are found, row by row. */
	readonly source: Float32Array;
	/** Importance of each value, [rows, SEARCH_COLUMNS]; undefined when it is 1. */
	readonly weights: Float32Array | undefined;
	readonly #wasm: WasmInstance;
	readonly #stripsAt: number;
	readonly #stripBytes: number;
	readonly #floats: Float32Array;
	readonly #doubles: Float64Array;

	/**
	 * @param exponent whole number from 2 to 8.
	 * @param codeMin smallest code, -8 or -7.
	 * @throws RangeError for another exponent.
	 */
	constructor(exponent: number, codeMin: number, weighted: boolean, capacity: SearchCapacity) {
		const rows = padded(capacity.rows);
		const weightsAt = rows * ROW_BYTES;
		this.#stripsAt = 2 * weightsAt;
		this.#stripBytes = SIGNALS_BYTES + capacity.records * RECORD.byteLength;
		const sourceAt = this.#stripsAt + capacity.strips * this.#stripBytes;
		// what is beside the last column is read, too
		const byteLength = sourceAt + 4 * capacity.source + ROW_BYTES;
		this.#wasm = instantiateWasm(columnKernel(exponent, codeMin, weighted), byteLength);
		const { memory } = this.#wasm;
		this.weights = weighted ? new Float32Array(memory, weightsAt, rows * SEARCH_COLUMNS) : undefined;
		this.source = new Float32Array(memory, sourceAt, capacity.source);
		this.#floats = new Float32Array(memory);
		this.#doubles = new Float64Array(memory);
	}

	/** Asks, in a record, for the integers from `first` to `last` of a column; for none where `last` is below. */
	ask(
		strip: number,
		record: number,
		column: number,
		channelScale: number,
		first = 1,
		last = MAX_BLOCK_SCALE_INT,
	): void {
		const at = this.#recordAt(strip, record) / 4 + column;
		this.#floats[at + CHANNEL_SCALE] = channelScale;
		this.#floats[at + FIRST] = first;
		this.#floats[at + LAST] = last;
	}

	/** Asks for other integers at the same scale. */
	allow(strip: number, record: number, column: number, first: number, last = MAX_BLOCK_SCALE_INT): void {
		const at = this.#recordAt(strip, record) / 4 + column;
		this.#floats[at + FIRST] = first;
		this.#floats[at + LAST] = last;
	}

	/**
	 * Searches the columns of a strip for its first `records` records.
	 *
	 * @param start element of the source in the first row, the first column.
	 * @param stride elements from one row to the next.
	 */
	run(strip: number, start: number, stride: number, rows: number, records: number): void {
		this.#wasm.run(
			this.source.byteOffset + 4 * start,
			4 * stride,
			rows * ROW_BYTES,
			padded(rows) * ROW_BYTES,
			this.weights?.byteOffset ?? 0,
			this.#stripsAt + strip * this.#stripBytes,
			this.#recordAt(strip, records),
		);
	}

	/** The best integer of a column. */
	int(strip: number, record: number, column: number): number {
		return this.#floats[this.#recordAt(strip, record) / 4 + column + INT]!;
	}

	/** The sum of h * |error|^exponent of a column with the integers that were best. */
	power(strip: number, record: number, column: number): number {
		return this.#doubles[this.#recordAt(strip, record) / 8 + column + POWERS]!;
	}

	/** Their sum of h * error^2. */
	square(strip: number, record: number, column: number): number {
		return this.#doubles[this.#recordAt(strip, record) / 8 + column + SQUARES]!;
	}

	/** The sum of h * value^2. */
	signal(strip: number, column: number): number {
		return this.#doubles[(this.#stripsAt + strip * this.#stripBytes) / 8 + column]!;
	}

	/** Makes the sums of a strip 0. */
	forget(strip: number, records: number): void {
		const at = (this.#stripsAt + strip * this.#stripBytes) / 8;
		this.#doubles.fill(0, at, at + SEARCH_COLUMNS);
		for (let record = 0; record < records; record++) {
			const first = this.#recordAt(strip, record) / 8;
			this.#doubles.fill(0, first + POWERS, first + SQUARES + SEARCH_COLUMNS);
		}
	}

	#recordAt(strip: number, record: number): number {
		return this.#stripsAt + strip * this.#stripBytes + SIGNALS_BYTES + record * RECORD.byteLength;
	}
}

function padded(rows: number): number {
	return Math.ceil(rows / ROWS_AT_ONCE) * ROWS_AT_ONCE;
}
