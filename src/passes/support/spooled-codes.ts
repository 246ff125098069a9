import { computedData } from "../../ir/data.js";
import { slabCountOf, slabStart } from "../../quant/layout.js";
import { type BlockWeight, partOf, type SlabRange, slabRanges } from "./block-weight.js";
import { type LpbqFit, storedScales } from "./lpbq-fit.js";
import type { CodesChoice } from "./made-codes.js";
import type { ScaleScan } from "./scale-scan.js";
import { channelScalesOf } from "./snap.js";
import type { Spool } from "./spool.js";
import type { TaskPool } from "./task-pool.js";

/** Makes the codes of a float weight on all cores, measured, where the spool keeps them until they are written. */
export async function spoolCodes(
	weight: BlockWeight,
	choiceOf: (range: SlabRange) => CodesChoice,
	pool: TaskPool,
	spool: Spool,
	onInts: (ints: Uint8Array, range: SlabRange) => void = () => undefined,
): Promise<Pick<LpbqFit, "codes" | "error">> {
	const { layout } = weight;
	const byteLength = Math.ceil(slabStart(layout, slabCountOf(layout)) / 2);
	const home = spool.reserve(byteLength);
	const sum = { signal: 0, error: 0 };
	await pool.each(
		slabRanges(layout),
		(range) => ({ kind: "make-codes", part: partOf(weight, range), choice: choiceOf(range) }),
		({ ints, codes, error }, range) => {
			spool.write(home + slabStart(layout, range.first) / 2, codes);
			onInts(ints, range);
			sum.signal += error.signal;
			sum.error += error.error;
		},
	);
	return {
		codes: computedData(byteLength, (start, end) => spool.read(home + start, home + end)),
		error: async () => sum,
	};
}

/**
 * What the codes of `max` are made from.
 *
 * @param blocks scales of all blocks, as the scan can tell them; found out again when left out.
 */
export function choiceOfMax({ channelMax }: ScaleScan, blocks?: Float64Array): CodesChoice {
	const scales = { ...channelScalesOf(channelMax), blocks };
	return {
		channelScales: scales.exact,
		storedScales: scales.stored,
		ints: undefined,
		scales,
		flips: undefined,
		codeMin: -8,
	};
}

/** `max` for a float weight: AIMET's scales and codes. */
export async function fitFloatMax(
	weight: BlockWeight,
	scan: ScaleScan,
	pool: TaskPool,
	spool: Spool,
): Promise<LpbqFit> {
	const { layout } = weight;
	const choice = choiceOfMax(scan);
	const intsStart = spool.reserve(slabCountOf(layout) * layout.channels);
	const made = await spoolCodes(
		weight,
		() => choice,
		pool,
		spool,
		(ints, { first }) => spool.write(intsStart + first * layout.channels, ints),
	);
	const intsOf = ({ first, count }: SlabRange) => {
		const start = intsStart + first * layout.channels;
		return spool.read(start, start + count * layout.channels);
	};
	return { kind: "max", ...storedScales(layout, choice.storedScales, intsOf), ...made };
}
