/*
 * Codes that are right on the whole. The codes of least error each have two faults that add up over a layer and over the
 * layers of a model, whose inputs are no white noise:
 *   gain     the better codes fit, the more large weights they cut off: sum w * w' is below sum w^2, by 0.5 % on ResNet-50,
 *            and every layer shrinks what goes through it, unless it is normalized. The channel scale is multiplied by the
 *            ratio of the two sums.
 *   offset   errors of a channel do not add up to 0, and inputs behind a ReLU or GELU all have the sign in common. As many
 *            codes as that takes are rounded to their other neighbour, those for which that matters least (constraint of
 *            SQuant, Guo et al. 2022, arXiv 2202.07471, here over whole channels).
 * Both cost some hundredths of a dB of the weights' signal to noise. Measured: docs/recipes.md.
 */
import type { ScaledBlocks } from "./block-codes.js";
import { type BlockLayout, slabFirstChannel, slabRows } from "./layout.js";

/** Codes cannot be so far off that a channel needs more. */
const MAX_GAIN = 1.25;

const MAX_FLIPS = 127;

/** Of the weights w of some channels and what their codes stand for, w'; one number a channel each. */
export interface BalanceSums {
	readonly firstChannel: number;
	/** Sum of w. */
	readonly values: Float64Array;
	/** Sum of w^2. */
	readonly squares: Float64Array;
	/** Sum of w'. */
	readonly decoded: Float64Array;
	/** Sum of w * w'. */
	readonly products: Float64Array;
}

export function createBalanceSums(firstChannel: number, channelCount: number): BalanceSums {
	return {
		firstChannel,
		values: new Float64Array(channelCount),
		squares: new Float64Array(channelCount),
		decoded: new Float64Array(channelCount),
		products: new Float64Array(channelCount),
	};
}

/** Adds the sums of some channels to those of more. */
export function mergeBalance(into: BalanceSums, from: BalanceSums): void {
	const first = from.firstChannel - into.firstChannel;
	for (const key of ["values", "squares", "decoded", "products"] as const) {
		from[key].forEach((value, channel) => {
			into[key][first + channel]! += value;
		});
	}
}

/** What the channel scales are to be multiplied by, so that a channel's response to its own weights stays what it was. */
export function unitGains({ squares, products }: BalanceSums): Float64Array {
	return squares.map((square, channel) => {
		const product = products[channel]!;
		return product > 0 ? Math.min(square / product, MAX_GAIN) : 1;
	});
}

/**
 * Spreads over the blocks of every channel how many codes are to be rounded up (or, negative, down) so that the channel's
 * errors add up to 0. Blocks must come in order.
 */
export class FlipPlan {
	readonly #layout: BlockLayout;
	readonly #missing: Float64Array;
	/** What blocks so far should have made good and did not. */
	readonly #owed: Float64Array;

	/** @param missing the sum of w - w' of every channel, [channelCount]. */
	constructor(layout: BlockLayout, missing: Float64Array) {
		this.#layout = layout;
		this.#missing = missing;
		this.#owed = new Float64Array(missing.length);
	}

	/**
	 * @param scales of the blocks of some slabs, [slabCount, channels, spatial].
	 * @returns [slabCount, channels].
	 */
	next(firstSlab: number, slabCount: number, scales: Float32Array): Int8Array {
		const { channels, spatial, depth } = this.#layout;
		const flips = new Int8Array(slabCount * channels);
		for (let index = 0; index < flips.length; index++) {
			const slab = firstSlab + Math.floor(index / channels);
			const channel = slabFirstChannel(this.#layout, slab) + (index % channels);
			const scale = scales[index * spatial]!;
			const owed = this.#owed[channel]! + (this.#missing[channel]! * slabRows(this.#layout, slab)) / depth;
			const count = Math.max(-MAX_FLIPS, Math.min(Math.round(owed / scale), MAX_FLIPS));
			flips[index] = count;
			this.#owed[channel] = owed - count * scale;
		}
		return flips;
	}
}

/**
 * Rounds as many codes of every block to their other neighbour as a {@link FlipPlan} says: those nearest to it first, and
 * none that is not on its side.
 *
 * @param packed codes of `values` under the blocks' scales, two a byte; changed in place.
 * @param stored scales that codes stand for multiples of, [slabCount, channels].
 * @param flips [slabCount, channels].
 * @returns by how much the squared error grew.
 */
export function flipCodes(
	{ layout, firstSlab, slabCount, values, scales, codeMin }: ScaledBlocks,
	packed: Uint8Array,
	stored: Float32Array,
	flips: Int8Array,
): number {
	const { channels, spatial, blockSize } = layout;
	const [places, rests] = [new Int32Array(blockSize * spatial), new Float64Array(blockSize * spatial)];
	let start = 0;
	let growth = 0;
	for (let slab = 0; slab < slabCount; slab++) {
		const rows = slabRows(layout, firstSlab + slab);
		for (let channel = 0; channel < channels; channel++) {
			const index = slab * channels + channel;
			const direction = Math.sign(flips[index]!);
			if (direction === 0) continue;
			const limit = direction > 0 ? 7 : codeMin;
			const scale = scales[index]!;
			let count = 0;
			for (let row = 0; row < rows; row++) {
				const first = start + (row * channels + channel) * spatial;
				for (let at = first; at < first + spatial; at++) {
					const code = codeAt(packed, at);
					const rest = direction * Math.fround(values[at]! - Math.fround(code * scale));
					if (rest <= 0 || code === limit) continue;
					places[count] = at;
					rests[count++] = rest;
				}
			}
			for (let left = Math.min(Math.abs(flips[index]!), count); left > 0; left--) {
				const best = largestOf(rests, count);
				rests[best] = 0;
				growth += flip(values, packed, places[best]!, direction, stored[index]!);
			}
		}
		start += rows * channels * spatial;
	}
	return growth;
}

function codeAt(packed: Uint8Array, at: number): number {
	return (packed[at >>> 1]! << (at & 1 ? 24 : 28)) >> 28;
}

/** Where the largest of some numbers is. */
function largestOf(numbers: Float64Array, count: number): number {
	let best = 0;
	for (let index = 1; index < count; index++) if (numbers[index]! > numbers[best]!) best = index;
	return best;
}

/** Changes a code by one; returns by how much its squared error grew. */
function flip(values: Float32Array, packed: Uint8Array, at: number, direction: number, scale: number): number {
	const code = codeAt(packed, at);
	const shift = 4 * (at & 1);
	packed[at >>> 1]! = (packed[at >>> 1]! & ~(15 << shift)) | (((code + direction) & 15) << shift);
	const before = values[at]! - Math.fround(code * scale);
	const after = values[at]! - Math.fround((code + direction) * scale);
	return after * after - before * before;
}
