/*
 * Symmetric int4 with one scale a block: w ~ code * scale, codes -8..7 and scales above 0. What weights with zero points,
 * or of other types, are made when LPBQ is to follow.
 */
import { type BlockLayout, expectLength, slabElements, slabRows } from "./layout.js";
import { SCALE_FLOOR } from "./lpbq.js";

const [MIN_CODE, MAX_CODE] = [-8, 7] as const;

/** Scales that are tried, as parts of the one that clips nothing. */
const FACTORS = [0.96, 0.92, 0.88, 0.84, 0.79] as const;

/** Adding and taking away 1.5 * 2^52 rounds to the nearest integer, halves to even. */
const ROUNDER = 1.5 * 2 ** 52;

/**
 * Finds the scale of every block with a small squared error: the best of the given one, of some that clip more and more of
 * the block, and of the one that fits the codes of those best. A block whose values are int4 multiples of the given scale
 * gets that, and loses nothing. Blocks of zeros get {@link SCALE_FLOOR}, blocks with values that are not finite NaN.
 *
 * @param values weights of the slabs.
 * @param given scales that the weights may be multiples of, [slabCount, channels, spatial]; their signs do not matter.
 * @returns float32, [slabCount, channels, spatial].
 * @throws RangeError when an array does not hold exactly these slabs.
 */
export function fitSymmetricScales(
	values: Float32Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	given: Float32Array,
): Float32Array {
	const columns = layout.channels * layout.spatial;
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	expectLength("scales", given.length, slabCount * columns);
	const scales = new Float32Array(given.length);
	const block = new Float64Array(layout.blockSize);
	let start = 0;
	for (let slab = 0; slab < slabCount; slab++) {
		const rows = slabRows(layout, firstSlab + slab);
		for (let column = 0; column < columns; column++) {
			for (let row = 0, at = start + column; row < rows; row++, at += columns) block[row] = values[at]!;
			const place = slab * columns + column;
			scales[place] = fitBlock(block, rows, Math.abs(given[place]!));
		}
		start += rows * columns;
	}
	return scales;
}

function fitBlock(block: Float64Array, count: number, given: number): number {
	let min = 0;
	let max = 0;
	let sum = 0;
	for (let i = 0; i < count; i++) {
		const value = block[i]!;
		sum += value;
		if (value < min) min = value;
		else if (value > max) max = value;
	}
	if (!Number.isFinite(sum)) return Number.NaN;
	if (min === max) return SCALE_FLOOR;
	if (given >= SMALLEST && isExact(block, count, given)) return given;
	const clipless = Math.max(max / MAX_CODE, min / MIN_CODE, SMALLEST);
	let best = clipless;
	let least = squaredError(block, count, clipless);
	const consider = (scale: number): void => {
		if (!(scale >= SMALLEST)) return;
		const error = squaredError(block, count, scale);
		if (error < least) [best, least] = [scale, error];
	};
	consider(given);
	for (const factor of FACTORS) consider(clipless * factor);
	consider(leastSquaresScale(block, count, best));
	return best;
}

/** Smaller scales are no normal float32. */
const SMALLEST = 2 ** -126;

/** Are all values, as float32, codes times `scale`? */
function isExact(block: Float64Array, count: number, scale: number): boolean {
	for (let i = 0; i < count; i++) {
		if (Math.fround(codeAt(block[i]!, scale) * scale) !== block[i]!) return false;
	}
	return true;
}

function squaredError(block: Float64Array, count: number, scale: number): number {
	const inverse = 1 / scale;
	let sum = 0;
	for (let i = 0; i < count; i++) {
		const exact = block[i]! * inverse;
		const rounded = exact + ROUNDER - ROUNDER;
		const error = exact - (rounded > MAX_CODE ? MAX_CODE : rounded < MIN_CODE ? MIN_CODE : rounded);
		sum += error * error;
	}
	return sum * scale * scale;
}

/** The scale that fits the codes which `scale` gives best. */
function leastSquaresScale(block: Float64Array, count: number, scale: number): number {
	let products = 0;
	let squares = 0;
	for (let i = 0; i < count; i++) {
		const code = codeAt(block[i]!, scale);
		products += code * block[i]!;
		squares += code * code;
	}
	return products / squares;
}

/**
 * The nearest int4 codes of the weights of some slabs.
 *
 * @param scales above 0, [slabCount, channels, spatial].
 * @throws RangeError when an array does not hold exactly these slabs.
 */
export function quantizeSymmetric(
	values: Float32Array,
	layout: BlockLayout,
	firstSlab: number,
	slabCount: number,
	scales: Float32Array,
): Int8Array {
	const columns = layout.channels * layout.spatial;
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	expectLength("scales", scales.length, slabCount * columns);
	const codes = new Int8Array(values.length);
	let at = 0;
	for (let slab = 0; slab < slabCount; slab++) {
		for (let row = slabRows(layout, firstSlab + slab); row > 0; row--) {
			for (let place = slab * columns; place < (slab + 1) * columns; place++, at++) {
				codes[at] = codeAt(values[at]!, scales[place]!);
			}
		}
	}
	return codes;
}

/** The nearest code, halves to even. */
function codeAt(value: number, scale: number): number {
	const rounded = value / scale + ROUNDER - ROUNDER;
	return rounded > MAX_CODE ? MAX_CODE : rounded < MIN_CODE ? MIN_CODE : rounded;
}
