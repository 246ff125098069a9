/** Parts of the largest number that codes may reach to. */
const SHARES = [1, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5];

/**
 * The range of least squared error of 8-bit codes for normally distributed numbers, in standard deviations: samples of some
 * hundred tokens do not show what others will have, and what is clipped costs most.
 */
const NORMAL_RANGE = 3.9;

/** Codes of a number's size. */
const LARGEST_CODE = 127;

/** No channel has a range below this part of the largest. */
const SMALLEST_RANGE = 1e-3;

/** Keys or values of some tokens: for each head, vectors of a size. */
export class HeadSamples {
	readonly heads: number;
	readonly size: number;
	/** Of each head, [tokens, size]. */
	readonly #vectors: readonly Float32Array[];

	/** @param arrays of sequences, [1, heads, tokens, size] each. */
	constructor(arrays: readonly Float32Array[], heads: number, size: number) {
		this.heads = heads;
		this.size = size;
		this.#vectors = Array.from({ length: heads }, (_, head) => {
			const parts = arrays.map((array) =>
				array.subarray((head * array.length) / heads, ((head + 1) * array.length) / heads),
			);
			const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
			let at = 0;
			for (const part of parts) {
				all.set(part, at);
				at += part.length;
			}
			return all;
		});
	}

	/** The range of least squared error of 8-bit codes for all numbers together. */
	range(): number {
		return leastErrorRange(this.#vectors) || 1;
	}

	/**
	 * The ranges of least squared error of 8-bit codes, [heads * size].
	 *
	 * @param groups the first of the channels that get one range together, by channel; undefined: each has its own.
	 * @param isShared heads get the same ranges.
	 */
	channelRanges(groups: readonly number[] | undefined, isShared: boolean): Float64Array {
		const { heads, size } = this;
		const ranges = new Float64Array(heads * size);
		const groupOf = (channel: number) => groups?.[channel] ?? channel;
		for (let channel = 0; channel < size; channel++) {
			if (groupOf(channel) !== channel) continue;
			const members = Array.from({ length: size }, (_, other) => other).filter((other) => groupOf(other) === channel);
			for (let head = 0; head < (isShared ? 1 : heads); head++) {
				const vectors = isShared ? this.#vectors : [this.#vectors[head]!];
				const range = leastErrorRange(vectors.flatMap((own) => members.map((member) => this.#column(own, member))));
				for (const member of members) ranges.fill(range, head * size + member, head * size + member + 1);
			}
		}
		if (isShared) for (let head = 1; head < heads; head++) ranges.copyWithin(head * size, 0, size);
		const largest = ranges.reduce((most, range) => Math.max(most, range), 0) || 1;
		return ranges.map((range) => Math.max(range, SMALLEST_RANGE * largest));
	}

	/** Means of products of a head's channels, [size, size]. */
	moments(head: number): Float64Array {
		const { size } = this;
		const vectors = this.#vectors[head]!;
		const found = new Float64Array(size * size);
		for (let top = 0; top < vectors.length; top += size) {
			for (let i = 0; i < size; i++) {
				const factor = vectors[top + i]!;
				for (let j = 0, at = i * size; j < size; j++, at++) found[at]! += factor * vectors[top + j]!;
			}
		}
		return found.map((sum) => (sum * size) / Math.max(1, vectors.length));
	}

	/** Multiplies a head's vectors by a matrix [size, size] from the right. */
	turn(head: number, matrix: Float64Array): void {
		const { size } = this;
		const vectors = this.#vectors[head]!;
		for (let top = 0; top < vectors.length; top += size) {
			const own = vectors.subarray(top, top + size);
			own.set(timesMatrix(own, matrix, size));
		}
	}

	#column(vectors: Float32Array, channel: number): Float32Array {
		const { size } = this;
		const column = new Float32Array(vectors.length / size);
		for (let token = 0; token < column.length; token++) column[token] = vectors[token * size + channel]!;
		return column;
	}
}

/** A row times a matrix [size, size]. */
export function timesMatrix(row: Float32Array, matrix: Float64Array, size: number): Float64Array {
	const sums = new Float64Array(size);
	for (let k = 0; k < size; k++) {
		const factor = row[k]!;
		for (let column = 0, at = k * size; column < size; column++, at++) sums[column]! += factor * matrix[at]!;
	}
	return sums;
}

function leastErrorRange(arrays: readonly Float32Array[]): number {
	const largest = arrays.reduce((most, array) => array.reduce((own, value) => Math.max(own, Math.abs(value)), most), 0);
	const count = arrays.reduce((sum, { length }) => sum + length, 0);
	const squares = arrays.reduce((sum, array) => array.reduce((own, value) => own + value * value, sum), 0);
	const typical = NORMAL_RANGE * Math.sqrt(squares / Math.max(1, count));
	let best = largest;
	let least = Number.POSITIVE_INFINITY;
	for (const share of SHARES) {
		const scale = (share * largest) / LARGEST_CODE;
		let error = 0;
		for (const array of arrays) {
			for (let at = 0; at < array.length; at++) {
				const size = Math.abs(array[at]!);
				const off = size - Math.min(LARGEST_CODE, Math.round(size / scale)) * scale;
				error += off * off;
			}
		}
		if (!(error < least)) break;
		[best, least] = [share * largest, error];
	}
	return Math.max(best, typical);
}
