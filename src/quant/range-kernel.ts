/*
 * The scale of every column of some rows, by its range, sixteen columns at a time; JavaScript takes six times as long.
 *
 *   for each 16 columns:
 *     minima, maxima = 0
 *     for each row: minima = min(minima, values), maxima = max(maxima, values); NaN changes neither
 *     scales = max(maxima / above, -minima / below, floor), in float64
 *   largest = max(largest, maxima, -minima)
 *   zeros += values * 0, which is NaN with the first value that is not finite
 */
import { SCALE_FLOOR } from "./lpbq.js";
import { type Code, compileWasm, f32x4, f64x2, get, i8x16, i32, repeatWhile, set, v128 } from "./wasm.js";
import { WasmKernel } from "./wasm-kernel.js";

/*
 * Parameters in bytes: the first column, the end of the first row, a row, the end of all rows, the result, behind which
 * `above` and `below` are, each twice.
 */
const [COLUMN, COLUMNS_END, WIDTH, ROWS_END, OUT] = [0, 1, 2, 3, 4] as const;
const ROW = 5;
const VALUES = 6;
const MINIMA = [7, 8, 9, 10] as const;
const MAXIMA = [11, 12, 13, 14] as const;
const [ZEROS, LARGEST, ABOVE, BELOW] = [15, 16, 17, 18] as const;
const LOCALS = [i32, ...new Array(13).fill(v128)].map(({ type }) => type);

/** Four vectors of four. */
const COLUMNS_AT_ONCE = 16;

const kernel = new WasmKernel(() => compileWasm(5, LOCALS, kernelCode()));

/** Can the kernel work on rows of so many values? Others are for JavaScript. */
export function fitsRangeKernel(columns: number): boolean {
	return columns % COLUMNS_AT_ONCE === 0;
}

/** Of some columns. */
export interface ColumnScales {
	/** Valid until the next ones are asked for. */
	readonly scales: Float64Array;
	/** Magnitude of all values. */
	readonly largest: number;
	/** Are all values? */
	readonly finite: boolean;
}

/**
 * Scales with which codes from -below to above reach over the columns.
 *
 * @param values rows of `columns` each, of which {@link fitsRangeKernel} holds.
 */
export function columnScales(values: Float32Array, columns: number, above: number, below: number): ColumnScales {
	const end = values.byteLength;
	const scalesEnd = end + 8 * columns;
	const { memory, run } = kernel.withRoom(scalesEnd + 32);
	new Float32Array(memory, 0, values.length).set(values);
	new Float64Array(memory, scalesEnd, 4).set([above, above, below, below]);
	run(0, 4 * columns, 4 * columns, end, end);
	const [zeros, largest] = [0, 16].map((offset) => new Float32Array(memory, scalesEnd + offset, 4));
	return {
		scales: new Float64Array(memory, end, columns),
		largest: Math.max(...largest!),
		finite: zeros!.every((zero) => zero === 0),
	};
}

function kernelCode(): Code {
	const each = (visit: (vector: number) => Code): Code[] => [0, 1, 2, 3].map(visit);
	const opposite = (vector: number) => f32x4.sub(f32x4.const(0), get(vector));
	/** Scales of two of the four columns of a vector. */
	const scalesOf = (vector: number, half: number): Code => {
		const ratio = (range: Code, codes: number) => f64x2.div(f64x2.fromLowF32(halfOf(range, half)), get(codes));
		const either = f64x2.max(ratio(get(MAXIMA[vector]!), ABOVE), ratio(opposite(MINIMA[vector]!), BELOW));
		return f64x2.max(either, f64x2.const(SCALE_FLOOR));
	};
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
		...each((vector) => [
			...set(LARGEST, f32x4.max(f32x4.max(get(LARGEST), get(MAXIMA[vector]!)), opposite(MINIMA[vector]!))),
			...[0, 1].flatMap((half) => v128.store(get(OUT), 32 * vector + 16 * half, scalesOf(vector, half))),
		]),
		set(OUT, i32.add(get(OUT), i32.const(128))),
		set(COLUMN, i32.add(get(COLUMN), i32.const(64))),
	);
	const behind = i32.add(get(OUT), i32.add(get(WIDTH), get(WIDTH)));
	return [
		...set(ZEROS, f32x4.const(0)),
		...set(LARGEST, f32x4.const(0)),
		...set(ABOVE, v128.load(behind)),
		...set(BELOW, v128.load(behind, 16)),
		...columns,
		// OUT is at the end of the scales now
		...v128.store(get(OUT), 0, get(ZEROS)),
		...v128.store(get(OUT), 16, get(LARGEST)),
	];
}

/** Puts the first or the second eight bytes of a vector to the front. */
function halfOf(vector: Code, half: number): Code {
	const back = [8, 9, 10, 11, 12, 13, 14, 15];
	return half === 0 ? vector : i8x16.shuffle(vector, vector, [...back, ...back]);
}
