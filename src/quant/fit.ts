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
import { BlockSearch } from "./block-search.js";
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
	const { maxChannelScales, gridFactors = GRID_FACTORS } = problem;
	const { firstChannel, gridPowers, gridSquares, maxPowers, maxSquares, signals } = accumulator;
	const { keptCodes } = chunk;
	const gridSize = gridFactors.length;
	const channelScales = new Float32Array(gridSize);
	const search = createSearch(problem, gridSize);
	eachBlock(problem, chunk, search, problem.sampleStep ?? 1, (channel, block, start) => {
		const at = channel - firstChannel;
		const maxChannelScale = maxChannelScales[channel]!;
		for (let k = 0; k < gridSize; k++) channelScales[k] = maxChannelScale * gridFactors[k]!;
		search.search(channelScales, gridSize, leastIntOf(problem, chunk, block));
		for (let k = 0; k < gridSize; k++) {
			gridPowers[at * gridSize + k]! += search.power(k);
			gridSquares[at * gridSize + k]! += search.square(k);
		}
		const int = chunk.maxBlockScaleInts[block]!;
		search.evaluate(maxChannelScale, int);
		maxPowers[at]! += search.power(0);
		maxSquares[at]! += search.square(0);
		signals[at]! += signalOf(search);
		if (keptCodes) {
			const scale = effectiveScale(int, Math.fround(maxChannelScale));
			addKeptErrors(problem, search, scale, keptCodes, start, accumulator, at);
		}
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
 * @param visit gets every block: its channel, its number in the chunk, and the search that has loaded it.
 * @returns [slabCount, channels], 1..16.
 * @throws RangeError as {@link accumulate} does.
 */
export function chooseBlockScaleInts(
	problem: FitProblem,
	chunk: FitChunk,
	choice: ChannelChoice,
	visit?: (channel: number, block: number, search: BlockSearch) => void,
): Uint8Array {
	const ints = chunk.maxBlockScaleInts.slice();
	const channelScale = new Float32Array(1);
	const search = createSearch(problem, 1);
	eachBlock(problem, chunk, search, 1, (channel, block) => {
		const at = channel - choice.firstChannel;
		channelScale[0] = choice.channelScales[at]!;
		if (choice.gridPoints[at] !== -1) {
			search.search(channelScale, 1, leastIntOf(problem, chunk, block));
			ints[block] = search.int(0);
		}
		visit?.(channel, block, search);
	});
	return ints;
}

function leastIntOf({ keepsLargestInt }: FitProblem, { maxBlockScaleInts }: FitChunk, block: number): number {
	return keepsLargestInt && maxBlockScaleInts[block] === MAX_BLOCK_SCALE_INT ? MAX_BLOCK_SCALE_INT : 1;
}

function createSearch({ layout, exponent = 4, codeMin = -8, importance }: FitProblem, scaleCount: number): BlockSearch {
	const blockElements = Math.min(layout.blockSize, layout.depth) * layout.spatial;
	return new BlockSearch(exponent, codeMin, importance !== undefined, scaleCount, blockElements);
}

/** Loads every block of a chunk, or of each channel every `step`-th, into the search and calls back with its channel, its number and its first element. */
function eachBlock(
	{ layout, importance }: FitProblem,
	{ firstSlab, slabCount, values, maxBlockScaleInts, keptCodes }: FitChunk,
	search: BlockSearch,
	step: number,
	visit: (channel: number, block: number, start: number) => void,
): void {
	const { channels, spatial, blocks, blockSize } = layout;
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	expectLength("block scale integers", maxBlockScaleInts.length, slabCount * channels);
	if (keptCodes) expectLength("codes", keptCodes.length, values.length);
	if (importance) expectLength("importance factors", importance.length, layout.depth);
	const stride = channels * spatial;
	let start = 0;
	for (let index = 0; index < slabCount; index++) {
		const slab = firstSlab + index;
		const rows = slabRows(layout, slab);
		if ((slab % blocks) % step !== 0) {
			start += rows * stride;
			continue;
		}
		if (importance) search.loadImportance(importance, (slab % blocks) * blockSize, rows, spatial);
		const firstChannel = slabFirstChannel(layout, slab);
		for (let channel = 0; channel < channels; channel++) {
			search.load(values, start + channel * spatial, rows, stride, spatial);
			visit(firstChannel + channel, index * channels + channel, start + channel * spatial);
		}
		start += rows * stride;
	}
}

function signalOf({ values, weights, count }: BlockSearch): number {
	let signal = 0;
	for (let i = 0; i < count; i++) signal += (weights ? weights[i]! : 1) * values[i]! * values[i]!;
	return signal;
}

/** Adds the errors of the loaded block, whose first element is `start`, with the codes that it had. */
function addKeptErrors(
	{ exponent = 4, layout }: FitProblem,
	{ values, weights, count }: BlockSearch,
	scale: number,
	keptCodes: Int8Array,
	start: number,
	{ keptPowers, keptSquares }: FitAccumulator,
	at: number,
): void {
	const { channels, spatial } = layout;
	let power = 0;
	let square = 0;
	for (let i = 0; i < count; i++) {
		const position = i % spatial;
		const code = keptCodes[start + (i - position) * channels + position]!;
		const weight = weights ? weights[i]! : 1;
		const error = Math.abs(values[i]! - Math.fround(code * scale));
		power += weight * powerOf(error, exponent);
		square += weight * error * error;
	}
	keptPowers[at]! += power;
	keptSquares[at]! += square;
}

function add(sums: Float64Array, more: Float64Array, first: number): void {
	for (let i = 0; i < more.length; i++) sums[first + i]! += more[i]!;
}
