import { powerOf, rootOf } from "./power.js";

/** For rounding: limits may be sums of float32, and the scales are rounded to float32. */
const LIMIT_SLACK = 1 + 1e-4;
const SCALE_SLACK = 1 + 1e-6;

/** Tells which scales can not bring the error of a block, its sum of h * |error|^exponent, below a limit. */
export class BlockBounds {
	/** Smallest and largest weight, or 0. */
	min = 0;
	max = 0;
	readonly #exponent: number;
	readonly #codeMin: number;
	readonly #values: Float32Array;
	readonly #weights: Float32Array | undefined;
	#count = 0;
	/** h^(1/exponent) of the smallest and the largest weight. */
	#minFactor = 1;
	#maxFactor = 1;

	/**
	 * @param values where {@link load} will find blocks.
	 * @param weights importance h of each value; undefined for 1.
	 */
	constructor(exponent: number, codeMin: number, values: Float32Array, weights: Float32Array | undefined) {
		this.#exponent = exponent;
		this.#codeMin = codeMin;
		this.#values = values;
		this.#weights = weights;
	}

	/** Takes the first `count` values as the block. */
	load(count: number): void {
		const values = this.#values;
		const weights = this.#weights;
		let min = 0;
		let max = 0;
		let minAt = 0;
		let maxAt = 0;
		for (let i = 0; i < count; i++) {
			const value = values[i]!;
			if (value > max) {
				max = value;
				maxAt = i;
			}
			if (value < min) {
				min = value;
				minAt = i;
			}
		}
		this.min = min;
		this.max = max;
		this.#count = count;
		this.#minFactor = weights ? rootOf(weights[minAt]!, this.#exponent) : 1;
		this.#maxFactor = weights ? rootOf(weights[maxAt]!, this.#exponent) : 1;
	}

	/**
	 * Every scale below this one has an error above `limit`: there the largest weight, which is off by max - 7 * scale or
	 * more, or the smallest, which is off by codeMin * scale - min, alone is.
	 */
	smallestScale(limit: number): number {
		const root = rootOf(limit * LIMIT_SLACK, this.#exponent);
		const forMax = (this.max - root / this.#maxFactor) / 7;
		const forMin = (-this.min - root / this.#minFactor) / -this.#codeMin;
		return Math.max(forMax, forMin) / SCALE_SLACK;
	}

	/**
	 * Every scale above this one has an error above `limit`, or makes all codes 0, which no scale is worse than.
	 *
	 * @param start scale to try first, above 0.
	 */
	largestScale(limit: number, start: number): number {
		const goal = limit * LIMIT_SLACK;
		const end = 2 * Math.max(this.max, -this.min);
		let scale = start;
		while (scale < end) {
			const loss = this.#lossFrom(scale);
			if (loss > goal) return scale * SCALE_SLACK;
			scale *= Math.min(Math.max(Math.sqrt(Math.sqrt(goal / loss)), 1.05), 2);
		}
		return end * SCALE_SLACK;
	}

	/**
	 * The error that a scale and all above it have at least: a weight smaller than the scale lies between the codes 0 and 1,
	 * and as the scale grows it only gets farther from 1.
	 */
	#lossFrom(scale: number): number {
		const values = this.#values;
		const weights = this.#weights;
		const half = scale / 2;
		let loss = 0;
		for (let i = 0; i < this.#count; i++) {
			// max(0, min(magnitude, scale - magnitude)), without branches
			const signed = half - Math.abs(Math.abs(values[i]!) - half);
			const error = (signed + Math.abs(signed)) / 2;
			loss += powerOf(error, this.#exponent) * (weights ? weights[i]! : 1);
		}
		return loss;
	}
}
