/*
 * The least and the largest of every column of some rows, sixteen columns at a time; JavaScript takes six times as long.
 *
 *   for each 16 columns:
 *     minima, maxima = 0
 *     for each row: minima = min(minima, values), maxima = max(maxima, values); NaN changes neither
 */
import {
	type Code,
	compileWasm,
	f32x4,
	get,
	i32,
	instantiateWasm,
	repeatWhile,
	set,
	v128,
	type WasmInstance,
} from "./wasm.js";

/* Parameters in bytes: the first column, the end of the first row, a row, the end of all rows, the result. */
const [COLUMN, COLUMNS_END, WIDTH, ROWS_END, OUT] = [0, 1, 2, 3, 4] as const;
const ROW = 5;
const VALUES = 6;
const MINIMA = [7, 8, 9, 10] as const;
const MAXIMA = [11, 12, 13, 14] as const;
const LOCALS = [i32, ...new Array(9).fill(v128)].map(({ type }) => type);

/** Four vectors of four. */
const COLUMNS_AT_ONCE = 16;

let wasm: WasmInstance | undefined;

/** Can the kernel work on rows of so many values? Others are for JavaScript. */
export function fitsRangeKernel(columns: number): boolean {
	return columns % COLUMNS_AT_ONCE === 0;
}

/**
 * The ranges of columns, extended to 0.
 *
 * @param values rows of `columns` each, of which {@link fitsRangeKernel} holds.
 * @returns valid until the next call.
 */
export function columnRanges(values: Float32Array, columns: number): { minima: Float32Array; maxima: Float32Array } {
	const end = values.byteLength;
	if (wasm === undefined || wasm.memory.byteLength < end + 8 * columns) {
		wasm = instantiateWasm(compileWasm(5, LOCALS, kernelCode()), end + 8 * columns);
	}
	new Float32Array(wasm.memory, 0, values.length).set(values);
	wasm.run(0, 4 * columns, 4 * columns, end, end);
	return {
		minima: new Float32Array(wasm.memory, end, columns),
		maxima: new Float32Array(wasm.memory, end + 4 * columns, columns),
	};
}

function kernelCode(): Code {
	const each = (visit: (vector: number) => Code): Code[] => [0, 1, 2, 3].map(visit);
	return repeatWhile(
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
			]),
			set(ROW, i32.add(get(ROW), get(WIDTH))),
		),
		...each((vector) => v128.store(get(OUT), 16 * vector, get(MINIMA[vector]!))),
		...each((vector) => v128.store(i32.add(get(OUT), get(WIDTH)), 16 * vector, get(MAXIMA[vector]!))),
		set(OUT, i32.add(get(OUT), i32.const(64))),
		set(COLUMN, i32.add(get(COLUMN), i32.const(64))),
	);
}
