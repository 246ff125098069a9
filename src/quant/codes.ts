import { type BlockLayout, expectLength, slabElements, slabRows } from "./layout.js";
import { effectiveScales } from "./lpbq.js";

/**
 * Quantizes the weights of some slabs to int4 LPBQ codes: {@link quantizeCode} of every weight against the effective scale
 * of its block. With float64 channel scales the codes are AIMET's; with float32 ones they fit the stored model.
 *
 * @param values weights of the slabs.
 * @param channelScales all channels of the weight, [channelCount].
 * @param blockScaleInts integers of these slabs, [slabCount, channels].
 * @param out receives the codes, one per weight; a new array when left out.
 * @param codeMin smallest code, -8 or -7.
 * @throws RangeError when an array does not hold exactly these slabs.
 */
export function quantizeCodes(
	values: Float32Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	channelScales: Float32Array | Float64Array,
	blockScaleInts: Uint8Array,
	out: Int8Array = new Int8Array(values.length),
	codeMin = -8,
): Int8Array {
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	const scales = effectiveScales(blockScaleInts, channelScales, layout, firstSlab, slabCount);
	return quantizeBlocks(values, layout, firstSlab, slabCount, scales, out, codeMin);
}

/**
 * Quantizes the weights of some slabs to int4 codes under the scales of their blocks: {@link quantizeCode}.
 *
 * @param scales [slabCount, channels, spatial], above 0.
 * @throws RangeError when an array does not hold exactly these slabs.
 */
export function quantizeBlocks(
	values: Float32Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	scales: Float32Array,
	out: Int8Array = new Int8Array(values.length),
	codeMin = -8,
): Int8Array {
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	expectLength("codes", out.length, values.length);
	expectLength("scales", scales.length, slabCount * layout.channels * layout.spatial);
	eachRun(layout, firstSlab, slabCount, (start, count, firstScale, scaleCount) => {
		if (scaleCount === 1) quantizeRun(values, start, count, scales[firstScale]!, out, codeMin);
		else quantizeRow(values, start, count, scales, firstScale, out, codeMin);
	});
	return out;
}

/**
 * The weights that codes stand for, fround(code * scale).
 *
 * @param codes one per weight of the slabs.
 * @param scales BQ scales or {@link effectiveScales} of these slabs, [slabCount, channels, spatial].
 * @param out receives the weights; a new array when left out.
 * @throws RangeError when an array does not hold exactly these slabs.
 */
export function dequantizeBlocks(
	codes: Int8Array,
	scales: Float32Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	out: Float32Array = new Float32Array(codes.length),
): Float32Array {
	expectLength("codes", codes.length, slabElements(layout, firstSlab, slabCount));
	expectLength("values", out.length, codes.length);
	expectLength("scales", scales.length, slabCount * layout.channels * layout.spatial);
	eachRun(layout, firstSlab, slabCount, (start, count, firstScale, scaleCount) => {
		if (scaleCount === 1) dequantizeRun(codes, start, count, scales[firstScale]!, out);
		else dequantizeRow(codes, start, count, scales, firstScale, out);
	});
	return out;
}

/**
 * Calls back for contiguous runs of elements: a whole slab when it has one scale, else each of its rows, whose element j
 * has scale firstScale + j.
 */
function eachRun(
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	visit: (start: number, count: number, firstScale: number, scaleCount: number) => void,
): void {
	const columns = layout.channels * layout.spatial;
	let start = 0;
	for (let slab = 0; slab < slabCount; slab++) {
		const rows = slabRows(layout, firstSlab + slab);
		if (columns === 1) visit(start, rows, slab, 1);
		else for (let row = 0; row < rows; row++) visit(start + row * columns, columns, slab * columns, columns);
		start += rows * columns;
	}
}

/*
 * The two loops below are quantizeCode for 4 bits, with the rounding x -> floor(x + 0.5) done by truncation, which is the
 * same for the values of -0.5 and more that remain after the clamp.
 */

function quantizeRun(
	values: Float32Array,
	start: number,
	count: number,
	scale: number,
	out: Int8Array,
	codeMin: number,
): void {
	const least = codeMin + 8;
	for (let i = start; i < start + count; i++) {
		const shifted = Math.fround(Math.fround(values[i]! / scale) + 8);
		out[i] = ((Math.min(Math.max(shifted, least), 15) + 0.5) | 0) - 8;
	}
}

function quantizeRow(
	values: Float32Array,
	start: number,
	count: number,
	scales: Float32Array,
	firstScale: number,
	out: Int8Array,
	codeMin: number,
): void {
	const least = codeMin + 8;
	for (let column = 0; column < count; column++) {
		const shifted = Math.fround(Math.fround(values[start + column]! / scales[firstScale + column]!) + 8);
		out[start + column] = ((Math.min(Math.max(shifted, least), 15) + 0.5) | 0) - 8;
	}
}

function dequantizeRun(codes: Int8Array, start: number, count: number, scale: number, out: Float32Array): void {
	for (let i = start; i < start + count; i++) out[i] = codes[i]! * scale;
}

function dequantizeRow(
	codes: Int8Array,
	start: number,
	count: number,
	scales: Float32Array,
	firstScale: number,
	out: Float32Array,
): void {
	for (let column = 0; column < count; column++)
		out[start + column] = codes[start + column]! * scales[firstScale + column]!;
}
