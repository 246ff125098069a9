import { type ErrorSum, errorSum } from "../../quant/measure.js";
import { type BlockWeight, partOf, type SlabRange, slabRanges, THREAD_READER } from "./block-weight.js";

/** Compares a weight with what `approximate` makes of its slabs, range by range, on this thread. */
export function slabError(source: BlockWeight, approximate: (range: SlabRange) => Float32Array): ErrorSum {
	const sum = { signal: 0, error: 0 };
	for (const range of slabRanges(source.layout)) {
		// a copy, for the reader may be used to approximate
		const values = Float32Array.from(THREAD_READER.values(partOf(source, range)));
		const { signal, error } = errorSum(values, approximate(range));
		sum.signal += signal;
		sum.error += error;
	}
	return sum;
}
