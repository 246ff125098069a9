/*
 * Symmetric integer codes of 4, 8 or 16 bits with one scale a channel or a tensor: w ~ code * scale. A weight comes in
 * chunks of slabs, as in fit.ts; the blocks of its layout only cut it into chunks here and have no scales of their own.
 */
import { symmetricScale } from "./calibrate.js";
import { type BlockLayout, expectLength, slabElements, slabFirstChannel, slabRows } from "./layout.js";
import { powerOf } from "./power.js";

export type CodeBits = 4 | 8 | 16;

/** Scales that are tried, as factors of AIMET's, which clips nothing: smaller ones clip the outliers of a channel. */
export const CHANNEL_FACTORS: readonly number[] = [
	...[1, 0.985, 0.97, 0.955, 0.94, 0.92, 0.9, 0.88, 0.85, 0.82, 0.78, 0.74, 0.7],
];

/** Extremes of the channels that a chunk touches; 0 counts as one of their values. */
export interface ChannelRanges {
	readonly firstChannel: number;
	readonly min: Float64Array;
	readonly max: Float64Array;
	/** Are all values finite? */
	readonly finite: boolean;
}

/** Errors of the channels that a chunk touches, at every factor: [channels, factors]. */
export interface ChannelErrors {
	readonly firstChannel: number;
	/** Sums of importance * |error|^exponent. */
	readonly powers: Float64Array;
	/** Sums of importance * error^2. */
	readonly squares: Float64Array;
	/** Sum of importance * value^2 over the chunk. */
	readonly signal: number;
}

/** What codes are to be found. Plain data. */
export interface ChannelProblem {
	readonly layout: BlockLayout;
	readonly bits: CodeBits;
	/** Of the errors that are added up, a whole number from 2 to 8. */
	readonly exponent: number;
	/** Factor of every error by position along the summed axis, [depth]; 1 when left out. */
	readonly importance?: Float64Array | undefined;
}

/** Calls back for contiguous elements of one channel: [start, end) within the chunk, and their position along the depth. */
function eachRun(
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	visit: (start: number, end: number, channel: number, depth: number) => void,
): void {
	const { channels, spatial, blocks, blockSize } = layout;
	let at = 0;
	for (let slab = firstSlab; slab < firstSlab + slabCount; slab++) {
		const rows = slabRows(layout, slab);
		const firstChannel = slabFirstChannel(layout, slab);
		const firstDepth = (slab % blocks) * blockSize;
		for (let row = 0; row < rows; row++) {
			for (let channel = 0; channel < channels; channel++, at += spatial) {
				visit(at, at + spatial, firstChannel + channel, firstDepth + row);
			}
		}
	}
}

function channelsOf(layout: BlockLayout, firstSlab: number, slabCount: number): { first: number; count: number } {
	const first = slabFirstChannel(layout, firstSlab);
	return { first, count: slabFirstChannel(layout, firstSlab + slabCount - 1) + layout.channels - first };
}

/**
 * The extremes of the values of some slabs.
 *
 * @throws RangeError when `values` does not hold exactly these slabs.
 */
export function channelRanges(
	values: Float32Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
): ChannelRanges {
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	const { first, count } = channelsOf(layout, firstSlab, slabCount);
	const min = new Float64Array(count);
	const max = new Float64Array(count);
	let sum = 0;
	eachRun(layout, firstSlab, slabCount, (start, end, channel) => {
		const at = channel - first;
		for (let i = start; i < end; i++) {
			const value = values[i]!;
			sum += value * 0;
			if (value < min[at]!) min[at] = value;
			else if (value > max[at]!) max[at] = value;
		}
	});
	return { firstChannel: first, min, max, finite: sum === 0 };
}

/** AIMET's scales for the extremes of all channels, float32 as a model stores them; see symmetricScale. */
export function channelScales(min: Float64Array, max: Float64Array, bits: CodeBits): Float32Array {
	return Float32Array.from(min, (least, channel) => symmetricScale(least, max[channel]!, bits));
}

/**
 * How much the codes of some slabs are off under the scales times each factor.
 *
 * @param scales AIMET's of all channels, [channelCount].
 * @throws RangeError when an array has the wrong length.
 */
export function channelErrors(
	values: Float32Array,
	problem: ChannelProblem,
	firstSlab: number,
	slabCount: number,
	scales: Float32Array,
	factors: readonly number[],
): ChannelErrors {
	const { layout, bits, exponent, importance } = problem;
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	expectLength("scales", scales.length, layout.channelCount);
	if (importance) expectLength("importance factors", importance.length, layout.depth);
	const { first, count } = channelsOf(layout, firstSlab, slabCount);
	const powers = new Float64Array(count * factors.length);
	const squares = new Float64Array(count * factors.length);
	let signal = 0;
	eachRun(layout, firstSlab, slabCount, (start, end, channel, depth) => {
		const weight = importance?.[depth] ?? 1;
		const base = (channel - first) * factors.length;
		for (let i = start; i < end; i++) signal += weight * values[i]! * values[i]!;
		for (let k = 0; k < factors.length; k++) {
			const scale = Math.fround(scales[channel]! * factors[k]!);
			let power = 0;
			let square = 0;
			for (let i = start; i < end; i++) {
				const value = values[i]!;
				const error = Math.abs(value - Math.fround(codeOf(value, scale, bits) * scale));
				power += powerOf(error, exponent);
				square += error * error;
			}
			powers[base + k]! += weight * power;
			squares[base + k]! += weight * square;
		}
	});
	return { firstChannel: first, powers, squares, signal };
}

/**
 * The codes of some slabs: int16 for 16 bits, else int8.
 *
 * @param scales of all channels, [channelCount], above 0.
 * @throws RangeError when an array has the wrong length.
 */
export function quantizeChannels(
	values: Float32Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	scales: Float32Array,
	bits: CodeBits,
): Int8Array | Int16Array {
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	expectLength("scales", scales.length, layout.channelCount);
	const codes = bits === 16 ? new Int16Array(values.length) : new Int8Array(values.length);
	eachRun(layout, firstSlab, slabCount, (start, end, channel) => {
		const scale = scales[channel]!;
		for (let i = start; i < end; i++) codes[i] = codeOf(values[i]!, scale, bits);
	});
	return codes;
}

/** quantizeCode of lpbq.ts; truncation is floor for the values of 0.5 and more that remain after the clamp. */
function codeOf(value: number, scale: number, bits: CodeBits): number {
	const negativeCodes = 1 << (bits - 1);
	const shifted = Math.fround(Math.fround(value / scale) + negativeCodes);
	const clamped = shifted < 0 ? 0 : shifted > 2 * negativeCodes - 1 ? 2 * negativeCodes - 1 : shifted;
	return ((clamped + 0.5) | 0) - negativeCodes;
}
