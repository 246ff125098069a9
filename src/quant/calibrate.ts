import { type BlockLayout, expectLength, slabElements, slabRows } from "./layout.js";
import { SCALE_FLOOR } from "./lpbq.js";
import { columnScales, fitsRangeKernel } from "./range-kernel.js";

/**
 * AIMET's symmetric min-max scale, computed in float64: max(max / P, -min / N, SCALE_FLOOR), where codes reach from -N =
 * -2^(bits-1) to P = N - 1. The negative side has one code more, so a group whose extreme is negative gets |min| / 8 with
 * 4 bits, not |min| / 7. With 2 bits AIMET takes P = 2 as well. Source: aimet-onnx 2.42.0.
 *
 * @param min smallest value of the group; anything above 0 counts as 0.
 * @param max largest value of the group; anything below 0 counts as 0.
 */
export function symmetricScale(min: number, max: number, bits = 4): number {
	const { above, below } = codesOf(bits);
	return Math.max(Math.max(max, 0) / above, -Math.min(min, 0) / below, SCALE_FLOOR);
}

function codesOf(bits: number): { readonly above: number; readonly below: number } {
	const below = 1 << (bits - 1);
	return { above: bits === 2 ? 2 : below - 1, below };
}

/**
 * Calibrates one scale for every (slab, channel), over the rows and the spatial positions of the block.
 *
 * @param values the elements of the slabs; NaN is ignored.
 * @returns float64 scales [slabCount, channels].
 * @throws RangeError when `values` does not hold exactly these slabs.
 */
export function calibrateBlockScales(
	values: Float32Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	bits = 4,
): Float64Array {
	return scanBlocks(values, layout, firstSlab, slabCount, bits).scales;
}

/** {@link calibrateBlockScales}, whether all values are finite, and the largest magnitude. */
export function scanBlocks(
	values: Float32Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	bits = 4,
): { readonly scales: Float64Array; readonly finite: boolean; readonly largest: number } {
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	const { channels, spatial } = layout;
	const { above, below } = codesOf(bits);
	const scales = new Float64Array(slabCount * channels);
	const minima = new Float64Array(channels);
	const maxima = new Float64Array(channels);
	const hasKernel = spatial === 1 && channels > 1 && fitsRangeKernel(channels);
	let finite = hasKernel || areFinite(values);
	let largest = 0;
	let start = 0;
	for (let slab = 0; slab < slabCount; slab++) {
		const rows = slabRows(layout, firstSlab + slab);
		if (hasKernel) {
			const found = columnScales(values.subarray(start, start + rows * channels), channels, above, below);
			finite &&= found.finite;
			largest = Math.max(largest, found.largest);
			scales.set(found.scales, slab * channels);
			start += rows * channels;
			continue;
		}
		minima.fill(0);
		maxima.fill(0);
		if (channels === 1) updateRange(values, start, rows * spatial, minima, maxima, 0);
		else if (spatial === 1) updateColumnRanges(values, start, rows, minima, maxima);
		else {
			for (let run = 0; run < rows * channels; run++) {
				updateRange(values, start + run * spatial, spatial, minima, maxima, run % channels);
			}
		}
		largest = Math.max(largest, scaleRow(minima, maxima, bits, scales, slab * channels));
		start += rows * channels * spatial;
	}
	return { scales, finite, largest };
}

/** Is every value finite? A sum of zeros otherwise becomes NaN. */
function areFinite(values: Float32Array): boolean {
	let zero = 0;
	for (let i = 0; i < values.length; i++) zero += values[i]! * 0;
	return zero === 0;
}

/** The scale of every channel, from its range; returns the largest magnitude of all. */
function scaleRow(minima: Float64Array, maxima: Float64Array, bits: number, scales: Float64Array, at: number): number {
	let largest = 0;
	for (let channel = 0; channel < minima.length; channel++) {
		const [min, max] = [minima[channel]!, maxima[channel]!];
		scales[at + channel] = symmetricScale(min, max, bits);
		largest = Math.max(largest, -min, max);
	}
	return largest;
}

/** Extends the range of one channel by a contiguous run of values. */
function updateRange(
	values: Float32Array,
	start: number,
	count: number,
	minima: Float64Array,
	maxima: Float64Array,
	channel: number,
): void {
	let min = minima[channel]!;
	let max = maxima[channel]!;
	for (let i = start; i < start + count; i++) {
		const value = values[i]!;
		if (value < min) min = value;
		if (value > max) max = value;
	}
	minima[channel] = min;
	maxima[channel] = max;
}

/** Extends the ranges of all channels by rows of one value per channel. */
function updateColumnRanges(
	values: Float32Array,
	start: number,
	rows: number,
	minima: Float64Array,
	maxima: Float64Array,
): void {
	const channels = minima.length;
	for (let row = 0, i = start; row < rows; row++) {
		for (let channel = 0; channel < channels; channel++, i++) {
			const value = values[i]!;
			if (value < minima[channel]!) minima[channel] = value;
			if (value > maxima[channel]!) maxima[channel] = value;
		}
	}
}
