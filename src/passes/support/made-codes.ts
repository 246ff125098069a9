import { encodeBlocks } from "../../quant/block-codes.js";
import { effectiveScales } from "../../quant/lpbq.js";
import type { ErrorSum } from "../../quant/measure.js";
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
	const { channelScales, storedScales, flips, codeMin } = choice;
	const ints = choice.ints ?? snapScales(THREAD_READER, part, choice.scales!);
	const values = THREAD_READER.values(part);
	const scalesOf = (ofChannels: Float32Array | Float64Array) =>
		effectiveScales(ints, ofChannels, { ...layout, spatial: 1 }, range.first, range.count);
	const scales = scalesOf(channelScales);
	const stored = scalesOf(storedScales);
	const blocks = { layout, firstSlab: range.first, slabCount: range.count, values, scales, codeMin };
	const { packed, error } = encodeBlocks(blocks, stored, flips);
	return { ints, codes: packed, error };
}
