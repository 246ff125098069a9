/*
 * The search for LPBQ scales that keep a weight's values best, where `max` takes the channel scale from the largest block
 * scale (lpbq.ts). For a grid of channel scales around that one it finds the best integer of every block, which is exact
 * since there are only 16, and keeps, for every channel, the grid point with the least sum of |error|^exponent. A high
 * exponent spares the large weights: least squares clips them and can cost a model more than it gains.
 *
 * A weight may be much larger than memory, so the search takes it in chunks of slabs, twice:
 *   accumulate            every chunk, on any thread, each into an accumulator of its own (createAccumulator)
 *   mergeAccumulators     in the order of the chunks, so that the result does not depend on who did what
 *   chooseChannelScales   once
 *   chooseBlockScaleInts  every chunk again
 * Rows of whole channels ([N, K], Conv) may go through all of it on their own.
 */
import { eachStrip, type Strip, type StripWalk, stripCapacity } from "./block-strips.js";
import { ColumnSearch } from "./column-search.js";
import { type BlockLayout, expectLength, slabCountOf, slabElements, slabFirstChannel, slabRows } from "./layout.js";
import { effectiveScale, MAX_BLOCK_SCALE_INT } from "./lpbq.js";
import { powerOf } from "./power.js";

/**
 * Channel scales that are tried, as factors of the one that `max` takes. On normal, Student-t and Laplace weights, with
 * blocks of 16 to 128 and exponents 2 to 4, a channel's sum is on average 0.2 % above that of a grid of 105 points.
 */
export const GRID_FACTORS: readonly number[] = [
	...[0.86, 0.89, 0.91, 0.925, 0.94, 0.955, 0.97, 0.985, 1, 1.015, 1.03, 1.05, 1.08],
];

/** Sums are float32 within a block, so a squared error counts as below that of `max` only by more than rounding. */
const SQUARE_MARGIN = 1 - 2 ** -16;

/** What is searched for. Plain data, the same for every chunk and thread. */
export interface FitProblem {
	readonly layout: BlockLayout;
	/** The channel scales of `max`, [channelCount], as {@link decomposeScales} gives them. */
	readonly maxChannelScales: Float64Array;
	/** Power of the errors that are added up, a whole number from 2 to 8; 4 when left out. */
	readonly exponent?: number;
	/** Smallest code; -8 when left out. */
	readonly codeMin?: -8 | -7;
	/**
	 * Do blocks whose integer under `max` is 16 keep it, so that every channel's largest integer is 16? Readers of the
	 * exact BQ form find the channel scale again as the largest scale / 16.
	 */
	readonly keepsLargestInt?: boolean;
	/** GRID_FACTORS when left out. */
	readonly gridFactors?: readonly number[];
	/** Of the blocks of a channel, every how many-th counts when its scale is chosen; 1 when left out. */
	readonly sampleStep?: number;
	/** Factor of every error, by position along `depth`, [depth], not negative; 1 when left out. */
	readonly importance?: Float64Array;
}

/** The slabs [firstSlab, firstSlab + slabCount) of a weight. */
export interface FitChunk {
	readonly firstSlab: number;
	readonly slabCount: number;
	/** Their weights, finite. */
	readonly values: Float32Array;
	/** The integers of `max` for them, [slabCount, channels]. */
	readonly maxBlockScaleInts: Uint8Array;
	/** The codes that the weights had before, one for each. */
	readonly keptCodes?: Int8Array;
}

/**
 * Sums over the blocks of some channels: `powers` of importance * |error|^exponent, `squares` of importance * error^2.
 * The solutions measured: the best integers at every grid point; `max` with new codes; `max` with the kept codes, as far as
 * chunks had any.
 */
export interface FitAccumulator {
	readonly firstChannel: number;
	readonly channelCount: number;
	/** [channelCount, grid points] */
	readonly gridPowers: Float64Array;
	readonly gridSquares: Float64Array;
	/** [channelCount] */
	readonly maxPowers: Float64Array;
	readonly maxSquares: Float64Array;
	readonly keptPowers: Float64Array;
	readonly keptSquares: Float64Array;
	/** Of importance * weight^2. */
	readonly signals: Float64Array;
}

/** The channel scales chosen for some channels. */
export interface ChannelChoice {
	readonly firstChannel: number;
	/** float32, one per channel. */
	readonly channelScales: Float32Array;
	/** The grid point of each, or -1 for the solution of `max`. */
	readonly gridPoints: Int16Array;
}

/**
 * An accumulator of zeros for the channels that a range of slabs belongs to, by default all.
 *
 * @throws RangeError when the problem has the wrong number of channel scales.
 */
