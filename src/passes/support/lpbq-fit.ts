import { computedData, type TensorData } from "../../ir/data.js";
import { bytesOf } from "../../ir/tensor.js";
import type { BlockLayout } from "../../quant/layout.js";
import { effectiveScales } from "../../quant/lpbq.js";
import type { ErrorSum } from "../../quant/measure.js";
import {
	type BlockWeight,
	chooseCodes,
	chosenCodes,
	partOf,
	type SlabRange,
	THREAD_READER,
	taskRanges,
} from "./block-weight.js";
import type { ScaleScan } from "./scale-scan.js";
import { channelScalesOf, snapScales } from "./snap.js";
import type { TaskPool } from "./task-pool.js";

/** A weight in LPBQ form. What is larger than a number a channel is made when it is written. */
export interface LpbqFit {
	readonly kind: "max" | "search";
	/** FLOAT, [channelCount]. */
	readonly channelScales: Float32Array;
	/** UINT8, [outer, blocks, channels, spatial]. */
	readonly blockScaleInts: TensorData;
	/** FLOAT, the product of both, [outer, blocks, channels, spatial]. */
	readonly effectiveScales: TensorData;
	/** New packed int4 codes; undefined where the old ones stay. */
	readonly codes: TensorData | undefined;
	/** Over the whole weight; measures it, where it is not known yet, when called. */
	readonly error: () => Promise<ErrorSum>;
	/** The error of `max`, where another fit was chosen. */
	readonly errorOfMax?: ErrorSum;
}

/**
 * AIMET's and ONNX Runtime's scales: channel scale = largest block scale / 16, integer = the block scale over it, rounded
 * half to even. Codes stay as they are, except in blocks whose scale was negative or 0 and where float weights are the
 * reference: those codes are the nearest ones under the new scales.
 */
export function fitMax(weight: BlockWeight, scan: ScaleScan, pool: TaskPool): LpbqFit {
	const { layout, float } = weight;
	const scales = channelScalesOf(scan.channelMax);
	const intsOf = (range: SlabRange) => snapScales(THREAD_READER, partOf(weight, range), scales);
	const keepsAll = float === undefined && scan.negative === 0 && scan.zero === 0;
	const keepsPositive = float === undefined;
	const choose = (range: SlabRange) => {
		const choice = { channelScales: scales.exact, blockScaleInts: intsOf(range), keepsPositive };
		return chooseCodes(THREAD_READER, partOf(weight, range), choice);
	};
	const measure = async () => {
		const error = { signal: 0, error: 0 };
		await pool.each(
			taskRanges(layout),
			(range) => {
				const part = partOf(weight, range);
				return keepsAll ? { kind: "measure-kept", part, scales } : { kind: "measure-new", part, scales, keepsPositive };
			},
			(sum) => {
				error.signal += sum.signal;
				error.error += sum.error;
			},
		);
		return error;
	};
	return {
		kind: "max",
		...storedScales(layout, scales.stored, intsOf),
		codes: keepsAll ? undefined : chosenCodes(layout, choose),
		error: measure,
	};
}

/** Scales are made in pieces of about this many. */
const PIECE_SCALES = 2 ** 17;

/** The scale tensors of a fit; integers are made anew whenever bytes of them are asked for. */
export function storedScales(
	layout: BlockLayout,
	channelScales: Float32Array,
	intsOf: (range: SlabRange) => Uint8Array,
): Pick<LpbqFit, "channelScales" | "blockScaleInts" | "effectiveScales"> {
	const columns = layout.channels * layout.spatial;
	const count = layout.outer * layout.blocks * columns;
	const slabsAtOnce = Math.max(1, Math.floor(PIECE_SCALES / columns));
	/** Puts what `make` gives for ranges of slabs together to the scales [start, end). */
	const collect = <T extends Uint8Array | Float32Array>(out: T, start: number, make: (range: SlabRange) => T): T => {
		const end = start + out.length;
		const last = Math.ceil(end / columns);
		for (let first = Math.floor(start / columns); first < last; first += slabsAtOnce) {
			const range = { first, count: Math.min(slabsAtOnce, last - first) };
			const from = Math.max(0, start - first * columns);
			out.set(make(range).subarray(from, end - first * columns), first * columns + from - start);
		}
		return out;
	};
	return {
		channelScales,
		blockScaleInts: computedData(count, (start, end) =>
			collect(new Uint8Array(end - start), start, (range) => repeatEach(intsOf(range), layout.spatial)),
		),
		effectiveScales: computedData(count * 4, (start, end) => {
			const from = start >> 2;
			const scales = collect(new Float32Array(((end + 3) >> 2) - from), from, (range) =>
				effectiveScales(intsOf(range), channelScales, layout, range.first, range.count),
			);
			return bytesOf(scales).subarray(start - from * 4, end - from * 4);
		}),
	};
}

function repeatEach(values: Uint8Array, times: number): Uint8Array {
	if (times === 1) return values;
	const repeated = new Uint8Array(values.length * times);
	for (let index = 0; index < values.length; index++) repeated.fill(values[index]!, index * times, (index + 1) * times);
	return repeated;
}
