import { calibrateBlockScales } from "../../quant/calibrate.js";
import { slabFirstChannel } from "../../quant/layout.js";
import { channelScaleOf, MAX_BLOCK_SCALE_INT, MIN_BLOCK_SCALE } from "../../quant/lpbq.js";
import { fitsScaleKernel, snapRows } from "../../quant/scale-kernel.js";
import { outerRuns, type PartReader, type WeightPart } from "./block-weight.js";

/** The channel scales of `max`, one each of [channelCount], in memory that threads share. */
export interface ChannelScales {
	/** Largest block scale of the channel. */
	readonly max: Float64Array;
	/** max / 16. */
	readonly exact: Float64Array;
	/** The same as the model holds it. */
	readonly stored: Float32Array;
	/** Is there a channel without weights? */
	readonly hasDead: boolean;
	/** The scales of all blocks before snapping, [slabs, channels], where somebody kept them. */
	readonly blocks?: Float64Array | undefined;
}

export function channelScalesOf(channelMax: Float64Array): ChannelScales {
	const max = new Float64Array(new SharedArrayBuffer(channelMax.length * 8));
	const exact = new Float64Array(new SharedArrayBuffer(channelMax.length * 8));
	const stored = new Float32Array(new SharedArrayBuffer(channelMax.length * 4));
	// a channel without weights gets a scale like the others': biases are rounded to multiples of it
	const largest = channelMax.reduce((a, b) => Math.max(a, b), 0);
	for (let channel = 0; channel < channelMax.length; channel++) {
		max[channel] = channelMax[channel]!;
		exact[channel] = channelScaleOf(channelMax[channel]! < MIN_BLOCK_SCALE ? largest : channelMax[channel]!);
		stored[channel] = exact[channel]!;
	}
	return { max, exact, stored, hasDead: channelMax.some((scale) => scale < MIN_BLOCK_SCALE) };
}

/**
 * The scales that a part's blocks have before snapping, [count, channels]: those of the float weights by calibration, or
 * the stored ones, of which the magnitudes count.
 */
export function blockScales(reader: PartReader, part: WeightPart): Float64Array | Float32Array {
	const { layout, range, float } = part;
	if (float !== undefined) return calibrateBlockScales(reader.values(part), layout, range.first, range.count);
	const stored = reader.scales(part);
	return layout.spatial === 1 ? stored : largestMagnitudes(stored, layout.spatial);
}

/** Of blocks with several scales, one a position of the kernel, the largest. */
function largestMagnitudes(stored: Float32Array, spatial: number): Float32Array {
	const result = new Float32Array(stored.length / spatial);
	for (let index = 0; index < stored.length; index++) {
		const block = Math.floor(index / spatial);
		result[block] = Math.max(result[block]!, Math.abs(stored[index]!));
	}
	return result;
}

/**
 * blockScaleIntOf (quant/lpbq.ts) for every block of a part, [count, channels]; 16 throughout a channel without weights.
 *
 * @param ints receives the integers; a new array when left out.
 */
export function snapScales(
	reader: PartReader,
	part: WeightPart,
	{ max, exact, hasDead, blocks }: ChannelScales,
	ints = new Uint8Array(part.range.count * part.layout.channels),
): Uint8Array {
	const { channels, spatial } = part.layout;
	const scales = blocks?.subarray(part.range.first * channels) ?? blockScales(reader, part);
	if (spatial === 1 && fitsScaleKernel(channels) && !hasDead && scales instanceof Float32Array) {
		for (const { start, end, channel } of outerRuns(part.layout, part.range)) {
			snapRows(scales.subarray(start, end), exact.subarray(channel, channel + channels), ints.subarray(start, end));
		}
		return ints;
	}
	for (let slab = 0; slab < part.range.count; slab++) {
		const firstChannel = slabFirstChannel(part.layout, part.range.first + slab);
		snapRow(scales, ints, slab * channels, exact, max, firstChannel, channels);
	}
	return ints;
}

/** Adding and taking away 2^52 rounds a float64 between 0 and 2^51 to an integer, halves to even. */
const ROUNDER = 2 ** 52;

/** One block of every channel of an outer row; a loop of its own, for it runs over every block of a model. */
function snapRow(
	scales: Float64Array | Float32Array,
	ints: Uint8Array,
	at: number,
	exact: Float64Array,
	max: Float64Array,
	firstChannel: number,
	channels: number,
): void {
	for (let channel = 0; channel < channels; channel++) {
		const ratio = Math.abs(scales[at + channel]!) / exact[firstChannel + channel]!;
		const rounded = Math.max(ratio + ROUNDER - ROUNDER, 1);
		ints[at + channel] = max[firstChannel + channel]! < MIN_BLOCK_SCALE ? MAX_BLOCK_SCALE_INT : rounded;
	}
}
