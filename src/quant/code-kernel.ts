/*
 * The codes of float weights, and how far these are off, eight columns at a time; JavaScript takes six times as long.
 *
 *   for each slab of rows, for each 8 columns with their scales, for each row:
 *     shifted = value / scale + 8
 *     code = min(max(shifted, codeMin + 8), 15), rounded with halves up, - 8      quantizeCode
 *     rest = value - code * stored
 *     sums += value, value^2, rest, rest^2 or value * rest, as far as they are wanted
 *
 * All in float32; sums are those of the rows of a slab.
 */
import { expectLength } from "./layout.js";
import {
	type Code,
	compileWasm,
	f32x4,
	get,
	i8x16,
	i16x8,
	i32,
	i32x4,
	repeatWhile,
	set,
	v128,
	type WasmModule,
} from "./wasm.js";
import { WasmKernel } from "./wasm-kernel.js";

/** Two vectors of four. */
export const COLUMNS_AT_ONCE = 8;

/** What is added up over the rows of a slab, column by column. */
export type CodeSum = "values" | "squares" | "rests" | "restSquares" | "products";

/** Slabs of as many rows each, [slabs, rows, columns], and the scales of their columns. */
export interface CodeTask {
	readonly values: Float32Array;
	/** A multiple of {@link COLUMNS_AT_ONCE}. */
	readonly columns: number;
	/** With which codes are chosen, above 0, [slabs, columns]. */
	readonly scales: Float32Array;
	/** What codes stand for multiples of, [slabs, columns]. */
	readonly stored: Float32Array;
	/** -8 or -7. */
	readonly codeMin: number;
}

/** Valid until the next call. */
export interface CodeResult {
	/** Two codes a byte, the first in the low four bits. */
	readonly packed: Uint8Array;
	/** [slabs, sums, columns]. */
	readonly sums: Float32Array;
}

/* Parameters in bytes: the end of the values, a slab, a row, the scales, the sums, the codes. */
const [VALUES_END, SLAB, WIDTH, SCALES, SUMS, CODES] = [0, 1, 2, 3, 4, 5] as const;
const PARAMETERS = 6;
/** The start of the current slab, a byte in a row, the current row. */
const [SLAB_START, COLUMN, ROW] = [6, 7, 8] as const;
/** One for each half of the columns, the results of both halves, then the sums. */
const [SCALE, STORED, VALUE, NEAREST, REST] = [9, 11, 13, 15, 17] as const;
const FIRST_SUM = 19;

const kernels = new Map<string, WasmKernel>();

/** Chooses codes and adds up what is wanted. */
export function codeColumns(
	{ values, columns, scales, stored, codeMin }: CodeTask,
	sums: readonly CodeSum[],
): CodeResult {
	const slabs = scales.length / columns;
	expectLength("stored scales", stored.length, scales.length);
	const scalesAt = values.byteLength;
	const sumsAt = scalesAt + 2 * scales.byteLength;
	const sumCount = scales.length * sums.length;
	const codesAt = sumsAt + 4 * sumCount;
	const { memory, run } = kernelFor(codeMin, sums).withRoom(codesAt + values.length / 2);
	new Float32Array(memory, 0, values.length).set(values);
	const held = new Float32Array(memory, scalesAt, 2 * scales.length);
	for (let slab = 0; slab < slabs; slab++) {
		const [start, end] = [slab * columns, (slab + 1) * columns];
		held.set(scales.subarray(start, end), 2 * start);
		held.set(stored.subarray(start, end), 2 * start + columns);
	}
	run(scalesAt, values.byteLength / slabs, 4 * columns, scalesAt, sumsAt, codesAt);
	return {
		packed: new Uint8Array(memory, codesAt, values.length / 2),
		sums: new Float32Array(memory, sumsAt, sumCount),
	};
}

function kernelFor(codeMin: number, sums: readonly CodeSum[]): WasmKernel {
	const key = `${codeMin} ${sums.join(" ")}`;
	const kernel = kernels.get(key) ?? new WasmKernel(() => compile(codeMin, sums));
	kernels.set(key, kernel);
	return kernel;
}

function compile(codeMin: number, sums: readonly CodeSum[]): WasmModule {
	const locals = [i32, i32, i32, ...new Array(FIRST_SUM - SCALE + 2 * sums.length).fill(v128)];
	return compileWasm(
		PARAMETERS,
		locals.map(({ type }) => type),
		kernelCode(codeMin, sums),
	);
}

