/*
 * A few rows times a matrix whose weights are read once, as float32 or as int4 codes, four columns at a time; JavaScript
 * takes eight times as long.
 *
 *   codes, if any, become float32 first
 *   for each four rows of the matrix, for each four columns:
 *     for each of four rows on the left: sums += left[0] * matrix[0] + .. + left[3] * matrix[3]
 *   totals += sums * scales, column by column
 */
import { expectLength } from "./layout.js";
import { type Code, compileWasm, f32x4, get, i8x16, i16x8, i32, i32x4, repeatWhile, set, v128, when } from "./wasm.js";
import { WasmKernel } from "./wasm-kernel.js";

/** Rows on the left, and of the matrix, that are worked on together. */
const GROUP = 4;

/*
 * Parameters in bytes: the left side, the sums, the matrix, its end, a row of it, the packed codes and their end, the totals,
 * the scales.
 */
const [LEFT, SUMS, ROW, ROWS_END, WIDTH, CODES, CODES_END, TOTALS, SCALES] = [0, 1, 2, 3, 4, 5, 6, 7, 8] as const;
const PARAMETERS = 9;
const [COLUMN, OUT] = [9, 10] as const;
const POINTERS = 2;
const [BYTES, LOW, HIGH, SUM] = [11, 12, 13, 14] as const;
const VALUES = 15;
/** [left rows, matrix rows]. */
const FACTORS = 19;
const LOCALS = [...new Array(POINTERS).fill(i32.type), ...new Array(FACTORS + GROUP * GROUP - BYTES).fill(v128.type)];

/** Codes that are unpacked at a time. */
const CODES_AT_ONCE = 32;

const kernel = new WasmKernel(() => compileWasm(PARAMETERS, LOCALS, kernelCode()));

/** Can the kernel work on a matrix of so many columns? */
export function fitsProductKernel(columns: number): boolean {
	return columns % 4 === 0;
}

/**
 * Adds left times matrix, each column of it times its scale, to totals.
 *
 * @param totals [count, columns], changed in place.
 * @param left [count, depth].
 * @param matrix [depth, columns], {@link fitsProductKernel} holds; bytes are int4 codes, two a byte.
 * @param scales [columns]; 1 when left out.
 * @throws RangeError when the matrix does not have as many rows as `left` has columns, or another number of totals.
 */
export function addProducts(
	totals: Float32Array,
	left: Float32Array,
	depth: number,
	matrix: Float32Array | Uint8Array,
	columns: number,
	scales?: Float32Array,
): void {
	const isCodes = matrix instanceof Uint8Array;
	const count = left.length / depth;
	expectLength("weights", isCodes ? 2 * matrix.length : matrix.length, depth * columns);
	expectLength("totals", totals.length, count * columns);
	const groups = Math.ceil(count / GROUP);
	const paddedDepth = Math.ceil(depth / GROUP) * GROUP;
	const width = 4 * columns;
	const sumBytes = groups * GROUP * width;
	const totalsAt = 4 * groups * GROUP * paddedDepth;
	const scalesAt = totalsAt + sumBytes;
	const sumsAt = scalesAt + width;
	const matrixAt = sumsAt + sumBytes;
	const matrixEnd = matrixAt + paddedDepth * width;
	const codesAt = matrixEnd + 4 * CODES_AT_ONCE;
	const { memory, run } = kernel.withRoom(codesAt + (isCodes ? matrix.length : 0) + CODES_AT_ONCE);
	const factors = new Float32Array(memory, 0, totalsAt / 4);
	const held = new Float32Array(memory, totalsAt, totals.length);
	const floats = new Float32Array(memory, matrixAt, paddedDepth * columns);
	arrange(left, depth, paddedDepth, factors);
	held.set(totals);
	new Float32Array(memory, scalesAt, columns).set(scales ?? new Float32Array(columns).fill(1));
	new Float32Array(memory, sumsAt, sumBytes / 4).fill(0);
	floats.fill(0, depth * columns);
	if (isCodes) new Uint8Array(memory, codesAt, matrix.length).set(matrix);
	else floats.set(matrix);
	for (let group = 0; group < groups; group++) {
		const codesEnd = codesAt + (isCodes && group === 0 ? matrix.length : 0);
		const [leftAt, sums] = [4 * group * GROUP * paddedDepth, group * GROUP * width];
		run(leftAt, sumsAt + sums, matrixAt, matrixEnd, width, codesAt, codesEnd, totalsAt + sums, scalesAt);
	}
	totals.set(held);
}

