import { type BalanceSums, FlipPlan, unitGains } from "../../quant/balance.js";
import { slabCountOf } from "../../quant/layout.js";
import { effectiveScales } from "../../quant/lpbq.js";
import { type BlockWeight, type SlabRange, slabRanges } from "./block-weight.js";
import { type LpbqFit, storedScales } from "./lpbq-fit.js";
import type { Spool } from "./spool.js";
import { spoolCodes } from "./spooled-codes.js";
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

/** A weight with the scales and integers of a search, the offset of each channel and, if wanted, its gain corrected. */
export async function balancedForm(
	weight: BlockWeight,
	searched: SearchedScales,
	sums: BalanceSums,
	balance: Balance,
	pool: TaskPool,
): Promise<Omit<LpbqFit, "errorOfMax">> {
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
	const choiceOf = (range: SlabRange) => {
		const start = flipsStart + range.first * layout.channels;
		const flips = new Int8Array(spool.read(start, start + range.count * layout.channels).buffer);
		return { channelScales, storedScales: stored, ints: intsOf(range), flips, codeMin };
	};
	return {
		kind: "search",
		...storedScales(layout, stored, intsOf),
		...(await spoolCodes(weight, choiceOf, pool, spool)),
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