type Half = 0 | 1;

function kernelCode(codeMin: number, sums: readonly CodeSum[]): Code {
	const halves = (visit: (half: Half) => Code): Code => [...visit(0), ...visit(1)];
	const sumLocal = (index: number, half: Half): number => FIRST_SUM + 2 * index + half;
	const advance = (pointer: number, by: Code): Code => set(pointer, i32.add(get(pointer), by));
	return repeatWhile(
		i32.less(get(SLAB_START), get(VALUES_END)),
		set(COLUMN, i32.const(0)),
		repeatWhile(
			i32.less(get(COLUMN), get(WIDTH)),
			halves((half) => [
				...set(SCALE + half, v128.load(i32.add(get(SCALES), get(COLUMN)), 16 * half)),
				...set(STORED + half, v128.load(i32.add(i32.add(get(SCALES), get(WIDTH)), get(COLUMN)), 16 * half)),
				...sums.flatMap((_, index) => set(sumLocal(index, half), f32x4.const(0))),
			]),
			set(ROW, i32.add(get(SLAB_START), get(COLUMN))),
			repeatWhile(
				i32.less(get(ROW), i32.add(get(SLAB_START), get(SLAB))),
				halves((half) => [
					...set(VALUE + half, v128.load(get(ROW), 16 * half)),
					...chooseCode(half, codeMin),
					...sums.flatMap((sum, index) => {
						const local = sumLocal(index, half);
						return set(local, f32x4.add(get(local), term(sum, half)));
					}),
				]),
				v128.storeLane0(i32.add(get(CODES), i32.shiftRight(get(ROW), 3)), 0, packed()),
				advance(ROW, get(WIDTH)),
			),
			...sums.map((_, index) =>
				halves((half) =>
					v128.store(
						i32.add(get(SUMS), i32.add(get(COLUMN), times(get(WIDTH), index))),
						16 * half,
						get(sumLocal(index, half)),
					),
				),
			),
			advance(COLUMN, i32.const(4 * COLUMNS_AT_ONCE)),
		),
		advance(SCALES, times(get(WIDTH), 2)),
		advance(SUMS, times(get(WIDTH), sums.length)),
		advance(SLAB_START, get(SLAB)),
	);
}

/** A small multiple. */
function times(value: Code, count: number): Code {
	let sum: Code = i32.const(0);
	for (let index = 0; index < count; index++) sum = i32.add(sum, value);
	return sum;
}

/** Sets NEAREST to the code + 8, and REST. */
function chooseCode(half: Half, codeMin: number): Code {
	const [value, nearest, rest] = [VALUE + half, NEAREST + half, REST + half];
	const shifted = f32x4.add(f32x4.div(get(value), get(SCALE + half)), f32x4.const(8));
	const atHalf = f32x4.notLess(f32x4.sub(get(rest), get(nearest)), f32x4.const(0.5));
	const decoded = f32x4.mul(f32x4.sub(get(nearest), f32x4.const(8)), get(STORED + half));
	return [
		...set(rest, f32x4.min(f32x4.max(shifted, f32x4.const(codeMin + 8)), f32x4.const(15))),
		// rounds halves to even: those that went down go up
		...set(nearest, f32x4.nearest(get(rest))),
		...set(nearest, f32x4.add(get(nearest), v128.and(atHalf, f32x4.const(1)))),
		...set(rest, f32x4.sub(get(value), decoded)),
	];
}

function term(sum: CodeSum, half: Half): Code {
	const [value, rest] = [get(VALUE + half), get(REST + half)];
	switch (sum) {
		case "values":
			return value;
		case "squares":
			return f32x4.mul(value, value);
		case "rests":
			return rest;
		case "restSquares":
			return f32x4.mul(rest, rest);
		case "products":
			return f32x4.mul(value, rest);
	}
}

/** Eight codes in the first four bytes. */
function packed(): Code {
	const words = i16x8.fromI32(i32x4.fromF32(get(NEAREST)), i32x4.fromF32(get(NEAREST + 1)));
	const bytes = i8x16.fromI16(words, words);
	// pairs of bytes, 0..15 each, as words: the second moves down beside the first
	const pairs = v128.or(bytes, i16x8.shiftRight(bytes, 4));
	const whole = i8x16.fromI16(v128.and(pairs, i16x8.const(0xff)), i16x8.const(0));
	// code + 8 of four bits differs from the code in the highest
	return v128.xor(whole, v128.const(...new Array<number>(16).fill(0x88)));
}
