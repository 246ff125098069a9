import { type BalanceSums, createBalanceSums } from "../../quant/balance.js";
import { addToBalance } from "../../quant/block-codes.js";
import {
	type ChannelErrors,
	type ChannelProblem,
	type ChannelRanges,
	channelErrors,
	channelRanges,
} from "../../quant/channel-codes.js";
import {
	accumulate,
	type ChannelChoice,
	chooseBlockScaleInts,
	createAccumulator,
	type FitAccumulator,
	type FitChunk,
	type FitProblem,
} from "../../quant/fit.js";
import { chooseScales, type GptqProblem, gptqCodes } from "../../quant/gptq.js";
import { slabFirstChannel } from "../../quant/layout.js";
import { effectiveScales } from "../../quant/lpbq.js";
import { type ErrorSum, type Spread, spreadOf } from "../../quant/measure.js";
import { factorizeMoments, type GptqFactors } from "../../quant/moment-factor.js";
import { addMadeGood } from "../../quant/output-targets.js";
import { THREAD_READER, type WeightPart } from "./block-weight.js";
import { type FewRows, type MeasuredCodes, measureCodes, type Products, productsOf } from "./few-rows.js";
import { measureBlocks, measureKeptCodes, measureNewCodes } from "./fit-error.js";
import { type CodesChoice, type MadeCodes, makeCodes } from "./made-codes.js";
import { type ScaleFacts, scanPart } from "./scan-part.js";
import { type ChannelScales, snapScales } from "./snap.js";

export type FitTask =
	| { readonly kind: "scan"; readonly part: WeightPart; readonly blocks?: Float64Array | undefined }
	| { readonly kind: "measure-kept"; readonly part: WeightPart; readonly scales: ChannelScales }
	| { readonly kind: "measure-new"; readonly part: WeightPart; readonly scales: ChannelScales }
	| {
			readonly kind: "accumulate";
			readonly part: WeightPart;
			readonly problem: FitProblem;
			readonly scales: ChannelScales;
			/** Do the codes that the weight has count as a solution, that of `max`? */
			readonly keepsCodes: boolean;
	  }
	| {
			readonly kind: "choose-ints";
			readonly part: WeightPart;
			readonly problem: FitProblem;
			readonly scales: ChannelScales;
			readonly choice: ChannelChoice;
			/** Is it to be told how far the codes of channels are off, taken together? */
			readonly balances: boolean;
	  }
	| { readonly kind: "make-codes"; readonly part: WeightPart; readonly choice: CodesChoice }
	| {
			readonly kind: "gptq-factors";
			/** Second moments of some groups, in shared memory as is what becomes of them; lost. */
			readonly moments: Float64Array;
			readonly into: GptqFactors;
			readonly depth: number;
			readonly rows: number | undefined;
	  }
	| {
			readonly kind: "gptq-targets";
			/** Of some groups of channels; in shared memory, and changed. */
			readonly weights: Float32Array;
			readonly errors: Float32Array;
			readonly factors: GptqFactors;
			readonly depth: number;
	  }
	| {
			readonly kind: "gptq-codes";
			/** Of some groups of channels, each with its factor and order; in shared memory, as are the codes. */
			readonly weights: Float32Array;
			readonly scales: Float32Array;
			readonly codes: Int8Array;
			readonly problem: GptqProblem;
			/** Scales are multiplied by the best of these first, channel by channel. */
			readonly factors: readonly number[];
	  }
	| { readonly kind: "measure-blocks"; readonly part: WeightPart }
	| { readonly kind: "read-values"; readonly part: WeightPart }
	| {
			readonly kind: "measure-codes";
			readonly part: WeightPart;
			readonly choice: CodesChoice;
			readonly rows: FewRows;
	  }
	| { readonly kind: "multiply"; readonly part: WeightPart; readonly rows: FewRows }
	| { readonly kind: "measure-spread"; readonly part: WeightPart }
	| { readonly kind: "channel-ranges"; readonly part: WeightPart }
	| {
			readonly kind: "channel-errors";
			readonly part: WeightPart;
			readonly problem: ChannelProblem;
			readonly scales: Float32Array;
			readonly factors: readonly number[];
	  };

/** Integers of blocks, [count, channels], and what balancing needs. */
export interface ChosenInts {
	readonly ints: Uint8Array;
	readonly sums: BalanceSums | undefined;
	/** The squared error of `max`, weighted by importance; 0 where no balance was asked for. */
	readonly errorOfMax: number;
}

