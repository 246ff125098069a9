import { computedData, type TensorData } from "../../ir/data.js";
import { bytesOf, tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import { dequantizeBlocks } from "../../quant/codes.js";
import type { BlockLayout } from "../../quant/layout.js";
import { type ErrorSum, errorSum } from "../../quant/measure.js";
import { fitSymmetricScales, quantizeSymmetric } from "../../quant/symmetric-int4.js";
import { chosenCodes, type SlabRange, slabRanges } from "./block-weight.js";
import { formScales, formValues } from "./form-values.js";
import type { Spool } from "./spool.js";
import { layoutOf, type WeightForm } from "./weight-form.js";

/** A weight in blocks whose values can be made, some slabs at a time, however they are stored. */
export interface BlockValues {
	readonly layout: BlockLayout;
	/** What the weights of some slabs are. */
	values(range: SlabRange): Float32Array;
	/** Scales that they may be multiples of, [count, channels, spatial]. */
	scales(range: SlabRange): Float32Array;
}

/** A weight as symmetric int4 codes with one scale a block. */
export interface SymmetricWeight {
	/** INT4, packed. */
	readonly codes: TensorData;
	/** FLOAT, [outer, blocks, channels, spatial], all above 0. */
	readonly scales: TensorData;
	/** What it is off. */
	readonly error: ErrorSum;
}

/**
 * Quantizes a weight anew, symmetric and 4-bit, in the blocks that it has. Scales are found in one walk over the weight and
 * wait in `spool`; codes are made when they are read. undefined where a value is infinite or not a number.
 */
export function requantizeSymmetric(source: BlockValues, spool: Spool): SymmetricWeight | undefined {
	const { layout } = source;
	const columns = layout.channels * layout.spatial;
	const byteLength = layout.outer * layout.blocks * columns * 4;
	const home = spool.reserve(byteLength);
	const error = { signal: 0, error: 0 };
	for (const range of slabRanges(layout)) {
		const { first, count } = range;
		const values = source.values(range);
		const scales = fitSymmetricScales(values, layout, first, count, source.scales(range));
		if (scales.includes(Number.NaN)) return undefined;
		spool.write(home + first * columns * 4, bytesOf(scales));
		const codes = quantizeSymmetric(values, layout, first, count, scales);
		const sum = errorSum(values, dequantizeBlocks(codes, scales, layout, first, count));
		error.signal += sum.signal;
		error.error += sum.error;
	}
	const scalesOf = ({ first, count }: SlabRange) =>
		new Float32Array(spool.read(home + first * columns * 4, home + (first + count) * columns * 4).buffer);
	const choose = (range: SlabRange) =>
		quantizeSymmetric(source.values(range), layout, range.first, range.count, scalesOf(range));
	return {
		codes: chosenCodes(layout, choose),
		scales: computedData(byteLength, (start, end) => spool.read(home + start, home + end)),
		error,
	};
}

/**
 * The weight with INT4 codes and without zero points, one FLOAT scale a block as before; see {@link requantizeSymmetric}.
 * Blocks whose zero points are 0 in signed codes, or whose codes fit all the same, lose nothing.
 */
export function withoutZeroPoints(
	form: WeightForm,
	spool: Spool,
): { readonly form: WeightForm; readonly error: ErrorSum } | undefined {
	const layout = layoutOf(form);
	const made = requantizeSymmetric(
		{ layout, values: (range) => formValues(form, range), scales: (range) => formScales(form, range) },
		spool,
	);
	if (made === undefined) return undefined;
	const { shape } = (form.lpbq?.integers ?? form.scale)!;
	const symmetric = {
		...form,
		codes: tensor(DataType.INT4, form.codes.shape, made.codes),
		scale: tensor(DataType.FLOAT, shape, made.scales),
		lpbq: undefined,
		zeroPoint: undefined,
	};
	return { form: symmetric, error: made.error };
}
