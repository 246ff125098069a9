/*
 * The least and the largest of every column of some rows, sixteen columns at a time; JavaScript takes six times as long.
 *
 *   for each 16 columns:
 *     minima, maxima = 0
 *     for each row: minima = min(minima, values), maxima = max(maxima, values); NaN changes neither
 *   zeros += values * 0, which is NaN with the first value that is not finite
 */
import { type Code, compileWasm, f32x4, get, i32, repeatWhile, set, v128 } from "./wasm.js";
import { WasmKernel } from "./wasm-kernel.js";

/* Parameters in bytes: the first column, the end of the first row, a row, the end of all rows, the result. */
const [COLUMN, COLUMNS_END, WIDTH, ROWS_END, OUT] = [0, 1, 2, 3, 4] as const;
const ROW = 5;
const VALUES = 6;
const MINIMA = [7, 8, 9, 10] as const;
const MAXIMA = [11, 12, 13, 14] as const;
const ZEROS = 15;
const LOCALS = [i32, ...new Array(10).fill(v128)].map(({ type }) => type);

/** Four vectors of four. */
const COLUMNS_AT_ONCE = 16;

const kernel = new WasmKernel(() => compileWasm(5, LOCALS, kernelCode()));

/** Can the kernel work on rows of so many values? Others are for JavaScript. */
export function fitsRangeKernel(columns: number): boolean {
	return columns % COLUMNS_AT_ONCE === 0;
}

/** Of some columns, extended to 0; valid until the next ones are asked for. */
export interface ColumnRanges {
	readonly minima: Float32Array;
	readonly maxima: Float32Array;
	/** Are all values? */
	readonly finite: boolean;
}

/** @param values rows of `columns` each, of which {@link fitsRangeKernel} holds. */
export function columnRanges(values: Float32Array, columns: number): ColumnRanges {
	const end = values.byteLength;
	const { memory, run } = kernel.withRoom(end + 8 * columns + 16);
	new Float32Array(memory, 0, values.length).set(values);
	run(0, 4 * columns, 4 * columns, end, end);
	return {
		minima: new Float32Array(memory, end, columns),
		maxima: new Float32Array(memory, end + 4 * columns, columns),
		finite: new Float32Array(memory, end + 8 * columns, 4).every((zero) => zero === 0),
	};
}

function kernelCode(): Code {
	const each = (visit: (vector: number) => Code): Code[] => [0, 1, 2, 3].map(visit);
	const columns = repeatWhile(
		i32.less(get(COLUMN), get(COLUMNS_END)),
		...each((vector) => set(MINIMA[vector]!, f32x4.const(0))),
		...each((vector) => set(MAXIMA[vector]!, f32x4.const(0))),
		set(ROW, get(COLUMN)),
		repeatWhile(
			i32.less(get(ROW), get(ROWS_END)),
			...each((vector) => [
				...set(VALUES, v128.load(get(ROW), 16 * vector)),
				...set(MINIMA[vector]!, f32x4.min(get(MINIMA[vector]!), get(VALUES))),
				...set(MAXIMA[vector]!, f32x4.max(get(MAXIMA[vector]!), get(VALUES))),
				...set(ZEROS, f32x4.add(get(ZEROS), f32x4.mul(get(VALUES), f32x4.const(0)))),
			]),
			set(ROW, i32.add(get(ROW), get(WIDTH))),
		),
		...each((vector) => v128.store(get(OUT), 16 * vector, get(MINIMA[vector]!))),
		...each((vector) => v128.store(i32.add(get(OUT), get(WIDTH)), 16 * vector, get(MAXIMA[vector]!))),
		set(OUT, i32.add(get(OUT), i32.const(64))),
		set(COLUMN, i32.add(get(COLUMN), i32.const(64))),
	);
	// OUT is at the end of the minima now, and the maxima follow
	return [...set(ZEROS, f32x4.const(0)), ...columns, ...v128.store(i32.add(get(OUT), get(WIDTH)), 0, get(ZEROS))];
}
