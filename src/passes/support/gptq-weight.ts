import { computedData, type TensorData } from "../../ir/data.js";
import { type BlockLayout, slabFirstChannel, slabRows, slabStart } from "../../quant/layout.js";
import type { GptqFactors } from "../../quant/moment-factor.js";
import { packInt4 } from "../../quant/packing.js";
import { type BlockWeight, partOf, type SlabRange, slabRanges, THREAD_READER } from "./block-weight.js";
import { type InputMoments, importanceOf, meanSquaresOf } from "./input-statistics.js";
import type { QuantizeTools, WeightFitOptions } from "./quantized-weight.js";
import type { TaskPool } from "./task-pool.js";

/** Channels that one task quantizes. */
const TASK_CHANNELS = 64;

/** How often at most codes of 4 bits are gone through again: once more brings a hundredth of a decibel on MiniLM. */
const SWEEPS = 3;

/** Of more channels, as a head of a large vocabulary has, codes are not gone through again: it takes half as long as GPTQ. */
const SWEPT_CHANNELS = 2 ** 15;

/** Groups whose moments one task factorizes. */
const TASK_GROUPS = 16;

/** Floats of a weight that are in memory at a time. */
const FLOATS_AT_ONCE = 2 ** 25;

const TILE_ROWS = 16;

/** What GPTQ makes of the second moments of a weight's inputs, in memory that threads share. */
export interface InputFactors extends GptqFactors, Pick<InputMoments, "depth" | "groups"> {}

/** Factorizes second moments, on as many cores as there are groups; undefined where they are not positive definite. */
async function gptqFactors(
	{ groups, depth, matrices, rows }: InputMoments,
	pool: TaskPool,
): Promise<InputFactors | undefined> {
	const moments = shared(Float64Array, groups * depth * depth);
	moments.set(matrices);
	const all: InputFactors = {
		factors: shared(Float32Array, moments.length),
		moments: shared(Float32Array, moments.length),
		order: shared(Uint32Array, groups * depth),
		depth,
		groups,
	};
	let positive = true;
	await pool.each(
		firstsOf(groups, TASK_GROUPS),
		(first) => {
			const last = Math.min(first + TASK_GROUPS, groups);
			return {
				kind: "gptq-factors",
				moments: moments.subarray(first * depth * depth, last * depth * depth),
				into: factorsOf(all, first, last),
				depth,
				rows,
			};
		},
		(done) => {
			positive &&= done;
		},
	);
	return positive ? all : undefined;
}

/** Those of the groups from `first` to `last`. */
function factorsOf({ factors, moments, order, depth }: InputFactors, first: number, last: number): GptqFactors {
	const square = depth * depth;
	return {
		factors: factors.subarray(first * square, last * square),
		moments: moments.subarray(first * square, last * square),
		order: order.subarray(first * depth, last * depth),
	};
}

/**
 * What of the mean square of every input those that come later do not make good, [groups, depth]: so much does the error of a
 * code count for the output when codes are chosen by GPTQ.
 */
function restsOf({ factors, order, depth }: InputFactors): Float64Array {
	const rests = new Float64Array(order.length);
	for (let i = 0; i < order.length; i++) {
		const place = i % depth;
		rests[i - place + order[i]!] = factors[i * depth + place]!;
	}
	return rests;
}

/** What is known of the inputs of a weight, as scales and codes are found with it. */
export interface KnownInputs {
	/** undefined where there are no moments, or none that are positive definite. */
	readonly factors: InputFactors | undefined;
	/** Factor of every error by input channel; undefined where nothing says. */
	readonly importance: Float64Array | undefined;
}

/**
 * Prepares GPTQ. Importance that was given counts; else that of the factors, else that of the mean squares of the inputs.
 *
 * @param channels of a group.
 */
export async function knownInputs(
	{ moments, importance }: Pick<WeightFitOptions, "moments" | "importance">,
	channels: number,
	pool: TaskPool,
): Promise<KnownInputs> {
	if (moments === undefined) return { factors: undefined, importance };
	const factors = await gptqFactors(moments, pool);
	const squares = factors === undefined ? meanSquaresOf(moments) : restsOf(factors);
	return { factors, importance: importance ?? importanceOf(squares, moments.depth, channels) };
}

/** The grid that codes are chosen on. */
export interface GptqGrid {
	/** Scales of some slabs, [count, channels]. */
	scalesOf(range: SlabRange): Float32Array;
	readonly bits: 4 | 8;
	readonly codeMin: number;
}

/**
 * Codes of a float weight by GPTQ (quant/gptq.ts), on scales that are given. Its codes and scales are in memory meanwhile, of
 * its floats some channels at a time; then the codes wait in the spool.
 *
 * @param source as many inputs deep as the factors, its channels group by group.
 */
