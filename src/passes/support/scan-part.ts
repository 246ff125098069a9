import { scanBlocks } from "../../quant/calibrate.js";
import { slabFirstChannel } from "../../quant/layout.js";
import { MIN_BLOCK_SCALE } from "../../quant/lpbq.js";
import { fitsScaleKernel, raiseMaxima } from "../../quant/scale-kernel.js";
import { outerRuns, piecesOf, THREAD_READER, type WeightPart } from "./block-weight.js";
import { blockScales } from "./snap.js";

/** Facts about the block scales of a part. */
export interface ScaleFacts {
	/** Largest magnitude of each channel that the part touches, of the float weights' scales where there are such. */
	readonly channelMax: Float64Array;
	/** Which channel of the weight the first of these is. */
	readonly firstChannel: number;
	readonly finite: boolean;
	/** Largest magnitude of the float weights; 0 where there are none. */
	readonly largest: number;
	readonly negative: number;
	/** 0, or too small for LPBQ's channel scale to be a normal float32. */
	readonly zero: number;
	/** Does each block have one scale for all positions of the kernel? */
	readonly uniform: boolean;
}

/**
 * Looks at every block scale of a part.
 *
 * @param blocks receives those of float weights, [slabs of the weight, channels].
 */
export function scanPart(part: WeightPart, blocks?: Float64Array): ScaleFacts {
	const { layout, range } = part;
	const { channels } = layout;
	const firstChannel = slabFirstChannel(layout, range.first);
	const lastChannel = slabFirstChannel(layout, range.first + range.count - 1) + channels;
	const channelMax = new Float64Array(lastChannel - firstChannel);
	const facts = { channelMax, firstChannel, finite: true, largest: 0, negative: 0, zero: 0, uniform: true };
	for (const piece of piecesOf(part)) {
		if (part.float === undefined && raiseAll(piece, firstChannel, channelMax)) continue;
		const { scales, finite, largest } = scalesOf(piece);
		facts.largest = Math.max(facts.largest, largest);
		blocks?.set(scales, piece.range.first * channels);
		for (let slab = 0; slab < piece.range.count; slab++) {
			const base = slabFirstChannel(layout, piece.range.first + slab) - firstChannel;
			raiseTo(channelMax, base, scales, slab * channels, channels);
		}
		if (piece.scales !== undefined) countOddScales(THREAD_READER.scales(piece), layout.spatial, facts);
		else facts.finite &&= finite;
	}
	return facts;
}

function scalesOf(piece: WeightPart) {
	const { layout, range, float } = piece;
	if (float === undefined) return { scales: blockScales(THREAD_READER, piece), finite: true, largest: 0 };
	return scanBlocks(THREAD_READER.values(piece), layout, range.first, range.count);
}

/** Raises maxima to all of a piece's scales, if these are regular and of a shape that the kernel takes. */
function raiseAll(piece: WeightPart, firstChannel: number, channelMax: Float64Array): boolean {
	const { layout } = piece;
	if (layout.spatial > 1 || !fitsScaleKernel(layout.channels)) return false;
	const scales = THREAD_READER.scales(piece);
	return outerRuns(layout, piece.range).every(({ start, end, channel }) => {
		const base = channel - firstChannel;
		return raiseMaxima(scales.subarray(start, end), channelMax.subarray(base, base + layout.channels));
	});
}

/** Makes maxima of one block of every channel. */
function raiseTo(
	maxima: Float64Array,
	base: number,
	scales: Float64Array | Float32Array,
	at: number,
	channels: number,
): void {
	for (let channel = 0; channel < channels; channel++) {
		const scale = Math.abs(scales[at + channel]!);
		if (scale > maxima[base + channel]!) maxima[base + channel] = scale;
	}
}

/** Adds what is to be said of some scales to the facts. */
function countOddScales(
	scales: Float32Array,
	spatial: number,
	facts: { finite: boolean; negative: number; zero: number; uniform: boolean },
): void {
	for (let at = 0; at < scales.length; at++) {
		const scale = scales[at]!;
		if (spatial > 1 && scale !== scales[at - (at % spatial)]) facts.uniform = false;
		if (scale >= MIN_BLOCK_SCALE && scale < Number.POSITIVE_INFINITY) continue;
		if (!Number.isFinite(scale)) facts.finite = false;
		else if (scale > -MIN_BLOCK_SCALE) facts.zero++;
		else facts.negative++;
	}
}
