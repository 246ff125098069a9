import { isFloat } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { bytesOf } from "../ir/tensor.js";
import { elementCount } from "../ir/types.js";
import { coveringGrid, type Interval } from "../quant/grid.js";
import { Random } from "../quant/random.js";
import { floatsOf } from "../runtime/live-session.js";

/** Elements that are kept of what one operator reads. */
const KEPT_ELEMENTS = 2 ** 20;
const [FEWEST_ROWS, MOST_ROWS] = [64, 512];

export type ActivationBits = 8 | 16;

/** How many bits an operator's activations are rounded to, in their order; a product's right side with 8 bits symmetrically. */
export interface Rounding {
	readonly bits: readonly ActivationBits[];
}

/** What an operator reads in one run, in the order of its activations. */
export interface KeptInput {
	readonly plain: readonly NumpyArray[];
	rounded(rounding: Rounding): readonly NumpyArray[];
}

/** Collects what an operator reads, sample by sample. */
export interface InputKeeper {
	/** @param ranges of all samples, where these are known. */
	add(arrays: readonly NumpyArray[], ranges: readonly (Interval | undefined)[]): void;
	readonly kept: readonly KeptInput[];
	/** Samples with elements that are infinite or no numbers, which are left out. */
	readonly notFinite: number;
}

/** Rounds to the nearest of the values that lie `step` apart. */
function roundedTo(step: number, elements: Float32Array): Float32Array {
	return elements.map((element) => Math.round(element / step) * step);
}

/** The distance of codes that reach over an interval. */
export function stepOf({ lo, hi }: Interval, bits: ActivationBits, isSymmetric = false): number {
	const largest = Math.max(-lo, hi);
	return coveringGrid(isSymmetric ? { lo: -largest, hi: largest } : { lo, hi }, 0, 2 ** bits - 1).scale;
}

function intervalOf(elements: Float32Array): Interval {
	let [lo, hi] = [0, 0];
	for (const element of elements) {
		if (element < lo) lo = element;
		else if (element > hi) hi = element;
	}
	return { lo, hi };
}

function isFinite32(elements: Float32Array): boolean {
	for (const element of elements) if (!Number.isFinite(element)) return false;
	return true;
}

/**
 * The rows that a matrix is multiplied with, in no more memory for many samples than for few: rows that find no place of
 * their own are added to others, with random signs, which leaves sums of squares of any product with a matrix what they are
 * in the mean (the count sketch of Charikar, Chen and Farach-Colton 2002). So rows that stand out are not missed.
 */
export class KeptRows implements InputKeeper {
	readonly #bits: readonly ActivationBits[];
	readonly #random: Random;
	#rows = 0;
	#depth = 0;
	#plain = new Float32Array();
	#errors: readonly Float32Array[] = [];
	notFinite = 0;

	/** @param bits that will be asked for. */
	constructor(seed: string, bits: readonly ActivationBits[]) {
		this.#bits = bits;
		this.#random = new Random(seed);
	}

	add([array]: readonly NumpyArray[], [range]: readonly (Interval | undefined)[]): void {
		const elements = floatsOf(array!);
		if (!isFinite32(elements)) {
			this.notFinite++;
			return;
		}
		if (this.#depth === 0) this.#reserve(array!.shape.at(-1) ?? 1);
		const interval = range ?? intervalOf(elements);
		const rounded = this.#bits.map((bits) => roundedTo(stepOf(interval, bits), elements));
		const depth = this.#depth;
		const places = this.#plain.length / depth;
		for (let start = 0; start < elements.length; start += depth, this.#rows++) {
			const isFirst = this.#rows < places;
			const place = (isFirst ? this.#rows : Math.floor(this.#random.uniform() * places)) * depth;
			const sign = isFirst || this.#random.uniform() < 0.5 ? 1 : -1;
			for (let index = 0; index < depth; index++) {
				const element = elements[start + index]!;
				this.#plain[place + index]! += sign * element;
				for (let grid = 0; grid < rounded.length; grid++) {
					this.#errors[grid]![place + index]! += sign * (rounded[grid]![start + index]! - element);
				}
			}
		}
	}

	get kept(): readonly KeptInput[] {
		const depth = this.#depth;
		if (depth === 0) return [];
		const count = Math.min(this.#rows, this.#plain.length / depth);
		const plain = this.#plain.subarray(0, count * depth);
		const rows = (elements: Float32Array): NumpyArray => ({
			type: "float32",
			shape: [count, depth],
			bytes: bytesOf(elements),
		});
		const rounded = ({ bits }: Rounding) => {
			const errors = this.#errors[this.#bits.indexOf(bits[0]!)]!;
			return [rows(plain.map((element, index) => element + errors[index]!))];
		};
		return [{ plain: [rows(plain)], rounded }];
	}

	#reserve(depth: number): void {
		this.#depth = depth;
		const places = Math.min(MOST_ROWS, Math.max(FEWEST_ROWS, Math.floor(KEPT_ELEMENTS / depth)));
		this.#plain = new Float32Array(places * depth);
		this.#errors = this.#bits.map(() => new Float32Array(places * depth));
	}
}

/** Whole samples, the first ones that fit into memory: for convolutions, tables and products of two activations. */
export class KeptSamples implements InputKeeper {
	readonly #kept: KeptInput[] = [];
	#elements = 0;
	notFinite = 0;

	add(arrays: readonly NumpyArray[], ranges: readonly (Interval | undefined)[]): void {
		const plain = arrays.map((array): NumpyArray => {
			if (!isFloat(array.type)) return array;
			return { type: "float32", shape: array.shape, bytes: bytesOf(floatsOf(array)) };
		});
		if (!plain.every((array) => !isFloat(array.type) || isFinite32(floatsOf(array)))) {
			this.notFinite++;
			return;
		}
		this.#elements += plain.reduce((sum, { shape }) => sum + elementCount(shape), 0);
		if (this.#kept.length > 0 && this.#elements > KEPT_ELEMENTS) return;
		const rounded = ({ bits }: Rounding) =>
			plain.map((array, index) => {
				if (!isFloat(array.type)) return array;
				const elements = floatsOf(array);
				const step = stepOf(ranges[index] ?? intervalOf(elements), bits[index]!, index === 1 && bits[index] === 8);
				return { ...array, bytes: bytesOf(roundedTo(step, elements)) };
			});
		this.#kept.push({ plain, rounded });
	}

	get kept(): readonly KeptInput[] {
		return this.#kept;
	}
}