interface Results {
	scan: ScaleFacts;
	"measure-kept": ErrorSum;
	"measure-new": ErrorSum;
	accumulate: FitAccumulator;
	"choose-ints": ChosenInts;
	"make-codes": MadeCodes;
	"gptq-factors": boolean;
	"gptq-targets": undefined;
	"gptq-codes": undefined;
	"measure-blocks": ErrorSum;
	"read-values": Float32Array;
	"measure-codes": MeasuredCodes;
	multiply: Products;
	"measure-spread": Spread;
	"channel-ranges": ChannelRanges;
	"channel-errors": ChannelErrors;
}

export type FitResult<T extends FitTask = FitTask> = Results[T["kind"]];

/** Does one task; the result does not depend on the thread. */
export function runFitTask(task: FitTask): FitResult {
	switch (task.kind) {
		case "scan":
			return scanPart(task.part, task.blocks);
		case "measure-kept":
			return measureKeptCodes(task.part, task.scales);
		case "measure-new":
			return measureNewCodes(task.part, task.scales);
		case "accumulate":
			return accumulatePart(task.part, task.problem, task.scales, task.keepsCodes);
		case "choose-ints":
			return chooseInts(task.part, task.problem, task.scales, task.choice, task.balances);
		case "make-codes":
			return makeCodes(task.part, task.choice);
		case "gptq-factors":
			return factorizeMoments(task.moments, task.into, task.depth, task.rows);
		case "gptq-targets":
			addMadeGood(task.weights, task.errors, task.factors, task.depth);
			return undefined;
		case "gptq-codes":
			if (task.factors.length > 0) chooseScales(task.weights, task.scales, task.problem, task.factors);
			gptqCodes(task.weights, task.scales, task.problem, task.codes);
			return undefined;
		case "measure-blocks":
			return measureBlocks(task.part);
		case "read-values":
			return THREAD_READER.values(task.part);
		case "measure-codes":
			return measureCodes(task.part, task.choice, task.rows);
		case "multiply":
			return productsOf(task.part, task.rows);
		case "measure-spread":
			return spreadOf(THREAD_READER.values(task.part));
		case "channel-ranges":
			return channelRanges(
				THREAD_READER.values(task.part),
				task.part.layout,
				task.part.range.first,
				task.part.range.count,
			);
		case "channel-errors": {
			const { part, problem, scales, factors } = task;
			return channelErrors(THREAD_READER.values(part), problem, part.range.first, part.range.count, scales, factors);
		}
	}
}

function accumulatePart(
	part: WeightPart,
	problem: FitProblem,
	scales: ChannelScales,
	keepsCodes: boolean,
): FitAccumulator {
	const accumulator = createAccumulator(problem, part.range.first, part.range.count);
	const chunk = chunkOf(part, scales);
	accumulate(problem, keepsCodes ? { ...chunk, keptCodes: THREAD_READER.codes(part) } : chunk, accumulator);
	return accumulator;
}

function chooseInts(
	part: WeightPart,
	problem: FitProblem,
	scales: ChannelScales,
	choice: ChannelChoice,
	balances: boolean,
): ChosenInts {
	const chunk = chunkOf(part, scales);
	if (!balances) {
		return { ...chooseBlockScaleInts(problem, chunk, choice), sums: undefined };
	}
	const { layout, range } = part;
	const firstChannel = slabFirstChannel(layout, range.first);
	const endChannel = slabFirstChannel(layout, range.first + range.count - 1) + layout.channels;
	const sums = createBalanceSums(firstChannel, endChannel - firstChannel);
	const { codeMin = -8 } = problem;
	const { ints, errorOfMax } = chooseBlockScaleInts(problem, chunk, choice, true);
	const { first: firstSlab, count: slabCount } = range;
	const scalesOfBlocks = effectiveScales(ints, choice.channelScales, { ...layout, spatial: 1 }, firstSlab, slabCount);
	addToBalance(sums, { layout, firstSlab, slabCount, values: chunk.values, scales: scalesOfBlocks, codeMin });
	return { ints, sums, errorOfMax };
}

function chunkOf(part: WeightPart, scales: ChannelScales): FitChunk {
	return {
		firstSlab: part.range.first,
		slabCount: part.range.count,
		values: THREAD_READER.values(part),
		maxBlockScaleInts: snapScales(THREAD_READER, part, scales),
	};
}
