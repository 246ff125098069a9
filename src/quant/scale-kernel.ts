/*
 * The loops that run over every block scale of a model, four scales at a time; JavaScript takes three times as long.
 * Scales come in rows of one block of every channel, float32.
 *
 *   scan:  maximum = max(maximum, scale), and is every scale regular: finite, and not too small for LPBQ
 *   snap:  int = max(rint(scale / channelScale), 1)                                   blockScaleIntOf of lpbq.ts
 *   error: signal += scale^2 * squares, error += (scale - fround(int * channelScale))^2 * squares
 */
import { expectLength } from "./layout.js";
import { MIN_BLOCK_SCALE } from "./lpbq.js";
import type { ErrorSum } from "./measure.js";
import {
	type Code,
	compileWasm,
	f32x4,
	f64x2,
	get,
	i8x16,
	i32,
	i32x4,
	instantiateWasm,
	repeatWhile,
	set,
	v128,
	type WasmInstance,
} from "./wasm.js";

/** Can the kernels work on rows of so many channels? Others are for JavaScript. */
export function fitsScaleKernel(channels: number): boolean {
	return channels % 4 === 0;
}

/* Parameters in bytes: the current row, the end of all rows, a row, and what goes along with the rows. */
const [ROW, ROWS_END, WIDTH, BESIDE] = [0, 1, 2, 3] as const;
const PARAMETERS = 4;
/** Byte in a row. */
const COLUMN = 4;

/** Memory begins with a result of 32 bytes, then come the channels' values. */
const CHANNELS_AT = 32;

/** Runs `columns` for every four scales of every row, then what follows a row. */
function eachRow(columns: Code): Code {
	return repeatWhile(
		i32.less(get(ROW), get(ROWS_END)),
		set(COLUMN, i32.const(0)),
		repeatWhile(i32.less(get(COLUMN), get(WIDTH)), columns, set(COLUMN, i32.add(get(COLUMN), i32.const(16)))),
		set(ROW, i32.add(get(ROW), get(WIDTH))),
	);
}

const scalesHere = v128.load(i32.add(get(ROW), get(COLUMN)));

/** An instance with memory that grows as it is needed; made with the first use. */
class Kernel {
	readonly #compile: () => ReturnType<typeof compileWasm>;
	#instance: WasmInstance | undefined;

	constructor(locals: readonly { readonly type: number }[], code: () => Code) {
		const types = [i32, ...locals].map(({ type }) => type);
		this.#compile = () => compileWasm(PARAMETERS, types, code());
	}

	/** An instance with so much memory; what an earlier one held is lost when it was too small. */
	withRoom(byteLength: number): WasmInstance {
		if (this.#instance === undefined || this.#instance.memory.byteLength < byteLength) {
			this.#instance = instantiateWasm(this.#compile(), byteLength);
		}
		return this.#instance;
	}
}

const SCALES = 5;
const REGULAR = 6;

const scanKernel = new Kernel([v128, v128], () => {
	const maximum = v128.load(get(COLUMN), CHANNELS_AT);
	const isRegular = v128.and(
		f32x4.notLess(get(SCALES), f32x4.const(MIN_BLOCK_SCALE)),
		f32x4.less(get(SCALES), f32x4.const(Infinity)),
	);
	return [
		...set(REGULAR, v128.const(...new Array<number>(16).fill(255))),
		...eachRow([
			...set(SCALES, scalesHere),
			...v128.store(get(COLUMN), CHANNELS_AT, f32x4.max(maximum, get(SCALES))),
			...set(REGULAR, v128.and(get(REGULAR), isRegular)),
		]),
		...i32.store(i32.const(0), 0, i32x4.allTrue(get(REGULAR))),
	];
});

/**
 * Raises maxima to the scales of some rows, where all scales are regular.
 *
 * @param scales [rows, channels], one row at least.
 * @param maxima [channels], changed in place; none is negative.
 * @returns false where a scale is not finite or below 2^-122; the maxima are then as they were.
 */
export function raiseMaxima(scales: Float32Array, maxima: Float64Array): boolean {
	const width = maxima.length * 4;
	const rowsAt = CHANNELS_AT + width;
	const rowsEnd = rowsAt + scales.byteLength;
	const { memory, run } = scanKernel.withRoom(rowsEnd);
	const held = new Float32Array(memory, CHANNELS_AT, maxima.length);
	held.set(maxima);
	new Float32Array(memory, rowsAt, scales.length).set(scales);
	run(rowsAt, rowsEnd, width, 0);
	if (new Int32Array(memory, 0, 1)[0] === 0) return false;
	maxima.set(held);
	return true;
}

const INT = 5;
const INT_BEFORE = 6;
const [SCALE, CHANNEL_SCALE, SQUARES, SIGNAL, ERROR] = [7, 8, 9, 10, 11] as const;
const LOCALS = [v128, v128, v128, v128, v128, v128, v128];

