/*
 * The inner loop of GPTQ: takes the errors of some inputs, as much of each as a weight says, from sixteen channels of every
 * column that follows; JavaScript takes far longer.
 *
 *   for each pair of columns, each of sixteen values:
 *     for each row of errors: values -= errors[row] * weights[row][column]
 */
import {
	type Code,
	compileWasm,
	f32x4,
	f64x2,
	get,
	i32,
	instantiateWasm,
	repeatWhile,
	set,
	v128,
	type WasmInstance,
	type WasmModule,
} from "./wasm.js";

/** Channels of a column. */
export const SPREAD_CHANNELS = 16;

/** Most rows of errors that are spread at once. */
export const SPREAD_ROWS = 16;

/** Columns that are worked on together; there is room for some more than are asked for. */
const PAIR = 2;

/** Vectors of a column that are worked on together: with two columns all that fit into registers. */
const VECTORS = 4;

const VECTOR_BYTES = 16;

export type SpreadArray = Float32Array | Float64Array;

const ELEMENTS = {
	float32: { array: Float32Array, lanes: f32x4 },
	float64: { array: Float64Array, lanes: f64x2 },
} as const;

type ElementType = keyof typeof ELEMENTS;

/* Parameters in bytes: the first weight, from one row of weights to the next, the errors and the columns from first to end. */
const [WEIGHT, WEIGHT_STRIDE, ERRORS, ERRORS_END, COLUMN, COLUMNS_END] = [0, 1, 2, 3, 4, 5] as const;
const [ERROR_ROW, ROW_WEIGHT] = [6, 7] as const;
const FACTORS = [8, 9] as const;
const VALUES = Array.from({ length: PAIR * VECTORS }, (_, value) => 10 + value);
const LOCALS = [i32.type, i32.type, ...new Array<number>(PAIR + PAIR * VECTORS).fill(v128.type)];

const modules = new Map<ElementType, WasmModule>();

/** Memory that the kernel works in, for columns of a certain number. */
export class SpreadKernel<T extends SpreadArray = Float64Array> {
	/** [columns, SPREAD_CHANNELS]. */
	readonly columns: T;
	/** [SPREAD_ROWS, SPREAD_CHANNELS]. */
	readonly errors: T;
	/** Of each row of errors one for each column, [SPREAD_ROWS, stride]. */
	readonly weights: T;
	/** From one row of weights to the next. */
	readonly stride: number;
	readonly #wasm: WasmInstance;

	private constructor(type: ElementType, columnCount: number) {
		const { array, lanes } = ELEMENTS[type];
		const width = array.BYTES_PER_ELEMENT;
		this.stride = Math.ceil((columnCount + 1) / SPREAD_CHANNELS) * SPREAD_CHANNELS;
		const sizes = [SPREAD_ROWS * SPREAD_CHANNELS, SPREAD_ROWS * this.stride, this.stride * SPREAD_CHANNELS];
		const module = modules.get(type) ?? compileWasm(6, LOCALS, kernelCode(lanes, width));
		modules.set(type, module);
		this.#wasm = instantiateWasm(module, width * sizes.reduce((sum, size) => sum + size));
		let at = 0;
		const [errors, weights, columns] = sizes.map((size) => {
			at += size;
			return new array(this.#wasm.memory, (at - size) * width, size) as T;
		});
		this.errors = errors!;
		this.weights = weights!;
		this.columns = columns!;
	}

	static float32(columnCount: number): SpreadKernel<Float32Array> {
		return new SpreadKernel<Float32Array>("float32", columnCount);
	}

	static float64(columnCount: number): SpreadKernel<Float64Array> {
		return new SpreadKernel<Float64Array>("float64", columnCount);
	}

	/**
	 * Takes errors * weights of `rows` rows, those from `firstRow` on, from the columns from `first` to `end`. Where that is an
	 * odd number, the column behind them is lost.
	 */
	spread(firstRow: number, rows: number, first: number, end: number): void {
		if (rows === 0 || end <= first) return;
		const width = this.errors.BYTES_PER_ELEMENT;
		const rowBytes = SPREAD_CHANNELS * width;
		const errors = this.errors.byteOffset + firstRow * rowBytes;
		this.#wasm.run(
			this.weights.byteOffset + (firstRow * this.stride + first) * width,
			this.stride * width,
			errors,
			errors + rows * rowBytes,
			this.columns.byteOffset + first * rowBytes,
			this.columns.byteOffset + end * rowBytes,
		);
	}
}

function kernelCode(lanes: typeof f32x4 | typeof f64x2, width: number): Code {
	const columnBytes = SPREAD_CHANNELS * width;
	const parts = columnBytes / (VECTORS * VECTOR_BYTES);
	const add = (local: number, bytes: number) => set(local, i32.add(get(local), i32.const(bytes)));
	return repeatWhile(
		i32.less(get(COLUMN), get(COLUMNS_END)),
		...Array.from({ length: parts }, (_, part) => partCode(lanes, width, part * VECTORS * VECTOR_BYTES)),
		add(WEIGHT, PAIR * width),
		add(COLUMN, PAIR * columnBytes),
	);
}

/** Some vectors of a pair of columns, from byte `offset` of each. */
function partCode(lanes: typeof f32x4 | typeof f64x2, width: number, offset: number): Code {
	const columnBytes = SPREAD_CHANNELS * width;
	const placeOf = (value: number) =>
		Math.floor(value / VECTORS) * columnBytes + offset + (value % VECTORS) * VECTOR_BYTES;
	const errorOf = (value: number) => v128.load(get(ERROR_ROW), offset + (value % VECTORS) * VECTOR_BYTES);
	return [
		...VALUES.flatMap((local, value) => set(local, v128.load(get(COLUMN), placeOf(value)))),
		...set(ERROR_ROW, get(ERRORS)),
		...set(ROW_WEIGHT, get(WEIGHT)),
		...repeatWhile(
			i32.less(get(ERROR_ROW), get(ERRORS_END)),
			...FACTORS.map((factor, column) => set(factor, lanes.loadSplat(get(ROW_WEIGHT), column * width))),
			...VALUES.map((local, value) => {
				const factor = get(FACTORS[Math.floor(value / VECTORS)]!);
				return set(local, lanes.sub(get(local), lanes.mul(errorOf(value), factor)));
			}),
			set(ROW_WEIGHT, i32.add(get(ROW_WEIGHT), get(WEIGHT_STRIDE))),
			set(ERROR_ROW, i32.add(get(ERROR_ROW), i32.const(columnBytes))),
		),
		...VALUES.flatMap((local, value) => v128.store(get(COLUMN), placeOf(value), get(local))),
	];
}
