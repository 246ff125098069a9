import {
	addToBalance,
	type BalanceSums,
	createBalanceSums,
	FlipPlan,
	flipCodes,
	unitGains,
} from "../../quant/balance.js";
import { dequantizeBlocks, quantizeBlocks } from "../../quant/codes.js";
import { slabCountOf, slabFirstChannel } from "../../quant/layout.js";
import { effectiveScales } from "../../quant/lpbq.js";
import { type ErrorSum, errorSum } from "../../quant/measure.js";
import {
	type BlockWeight,
	chosenCodes,
	partOf,
	type SlabRange,
	slabRanges,
	THREAD_READER,
	type WeightPart,
} from "./block-weight.js";
import { type LpbqFit, storedScales } from "./lpbq-fit.js";
import type { Spool } from "./spool.js";
import type { TaskPool } from "./task-pool.js";

/** What a search found. */
export interface SearchedScales {
	/** [channelCount]. */
	readonly channelScales: Float32Array;
	readonly codeMin: -8 | -7;
	/** Holds the integers of the blocks, [slabs, channels], from `intsStart` on. */
	readonly spool: Spool;
	readonly intsStart: number;
}

/** What is corrected: that errors of a channel add up to something, or also that its weights shrink. */
export type Balance = "offset" | "offset-and-gain";

/** What the codes of a part are made from. */
export interface BalancedChoice {
	/** With which codes are chosen, [channelCount]. */
	readonly channelScales: Float32Array;
	/** Those that the model has. */
	readonly storedScales: Float32Array;
	/** Of the part, [count, channels]. */
	readonly ints: Uint8Array;
	/** Codes to round the other way, [count, channels]. */
	readonly flips: Int8Array;
	readonly codeMin: -8 | -7;
}

/** The sums of a part's channels, with the codes nearest to its values. */
export function balanceOf(
	{ layout, range }: WeightPart,
	values: Float32Array,
	channelScales: Float32Array,
	ints: Uint8Array,
	codeMin: -8 | -7 = -8,
): BalanceSums {
	const { first, count } = range;
	const scales = effectiveScales(ints, channelScales, layout, first, count);
	const codes = quantizeBlocks(values, layout, first, count, scales, undefined, codeMin);
	const firstChannel = slabFirstChannel(layout, first);
	const endChannel = slabFirstChannel(layout, first + count - 1) + layout.channels;
	const sums = createBalanceSums(firstChannel, endChannel - firstChannel);
	addToBalance(values, dequantizeBlocks(codes, scales, layout, first, count), layout, first, count, sums);
	return sums;
}

/** A weight with the scales and integers of a search, the offset of each channel and, if wanted, its gain corrected. */
export function balancedForm(
	weight: BlockWeight,
	searched: SearchedScales,
	sums: BalanceSums,
	balance: Balance,
	pool: TaskPool,
): Omit<LpbqFit, "errorOfMax"> {
	const { layout } = weight;
	const { channelScales, codeMin, spool, intsStart } = searched;
	const gains = balance === "offset" ? new Float64Array(layout.channelCount).fill(1) : unitGains(sums);
	const stored = channelScales.map((scale, channel) => scale * gains[channel]!);
	const intsOf = ({ first, count }: SlabRange) => {
		const start = intsStart + first * layout.channels;
		return spool.read(start, start + count * layout.channels);
	};
	const missing = sums.values.map((value, channel) => value - gains[channel]! * sums.decoded[channel]!);
	const flipsStart = spoolFlips(weight, new FlipPlan(layout, missing), stored, spool, intsOf);
	const choiceOf = (range: SlabRange): BalancedChoice => {
		const start = flipsStart + range.first * layout.channels;
		const flips = new Int8Array(spool.read(start, start + range.count * layout.channels).buffer);
		return { channelScales, storedScales: stored, ints: intsOf(range), flips, codeMin };
	};
	return {
		kind: "search",
		...storedScales(layout, stored, intsOf),
		codes: chosenCodes(layout, (range) => balancedCodes(partOf(weight, range), choiceOf(range)).codes),
		error: async () => {
			const error = { signal: 0, error: 0 };
			await pool.each(
				slabRanges(layout),
				(range) => ({ kind: "measure-balanced", part: partOf(weight, range), choice: choiceOf(range) }),
				(sum) => {
					error.signal += sum.signal;
					error.error += sum.error;
				},
			);
			return error;
		},
	};
}

/** Puts the flips of all blocks into the spool; returns where they begin. */
function spoolFlips(
	{ layout }: BlockWeight,
	plan: FlipPlan,
	stored: Float32Array,
	spool: Spool,
	intsOf: (range: SlabRange) => Uint8Array,
): number {
	const home = spool.reserve(slabCountOf(layout) * layout.channels);
	for (const range of slabRanges(layout)) {
		const scales = effectiveScales(intsOf(range), stored, layout, range.first, range.count);
		const flips = plan.next(range.first, range.count, scales);
		spool.write(home + range.first * layout.channels, new Uint8Array(flips.buffer));
	}
	return home;
}

function balancedCodes(
	part: WeightPart,
	{ channelScales, ints, flips, codeMin }: BalancedChoice,
): { codes: Int8Array; values: Float32Array } {
	const { layout, range } = part;
	const { first, count } = range;
	const values = THREAD_READER.values(part);
	const scales = effectiveScales(ints, channelScales, layout, first, count);
	const codes = quantizeBlocks(values, layout, first, count, scales, undefined, codeMin);
	flipCodes(values, codes, layout, first, count, scales, flips, codeMin);
	return { codes, values };
}

/** How far a part is from its balanced codes. */
export function measureBalanced(part: WeightPart, choice: BalancedChoice): ErrorSum {
	const { layout, range } = part;
	const { codes, values } = balancedCodes(part, choice);
	const scales = effectiveScales(choice.ints, choice.storedScales, layout, range.first, range.count);
	return errorSum(values, dequantizeBlocks(codes, scales, layout, range.first, range.count));
}
