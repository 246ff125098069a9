import { BlockBounds } from "./block-bounds.js";
import { blockKernel, RECORD } from "./block-kernel.js";
import { MAX_BLOCK_SCALE_INT } from "./lpbq.js";
import { powerOf } from "./power.js";
import { instantiateWasm, type WasmInstance } from "./wasm.js";

/* Indices of a record's fields in arrays of 4 and of 8 bytes. */
const [STRIDE_4, CHANNEL_SCALE, FIRST_INT, LAST_INT, INT] = [
	RECORD.byteLength / 4,
	RECORD.channelScale / 4,
	RECORD.firstInt / 4,
	RECORD.lastInt / 4,
	RECORD.int / 4,
] as const;
const [STRIDE_8, POWER, SQUARE] = [RECORD.byteLength / 8, RECORD.power / 8, RECORD.square / 8] as const;

/** Where the best scale usually is: the largest weight at 7.4 scales or the smallest at -8.4. Only speed depends on it. */
const TYPICAL_REACH = 7.4;

/**
 * Finds, for one block at a time and a list of channel scales, the integer block scale 1..16 with the least sum of
 * h * |error|^exponent, h being 1 or an importance. All 16 integers count, and the smallest wins a tie.
 *
 * Integers that {@link BlockBounds} rules out are not evaluated. The limit it needs is guessed; where no integer stays
 * below the guess, the search is done again with the limit that was found.
 */
export class BlockSearch {
	/** The loaded block, in its first `count` places. */
	readonly values: Float32Array;
	/** Importance of each value; undefined when it is 1. */
	readonly weights: Float32Array | undefined;
	count = 0;
	readonly #exponent: number;
	readonly #bounds: BlockBounds;
	readonly #wasm: WasmInstance;
	readonly #recordsAt: number;
	readonly #floats: Float32Array;
	readonly #ints: Int32Array;
	readonly #doubles: Float64Array;

	/**
	 * @param exponent whole number from 2 to 8.
	 * @param codeMin smallest code, -8 or -7.
	 * @param scaleCapacity most channel scales that a search will get.
	 * @param valueCapacity most weights that a block will have.
	 * @throws RangeError for another exponent.
	 */
	constructor(exponent: number, codeMin: number, weighted: boolean, scaleCapacity: number, valueCapacity: number) {
		const valueCount = Math.ceil(valueCapacity / 4) * 4;
		this.#recordsAt = 8 * valueCount;
		const byteLength = this.#recordsAt + scaleCapacity * RECORD.byteLength;
		this.#wasm = instantiateWasm(blockKernel(exponent, codeMin, weighted), byteLength);
		const { memory } = this.#wasm;
		this.values = new Float32Array(memory, 0, valueCount);
		this.weights = weighted ? new Float32Array(memory, 4 * valueCount, valueCount) : undefined;
		this.#floats = new Float32Array(memory, this.#recordsAt);
		this.#ints = new Int32Array(memory, this.#recordsAt);
		this.#doubles = new Float64Array(memory, this.#recordsAt);
		this.#exponent = exponent;
		this.#bounds = new BlockBounds(exponent, codeMin, this.values, this.weights);
	}

	/** Takes a block: `rows` runs of `spatial` values that start `stride` apart. */
	load(source: Float32Array, start: number, rows: number, stride: number, spatial: number): void {
		const values = this.values;
		let count = 0;
		for (let row = 0, first = start; row < rows; row++, first += stride) {
			for (let i = first; i < first + spatial; i++) values[count++] = source[i]!;
		}
		this.count = count;
		while (count % 4 !== 0) values[count++] = 0;
	}

	/** Takes the importance of the rows of the next blocks, each for a run of `spatial` values. */
	loadImportance(importance: Float64Array, firstRow: number, rows: number, spatial: number): void {
		for (let row = 0; row < rows; row++) {
			this.weights?.fill(importance[firstRow + row]!, row * spatial, (row + 1) * spatial);
		}
	}

	/**
	 * Searches the loaded block for the first `scaleCount` of the given channel scales, float32 and above 0, among the
	 * integers from `leastInt` on.
	 */
	search(channelScales: Float32Array, scaleCount: number, leastInt = 1): void {
		const bounds = this.#bounds;
		bounds.load(this.count);
		const typicalScale = Math.max(bounds.max / TYPICAL_REACH, -bounds.min / (TYPICAL_REACH + 1));
		const guess = this.#guessLimit(typicalScale, channelScales[0]!);
		const smallest = bounds.smallestScale(guess);
		const largest = bounds.largestScale(guess, 1.5 * typicalScale);
		for (let k = 0; k < scaleCount; k++) this.#ask(k, channelScales[k]!, smallest, largest, leastInt);
		this.#run(0, scaleCount);
		for (let k = 0; k < scaleCount; k++) {
			const power = this.power(k);
			if (power <= guess) continue;
			this.#ask(k, channelScales[k]!, bounds.smallestScale(power), bounds.largestScale(power, largest), leastInt);
			this.#run(k, 1);
		}
	}

	/** Evaluates the loaded block with one integer; the results are those of channel scale 0. */
	evaluate(channelScale: number, int: number): void {
		this.#askInts(0, channelScale, int, int);
		this.#run(0, 1);
	}

	/** The best integer for channel scale k. */
	int(k: number): number {
		return this.#ints[k * STRIDE_4 + INT]!;
	}

	/** Its sum of h * |error|^exponent over the block. */
	power(k: number): number {
		return this.#doubles[k * STRIDE_8 + POWER]!;
	}

	/** Its sum of h * error^2 over the block. */
	square(k: number): number {
		return this.#doubles[k * STRIDE_8 + SQUARE]!;
	}

	/** The error at the typical scale, and some more for scales that can only be near it, a whole channel scale apart. */
	#guessLimit(typicalScale: number, channelScale: number): number {
		this.evaluate(typicalScale, 1);
		return 1.5 * this.power(0) * powerOf(1 + (0.6 * channelScale) / typicalScale, this.#exponent);
	}

	/** Makes record k ask for the integers whose scales are in a range, or, if there are none, for one near it. */
	#ask(k: number, channelScale: number, smallest: number, largest: number, leastInt: number): void {
		const inverse = 1 / channelScale;
		const first = Math.max(blockScaleIntWithin(Math.ceil(smallest * inverse)), leastInt);
		const last = blockScaleIntWithin(Math.floor(largest * inverse));
		this.#askInts(k, channelScale, first, Math.max(first, last));
	}

	#askInts(k: number, channelScale: number, first: number, last: number): void {
		this.#floats[k * STRIDE_4 + CHANNEL_SCALE] = channelScale;
		this.#ints[k * STRIDE_4 + FIRST_INT] = first;
		this.#ints[k * STRIDE_4 + LAST_INT] = last;
		this.#ints[k * STRIDE_4 + INT] = first;
	}

	#run(first: number, count: number): void {
		const valuesEnd = 4 * (Math.ceil(this.count / 4) * 4);
		const records = this.#recordsAt + first * RECORD.byteLength;
		this.#wasm.run(valuesEnd, this.values.byteLength, records, records + count * RECORD.byteLength);
	}
}

/** The nearest of 1..16; 1 for NaN. */
function blockScaleIntWithin(int: number): number {
	return int >= 1 ? Math.min(int, MAX_BLOCK_SCALE_INT) : 1;
}