export async function gptqWeight(
	source: BlockWeight,
	grid: GptqGrid,
	inputs: InputFactors,
	{ pool, spool }: QuantizeTools,
): Promise<TensorData> {
	const { layout } = source;
	const { depth, blocks, blockSize, channelCount } = layout;
	const groupChannels = channelCount / inputs.groups;
	// of one group the channels are divided, of many the groups
	const taskGroups = Math.max(1, Math.floor(TASK_CHANNELS / groupChannels));
	const taskChannels = inputs.groups === 1 ? TASK_CHANNELS : taskGroups * groupChannels;
	const tasksAtOnce = Math.max(1, Math.floor(FLOATS_AT_ONCE / (taskChannels * depth)));
	const channelsAtOnce = Math.min(channelCount, tasksAtOnce * taskChannels);
	const weights = shared(Float32Array, channelsAtOnce * depth);
	const codes = shared(Int8Array, channelCount * depth);
	const scales = channelScales(layout, grid);
	const { codeMin } = grid;
	const codeMax = 2 ** (grid.bits - 1) - 1;
	const sweeps = grid.bits === 4 && channelCount <= SWEPT_CHANNELS ? SWEEPS : 0;
	for (const start of firstsOf(channelCount, channelsAtOnce)) {
		const end = Math.min(start + channelsAtOnce, channelCount);
		gatherChannels(source, start, end, weights);
		await pool.each(
			firstsOf(end - start, taskChannels).map((first) => start + first),
			(first) => {
				const last = Math.min(first + taskChannels, end);
				const ofGroups = [Math.floor(first / groupChannels), Math.ceil(last / groupChannels)] as const;
				return {
					kind: "gptq-codes",
					weights: weights.subarray((first - start) * depth, (last - start) * depth),
					scales: scales.subarray(first * blocks, last * blocks),
					codes: codes.subarray(first * depth, last * depth),
					problem: { ...factorsOf(inputs, ...ofGroups), depth, blockSize, codeMin, codeMax, sweeps },
				};
			},
			() => undefined,
		);
	}
	return spooled(source, codes, grid.bits, spool);
}

/** The scales of a weight, [channelCount, blocks]. */
function channelScales(layout: BlockLayout, grid: GptqGrid): Float32Array {
	const { blocks, channels, channelCount } = layout;
	const scales = shared(Float32Array, channelCount * blocks);
	for (const range of slabRanges(layout)) {
		const blockScales = grid.scalesOf(range);
		for (let slab = 0; slab < range.count; slab++) {
			const first = slabFirstChannel(layout, range.first + slab);
			for (let channel = 0; channel < channels; channel++) {
				const place = (first + channel) * blocks + ((range.first + slab) % blocks);
				scales[place] = blockScales[slab * channels + channel]!;
			}
		}
	}
	return scales;
}

/** Reads the channels from `start` to `end` into `weights`, [end - start, depth]. */
function gatherChannels(source: BlockWeight, start: number, end: number, weights: Float32Array): void {
	const { layout } = source;
	const { depth, channels } = layout;
	for (const range of slabRanges(layout)) {
		const beyond = slabFirstChannel(layout, range.first + range.count - 1) + channels;
		if (beyond <= start || slabFirstChannel(layout, range.first) >= end) continue;
		const values = THREAD_READER.values(partOf(source, range));
		for (const { at, channel, position, rows } of tilesOf(layout, range)) {
			const last = Math.min(end, channel + channels);
			for (let own = Math.max(start, channel); own < last; own++) {
				const to = (own - start) * depth + position;
				for (let row = 0, from = at + own - channel; row < rows; row++, from += channels) {
					weights[to + row] = values[from]!;
				}
			}
		}
	}
}

/** 0, step, 2 step and so on below `count`. */
function firstsOf(count: number, step: number): number[] {
	return Array.from({ length: Math.ceil(count / step) }, (_, index) => index * step);
}

/** Puts codes [channelCount, depth] into the order of the weight, and packed where they have 4 bits, into the spool. */
function spooled(source: BlockWeight, codes: Int8Array, bits: 4 | 8, spool: QuantizeTools["spool"]): TensorData {
	const { layout } = source;
	const elements = layout.outer * layout.depth * layout.channels;
	const byteLength = Math.ceil((elements * bits) / 8);
	const home = spool.reserve(byteLength);
	for (const range of slabRanges(layout)) {
		const start = slabStart(layout, range.first);
		const ordered = new Int8Array(slabStart(layout, range.first + range.count) - start);
		for (const { at, channel, position, rows } of tilesOf(layout, range)) {
			for (let index = 0; index < layout.channels; index++) {
				const from = (channel + index) * layout.depth + position;
				for (let row = 0, to = at + index; row < rows; row++, to += layout.channels) ordered[to] = codes[from + row]!;
			}
		}
		const bytes = bits === 4 ? packInt4(ordered) : new Uint8Array(ordered.buffer);
		spool.write(home + (start * bits) / 8, bytes);
	}
	return computedData(byteLength, (start, end) => spool.read(home + start, home + end));
}

/** Some rows of a slab: elements one each of all channels from `channel` on, row by row, at positions along the depth. */
interface Tile {
	/** The first element, counted from the beginning of the range. */
	readonly at: number;
	readonly channel: number;
	readonly position: number;
	readonly rows: number;
}

/** The slabs of a range in tiles of so few rows that a cache holds a line of each. */
function* tilesOf(layout: BlockLayout, { first, count }: SlabRange): Generator<Tile> {
	const { channels, blocks, blockSize } = layout;
	let at = 0;
	for (let slab = first; slab < first + count; slab++) {
		const all = slabRows(layout, slab);
		for (let row = 0; row < all; row += TILE_ROWS) {
			const rows = Math.min(TILE_ROWS, all - row);
			yield { at, channel: slabFirstChannel(layout, slab), position: (slab % blocks) * blockSize + row, rows };
			at += rows * channels;
		}
	}
}

type ArrayType<T> = { new (buffer: SharedArrayBuffer): T; readonly BYTES_PER_ELEMENT: number };

/** An array in memory that threads share. */
function shared<T>(type: ArrayType<T>, length: number): T {
	return new type(new SharedArrayBuffer(length * type.BYTES_PER_ELEMENT));
}
