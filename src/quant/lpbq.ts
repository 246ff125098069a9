/*
 * LPBQ (low power block quantization): w ~ code * blockScaleInt * channelScale, an int4 code for every weight, an integer
 * 1..16 for every block and one float for every output channel. All of its arithmetic is here.
 *
 * Worked example, a channel with two blocks whose scales are 0.8 and 0.35:
 *   channelScale   = max(0.8, 0.35) / 16 = 0.05          channelScaleOf
 *   blockScaleInt  = rint(0.8  / 0.05)   = 16            blockScaleIntOf; the largest block always gets 16
 *                    rint(0.35 / 0.05)   = 7
 *   effectiveScale = 7 * 0.05            = 0.35          what a weight of the second block is divided by
 *   code of 1.23   = round(1.23 / 0.35)  = round(3.51) = 4, which stands for 4 * 0.35 = 1.4      quantizeCode
 *
 * The formulas are those of aimet-onnx 2.42.0, which test/vectors/aimet holds results of.
 */
import { type BlockLayout, expectLength, slabFirstChannel } from "./layout.js";
import { roundHalfEven } from "./rounding.js";

/** No calibrated scale is below this: 2^-23, the spacing of float32 at 1. AIMET's floor. */
export const SCALE_FLOOR = 2 ** -23;

/** Largest integer block scale: 2^(8 - 4), since 4-bit codes expand to 8 bits. */
export const MAX_BLOCK_SCALE_INT = 16;

/** Smallest block scale whose channel scale, a sixteenth, is a normal float32: 2^-122. */
export const MIN_BLOCK_SCALE = MAX_BLOCK_SCALE_INT * 2 ** -126;

/**
 * The channel scale of a channel, max / 16 in float64.
 *
 * @param maxBlockScale largest block scale of the channel; 0 (or a value too small for float32) stands for SCALE_FLOOR.
 */
export function channelScaleOf(maxBlockScale: number): number {
	return (maxBlockScale < MIN_BLOCK_SCALE ? SCALE_FLOOR : maxBlockScale) / MAX_BLOCK_SCALE_INT;
}

/** The integer of a block, clip(rint(blockScale / channelScale), 1, 16), exact halves to even. */
export function blockScaleIntOf(blockScale: number, channelScale: number): number {
	return Math.min(Math.max(roundHalfEven(blockScale / channelScale), 1), MAX_BLOCK_SCALE_INT);
}

/** The scale of a block's weights, float32. */
export function effectiveScale(blockScaleInt: number, channelScale: number): number {
	return Math.fround(blockScaleInt * channelScale);
}

/**
 * The code of a weight: clamp(round(fround(fround(value / scale) + N)), 0, 2N - 1) - N with N = 2^(bits-1), in float32.
 * Rounding comes after the shift by N, so an exact half goes up: 2.5 -> 3, -2.5 -> -2.
 *
 * @param value float32 weight.
 * @param scale float32 scale, above 0.
 */
export function quantizeCode(value: number, scale: number, bits = 4): number {
	const negativeCodes = 1 << (bits - 1);
	const shifted = Math.fround(Math.fround(value / scale) + negativeCodes);
	return Math.min(Math.max(Math.floor(shifted + 0.5), 0), 2 * negativeCodes - 1) - negativeCodes;
}

/** A weight's block scales as LPBQ stores them. */
export interface LpbqScales {
	/** One per output channel, [channelCount]. */
	readonly channelScales: Float64Array;
	/** One per block, 1..16, [outer, blocks, channels]. */
	readonly blockScaleInts: Uint8Array;
}

/**
 * Snaps block scales to LPBQ. The blocks of a channel whose scales are all 0 get the integer 16 and a channel scale of
 * SCALE_FLOOR / 16; a block of scale 0 in any other channel gets 1.
 *
 * @param blockScales [outer, blocks, channels], finite and not negative.
 * @throws RangeError when there are not that many scales.
 */
export function decomposeScales(blockScales: Float64Array | Float32Array, layout: BlockLayout): LpbqScales {
	const { outer, blocks, channels, channelCount } = layout;
	expectLength("block scales", blockScales.length, blocks * channelCount);
	const channelScales = new Float64Array(channelCount);
	const blockScaleInts = new Uint8Array(blockScales.length);
	for (let row = 0; row < outer; row++) {
		for (let channelInRow = 0; channelInRow < channels; channelInRow++) {
			const first = row * blocks * channels + channelInRow;
			const end = first + blocks * channels;
			let max = 0;
			for (let i = first; i < end; i += channels) max = Math.max(max, blockScales[i]!);
			const channelScale = channelScaleOf(max);
			channelScales[row * channels + channelInRow] = channelScale;
			for (let i = first; i < end; i += channels) {
				blockScaleInts[i] =
					max < MIN_BLOCK_SCALE ? MAX_BLOCK_SCALE_INT : blockScaleIntOf(blockScales[i]!, channelScale);
			}
		}
	}
	return { channelScales, blockScaleInts };
}

/**
 * One scale per block where BQ has one per spatial position of a block: the largest.
 *
 * @param blockScales [outer, blocks, channels, spatial].
 * @returns [outer, blocks, channels]; the same array when spatial is 1.
 * @throws RangeError when there are not that many scales.
 */
export function largestOverSpatial<T extends Float64Array | Float32Array>(blockScales: T, layout: BlockLayout): T {
	const { spatial } = layout;
	const count = layout.blocks * layout.channelCount;
	expectLength("block scales", blockScales.length, count * spatial);
	if (spatial === 1) return blockScales;
	const largest = blockScales.slice(0, count).fill(0) as T;
	for (let i = 0; i < blockScales.length; i++) {
		const block = Math.floor(i / spatial);
		largest[block] = Math.max(largest[block]!, blockScales[i]!);
	}
	return largest;
}

/**
 * The scales that LPBQ's integers stand for, repeated over the spatial positions, as BQ has them.
 *
 * @param blockScaleInts integers of the slabs, [slabCount, channels].
 * @param channelScales all channels of the weight, [channelCount]; float32 for the scales that a model file will give,
 * float64 for AIMET's own.
 * @returns [slabCount, channels, spatial].
 * @throws RangeError when there are not that many integers.
 */
export function effectiveScales(
	blockScaleInts: Uint8Array,
	channelScales: Float64Array | Float32Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
): Float32Array {
	const { channels, spatial } = layout;
	expectLength("block scale integers", blockScaleInts.length, slabCount * channels);
	const scales = new Float32Array(slabCount * channels * spatial);
	for (let slab = 0, i = 0; slab < slabCount; slab++) {
		const firstChannel = slabFirstChannel(layout, firstSlab + slab);
		for (let channel = 0; channel < channels; channel++, i++) {
			const scale = effectiveScale(blockScaleInts[i]!, channelScales[firstChannel + channel]!);
			if (spatial === 1) scales[i] = scale;
			else scales.fill(scale, i * spatial, (i + 1) * spatial);
		}
	}
	return scales;
}
