import type { TensorData } from "../../ir/data.js";
import { type BlockLayout, slabFirstChannel } from "../../quant/layout.js";
import { type BlockWeight, type SlabRange, slabRanges } from "./block-weight.js";
import { firstsOf, gatherChannels, shared, spooledChannels } from "./channel-order.js";
import { channelTasks, type InputFactors, taskChannels } from "./input-factors.js";
import type { QuantizeTools } from "./quantized-weight.js";

/** How often at most codes of 4 bits are gone through again: once more brings a hundredth of a decibel on MiniLM. */
const SWEEPS = 3;

/** Of more channels, as a head of a large vocabulary has, codes are not gone through again: it takes half as long as GPTQ. */
const SWEPT_CHANNELS = 2 ** 15;

/** Floats of a weight that are in memory at a time. */
const FLOATS_AT_ONCE = 2 ** 25;

/** The grid that codes are chosen on. */
export interface GptqGrid {
	/** Scales of some slabs, [count, channels]. */
	scalesOf(range: SlabRange): Float32Array;
	readonly bits: 4 | 8;
	readonly codeMin: number;
	/** What every channel's scales may be multiplied by where that leaves less error; none where they stay. */
	readonly factors: readonly number[];
}

export interface GptqWeight {
	readonly codes: TensorData;
	/** [channelCount, blocks]. */
	readonly scales: Float32Array;
}

/**
 * Codes of a float weight by GPTQ (quant/gptq.ts), on scales that are given, or some near these. Its codes and scales are in memory meanwhile, of
 * its floats some channels at a time; then the codes wait in the spool.
 *
 * @param source as many inputs deep as the factors, its channels group by group.
 */
export async function gptqWeight(
	source: BlockWeight,
	grid: GptqGrid,
	inputs: InputFactors,
	{ pool, spool }: QuantizeTools,
): Promise<GptqWeight> {
	const { layout } = source;
	const { depth, blocks, blockSize, channelCount } = layout;
	const step = taskChannels(inputs, channelCount);
	const tasksAtOnce = Math.max(1, Math.floor(FLOATS_AT_ONCE / (step * depth)));
	const channelsAtOnce = Math.min(channelCount, tasksAtOnce * step);
	const weights = shared(Float32Array, channelsAtOnce * depth);
	const codes = shared(Int8Array, channelCount * depth);
	const scales = channelScales(layout, grid);
	const { codeMin, factors: scaleFactors } = grid;
	const codeMax = 2 ** (grid.bits - 1) - 1;
	const sweeps = channelCount <= SWEPT_CHANNELS ? SWEEPS : 0;
	for (const start of firstsOf(channelCount, channelsAtOnce)) {
		const end = Math.min(start + channelsAtOnce, channelCount);
		gatherChannels(source, start, end, weights);
		await pool.each(
			channelTasks(inputs, channelCount, start, end),
			({ first, last, factors }) => ({
				kind: "gptq-codes",
				weights: weights.subarray((first - start) * depth, (last - start) * depth),
				scales: scales.subarray(first * blocks, last * blocks),
				codes: codes.subarray(first * depth, last * depth),
				problem: { ...factors, depth, blockSize, codeMin, codeMax, sweeps },
				factors: scaleFactors,
			}),
			() => undefined,
		);
	}
	return { codes: spooledChannels(layout, codes, grid.bits, spool), scales };
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
