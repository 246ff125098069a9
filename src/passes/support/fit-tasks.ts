import { dequantizeBlocks } from "../../quant/codes.js";
import {
	accumulate,
	type ChannelChoice,
	chooseBlockScaleInts,
	createAccumulator,
	type FitAccumulator,
	type FitChunk,
	type FitProblem,
} from "../../quant/fit.js";
import { slabFirstChannel } from "../../quant/layout.js";
import { effectiveScales } from "../../quant/lpbq.js";
import { type ErrorSum, errorSum, sumOfSquaredCodesPerBlock } from "../../quant/measure.js";
import { packInt4 } from "../../quant/packing.js";
import { chooseCodes, PartReader, piecesOf, type WeightPart } from "./block-weight.js";
import { blockScales, type ChannelScales, SMALLEST_SCALE, snapScales } from "./snap.js";

/** Facts about the block scales of a part. */
export interface ScaleFacts {
	/** Largest magnitude of each channel that the part touches, of the float weights' scales where there are such. */
	readonly channelMax: Float64Array;
	/** Which channel of the weight the first of these is. */
	readonly firstChannel: number;
	readonly finite: boolean;
	readonly negative: number;
	/** 0, or too small for LPBQ's channel scale to be a normal float32. */
	readonly zero: number;
	/** Does each block have one scale for all positions of the kernel? */
	readonly uniform: boolean;
}

export type FitTask =
	| { readonly kind: "scan"; readonly part: WeightPart }
	| { readonly kind: "measure-kept"; readonly part: WeightPart; readonly scales: ChannelScales }
	| {
			readonly kind: "measure-new";
			readonly part: WeightPart;
			readonly scales: ChannelScales;
			readonly keepsPositive: boolean;
	  }
	| {
			readonly kind: "accumulate";
			readonly part: WeightPart;
			readonly problem: FitProblem;
			readonly scales: ChannelScales;
			/** Do the codes that the weight has count as a solution, that of `max`? */
			readonly keepsCodes: boolean;
	  }
	| {
			readonly kind: "choose-ints";
			readonly part: WeightPart;
			readonly problem: FitProblem;
			readonly scales: ChannelScales;
			readonly choice: ChannelChoice;
	  };

interface Results {
	scan: ScaleFacts;
	"measure-kept": ErrorSum;
	"measure-new": ErrorSum;
	accumulate: FitAccumulator;
	"choose-ints": Uint8Array;
}

export type FitResult<T extends FitTask = FitTask> = Results[T["kind"]];

const reader = new PartReader();

/** Does one task; the result does not depend on the thread. */
export function runFitTask(task: FitTask): FitResult {
	switch (task.kind) {
		case "scan":
			return scan(task.part);
		case "measure-kept":
			return measureKeptCodes(task.part, task.scales);
		case "measure-new":
			return measureNewCodes(task.part, task.scales, task.keepsPositive);
		case "accumulate":
			return accumulatePart(task.part, task.problem, task.scales, task.keepsCodes);
		case "choose-ints":
			return chooseBlockScaleInts(task.problem, chunkOf(task.part, task.scales), task.choice);
	}
}

function accumulatePart(
	part: WeightPart,
	problem: FitProblem,
	scales: ChannelScales,
	keepsCodes: boolean,
): FitAccumulator {
	const accumulator = createAccumulator(problem, part.range.first, part.range.count);
	const chunk = chunkOf(part, scales);
	accumulate(problem, keepsCodes ? { ...chunk, keptCodes: reader.codes(part) } : chunk, accumulator);
	return accumulator;
}

function chunkOf(part: WeightPart, scales: ChannelScales): FitChunk {
	return {
		firstSlab: part.range.first,
		slabCount: part.range.count,
		values: reader.values(part),
		maxBlockScaleInts: snapScales(reader, part, scales),
	};
}

function scan(part: WeightPart): ScaleFacts {
	const { layout, range } = part;
	const { channels } = layout;
	const firstChannel = slabFirstChannel(layout, range.first);
	const lastChannel = slabFirstChannel(layout, range.first + range.count - 1) + channels;
	const channelMax = new Float64Array(lastChannel - firstChannel);
	const facts = { channelMax, firstChannel, finite: true, negative: 0, zero: 0, uniform: true };
	for (const piece of piecesOf(part)) {
		const scales = blockScales(reader, piece);
		for (let slab = 0; slab < piece.range.count; slab++) {
			const base = slabFirstChannel(layout, piece.range.first + slab) - firstChannel;
			raiseTo(channelMax, base, scales, slab * channels, channels);
		}
		countOddScales(reader.scales(piece), layout.spatial, facts);
	}
	return facts;
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
		if (scale >= SMALLEST_SCALE && scale < Number.POSITIVE_INFINITY) continue;
		if (!Number.isFinite(scale)) facts.finite = false;
		else if (scale > -SMALLEST_SCALE) facts.zero++;
		else facts.negative++;
	}
}

/** Memory for the blocks of a piece, used again and again. */
let scratch = { squares: new Float64Array(), ints: new Uint8Array() };

/**
 * How far codes that stay move when their scales, none of which is negative, are snapped: no code needs to be looked at
 * but for its square.
 */
function measureKeptCodes(part: WeightPart, channelScales: ChannelScales): ErrorSum {
	const { layout } = part;
	const { channels } = layout;
	const pieces = piecesOf(part);
	const blocks = Math.max(...pieces.map(({ range }) => range.count * channels));
	if (scratch.squares.length < blocks) scratch = { squares: new Float64Array(blocks), ints: new Uint8Array(blocks) };
	const sums = { signal: 0, error: 0 };
	for (const piece of pieces) {
		const { first, count } = piece.range;
		const packed = piece.codeOffset === 0 ? reader.packedCodes(piece) : packInt4(reader.codes(piece));
		const squares = scratch.squares.subarray(0, count * channels);
		const ints = scratch.ints.subarray(0, count * channels);
		sumOfSquaredCodesPerBlock(packed, layout, first, count, squares);
		snapScales(reader, piece, channelScales, ints);
		const before = blockScales(reader, piece);
		for (let slab = 0; slab < count; slab++) {
			const firstChannel = slabFirstChannel(layout, first + slab);
			addRow(sums, before, squares, ints, slab * channels, channelScales.stored, firstChannel, channels);
		}
	}
	return sums;
}

/** One block of every channel of an outer row; a loop of its own, for it runs over every block of a model. */
function addRow(
	sums: { signal: number; error: number },
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
function measureNewCodes(part: WeightPart, channelScales: ChannelScales, keepsPositive: boolean): ErrorSum {
	const { layout } = part;
	const sums = { signal: 0, error: 0 };
	for (const piece of piecesOf(part)) {
		const { first, count } = piece.range;
		const blockScaleInts = snapScales(reader, piece, channelScales);
		const codes = chooseCodes(reader, piece, { channelScales: channelScales.exact, blockScaleInts, keepsPositive });
		const scales = effectiveScales(blockScaleInts, channelScales.stored, layout, first, count);
		const { signal, error } = errorSum(reader.values(piece), dequantizeBlocks(codes, scales, layout, first, count));
		sums.signal += signal;
		sums.error += error;
	}
	return sums;
}
