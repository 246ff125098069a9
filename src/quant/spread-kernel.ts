/*
 * The inner loop of GPTQ: takes error * weight from sixteen channels of every column that follows; JavaScript takes ten
 * times as long.
 *
 *   for each weight, with its column of sixteen values:
 *     values -= errors * weight, in float64
 */
import {
	type Code,
	compileWasm,
	f64x2,
	get,
	i32,
	instantiateWasm,
	repeatWhile,
	set,
	v128,
	type WasmInstance,
} from "./wasm.js";

/** Channels of a column. */
export const SPREAD_CHANNELS = 16;

/* Parameters in bytes: the first weight, the end of the weights, the first column. */
const [WEIGHT, WEIGHTS_END, COLUMN] = [0, 1, 2] as const;
const FACTOR = 3;
const VECTORS = SPREAD_CHANNELS / 2;
const ERRORS = Array.from({ length: VECTORS }, (_, vector) => 4 + vector);
const LOCALS = new Array<number>(1 + VECTORS).fill(v128.type);

/** Memory that the kernel works in, for columns of a certain number. */
export class SpreadKernel {
	/** [columns, SPREAD_CHANNELS]. */
	readonly columns: Float64Array;
	/** [SPREAD_CHANNELS]. */
	readonly errors: Float64Array;
	readonly #weights: Float64Array;
	readonly #wasm: WasmInstance;

	constructor(columnCount: number) {
		const errorBytes = 8 * SPREAD_CHANNELS;
		const weightBytes = 8 * columnCount;
		this.#wasm = instantiateWasm(
			compileWasm(3, LOCALS, kernelCode()),
			errorBytes + 2 * weightBytes + weightBytes * SPREAD_CHANNELS,
		);
		const { memory } = this.#wasm;
		this.errors = new Float64Array(memory, 0, SPREAD_CHANNELS);
		this.#weights = new Float64Array(memory, errorBytes, columnCount);
		// columns begin on a multiple of 16 bytes
		const columnsAt = Math.ceil((errorBytes + weightBytes) / 16) * 16;
		this.columns = new Float64Array(memory, columnsAt, columnCount * SPREAD_CHANNELS);
	}

	/** Takes error * weight from the columns from `first` on, one for each of `weights`. */
	spread(weights: Float64Array, first: number): void {
		if (weights.length === 0) return;
		this.#weights.set(weights);
		const start = this.#weights.byteOffset;
		this.#wasm.run(start, start + weights.byteLength, this.columns.byteOffset + first * SPREAD_CHANNELS * 8);
	}
}

function kernelCode(): Code {
	return [
		...ERRORS.flatMap((error, vector) => set(error, v128.load(i32.const(0), 16 * vector))),
		...repeatWhile(
			i32.less(get(WEIGHT), get(WEIGHTS_END)),
			set(FACTOR, f64x2.loadSplat(get(WEIGHT))),
			...ERRORS.map((error, vector) => {
				const values = v128.load(get(COLUMN), 16 * vector);
				return v128.store(get(COLUMN), 16 * vector, f64x2.sub(values, f64x2.mul(get(error), get(FACTOR))));
			}),
			set(WEIGHT, i32.add(get(WEIGHT), i32.const(8))),
			set(COLUMN, i32.add(get(COLUMN), i32.const(8 * SPREAD_CHANNELS))),
		),
	];
}
