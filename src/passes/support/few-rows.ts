import { slabRows } from "../../quant/layout.js";
import { effectiveScales } from "../../quant/lpbq.js";
import type { ErrorSum } from "../../quant/measure.js";
import { addProducts, fitsProductKernel } from "../../quant/product-kernel.js";
import { type BlockWeight, THREAD_READER, type WeightPart } from "./block-weight.js";
import { type CodesChoice, makeCodes } from "./made-codes.js";

/** Rows that matrices are multiplied with, [count, depth] each, in memory that threads share. */
export interface FewRows {
	/** For the float weights; undefined where only the codes are of interest. */
	readonly float: Float32Array | undefined;
	/** For what the codes stand for. */
	readonly codes: Float32Array;
}

/** What rows become, [count, channels]; of a part of a weight the share that its slabs have in it. */
export interface Products {
	readonly float: Float32Array | undefined;
	readonly codes: Float32Array;
}

/** What codes of a part lose, and what rows become with them. */
export interface MeasuredCodes {
	readonly error: ErrorSum;
	readonly products: Products;
}

/** With more rows a matrix product takes longer than reading its weights, and is for those who do it best. */
export const MOST_ROWS = 16;

/** Can few rows be multiplied with the weight, a matrix whose inputs lie one behind the other? */
export function canMultiply({ layout }: BlockWeight): boolean {
	const { outer, spatial, channels } = layout;
	return outer === 1 && spatial === 1 && channels > 1 && fitsProductKernel(channels);
}

/** Multiplies rows with the slabs of a part, float weights and codes, for which {@link canMultiply} holds. */
export function productsOf(part: WeightPart, rows: FewRows): Products {
	const scales = THREAD_READER.scales({ ...part, float: undefined });
	return multiplySlabs(part, { packed: THREAD_READER.packedCodes(part), scales }, rows);
}

/** Chooses the codes of a float part and multiplies rows with what they stand for; nobody keeps the codes. */
export function measureCodes(part: WeightPart, choice: CodesChoice, rows: FewRows): MeasuredCodes {
	const { ints, codes, error } = makeCodes(part, choice);
	const { first, count } = part.range;
	const scales = effectiveScales(ints, choice.storedScales, part.layout, first, count);
	return { error, products: multiplySlabs(part, { packed: codes, scales }, rows) };
}

function multiplySlabs(
	part: WeightPart,
	{ packed, scales }: { readonly packed: Uint8Array; readonly scales: Float32Array },
	rows: FewRows,
): Products {
	const { layout } = part;
	const [count, { channels, depth }] = [rows.codes.length / layout.depth, layout];
	const float = rows.float && new Float32Array(count * channels);
	const codes = new Float32Array(count * channels);
	const weights = float && THREAD_READER.values(part);
	const { first, count: slabs } = part.range;
	for (let slab = 0, at = 0; slab < slabs; slab++) {
		const start = (first + slab) * layout.blockSize;
		const height = slabRows(layout, first + slab);
		const end = at + height * channels;
		if (float !== undefined) {
			addProducts(float, columnsOf(rows.float!, depth, start, height), height, weights!.subarray(at, end), channels);
		}
		const left = columnsOf(rows.codes, depth, start, height);
		const slabScales = scales.subarray(slab * channels, (slab + 1) * channels);
		addProducts(codes, left, height, packed.subarray(at / 2, end / 2), channels, slabScales);
		at = end;
	}
	return { float, codes };
}

/** The columns [start, start + width) of rows of `depth`. */
function columnsOf(rows: Float32Array, depth: number, start: number, width: number): Float32Array {
	const columns = new Float32Array((rows.length / depth) * width);
	for (let row = 0; row * depth < rows.length; row++) {
		columns.set(rows.subarray(row * depth + start, row * depth + start + width), row * width);
	}
	return columns;
}
