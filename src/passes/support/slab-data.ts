import { computedData, type TensorData } from "../../ir/data.js";
import { type BlockLayout, slabCountOf, slabStart } from "../../quant/layout.js";
import type { SlabRange } from "./block-weight.js";

/** One byte for every element of a weight, made of whole slabs when they are read. */
export function slabBytes(layout: BlockLayout, make: (range: SlabRange) => Uint8Array): TensorData {
	const slabs = slabCountOf(layout);
	const byteLength = slabStart(layout, slabs);
	return computedData(byteLength, (start, end) => {
		const first = slabOf(layout, start);
		const last = end >= byteLength ? slabs : slabOf(layout, end - 1) + 1;
		const bytes = make({ first, count: Math.max(0, last - first) });
		return bytes.subarray(start - slabStart(layout, first), end - slabStart(layout, first));
	});
}

function slabOf(layout: BlockLayout, element: number): number {
	const row = Math.floor(element / (layout.channels * layout.spatial));
	const outer = Math.min(Math.floor(row / layout.depth), layout.outer - 1);
	return outer * layout.blocks + Math.floor((row - outer * layout.depth) / layout.blockSize);
}
