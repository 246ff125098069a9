import { slabFirstChannel } from "../../quant/layout.js";
import { effectiveScale, MAX_BLOCK_SCALE_INT } from "../../quant/lpbq.js";
import { type BlockWeight, PartReader, partOf, type SlabRange, slabRanges, taskRanges } from "./block-weight.js";
import { type ScaleFacts, scanPart } from "./scan-part.js";
import type { TaskPool } from "./task-pool.js";

/** What one pass over the block scales of a weight finds. */
export interface ScaleScan {
	/** Largest block scale of each channel, [channelCount]: magnitudes of the stored ones, or those of the float weights. */
	readonly channelMax: Float64Array;
	readonly finite: boolean;
	/** Largest magnitude of the float weights; 0 where there are none. */
	readonly largest: number;
	readonly negative: number;
	readonly zero: number;
	/** Does each block have one scale for all positions of the kernel? */
	readonly uniform: boolean;
}

/** @param blocks receives the scales of the blocks of a float weight, [slabs, channels], in memory that threads share. */
export async function scanScales(weight: BlockWeight, pool: TaskPool, blocks?: Float64Array): Promise<ScaleScan> {
	const { layout } = weight;
	const channelMax = new Float64Array(layout.channelCount);
	const scan = { channelMax, finite: true, largest: 0, negative: 0, zero: 0, uniform: true };
	const add = (facts: ScaleFacts) => {
		for (let index = 0, channel = facts.firstChannel; index < facts.channelMax.length; index++, channel++) {
			channelMax[channel] = Math.max(channelMax[channel]!, facts.channelMax[index]!);
		}
		scan.finite &&= facts.finite;
		scan.largest = Math.max(scan.largest, facts.largest);
		scan.uniform &&= facts.uniform;
		scan.negative += facts.negative;
		scan.zero += facts.zero;
	};
	if (weight.float === undefined) {
		// what is stored is read faster than a thread is asked
		for (const range of taskRanges(layout)) add(scanPart(partOf(weight, range)));
	} else {
		const taskOf = (range: SlabRange) => ({ kind: "scan" as const, part: partOf(weight, range), blocks });
		await pool.each(taskRanges(layout), taskOf, add);
	}
	return scan;
}

/** Are the stored scales integers 1..16 times a channel scale already, the largest 16 (the exact BQ form)? */
export function hasExactLpbqScales(weight: BlockWeight): boolean {
	const { layout } = weight;
	const { channels, spatial } = layout;
	const reader = new PartReader();
	const stored = { ...weight, float: undefined };
	const max = new Float32Array(layout.channelCount);
	const eachScale = (visit: (scale: number, channel: number) => boolean) =>
		slabRanges(layout).every((range) => {
			const scales = reader.scales(partOf(stored, range));
			return scales.every((scale, index) => {
				const slab = Math.floor(index / (channels * spatial));
				const inSlab = Math.floor((index - slab * channels * spatial) / spatial);
				return visit(scale, slabFirstChannel(layout, range.first + slab) + inSlab);
			});
		});
	eachScale((scale, channel) => {
		if (scale > max[channel]!) max[channel] = scale;
		return true;
	});
	return eachScale((scale, channel) => {
		const channelScale = Math.fround(max[channel]! / MAX_BLOCK_SCALE_INT);
		const integer = Math.round(scale / channelScale);
		return integer >= 1 && integer <= MAX_BLOCK_SCALE_INT && effectiveScale(integer, channelScale) === scale;
	});
}
