import type { TensorData } from "../../ir/data.js";
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
import { KeptError } from "./kept-error.js";
import type { ScaleScan } from "./scale-scan.js";
import { slabNumbers } from "./slab-numbers.js";
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
	/**
	 * Over the whole weight; measures it, where it is not known yet, when called. Codes that are going to be copied may be
	 * measured on the way, until `written` resolves.
	 */
	readonly error: (written: Promise<void>) => Promise<ErrorSum>;
	/** The error of `max`, where another fit was chosen. */
	readonly errorOfMax?: ErrorSum;
}

/**
 * AIMET's and ONNX Runtime's scales: channel scale = largest block scale / 16, integer = the block scale over it, rounded
 * half to even. Codes stay as they are, except in blocks whose scale was negative or 0: those get the nearest ones under
 * the new scales.
 */
export function fitMax(weight: BlockWeight, scan: ScaleScan, pool: TaskPool): LpbqFit {
	const { layout } = weight;
	const scales = channelScalesOf(scan.channelMax);
	const intsOf = (range: SlabRange) => snapScales(THREAD_READER, partOf(weight, range), scales);
	const keepsAll = scan.negative === 0 && scan.zero === 0;
	const choose = (range: SlabRange) => {
		const choice = { channelScales: scales.exact, blockScaleInts: intsOf(range), keepsPositive: true };
		return chooseCodes(THREAD_READER, partOf(weight, range), choice);
	};
	const kept = keepsAll ? new KeptError(weight, scales) : undefined;
	const measureNew = async () => {
		const error = { signal: 0, error: 0 };
		await pool.each(
			taskRanges(layout),
			(range) => ({ kind: "measure-new", part: partOf(weight, range), scales }),
			(sum) => {
				error.signal += sum.signal;
				error.error += sum.error;
			},
			BESIDE_WRITING,
		);
		return error;
	};
	return {
		kind: "max",
		...storedScales(layout, scales.stored, intsOf),
		codes: keepsAll ? undefined : chosenCodes(layout, choose),
		error: (written) => kept?.sum(written, pool) ?? measureNew(),
	};
}

/** Errors are measured while the model is written, which takes a core. */
const BESIDE_WRITING = 1;

/** The scale tensors of a fit; integers are made anew whenever bytes of them are asked for. */
export function storedScales(
	layout: BlockLayout,
	channelScales: Float32Array,
	intsOf: (range: SlabRange) => Uint8Array,
): Pick<LpbqFit, "channelScales" | "blockScaleInts" | "effectiveScales"> {
	return {
		channelScales,
		blockScaleInts: slabNumbers(layout, Uint8Array, (range) => repeatEach(intsOf(range), layout.spatial)),
		effectiveScales: slabNumbers(layout, Float32Array, (range) =>
			effectiveScales(intsOf(range), channelScales, layout, range.first, range.count),
		),
	};
}

function repeatEach(values: Uint8Array, times: number): Uint8Array {
	if (times === 1) return values;
	const repeated = new Uint8Array(values.length * times);
	for (let index = 0; index < values.length; index++) repeated.fill(values[index]!, index * times, (index + 1) * times);
	return repeated;
}
