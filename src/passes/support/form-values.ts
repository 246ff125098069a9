import { computedData, readAll } from "../../ir/data.js";
import { bytesOf, type Tensor, tensor } from "../../ir/tensor.js";
import { bitsPerElement, DataType } from "../../ir/types.js";
import { slabElements, slabRows, slabStart } from "../../quant/layout.js";
import { effectiveScales } from "../../quant/lpbq.js";
import { unpackInt4, unpackUint4 } from "../../quant/packing.js";
import type { SlabRange } from "./block-weight.js";
import { layoutOf, type WeightForm } from "./weight-form.js";

/** What the codes of some slabs stand for, (code - zero point) * scale. */
export function formValues(form: WeightForm, { first, count }: SlabRange): Float32Array {
	const layout = layoutOf(form);
	const columns = layout.channels * layout.spatial;
	const scales = formScales(form, { first, count });
	const zeros = form.zeroPoint === undefined ? undefined : codesOf(form.zeroPoint, first * columns, count * columns);
	const values = Float32Array.from(codesOf(form.codes, slabStart(layout, first), slabElements(layout, first, count)));
	let at = 0;
	for (let slab = 0; slab < count; slab++) {
		for (let row = slabRows(layout, first + slab); row > 0; row--) {
			for (let block = slab * columns; block < (slab + 1) * columns; block++, at++) {
				values[at] = (values[at]! - (zeros?.[block] ?? 0)) * scales[block]!;
			}
		}
	}
	return values;
}

/** The scales of some slabs, [count, channels, spatial]. */
export function formScales(form: WeightForm, { first, count }: SlabRange): Float32Array {
	const layout = layoutOf(form);
	const columns = layout.channels * layout.spatial;
	if (form.lpbq === undefined) {
		const bytes = form.scale!.data.read(first * columns * 4, (first + count) * columns * 4);
		return new Float32Array(Uint8Array.from(bytes).buffer);
	}
	const integers = form.lpbq.integers.data.read(first * columns, (first + count) * columns);
	return effectiveScales(
		Uint8Array.from(integers),
		channelScalesOf(form),
		{ ...layout, channels: columns, spatial: 1, channelCount: layout.channelCount * layout.spatial },
		first,
		count,
	);
}

/** LPBQ's channel scales, one for each spatial position where a block has several. */
function channelScalesOf(form: WeightForm): Float32Array {
	const stored = new Float32Array(Uint8Array.from(readAll(form.lpbq!.channelScales.data)).buffer);
	const { spatial } = layoutOf(form);
	if (spatial === 1) return stored;
	return Float32Array.from({ length: stored.length * spatial }, (_, index) => stored[Math.floor(index / spatial)]!);
}

/** Elements of a tensor of 4 or 8 bits. */
export function codesOf({ dtype, data }: Tensor, first: number, count: number): Int8Array | Uint8Array {
	if (bitsPerElement(dtype) === 4) {
		const bytes = data.read(Math.floor(first / 2), Math.ceil((first + count) / 2));
		return dtype === DataType.INT4 ? unpackInt4(bytes, first % 2, count) : unpackUint4(bytes, first % 2, count);
	}
	const bytes = Uint8Array.from(data.read(first, first + count));
	return dtype === DataType.INT8 ? new Int8Array(bytes.buffer) : bytes;
}

/** LPBQ's scales multiplied out: the same weight with one FLOAT a block. The scales are made when they are read. */
export function withFloatScales(form: WeightForm): WeightForm {
	if (form.lpbq === undefined) return form;
	const layout = layoutOf(form);
	const columns = layout.channels * layout.spatial;
	const { shape } = form.lpbq.integers;
	const data = computedData(layout.outer * layout.blocks * columns * 4, (start, end) => {
		const first = Math.floor(start / (columns * 4));
		const last = Math.ceil(end / (columns * 4));
		const bytes = bytesOf(formScales(form, { first, count: Math.max(0, last - first) }));
		return bytes.subarray(start - first * columns * 4, end - first * columns * 4);
	});
	return { ...form, lpbq: undefined, scale: tensor(DataType.FLOAT, shape, data) };
}
