import { computedData, type TensorData } from "../../ir/data.js";
import { bytesOf } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import { dequantizeBlocks, quantizeCodes } from "../../quant/codes.js";
import { decodeBfloat16, decodeFloat16 } from "../../quant/float16.js";
import { type BlockLayout, slabCountOf, slabElements, slabStart } from "../../quant/layout.js";
import { packInt4, unpackInt4 } from "../../quant/packing.js";
import { type ByteRange, byteRange, RangeReader, sliceRange } from "./byte-range.js";

/** Slabs are read in pieces of about this many elements, which a core's cache holds the codes of. */
const PIECE_ELEMENTS = 2 ** 20;

/** Elements that a thread gets at a time where its answer is short. */
const TASK_ELEMENTS = 2 ** 22;

/** A run of slabs: those of [first, first + count). */
export interface SlabRange {
	readonly first: number;
	readonly count: number;
}

/** Float weights that a quantized one is to come close to. */
export interface FloatReference {
	readonly dtype: DataType;
	readonly data: TensorData;
}

/**
 * A weight in blocks, wherever its bytes are: int4 codes and their scales, the float original, or both. Without a float
 * original the codes are what a fit comes close to; without codes the weight was never quantized.
 */
export interface BlockWeight {
	readonly layout: BlockLayout;
	readonly codes: TensorData | undefined;
	/** FLOAT, [outer, blocks, channels, spatial]. */
	readonly scales: TensorData | undefined;
	readonly float: FloatReference | undefined;
}

/** Some slabs of a weight, to be read on whatever thread works on them. */
export interface WeightPart {
	readonly layout: BlockLayout;
	readonly range: SlabRange;
	readonly codes: ByteRange | undefined;
	/** Which half of the first byte holds the first code: 0 low, 1 high. */
	readonly codeOffset: number;
	readonly scales: ByteRange | undefined;
	readonly float: { readonly dtype: DataType; readonly data: ByteRange } | undefined;
}

export function partOf(weight: BlockWeight, range: SlabRange): WeightPart {
	return cut(weight, 0, range, byteRange);
}

/** A part in pieces that are small enough to be read. */
export function piecesOf(part: WeightPart): WeightPart[] {
	const { layout, range } = part;
	return rangesWithin(layout, range, PIECE_ELEMENTS).map((piece) => cut(part, range.first, piece, sliceRange));
}

interface Cuttable<S> {
	readonly layout: BlockLayout;
	readonly codes: S | undefined;
	readonly scales: S | undefined;
	readonly float: { readonly dtype: DataType; readonly data: S } | undefined;
}

/** Takes the slabs of `range` out of what begins with the slab `first`. */
function cut<S extends object>(
	source: Cuttable<S>,
	first: number,
	range: SlabRange,
	slice: (data: S, start: number, end: number) => ByteRange,
): WeightPart {
	const { layout, codes, scales, float } = source;
	const origin = slabStart(layout, first);
	const start = slabStart(layout, range.first);
	const end = slabStart(layout, range.first + range.count);
	const firstByte = Math.floor(origin / 2);
	const scaleBytes = layout.channels * layout.spatial * 4;
	const scalesStart = (range.first - first) * scaleBytes;
	const width = float?.dtype === DataType.FLOAT ? 4 : 2;
	return {
		layout,
		range,
		codes: codes && slice(codes, Math.floor(start / 2) - firstByte, Math.ceil(end / 2) - firstByte),
		codeOffset: start % 2,
		scales: scales && slice(scales, scalesStart, scalesStart + range.count * scaleBytes),
		float: float && { dtype: float.dtype, data: slice(float.data, (start - origin) * width, (end - origin) * width) },
	};
}

/** Reads parts of weights; each method's result is valid until it is called again. One reader a thread. */
export class PartReader {
	readonly #codes = new RangeReader();
	readonly #scales = new RangeReader();
	readonly #float = new RangeReader();

	packedCodes(part: WeightPart): Uint8Array {
		return this.#codes.read(part.codes!);
	}

	codes(part: WeightPart): Int8Array {
		const { layout, range, codeOffset } = part;
		return unpackInt4(this.packedCodes(part), codeOffset, slabElements(layout, range.first, range.count));
	}

