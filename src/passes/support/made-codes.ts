import { flipCodes } from "../../quant/balance.js";
import { dequantizeBlocks, quantizeBlocks } from "../../quant/codes.js";
import { effectiveScales } from "../../quant/lpbq.js";
import { type ErrorSum, errorSum } from "../../quant/measure.js";
import { packInt4 } from "../../quant/packing.js";
import { THREAD_READER, type WeightPart } from "./block-weight.js";
import { type ChannelScales, snapScales } from "./snap.js";

/** What the codes of a part are made from. */
export interface CodesChoice {
	/** With which codes are chosen, [channelCount]. */
	readonly channelScales: Float32Array | Float64Array;
	/** Those that the model has. */
	readonly storedScales: Float32Array;
	/** Integers of the part, [count, channels]; undefined for those of `max`. */
	readonly ints: Uint8Array | undefined;
	/** Of `max`. */
	readonly scales?: ChannelScales;
	/** Codes to round the other way, [count, channels]; undefined for none. */
	readonly flips: Int8Array | undefined;
	readonly codeMin: -8 | -7;
}

/** Codes of a part of a float weight. */
export interface MadeCodes {
	/** [count, channels]. */
	readonly ints: Uint8Array;
	/** Packed. */
	readonly codes: Uint8Array;
	readonly error: ErrorSum;
}

/** Makes the codes of a part, and measures them. */
export function makeCodes(part: WeightPart, choice: CodesChoice): MadeCodes {
	const { layout, range } = part;
	const { first, count } = range;
	const { channelScales, storedScales, flips, codeMin } = choice;
	const ints = choice.ints ?? snapScales(THREAD_READER, part, choice.scales!);
	const values = THREAD_READER.values(part);
	const scales = effectiveScales(ints, channelScales, layout, first, count);
	const codes = quantizeBlocks(values, layout, first, count, scales, undefined, codeMin);
	if (flips !== undefined) flipCodes(values, codes, layout, first, count, scales, flips, codeMin);
	const stored = effectiveScales(ints, storedScales, layout, first, count);
	const error = errorSum(values, dequantizeBlocks(codes, stored, layout, first, count));
	return { ints, codes: packInt4(codes), error };
}
