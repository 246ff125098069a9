import { computedData, type TensorData } from "../../ir/data.js";
import { bytesOf } from "../../ir/tensor.js";
import { type BlockLayout, slabCountOf } from "../../quant/layout.js";
import type { SlabRange } from "./block-weight.js";

/** Numbers are made in pieces of about this many. */
const PIECE_NUMBERS = 2 ** 17;

/** One UINT8 or FLOAT for every block and spatial position, [outer, blocks, channels, spatial], made when bytes are read. */
export function slabNumbers(
	layout: BlockLayout,
	type: typeof Uint8Array | typeof Float32Array,
	make: (range: SlabRange) => Uint8Array | Float32Array,
): TensorData {
	const columns = layout.channels * layout.spatial;
	const width = type.BYTES_PER_ELEMENT;
	const slabsAtOnce = Math.max(1, Math.floor(PIECE_NUMBERS / columns));
	return computedData(slabCountOf(layout) * columns * width, (start, end) => {
		const from = Math.floor(start / width);
		const out = new type(Math.ceil(end / width) - from);
		const last = Math.ceil((from + out.length) / columns);
		for (let first = Math.floor(from / columns); first < last; first += slabsAtOnce) {
			const range = { first, count: Math.min(slabsAtOnce, last - first) };
			const skipped = Math.max(0, from - first * columns);
			out.set(make(range).subarray(skipped, from + out.length - first * columns), first * columns + skipped - from);
		}
		return bytesOf(out).subarray(start - from * width, end - from * width);
	});
}