/** Sets SCALE, CHANNEL_SCALE and INT for two of the four scales. */
function snapHalf(half: 0 | 1): Code {
	const channelScales = v128.load(i32.add(get(COLUMN), get(COLUMN)), CHANNELS_AT + half * 16);
	const ratio = f64x2.div(f64x2.abs(get(SCALE)), get(CHANNEL_SCALE));
	return [
		...set(SCALE, f64x2.fromLowF32(halfOf(scalesHere, half))),
		...set(CHANNEL_SCALE, channelScales),
		...set(INT, f64x2.max(f64x2.nearest(ratio), f64x2.const(1))),
	];
}

/** Puts the first or the second eight bytes of a vector to the front. */
function halfOf(vector: Code, half: 0 | 1): Code {
	const back = [8, 9, 10, 11, 12, 13, 14, 15];
	return half === 0 ? vector : i8x16.shuffle(vector, vector, [...back, ...back]);
}

const snapKernel = new Kernel(LOCALS, () => {
	const lowBytes = [0, 4, 16, 20, 0, 4, 16, 20, 0, 4, 16, 20, 0, 4, 16, 20];
	return eachRow([
		...snapHalf(0),
		...set(INT_BEFORE, get(INT)),
		...snapHalf(1),
		...v128.storeLane0(
			get(BESIDE),
			0,
			i8x16.shuffle(i32x4.fromF64(get(INT_BEFORE)), i32x4.fromF64(get(INT)), lowBytes),
		),
		...set(BESIDE, i32.add(get(BESIDE), i32.const(4))),
	]);
});

const errorKernel = new Kernel(LOCALS, () => {
	const zero = f64x2.const(0);
	const addHalf = (half: 0 | 1): Code => {
		const squares = f64x2.fromLowI32(halfOf(get(SQUARES), half));
		const snapped = f64x2.fromLowF32(f32x4.fromF64(f64x2.mul(get(INT), get(CHANNEL_SCALE))));
		return [
			...snapHalf(half),
			...set(SIGNAL, f64x2.add(get(SIGNAL), f64x2.mul(f64x2.mul(get(SCALE), get(SCALE)), squares))),
			...set(INT, f64x2.sub(get(SCALE), snapped)),
			...set(ERROR, f64x2.add(get(ERROR), f64x2.mul(f64x2.mul(get(INT), get(INT)), squares))),
		];
	};
	return [
		...set(SIGNAL, zero),
		...set(ERROR, zero),
		...eachRow([
			...set(SQUARES, i32x4.fromLowI16(v128.load(get(BESIDE)))),
			...addHalf(0),
			...addHalf(1),
			...set(BESIDE, i32.add(get(BESIDE), i32.const(8))),
		]),
		...v128.store(i32.const(0), 0, get(SIGNAL)),
		...v128.store(i32.const(0), 16, get(ERROR)),
	];
});

/**
 * The integers of some rows of block scales, below 256.
 *
 * @param scales [rows, channels], one row at least.
 * @param channelScales [channels], above 0.
 * @param ints receives them, [rows, channels].
 */
export function snapRows(scales: Float32Array, channelScales: Float64Array, ints: Uint8Array): void {
	expectLength("integers", ints.length, scales.length);
	const { memory, besideAt, runAll } = loadRows(snapKernel, scales, channelScales, 1);
	runAll();
	ints.set(new Uint8Array(memory, besideAt, ints.length));
}

/**
 * What snapping changes in some rows of block scales, when every code stays.
 *
 * @param scales [rows, channels], one row at least.
 * @param channelScales [channels], above 0; all of them float32 numbers.
 * @param squares of the codes of each block, summed up: [rows, channels], below 65536.
 */
export function snapError(scales: Float32Array, channelScales: Float64Array, squares: ArrayLike<number>): ErrorSum {
	expectLength("sums of squares", squares.length, scales.length);
	const { memory, besideAt, runAll } = loadRows(errorKernel, scales, channelScales, 2);
	new Uint16Array(memory, besideAt, squares.length).set(squares);
	runAll();
	const [signal0, signal1, error0, error1] = new Float64Array(memory, 0, 4);
	return { signal: signal0! + signal1!, error: error0! + error1! };
}

function loadRows(kernel: Kernel, scales: Float32Array, channelScales: Float64Array, bytesBeside: number) {
	const rowsAt = CHANNELS_AT + channelScales.byteLength;
	const besideAt = rowsAt + scales.byteLength;
	const { memory, run } = kernel.withRoom(besideAt + scales.length * bytesBeside + 16);
	new Float64Array(memory, CHANNELS_AT, channelScales.length).set(channelScales);
	new Float32Array(memory, rowsAt, scales.length).set(scales);
	const width = channelScales.length * 4;
	return { memory, besideAt, runAll: () => run(rowsAt, besideAt, width, besideAt) };
}
