import { computedData, type TensorData } from "../../ir/data.js";
import { slabFirstChannel, slabRows, slabStart } from "../../quant/layout.js";
import { packInt4 } from "../../quant/packing.js";
import { type BlockWeight, partOf, type SlabRange, slabRanges, THREAD_READER } from "./block-weight.js";
import type { QuantizeTools } from "./quantized-weight.js";

/** Channels that one task quantizes. */
const TASK_CHANNELS = 64;

/** The grid that codes are chosen on. */
export interface GptqGrid {
	/** Scales of some slabs, [count, channels]. */
	scalesOf(range: SlabRange): Float32Array;
	readonly bits: 4 | 8;
	readonly codeMin: number;
}

/**
 * Codes of a float weight by GPTQ (quant/gptq.ts), on scales that are given. The whole weight is in memory meanwhile, and the
 * second moments; the codes wait in the spool. undefined where the moments are not positive definite.
 *
 * @param moments second moments of the layer's input, [depth, depth].
 */
export async function gptqWeight(
	source: BlockWeight,
	grid: GptqGrid,
	moments: Float64Array,
	{ pool, spool }: QuantizeTools,
): Promise<TensorData | undefined> {
	const { layout } = source;
	const { depth, blocks, blockSize, channelCount } = layout;
	const weights = shared(Float32Array, channelCount * depth);
	const scales = shared(Float32Array, channelCount * blocks);
	const codes = shared(Int8Array, channelCount * depth);
	const factor = shared(Float64Array, depth * depth);
	factor.set(moments);
	let positive = false;
	const factorTask = { kind: "gptq-factor", moments: factor, size: depth } as const;
	await pool.each(
		[factorTask],
		(task) => task,
		(done) => {
			positive = done;
		},
	);
	if (!positive) return undefined;
	for (const range of slabRanges(layout)) {
		eachRow(source, range, THREAD_READER.values(partOf(source, range)), (values, channel, position) => {
			values.forEach((value, index) => {
				weights[(channel + index) * depth + position] = value;
			});
		});
		const blockScales = grid.scalesOf(range);
		for (let slab = 0; slab < range.count; slab++) {
			const first = slabFirstChannel(layout, range.first + slab);
			for (let channel = 0; channel < layout.channels; channel++) {
				const place = (first + channel) * blocks + ((range.first + slab) % blocks);
				scales[place] = blockScales[slab * layout.channels + channel]!;
			}
		}
	}
	const firsts = Array.from({ length: Math.ceil(channelCount / TASK_CHANNELS) }, (_, index) => index * TASK_CHANNELS);
	const codeMax = 2 ** (grid.bits - 1) - 1;
	await pool.each(
		firsts,
		(first) => {
			const last = Math.min(first + TASK_CHANNELS, channelCount);
			return {
				kind: "gptq-codes",
				weights: weights.subarray(first * depth, last * depth),
				scales: scales.subarray(first * blocks, last * blocks),
				codes: codes.subarray(first * depth, last * depth),
				factor,
				depth,
				blockSize,
				codeMin: grid.codeMin,
				codeMax,
			};
		},
		() => undefined,
	);
	return spooled(source, codes, grid.bits, spool);
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
		eachRow(source, range, ordered, (row, channel, position) => {
			for (let index = 0; index < row.length; index++) row[index] = codes[(channel + index) * layout.depth + position]!;
		});
		const bytes = bits === 4 ? packInt4(ordered) : new Uint8Array(ordered.buffer);
		spool.write(home + (start * bits) / 8, bytes);
	}
	return computedData(byteLength, (start, end) => spool.read(home + start, home + end));
}

/** Calls back for the elements of every row of some slabs: one each of channels from `channel` on, at a position along the depth. */
function eachRow<T extends Float32Array | Int8Array>(
	{ layout }: BlockWeight,
	{ first, count }: SlabRange,
	elements: T,
	visit: (row: T, channel: number, position: number) => void,
): void {
	const { channels, blocks, blockSize } = layout;
	let at = 0;
	for (let slab = first; slab < first + count; slab++) {
		const rows = slabRows(layout, slab);
		for (let row = 0; row < rows; row++, at += channels) {
			const position = (slab % blocks) * blockSize + row;
			visit(elements.subarray(at, at + channels) as T, slabFirstChannel(layout, slab), position);
		}
	}
}

type ArrayType<T> = { new (buffer: SharedArrayBuffer): T; readonly BYTES_PER_ELEMENT: number };

/** An array in memory that threads share. */
function shared<T>(type: ArrayType<T>, length: number): T {
	return new type(new SharedArrayBuffer(length * type.BYTES_PER_ELEMENT));
}