/** [count, depth] as [groups, depth, GROUP], what is beyond being 0. */
function arrange(left: Float32Array, depth: number, paddedDepth: number, factors: Float32Array): void {
	factors.fill(0);
	const count = left.length / depth;
	for (let row = 0; row < count; row++) {
		const start = (row - (row % GROUP)) * paddedDepth + (row % GROUP);
		for (let at = 0; at < depth; at++) factors[start + at * GROUP] = left[row * depth + at]!;
	}
}

const advance = (pointer: number, by: Code): Code => set(pointer, i32.add(get(pointer), by));
const eachOf = (visit: (index: number) => Code): Code =>
	Array.from({ length: GROUP }, (_, index) => visit(index)).flat();

function kernelCode(): Code {
	/** The row `index` behind the current one, in the current columns. */
	const behind = (start: number, index: number): Code => {
		let address = i32.add(get(start), get(COLUMN));
		for (let row = 0; row < index; row++) address = i32.add(address, get(WIDTH));
		return address;
	};
	const factor = (row: number, index: number) => FACTORS + row * GROUP + index;
	return [
		...when(i32.less(get(CODES), get(CODES_END)), unpackAll()),
		...repeatWhile(
			i32.less(get(ROW), get(ROWS_END)),
			eachOf((row) =>
				eachOf((index) => set(factor(row, index), f32x4.loadSplat(get(LEFT), 4 * (index * GROUP + row)))),
			),
			set(COLUMN, i32.const(0)),
			repeatWhile(
				i32.less(get(COLUMN), get(WIDTH)),
				eachOf((index) => set(VALUES + index, v128.load(behind(ROW, index)))),
				eachOf((row) => [
					...set(SUM, v128.load(behind(SUMS, row))),
					...eachOf((index) => set(SUM, f32x4.add(get(SUM), f32x4.mul(get(VALUES + index), get(factor(row, index)))))),
					...v128.store(behind(SUMS, row), 0, get(SUM)),
				]),
				advance(COLUMN, i32.const(16)),
			),
			advance(LEFT, i32.const(4 * GROUP * GROUP)),
			...new Array<Code>(GROUP).fill(advance(ROW, get(WIDTH))),
		),
		...set(COLUMN, i32.const(0)),
		...repeatWhile(
			i32.less(get(COLUMN), get(WIDTH)),
			set(VALUES, v128.load(i32.add(get(SCALES), get(COLUMN)))),
			eachOf((row) => {
				const scaled = f32x4.mul(v128.load(behind(SUMS, row)), get(VALUES));
				return v128.store(behind(TOTALS, row), 0, f32x4.add(v128.load(behind(TOTALS, row)), scaled));
			}),
			advance(COLUMN, i32.const(16)),
		),
	];
}

/** Makes float32 numbers of all packed codes, at the place of the matrix. */
function unpackAll(): Code {
	const all = (byte: number) => v128.const(...new Array<number>(16).fill(byte));
	const inTurn = (first: number) => Array.from({ length: 16 }, (_, lane) => first + (lane >> 1) + 16 * (lane & 1));
	/** Sixteen codes, each 8 above itself, to the places from `offset` on. */
	const store16 = (offset: number): Code =>
		[i16x8.fromLowBytes(get(BYTES)), i16x8.fromHighBytes(get(BYTES))].flatMap((words, half) =>
			[i32x4.fromLowI16(words), i32x4.fromHighI16(words)].flatMap((integers, quarter) => {
				const codes = f32x4.sub(f32x4.fromI32(integers), f32x4.const(8));
				return v128.store(get(OUT), offset + 32 * half + 16 * quarter, codes);
			}),
		);
	return [
		...set(OUT, get(ROW)),
		...repeatWhile(
			i32.less(get(CODES), get(CODES_END)),
			// a code of four bits differs from code + 8 in the highest
			set(BYTES, v128.xor(v128.load(get(CODES)), all(0x88))),
			set(LOW, v128.and(get(BYTES), all(0x0f))),
			set(HIGH, i8x16.shiftRight(get(BYTES), 4)),
			set(BYTES, i8x16.shuffle(get(LOW), get(HIGH), inTurn(0))),
			store16(0),
			set(BYTES, i8x16.shuffle(get(LOW), get(HIGH), inTurn(8))),
			store16(64),
			advance(CODES, i32.const(CODES_AT_ONCE / 2)),
			advance(OUT, i32.const(4 * CODES_AT_ONCE)),
		),
	];
}
