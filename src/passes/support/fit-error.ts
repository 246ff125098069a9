import { dequantizeBlocks, quantizeBlocks } from "../../quant/codes.js";
import { slabFirstChannel } from "../../quant/layout.js";
import { effectiveScales } from "../../quant/lpbq.js";
import { type ErrorSum, errorSum, sumOfSquaredCodesPerBlock } from "../../quant/measure.js";
import { packInt4 } from "../../quant/packing.js";
import { fitsScaleKernel, snapError } from "../../quant/scale-kernel.js";
import { MAX_KERNEL_ROWS } from "../../quant/square-kernel.js";
import { chooseCodes, outerRuns, type PartReader, piecesOf, THREAD_READER, type WeightPart } from "./block-weight.js";
import { blockScales, type ChannelScales, snapScales } from "./snap.js";

interface Sums {
	signal: number;
	error: number;
}

/** Memory for the sums of a piece's blocks, used again and again. */
let shortSums = new Uint16Array();
let longSums = new Float64Array();

/**
 * How far codes that stay move when their scales, none of which is negative or 0, are snapped: no code needs to be looked
 * at but for its square.
 */
export function measureKeptCodes(part: WeightPart, channelScales: ChannelScales): ErrorSum {
	const { layout } = part;
	const { channels } = layout;
	const sums = { signal: 0, error: 0 };
	for (const piece of piecesOf(part)) {
		const { first, count } = piece.range;
		const packed = piece.codeOffset === 0 ? THREAD_READER.packedCodes(piece) : packInt4(THREAD_READER.codes(piece));
		const blocks = count * channels;
		if (layout.spatial === 1 && fitsScaleKernel(channels) && layout.blockSize <= MAX_KERNEL_ROWS) {
			if (shortSums.length < blocks) shortSums = new Uint16Array(blocks);
			const squares = sumOfSquaredCodesPerBlock(packed, layout, first, count, shortSums.subarray(0, blocks));
			addRuns(sums, piece, squares, channelScales);
		} else {
			if (longSums.length < blocks) longSums = new Float64Array(blocks);
			const squares = sumOfSquaredCodesPerBlock(packed, layout, first, count, longSums.subarray(0, blocks));
			addRows(sums, piece, squares, channelScales);
		}
	}
	return sums;
}

function addRuns(sums: Sums, piece: WeightPart, squares: Uint16Array, { exact }: ChannelScales): void {
	const { layout } = piece;
	const scales = THREAD_READER.scales(piece);
	for (const { start, end, channel } of outerRuns(layout, piece.range)) {
		const channelScales = exact.subarray(channel, channel + layout.channels);
		const sum = snapError(scales.subarray(start, end), channelScales, squares.subarray(start, end));
		sums.signal += sum.signal;
		sums.error += sum.error;
	}
}

function addRows(sums: Sums, piece: WeightPart, squares: Float64Array, channelScales: ChannelScales): void {
	const { channels } = piece.layout;
	const ints = snapScales(THREAD_READER, piece, channelScales);
	const before = blockScales(THREAD_READER, piece);
	for (let slab = 0; slab < piece.range.count; slab++) {
		const firstChannel = slabFirstChannel(piece.layout, piece.range.first + slab);
		addRow(sums, before, squares, ints, slab * channels, channelScales.stored, firstChannel, channels);
	}
}

/** One block of every channel of an outer row; a loop of its own, for it runs over every block of a model. */
function addRow(
	sums: Sums,
	before: Float32Array | Float64Array,
	squares: Float64Array,
	ints: Uint8Array,
	at: number,
	channelScales: Float32Array,
	firstChannel: number,
	channels: number,
): void {
	let signal = 0;
	let error = 0;
	for (let channel = 0; channel < channels; channel++) {
		const scale = before[at + channel]!;
		const change = scale - Math.fround(ints[at + channel]! * channelScales[firstChannel + channel]!);
		signal += scale * scale * squares[at + channel]!;
		error += change * change * squares[at + channel]!;
	}
	sums.signal += signal;
	sums.error += error;
}

/** How far the reference is from codes chosen anew. */
export function measureNewCodes(part: WeightPart, channelScales: ChannelScales): ErrorSum {
	const { layout } = part;
	const sums = { signal: 0, error: 0 };
	for (const piece of piecesOf(part)) {
		const { first, count } = piece.range;
		const blockScaleInts = snapScales(THREAD_READER, piece, channelScales);
		const codes = chooseCodes(THREAD_READER, piece, {
			channelScales: channelScales.exact,
			blockScaleInts,
			keepsPositive: true,
		});
		const scales = effectiveScales(blockScaleInts, channelScales.stored, layout, first, count);
		const { signal, error } = errorSum(
			THREAD_READER.values(piece),
			dequantizeBlocks(codes, scales, layout, first, count),
		);
		sums.signal += signal;
		sums.error += error;
	}
	return sums;
}

/** The scales that calibration gives the blocks of a float part, float32, repeated over the positions of the kernel. */
export function repeatedBlockScales(reader: PartReader, part: WeightPart): Float32Array {
	const scales = blockScales(reader, part);
	const { spatial } = part.layout;
	if (spatial === 1) return Float32Array.from(scales);
	return Float32Array.from({ length: scales.length * spatial }, (_, index) => scales[Math.floor(index / spatial)]!);
}

/** How far float weights move when each block gets the codes of its own calibrated scale. */
export function measureBlocks(part: WeightPart): ErrorSum {
	const sums = { signal: 0, error: 0 };
	for (const piece of piecesOf(part)) {
		const { first, count } = piece.range;
		const scales = repeatedBlockScales(THREAD_READER, piece);
		const values = THREAD_READER.values(piece);
		const codes = quantizeBlocks(values, piece.layout, first, count, scales);
		const sum = errorSum(values, dequantizeBlocks(codes, scales, piece.layout, first, count));
		sums.signal += sum.signal;
		sums.error += sum.error;
	}
	return sums;
}
