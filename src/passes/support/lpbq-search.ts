import { createBalanceSums, mergeBalance } from "../../quant/balance.js";
import {
	type ChannelChoice,
	chooseChannelScales,
	createAccumulator,
	type FitAccumulator,
	type FitProblem,
	mergeAccumulators,
} from "../../quant/fit.js";
import { type BlockLayout, slabCountOf } from "../../quant/layout.js";
import type { ErrorSum } from "../../quant/measure.js";
import { type Balance, balancedForm, type SearchedScales } from "./balanced-codes.js";
import {
	type BlockWeight,
	chooseCodes,
	chosenCodes,
	partOf,
	type SlabRange,
	slabRanges,
	THREAD_READER,
} from "./block-weight.js";
import { type LpbqFit, storedScales } from "./lpbq-fit.js";
import type { ScaleScan } from "./scale-scan.js";
import { channelScalesOf } from "./snap.js";
import type { Spool } from "./spool.js";
import type { TaskPool } from "./task-pool.js";

/** So many blocks of a channel, with so many weights, tell which scale suits it; of more, some are left out. */
const [SAMPLE_BLOCKS, SAMPLE_WEIGHTS] = [10, 640] as const;

export interface SearchOptions extends Pick<FitProblem, "exponent" | "keepsLargestInt" | "codeMin"> {
	readonly importance?: Float64Array | undefined;
	/** What is corrected afterwards, channel by channel (quant/balance.ts); nothing when left out. */
	readonly balance?: Balance | undefined;
}

/**
 * The scales and codes with the least sum of |error|^exponent that a grid of channel scales and all integers allow
 * (quant/fit.ts), never with a larger squared error than `max` before they are balanced. Two walks over the weight, on all cores: one to choose
 * the channel scales, one for the integers, which go to `spool`. Codes are chosen when they are written.
 */
export async function fitSearch(
	weight: BlockWeight,
	scan: ScaleScan,
	options: SearchOptions,
	pool: TaskPool,
	spool: Spool,
): Promise<LpbqFit> {
	const { layout } = weight;
	const { balance, importance, ...search } = options;
	const scales = channelScalesOf(scan.channelMax);
	const sampleStep = balance === undefined ? 1 : sampleStepOf(layout);
	const problem: FitProblem = {
		layout,
		maxChannelScales: scales.exact,
		sampleStep,
		...search,
		...(importance && { importance }),
	};
	const keepsCodes = weight.float === undefined && scan.negative === 0 && scan.zero === 0 && scan.uniform;
	const ranges = slabRanges(layout);
	const sums = createAccumulator(problem);
	await pool.each(
		ranges,
		(range) => ({ kind: "accumulate", part: partOf(weight, range), problem, scales, keepsCodes }),
		(partial) => mergeAccumulators(sums, partial),
	);
	const choice = chooseChannelScales(problem, sums);
	const intsStart = spool.reserve(slabCountOf(layout) * layout.channels);
	let balancedMax = 0;
	const balanceSums = createBalanceSums(0, layout.channelCount);
	const balances = balance !== undefined;
	await pool.each(
		ranges,
		(range) => ({ kind: "choose-ints", part: partOf(weight, range), problem, scales, choice, balances }),
		({ ints, sums, errorOfMax }, { first }) => {
			spool.write(intsStart + first * layout.channels, ints);
			if (sums !== undefined) mergeBalance(balanceSums, sums);
			balancedMax += errorOfMax;
		},
	);
	const searched = { channelScales: choice.channelScales, codeMin: options.codeMin ?? -8, spool, intsStart };
	if (balances) {
		const form = await balancedForm(weight, searched, balanceSums, balance, pool);
		// errors that were weighted do not compare with the weight's own
		if (importance !== undefined) return form;
		return { ...form, errorOfMax: { signal: sumOf(balanceSums.squares), error: balancedMax } };
	}
	const errorOfMax = { signal: sumOf(sums.signals), error: sumOf(keepsCodes ? sums.keptSquares : sums.maxSquares) };
	return { ...searchedForm(weight, searched), error: known(chosenError(sums, choice)), errorOfMax };
}

function sampleStepOf({ blocks, depth }: BlockLayout): number {
	return Math.max(1, Math.floor(Math.min(blocks / SAMPLE_BLOCKS, depth / SAMPLE_WEIGHTS)));
}

/** What is made at the time of writing. A function of its own, so that no more than it needs stays in memory until then. */
function searchedForm(weight: BlockWeight, { channelScales, codeMin, spool, intsStart }: SearchedScales) {
	const { layout } = weight;
	const intsOf = ({ first, count }: SlabRange) => {
		const start = intsStart + first * layout.channels;
		return spool.read(start, start + count * layout.channels);
	};
	const choose = (range: SlabRange) =>
		chooseCodes(THREAD_READER, partOf(weight, range), {
			channelScales,
			blockScaleInts: intsOf(range),
			keepsPositive: false,
			codeMin,
		});
	return {
		kind: "search" as const,
		...storedScales(layout, channelScales, intsOf),
		codes: chosenCodes(layout, choose),
	};
}

/** A function of its own, like `searchedForm`: one made in `fitSearch` would keep the sums over the grid in memory. */
function known(error: ErrorSum): LpbqFit["error"] {
	return async () => error;
}

function chosenError(sums: FitAccumulator, { gridPoints }: ChannelChoice): ErrorSum {
	const gridSize = sums.gridSquares.length / sums.channelCount;
	let error = 0;
	gridPoints.forEach((point, channel) => {
		error += point === -1 ? sums.maxSquares[channel]! : sums.gridSquares[channel * gridSize + point]!;
	});
	return { signal: sumOf(sums.signals), error };
}

function sumOf(values: Float64Array): number {
	return values.reduce((sum, value) => sum + value, 0);
}
