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
import { chooseCodes, PartReader, type WeightPart } from "./block-weight.js";
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
	const scales = blockScales(reader, part);
	for (let slab = 0; slab < range.count; slab++) {
		const base = slabFirstChannel(layout, range.first + slab) - firstChannel;
		raiseTo(channelMax, base, scales, slab * channels, channels);
	}
	return { channelMax, firstChannel, ...countOddScales(reader.scales(part), layout.spatial) };
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
		const scale = scales[at + channel]!;
		if (scale > maxima[base + channel]!) maxima[base + channel] = scale;
	}
}

function countOddScales(scales: Float32Array, spatial: number) {
	let negative = 0;
	let zero = 0;
	let finite = true;
	let uniform = true;
	for (let at = 0; at < scales.length; at++) {
		const scale = scales[at]!;
		if (spatial > 1 && scale !== scales[at - (at % spatial)]) uniform = false;
		if (scale >= SMALLEST_SCALE && scale < Number.POSITIVE_INFINITY) continue;
		if (!Number.isFinite(scale)) finite = false;
		else if (scale > -SMALLEST_SCALE) zero++;
		else negative++;
	}
	return { finite, negative, zero, uniform };
}

/** How far codes that stay move when their scales are snapped: no code needs to be looked at but for its square. */
function measureKeptCodes(part: WeightPart, channelScales: ChannelScales): ErrorSum {
	const { layout, range } = part;
	const { channels, spatial } = layout;
	const squares = sumOfSquaredCodesPerBlock(reader.packedCodes(part), layout, range.first, range.count);
	const ints = snapScales(reader, part, channelScales);
	const before = spatial === 1 ? reader.scales(part) : blockScales(reader, part);
	const sums = { signal: 0, error: 0 };
	for (let slab = 0; slab < range.count; slab++) {
		const firstChannel = slabFirstChannel(layout, range.first + slab);
		addRow(sums, before, squares, ints, slab * channels, channelScales.stored, firstChannel, channels);
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
	const { layout, range } = part;
	const blockScaleInts = snapScales(reader, part, channelScales);
	const codes = chooseCodes(reader, part, { channelScales: channelScales.exact, blockScaleInts, keepsPositive });
	const scales = effectiveScales(blockScaleInts, channelScales.stored, layout, range.first, range.count);
	return errorSum(reader.values(part), dequantizeBlocks(codes, scales, layout, range.first, range.count));
}