	/** [count, channels, spatial]. */
	scales(part: WeightPart): Float32Array {
		return floatsOf(this.#scales.read(part.scales!));
	}

	/** The reference: the float weights, or without them what the codes stand for. */
	values(part: WeightPart): Float32Array {
		const { layout, range, float } = part;
		if (float === undefined) {
			return dequantizeBlocks(this.codes(part), this.scales(part), layout, range.first, range.count);
		}
		const bytes = this.#float.read(float.data);
		if (float.dtype === DataType.FLOAT) return floatsOf(bytes);
		return float.dtype === DataType.FLOAT16 ? decodeFloat16(bytes) : decodeBfloat16(bytes);
	}
}

/** The reader of this thread: its buffers serve all weights. */
export const THREAD_READER: PartReader = new PartReader();

/**
 * Cuts the weight into ranges of whole slabs that begin on whole bytes of int4 codes: always the same ones, so that sums
 * do not depend on who adds them up.
 */
export function slabRanges(layout: BlockLayout): SlabRange[] {
	return rangesWithin(layout, { first: 0, count: slabCountOf(layout) }, PIECE_ELEMENTS);
}

/** The same, in larger ranges: for tasks that read them by {@link piecesOf}. */
export function taskRanges(layout: BlockLayout): SlabRange[] {
	return rangesWithin(layout, { first: 0, count: slabCountOf(layout) }, TASK_ELEMENTS);
}

/** Scales of one outer row: [start, end) of a piece's scales [count, channels], and the row's first channel. */
export interface OuterRun {
	readonly start: number;
	readonly end: number;
	readonly channel: number;
}

/** Cuts some slabs where an outer row ends: all slabs of a run have the same channels. */
export function outerRuns(layout: BlockLayout, { first, count }: SlabRange): OuterRun[] {
	const runs: OuterRun[] = [];
	for (let slab = first; slab < first + count; ) {
		const outer = Math.floor(slab / layout.blocks);
		const last = Math.min((outer + 1) * layout.blocks, first + count);
		runs.push({
			start: (slab - first) * layout.channels,
			end: (last - first) * layout.channels,
			channel: outer * layout.channels,
		});
		slab = last;
	}
	return runs;
}

function rangesWithin(layout: BlockLayout, { first, count }: SlabRange, elements: number): SlabRange[] {
	const perSlab = layout.blockSize * layout.channels * layout.spatial;
	const wanted = Math.max(1, Math.floor(elements / perSlab));
	const step = perSlab % 2 === 0 ? wanted : wanted + (wanted % 2);
	return Array.from({ length: Math.ceil(count / step) }, (_, index) => ({
		first: first + index * step,
		count: Math.min(step, count - index * step),
	}));
}

/** What codes a part of a weight gets. */
export interface CodeChoice {
	/** [channelCount]. */
	readonly channelScales: Float32Array | Float64Array;
	/** The integers of the part's slabs, [count, channels]. */
	readonly blockScaleInts: Uint8Array;
	/** Keep the codes of blocks whose scale was above 0. */
	readonly keepsPositive: boolean;
	/** Smallest code, -8 or -7. */
	readonly codeMin?: -8 | -7;
}

/** The codes of a part under new scales: the nearest ones, or where they may stay, the old ones. */
export function chooseCodes(reader: PartReader, part: WeightPart, choice: CodeChoice): Int8Array {
	const { layout, range } = part;
	const { channelScales, blockScaleInts, keepsPositive, codeMin } = choice;
	const { first, count } = range;
	const codes = quantizeCodes(
		reader.values(part),
		layout,
		first,
		count,
		channelScales,
		blockScaleInts,
		undefined,
		codeMin,
	);
	if (!keepsPositive) return codes;
	const [old, scales] = [reader.codes(part), reader.scales(part)];
	const columns = layout.channels * layout.spatial;
	let at = 0;
	for (let slab = 0; slab < range.count; slab++) {
		const rows = slabElements(layout, range.first + slab, 1) / columns;
		for (let row = 0; row < rows; row++) {
			for (let column = 0; column < columns; column++, at++) {
				if (scales[slab * columns + column]! > 0) codes[at] = old[at]!;
			}
		}
	}
	return codes;
}

/** Codes of 4 bits, packed, or of 8 or 16, that are chosen when they are written; `choose` is asked for ranges of slabs. */
export function chosenCodes(
	layout: BlockLayout,
	choose: (range: SlabRange) => Int8Array | Int16Array,
	bits: 4 | 8 | 16 = 4,
): TensorData {
	return slabData(layout, choose, bits);
}

/** The values of a weight as floats, made when they are read; `make` is asked for ranges of slabs. */
export function slabValues(layout: BlockLayout, make: (range: SlabRange) => Float32Array): TensorData {
	return slabData(layout, make, 32);
}

/** Elements of so many bits, those of 4 packed. */
function slabData(
	layout: BlockLayout,
	make: (range: SlabRange) => Int8Array | Int16Array | Float32Array,
	bits: 4 | 8 | 16 | 32,
): TensorData {
	const total = slabCountOf(layout);
	const elements = slabStart(layout, total);
	return computedData(Math.ceil((elements * bits) / 8), (start, end) => {
		const first = evenSlabBefore(layout, slabAt(layout, Math.floor((start * 8) / bits)));
		const lastElement = Math.floor((end * 8 - 1) / bits);
		const last = lastElement >= elements - 1 ? total : slabAt(layout, lastElement) + 1;
		const codes = make({ first, count: Math.max(0, last - first) });
		const from = start - (slabStart(layout, first) * bits) / 8;
		const bytes = bits === 4 ? packInt4(codes as Int8Array) : bytesOf(codes);
		return bytes.subarray(from, from + end - start);
	});
}

/** The slab that holds element `element`. */
function slabAt(layout: BlockLayout, element: number): number {
	const row = Math.floor(element / (layout.channels * layout.spatial));
	const outer = Math.floor(row / layout.depth);
	return outer * layout.blocks + Math.floor((row - outer * layout.depth) / layout.blockSize);
}

/** `slab`, or the nearest before it that begins on a whole byte. */
function evenSlabBefore(layout: BlockLayout, slab: number): number {
	let at = slab;
	while (slabStart(layout, at) & 1) at--;
	return at;
}

/** Little-endian float32, without a copy where the bytes are aligned. */
function floatsOf(bytes: Uint8Array): Float32Array {
	const aligned = bytes.byteOffset % 4 === 0 ? bytes : Uint8Array.from(bytes);
	return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 2);
}
