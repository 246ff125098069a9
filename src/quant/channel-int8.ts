/*
 * int8 codes with one scale a channel: w ~ code * channelScale. What a block-quantized weight becomes where blocks are of
 * no use. Products of int4 codes and integer scales up to 16 fit into it without loss: their channel scale is one of the
 * grids that are tried.
 */
import { type BlockLayout, expectLength, slabElements, slabFirstChannel, slabRows } from "./layout.js";

/** Largest magnitude of a code, on the positive side. */
export const MAX_INT8 = 127;
const MIN_INT8 = -128;

/** Scales that are tried, as parts of the one that clips nothing. Small ones clip the outliers of a channel. */
export const INT8_FACTORS: readonly number[] = [
	1, 0.985, 0.97, 0.955, 0.94, 0.925, 0.91, 0.895, 0.88, 0.85, 0.82, 0.79,
];

/** Calls back for runs of elements of one channel, start and count within `slabCount` slabs from `firstSlab` on. */
function eachChannelRun(
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	visit: (start: number, end: number, channel: number) => void,
): void {
	const { channels, spatial } = layout;
	let at = 0;
	for (let slab = firstSlab; slab < firstSlab + slabCount; slab++) {
		const rows = slabRows(layout, slab);
		const firstChannel = slabFirstChannel(layout, slab);
		if (channels === 1) {
			visit(at, at + rows * spatial, firstChannel);
			at += rows * spatial;
			continue;
		}
		for (let row = 0; row < rows; row++) {
			for (let channel = 0; channel < channels; channel++, at += spatial) {
				visit(at, at + spatial, firstChannel + channel);
			}
		}
	}
}

/** Raises `maxima`, [channelCount], to the largest magnitudes among the values of some slabs. */
export function raiseToMagnitudes(
	values: Float32Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	maxima: Float64Array,
): void {
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	eachChannelRun(layout, firstSlab, slabCount, (start, end, channel) => {
		let max = maxima[channel]!;
		for (let i = start; i < end; i++) {
			const magnitude = Math.abs(values[i]!);
			if (magnitude > max) max = magnitude;
		}
		maxima[channel] = max;
	});
}

/**
 * Adds the squared errors that the values of some slabs have under each of `grids`.
 *
 * @param grids channel scales, [channelCount] each; all above 0.
 * @param errors receives the sums, [grids, channelCount].
 * @returns the sum of the squared values.
 */
export function addSquaredErrors(
	values: Float32Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	grids: readonly Float32Array[],
	errors: Float64Array,
): number {
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	let signal = 0;
	eachChannelRun(layout, firstSlab, slabCount, (start, end, channel) => {
		for (let i = start; i < end; i++) signal += values[i]! * values[i]!;
		grids.forEach((scales, grid) => {
			const scale = scales[channel]!;
			let sum = 0;
			for (let i = start; i < end; i++) {
				const error = values[i]! - Math.fround(codeAt(values[i]!, scale) * scale);
				sum += error * error;
			}
			errors[grid * layout.channelCount + channel]! += sum;
		});
	});
	return signal;
}

/** The codes of some slabs under the channel scales [channelCount]. */
export function quantizeInt8(
	values: Float32Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	channelScales: Float32Array,
): Int8Array {
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	const codes = new Int8Array(values.length);
	eachChannelRun(layout, firstSlab, slabCount, (start, end, channel) => {
		const scale = channelScales[channel]!;
		for (let i = start; i < end; i++) codes[i] = codeAt(values[i]!, scale);
	});
	return codes;
}

/** Adding and taking away 1.5 * 2^52 rounds to the nearest integer, halves to even. */
const ROUNDER = 1.5 * 2 ** 52;

function codeAt(value: number, scale: number): number {
	const rounded = value / scale + ROUNDER - ROUNDER;
	return rounded > MAX_INT8 ? MAX_INT8 : rounded < MIN_INT8 ? MIN_INT8 : rounded;
}