export function createAccumulator(
	problem: FitProblem,
	firstSlab = 0,
	slabCount = slabCountOf(problem.layout),
): FitAccumulator {
	const { layout, maxChannelScales, gridFactors = GRID_FACTORS } = problem;
	expectLength("channel scales", maxChannelScales.length, layout.channelCount);
	const firstChannel = slabFirstChannel(layout, firstSlab);
	const lastChannel = slabFirstChannel(layout, firstSlab + slabCount - 1) + layout.channels - 1;
	const channelCount = lastChannel - firstChannel + 1;
	return {
		firstChannel,
		channelCount,
		gridPowers: new Float64Array(channelCount * gridFactors.length),
		gridSquares: new Float64Array(channelCount * gridFactors.length),
		maxPowers: new Float64Array(channelCount),
		maxSquares: new Float64Array(channelCount),
		keptPowers: new Float64Array(channelCount),
		keptSquares: new Float64Array(channelCount),
		signals: new Float64Array(channelCount),
	};
}

/**
 * Adds the errors of a chunk to an accumulator that has its channels.
 *
 * @throws RangeError when an array of the chunk or the importance has the wrong length, and for an exponent out of range.
 */
export function accumulate(problem: FitProblem, chunk: FitChunk, accumulator: FitAccumulator): void {
	const { maxChannelScales, gridFactors = GRID_FACTORS, keepsLargestInt } = problem;
	const { firstChannel, gridPowers, gridSquares, maxPowers, maxSquares, signals } = accumulator;
	const gridSize = gridFactors.length;
	const search = createSearch(problem, gridSize + 1);
	eachStrip(walkOf(problem, chunk, gridSize + 1, problem.sampleStep), search, {
		begin({ index, count, channels }) {
			for (let column = 0; column < count; column++) {
				const maxChannelScale = maxChannelScales[channels[column]!]!;
				for (let k = 0; k < gridSize; k++) search.ask(index, k, column, maxChannelScale * gridFactors[k]!);
				search.ask(index, gridSize, column, maxChannelScale);
			}
		},
		prepare({ index, count, blocks }) {
			for (let column = 0; column < count; column++) {
				const int = chunk.maxBlockScaleInts[blocks[column]!]!;
				search.allow(index, gridSize, column, int, int);
				const least = leastIntOf(problem, int);
				for (let k = 0; keepsLargestInt && k < gridSize; k++) search.allow(index, k, column, least);
			}
		},
		take(strip) {
			if (chunk.keptCodes) addKeptErrors(problem, chunk, strip, accumulator);
		},
		end({ index, count, channels }) {
			for (let column = 0; column < count; column++) {
				const at = channels[column]! - firstChannel;
				for (let k = 0; k < gridSize; k++) {
					gridPowers[at * gridSize + k]! += search.power(index, k, column);
					gridSquares[at * gridSize + k]! += search.square(index, k, column);
				}
				maxPowers[at]! += search.power(index, gridSize, column);
				maxSquares[at]! += search.square(index, gridSize, column);
				signals[at]! += search.signal(index, column);
			}
		},
	});
}

/**
 * Adds one accumulator's sums to another's, which must have all of its channels.
 *
 * @throws RangeError when it has not, or has another grid.
 */
export function mergeAccumulators(into: FitAccumulator, from: FitAccumulator): void {
	const first = from.firstChannel - into.firstChannel;
	const gridSize = from.gridPowers.length / from.channelCount;
	if (first < 0 || first + from.channelCount > into.channelCount) {
		throw new RangeError(
			`${from.channelCount} channels from ${from.firstChannel} on are not all in the sums merged into`,
		);
	}
	expectLength("grid sums", into.gridPowers.length, into.channelCount * gridSize);
	add(into.gridPowers, from.gridPowers, first * gridSize);
	add(into.gridSquares, from.gridSquares, first * gridSize);
	add(into.maxPowers, from.maxPowers, first);
	add(into.maxSquares, from.maxSquares, first);
	add(into.keptPowers, from.keptPowers, first);
	add(into.keptSquares, from.keptSquares, first);
	add(into.signals, from.signals, first);
}

/**
 * Chooses for every channel the grid point with the least sum of |error|^exponent among those whose squared error is not
 * above that of `max`; `max` itself when none of these is better. So no channel's squared error grows.
 */
export function chooseChannelScales(problem: FitProblem, accumulator: FitAccumulator): ChannelChoice {
	const { maxChannelScales, gridFactors = GRID_FACTORS } = problem;
	const { firstChannel, channelCount, gridPowers, gridSquares, maxPowers, maxSquares } = accumulator;
	const gridSize = gridFactors.length;
	const channelScales = new Float32Array(channelCount);
	const gridPoints = new Int16Array(channelCount);
	for (let channel = 0; channel < channelCount; channel++) {
		let best = maxPowers[channel]!;
		let gridPoint = -1;
		for (let k = 0; k < gridSize; k++) {
			const power = gridPowers[channel * gridSize + k]!;
			const square = gridSquares[channel * gridSize + k]!;
			if (power < best && square <= maxSquares[channel]! * SQUARE_MARGIN) {
				best = power;
				gridPoint = k;
			}
		}
		gridPoints[channel] = gridPoint;
		channelScales[channel] = maxChannelScales[firstChannel + channel]! * (gridFactors[gridPoint] ?? 1);
	}
	return { firstChannel, channelScales, gridPoints };
}

