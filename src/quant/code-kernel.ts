/*
 * The codes of float weights, and how far these are off, eight columns at a time; JavaScript takes nine times as long.
 *
 *   for each slab of rows, for each 8 columns with their scales, for each row:
 *     shifted = value / scale + 8
 *     code = min(max(shifted, codeMin + 8), 15), rounded with halves up, - 8      quantizeCode
 *     rest = value - code * stored
 *     sums += value, value^2, rest, rest^2 or value * rest, as far as they are wanted
 *
 * With flips, as many codes of a column, one slab's rows, move by one as it has flips, up or (negative) down: those whose
 * value - code * scale is farthest to that side, the first of equal ones, none that is not on it.
 * All in float32; sums are those of the rows of a slab.
 */
import { expectLength } from "./layout.js";
import {
	type Code,
	compileWasm,
	f32,
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
	when,
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
	/** Whole numbers, [slabs, columns]; undefined for none. */
	readonly flips?: Float32Array | undefined;
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

/* Parameters in bytes: the end of the values, a slab, a row, the scales, the sums, the codes, memory for a slab's codes. */
const [VALUES_END, SLAB, WIDTH, SCALES, SUMS, CODES, SCRATCH] = [0, 1, 2, 3, 4, 5, 6] as const;
const PARAMETERS = 7;
/** The start of the current slab, a byte in a row, the current row, that of the scratch memory. */
const [SLAB_START, COLUMN, ROW, HELD] = [7, 8, 9, 10] as const;
const POINTERS = 4;
/** One for each half of the columns, the results of both halves, then the sums. */
const [SCALE, STORED, VALUE, NEAREST, REST, LEFT, DIRECTION, FARTHEST, PLACE, ACTIVE] = [
	11, 13, 15, 17, 19, 21, 23, 25, 27, 29,
] as const;
const FIRST_SUM = 31;

/** A row of scratch memory: codes of both halves, then how far values are from them. */
const [HELD_CODES, HELD_RESTS, HELD_BYTES] = [0, 32, 64] as const;

const kernels = new Map<string, WasmKernel>();

/** Chooses codes and adds up what is wanted. */
export function codeColumns(task: CodeTask, sums: readonly CodeSum[]): CodeResult {
	const { values, columns, scales, stored, flips, codeMin } = task;
	const slabs = scales.length / columns;
	expectLength("stored scales", stored.length, scales.length);
	const besides = flips === undefined ? [scales, stored] : [scales, stored, flips];
	const scalesAt = values.byteLength;
	const sumsAt = scalesAt + besides.length * scales.byteLength;
	const sumCount = scales.length * sums.length;
	const codesAt = sumsAt + 4 * sumCount;
	const codeBytes = values.length / 2;
	const scratchBytes = flips === undefined ? 0 : (values.length / scales.length) * HELD_BYTES;
	const kernel = kernelFor(codeMin, sums, flips !== undefined);
	const { memory, run } = kernel.withRoom(codesAt + codeBytes + scratchBytes);
	new Float32Array(memory, 0, values.length).set(values);
	const held = new Float32Array(memory, scalesAt, besides.length * scales.length);
	for (let slab = 0; slab < slabs; slab++) {
		besides.forEach((all, index) => {
			held.set(all.subarray(slab * columns, (slab + 1) * columns), (slab * besides.length + index) * columns);
		});
	}
	run(scalesAt, values.byteLength / slabs, 4 * columns, scalesAt, sumsAt, codesAt, codesAt + codeBytes);
	return {
		packed: new Uint8Array(memory, codesAt, codeBytes),
		sums: new Float32Array(memory, sumsAt, sumCount),
	};
}

function kernelFor(codeMin: number, sums: readonly CodeSum[], flips: boolean): WasmKernel {
	const key = `${codeMin} ${flips} ${sums.join(" ")}`;
	const kernel = kernels.get(key) ?? new WasmKernel(() => compile({ codeMin, sums, flips }));
	kernels.set(key, kernel);
	return kernel;
}

interface Variant {
	readonly codeMin: number;
	readonly sums: readonly CodeSum[];
	readonly flips: boolean;
}

function compile(variant: Variant): WasmModule {
	const vectors = FIRST_SUM - SCALE + 2 * variant.sums.length;
	const locals = [...new Array(POINTERS).fill(i32.type), ...new Array(vectors).fill(v128.type)];
	return compileWasm(PARAMETERS, locals, kernelCode(variant));
}

type Half = 0 | 1;

const halves = (visit: (half: Half) => Code): Code => [...visit(0), ...visit(1)];
const advance = (pointer: number, by: Code): Code => set(pointer, i32.add(get(pointer), by));
const sumLocal = (index: number, half: Half): number => FIRST_SUM + 2 * index + half;

function kernelCode(variant: Variant): Code {
	const { codeMin, sums, flips } = variant;
	const finish = [...halves((half) => addUp(half, sums)), ...storeCodes()];
	return repeatWhile(
		i32.less(get(SLAB_START), get(VALUES_END)),
		set(COLUMN, i32.const(0)),
		repeatWhile(
			i32.less(get(COLUMN), get(WIDTH)),
			halves((half) => [
				...set(SCALE + half, besideScales(0, half)),
				...set(STORED + half, besideScales(1, half)),
				...sums.flatMap((_, index) => set(sumLocal(index, half), f32x4.const(0))),
			]),
			flips
				? [
						...halves(loadFlips),
						...eachRow(halves((half) => [...chooseCode(half, codeMin), ...hold(half, codeMin)])),
						...flipFarthest(),
						...eachRow([...halves(takeHeld), ...finish]),
					]
				: eachRow([...halves((half) => chooseCode(half, codeMin)), ...finish]),
			...sums.map((_, index) =>
				halves((half) => {
					const row = i32.add(get(SUMS), i32.add(get(COLUMN), times(get(WIDTH), index)));
					return v128.store(row, 16 * half, get(sumLocal(index, half)));
				}),
			),
			advance(COLUMN, i32.const(4 * COLUMNS_AT_ONCE)),
		),
		advance(SCALES, times(get(WIDTH), flips ? 3 : 2)),
		advance(SUMS, times(get(WIDTH), sums.length)),
		advance(SLAB_START, get(SLAB)),
	);
}

/** Of the scales, the stored ones or the flips of this slab. */
function besideScales(index: number, half: Half): Code {
	return v128.load(i32.add(i32.add(get(SCALES), times(get(WIDTH), index)), get(COLUMN)), 16 * half);
}

/** Runs `body` for every row of the slab, with its values in VALUE. */
function eachRow(body: Code): Code {
	return [
		...set(ROW, i32.add(get(SLAB_START), get(COLUMN))),
		...set(HELD, get(SCRATCH)),
		...repeatWhile(
			i32.less(get(ROW), i32.add(get(SLAB_START), get(SLAB))),
			halves((half) => set(VALUE + half, v128.load(get(ROW), 16 * half))),
			body,
			advance(ROW, get(WIDTH)),
			advance(HELD, i32.const(HELD_BYTES)),
		),
	];
}

/** A small multiple. */
function times(value: Code, count: number): Code {
	let sum: Code = i32.const(0);
	for (let index = 0; index < count; index++) sum = i32.add(sum, value);
	return sum;
}

/** Sets NEAREST to the code + 8. */
function chooseCode(half: Half, codeMin: number): Code {
	const [nearest, rest] = [NEAREST + half, REST + half];
	const shifted = f32x4.add(f32x4.div(get(VALUE + half), get(SCALE + half)), f32x4.const(8));
	const atHalf = f32x4.notLess(f32x4.sub(get(rest), get(nearest)), f32x4.const(0.5));
	return [
		...set(rest, f32x4.min(f32x4.max(shifted, f32x4.const(codeMin + 8)), f32x4.const(15))),
		// rounds halves to even: those that went down go up
		...set(nearest, f32x4.nearest(get(rest))),
		...set(nearest, f32x4.add(get(nearest), v128.and(atHalf, f32x4.const(1)))),
	];
}

/** value - code * scale. */
function restFor(half: Half, scale: number): Code {
	const code = f32x4.sub(get(NEAREST + half), f32x4.const(8));
	return f32x4.sub(get(VALUE + half), f32x4.mul(code, get(scale + half)));
}

/** Sets DIRECTION to the sign of the flips, and LEFT to how many there are. */
function loadFlips(half: Half): Code {
	const [left, direction] = [LEFT + half, DIRECTION + half];
	const oneWhere = (condition: Code) => v128.and(condition, f32x4.const(1));
	const up = oneWhere(f32x4.less(f32x4.const(0), get(left)));
	const down = oneWhere(f32x4.less(get(left), f32x4.const(0)));
	return [
		...set(left, besideScales(2, half)),
		...set(direction, f32x4.sub(up, down)),
		...set(left, f32x4.abs(get(left))),
	];
}

/** Puts the code aside, and how far the value is on the side of the next one. */
function hold(half: Half, codeMin: number): Code {
	const [nearest, direction] = [get(NEAREST + half), get(DIRECTION + half)];
	const isUp = f32x4.less(f32x4.const(0), direction);
	const limit = v128.select(f32x4.const(15), f32x4.const(codeMin + 8), isUp);
	const rest = f32x4.mul(restFor(half, SCALE), direction);
	return [
		...v128.store(get(HELD), HELD_CODES + 16 * half, nearest),
		...v128.store(get(HELD), HELD_RESTS + 16 * half, v128.andNot(rest, f32x4.equal(nearest, limit))),
	];
}

/** Moves the code that is farthest away in every column that has flips left, until none has or can. */
function flipFarthest(): Code {
	const zero = f32x4.const(0);
	const rest = (half: Half) => v128.load(get(HELD), HELD_RESTS + 16 * half);
	const look = (half: Half): Code => [
		...set(ACTIVE + half, f32x4.less(get(FARTHEST + half), rest(half))),
		...set(FARTHEST + half, v128.select(rest(half), get(FARTHEST + half), get(ACTIVE + half))),
		...set(PLACE + half, v128.select(i32x4.splat(get(HELD)), get(PLACE + half), get(ACTIVE + half))),
	];
	const move = (half: Half, lane: number): Code => {
		const at = 16 * half + 4 * lane;
		const place = i32x4.lane(get(PLACE + half), lane);
		const code = f32.load(place, HELD_CODES + at);
		return when(
			i32x4.lane(get(ACTIVE + half), lane),
			f32.store(place, HELD_CODES + at, f32.add(code, f32x4.lane(get(DIRECTION + half), lane))),
			f32.store(place, HELD_RESTS + at, f32.const(0)),
		);
	};
	return repeatWhile(
		v128.anyTrue(v128.or(get(ACTIVE), get(ACTIVE + 1))),
		halves((half) => set(FARTHEST + half, zero)),
		eachRow(halves(look)),
		halves((half) => [
			...set(ACTIVE + half, v128.and(f32x4.less(zero, get(FARTHEST + half)), f32x4.less(zero, get(LEFT + half)))),
			...[0, 1, 2, 3].flatMap((lane) => move(half, lane)),
			...set(LEFT + half, f32x4.sub(get(LEFT + half), f32x4.const(1))),
		]),
	);
}

function takeHeld(half: Half): Code {
	return set(NEAREST + half, v128.load(get(HELD), HELD_CODES + 16 * half));
}

function addUp(half: Half, sums: readonly CodeSum[]): Code {
	return [
		...set(REST + half, restFor(half, STORED)),
		...sums.flatMap((sum, index) => {
			const local = sumLocal(index, half);
			return set(local, f32x4.add(get(local), term(sum, half)));
		}),
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

/** Puts eight codes into four bytes. */
function storeCodes(): Code {
	const words = i16x8.fromI32(i32x4.fromF32(get(NEAREST)), i32x4.fromF32(get(NEAREST + 1)));
	const bytes = i8x16.fromI16(words, words);
	// pairs of bytes, 0..15 each, as words: the second moves down beside the first
	const pairs = v128.or(bytes, i16x8.shiftRight(bytes, 4));
	const whole = i8x16.fromI16(v128.and(pairs, i16x8.const(0xff)), i16x8.const(0));
	// code + 8 of four bits differs from the code in the highest
	const packed = v128.xor(whole, v128.const(...new Array<number>(16).fill(0x88)));
	return v128.storeLane0(i32.add(get(CODES), i32.shiftRight(get(ROW), 3)), 0, packed);
}