/**
 * The integers for the chosen channel scales: the best of every block, or those of `max` for a channel that stays with it.
 *
 * @param choice must have the channels of the chunk.
 * @param measuresMax is `errorOfMax`, of importance * error^2 with the integers of `max`, wanted? Else it is 0.
 * @returns integers [slabCount, channels], 1..16.
 * @throws RangeError as {@link accumulate} does.
 */
export function chooseBlockScaleInts(
	problem: FitProblem,
	chunk: FitChunk,
	choice: ChannelChoice,
	measuresMax = false,
): { ints: Uint8Array; errorOfMax: number } {
	const { maxBlockScaleInts } = chunk;
	const ints = new Uint8Array(maxBlockScaleInts.length);
	let errorOfMax = 0;
	const records = measuresMax ? 2 : 1;
	const search = createSearch(problem, records);
	const isOfMax = (channel: number): boolean => choice.gridPoints[channel - choice.firstChannel] === -1;
	eachStrip(walkOf(problem, chunk, records), search, {
		begin({ index, count, channels }) {
			for (let column = 0; column < count; column++) {
				const channel = channels[column]!;
				search.ask(index, 0, column, choice.channelScales[channel - choice.firstChannel]!);
				if (measuresMax) search.ask(index, 1, column, problem.maxChannelScales[channel]!);
			}
		},
		prepare({ index, count, channels, blocks }) {
			for (let column = 0; column < count; column++) {
				const int = maxBlockScaleInts[blocks[column]!]!;
				if (isOfMax(channels[column]!)) search.allow(index, 0, column, int, int);
				else search.allow(index, 0, column, leastIntOf(problem, int));
				if (measuresMax) search.allow(index, 1, column, int, int);
			}
		},
		take({ index, count, blocks }) {
			for (let column = 0; column < count; column++) ints[blocks[column]!] = search.int(index, 0, column);
		},
		end({ index, count }) {
			for (let column = 0; measuresMax && column < count; column++) errorOfMax += search.square(index, 1, column);
		},
	});
	return { ints, errorOfMax };
}

/** The smallest integer that a block may get, whose integer under `max` is `int`. */
function leastIntOf({ keepsLargestInt }: FitProblem, int: number): number {
	return keepsLargestInt && int === MAX_BLOCK_SCALE_INT ? MAX_BLOCK_SCALE_INT : 1;
}

function createSearch({ layout, exponent = 4, codeMin = -8, importance }: FitProblem, records: number): ColumnSearch {
	return new ColumnSearch(exponent, codeMin, importance !== undefined, { ...stripCapacity(layout), records });
}

function walkOf({ layout, importance }: FitProblem, chunk: FitChunk, records: number, step = 1): StripWalk {
	const { firstSlab, slabCount, values, maxBlockScaleInts, keptCodes } = chunk;
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	expectLength("block scale integers", maxBlockScaleInts.length, slabCount * layout.channels);
	if (keptCodes) expectLength("codes", keptCodes.length, values.length);
	if (importance) expectLength("importance factors", importance.length, layout.depth);
	return { layout, firstSlab, slabCount, values, importance, step, records };
}

/** Adds the errors of blocks with the codes that they had, under the scales of `max`. */
function addKeptErrors(
	{ exponent = 4, layout, importance, maxChannelScales }: FitProblem,
	{ firstSlab, values, keptCodes, maxBlockScaleInts }: FitChunk,
	{ count, channels, blocks, starts }: Strip,
	{ keptPowers, keptSquares, firstChannel }: FitAccumulator,
): void {
	const { spatial, blockSize } = layout;
	for (let column = 0; column < count; column++) {
		const channel = channels[column]!;
		const scale = effectiveScale(maxBlockScaleInts[blocks[column]!]!, Math.fround(maxChannelScales[channel]!));
		const slab = firstSlab + Math.floor(blocks[column]! / layout.channels);
		const firstRow = (slab % layout.blocks) * blockSize;
		let power = 0;
		let square = 0;
		for (let row = 0; row < slabRows(layout, slab); row++) {
			const first = starts[column]! + row * layout.channels * spatial;
			const weight = importance ? importance[firstRow + row]! : 1;
			for (let at = first; at < first + spatial; at++) {
				const error = Math.abs(values[at]! - Math.fround(keptCodes![at]! * scale));
				power += weight * powerOf(error, exponent);
				square += weight * error * error;
			}
		}
		keptPowers[channel - firstChannel]! += power;
		keptSquares[channel - firstChannel]! += square;
	}
}

function add(sums: Float64Array, more: Float64Array, first: number): void {
	for (let i = 0; i < more.length; i++) sums[first + i]! += more[i]!;
}
