import { computedData } from "../../ir/data.js";
import { bytesOf, type Tensor, tensor } from "../../ir/tensor.js";
import { bitsPerElement, DataType, elementCount } from "../../ir/types.js";
import { addSquaredErrors, INT8_FACTORS, MAX_INT8, quantizeInt8, raiseToMagnitudes } from "../../quant/channel-int8.js";
import type { BlockLayout } from "../../quant/layout.js";
import { MAX_BLOCK_SCALE_INT } from "../../quant/lpbq.js";
import type { ErrorSum } from "../../quant/measure.js";
import { slabRanges } from "./block-weight.js";
import { formScales, formValues } from "./form-values.js";
import { gatheredRows, ZERO_ROW } from "./row-data.js";
import { signedCodes } from "./signed-codes.js";
import { slabBytes } from "./slab-data.js";
import { layoutOf, type WeightForm } from "./weight-form.js";

/** UINT4 codes with zero points 8 as INT4 with zero points 0: the same weight. */
export function withSignedCodes(form: WeightForm): WeightForm {
	const { data, shape } = form.codes;
	const signed = signedCodes(data, 4, elementCount(shape));
	return withZeroPoints({ ...form, codes: tensor(DataType.INT4, shape, signed) });
}

/** The same weight with its zero points, all 0, written out: the HTP's compiler takes 4-bit codes without them for int8. */
export function withZeroPoints(form: WeightForm): WeightForm {
	const { shape } = (form.lpbq?.integers ?? form.scale)!;
	const byteLength = Math.ceil((elementCount(shape) * bitsPerElement(form.codes.dtype)!) / 8);
	const zeros = computedData(byteLength, (start, end) => new Uint8Array(end - start));
	return { ...form, zeroPoint: tensor(form.codes.dtype, shape, zeros) };
}

/** The same weight in blocks of `blockSize`, which divides the old ones, and with `depth` inputs, the added ones 0. */
export function withBlocks(form: WeightForm, blockSize: number, depth: number): WeightForm {
	const old = form.codes.shape[form.blockAxis]!;
	const oldBlocks = Math.ceil(old / form.blockSize);
	const codes = Int32Array.from({ length: depth }, (_, row) => (row < old ? row : ZERO_ROW));
	const blocks = Int32Array.from({ length: depth / blockSize }, (_, block) =>
		Math.min(Math.floor((block * blockSize) / form.blockSize), oldBlocks - 1),
	);
	const rows = <T extends Tensor | undefined>(source: T, sources: Int32Array) =>
		source && gatheredTensor(source, form.blockAxis, sources);
	return {
		...form,
		blockSize,
		codes: gatheredTensor(form.codes, form.blockAxis, codes),
		scale: rows(form.scale, blocks),
		lpbq: form.lpbq && { ...form.lpbq, integers: gatheredTensor(form.lpbq.integers, form.blockAxis, blocks) },
		zeroPoint: rows(form.zeroPoint, blocks),
	};
}

function gatheredTensor({ dtype, shape, data }: Tensor, axis: number, sources: Int32Array): Tensor {
	const layout = {
		bits: bitsPerElement(dtype)!,
		outer: elementCount(shape.slice(0, axis)),
		rows: shape[axis]!,
		columns: elementCount(shape.slice(axis + 1)),
	};
	const result = shape.map((dim, index) => (index === axis ? sources.length : dim));
	return tensor(dtype, result, gatheredRows(data, layout, sources));
}

/**
 * The weight as int8 with one scale a channel, which the matrices of a batch share. Of several scales each channel gets the
 * one with the least squared error; two walks over the weight, a third when the codes are written.
 */
export function withChannelInt8(form: WeightForm): { readonly form: WeightForm; readonly error: ErrorSum } {
	const layout = layoutOf(form);
	const { channelCount } = layout;
	const maxima = new Float64Array(channelCount);
	const scaleMaxima = new Float64Array(channelCount);
	for (const range of slabRanges(layout)) {
		raiseToMagnitudes(formValues(form, range), layout, range.first, range.count, maxima);
		raiseToScales(form, layout, range, scaleMaxima);
	}
	const count = form.codes.shape[form.channelAxis]!;
	const largest = maxima.reduce((a, b) => Math.max(a, b), 0) || 1;
	const clipless = byColumn(maxima, count, Math.max).map((max) => (max < SMALLEST ? largest : max) / MAX_INT8);
	const grids = INT8_FACTORS.map((factor) => Float64Array.from(clipless, (scale) => scale * factor));
	// products of codes and integers up to 16 are whole multiples of this
	const products = byColumn(scaleMaxima, count, Math.max);
	grids.push(products.map((max, column) => max / MAX_BLOCK_SCALE_INT || clipless[column]!));
	const columnGrids = grids.map((grid) => Float32Array.from(maxima, (_, channel) => grid[channel % count]!));
	const errors = new Float64Array(grids.length * channelCount);
	let signal = 0;
	for (const range of slabRanges(layout)) {
		signal += addSquaredErrors(formValues(form, range), layout, range.first, range.count, columnGrids, errors);
	}
	const columnErrors = grids.map((_, grid) =>
		byColumn(errors.subarray(grid * channelCount, (grid + 1) * channelCount), count, (a, b) => a + b),
	);
	const best = Array.from({ length: count }, (_, column) =>
		grids.reduce((a, _, b) => (columnErrors[b]![column]! < columnErrors[a]![column]! ? b : a), 0),
	);
	const scales = Float32Array.from(best, (grid, column) => grids[grid]![column]!);
	const error = best.reduce((sum, grid, column) => sum + columnErrors[grid]![column]!, 0);
	return { form: int8Form(form, scales), error: { signal, error } };
}

/** What matrices of a batch have in the same column, taken together: they share its scale. */
function byColumn(channels: Float64Array, count: number, join: (a: number, b: number) => number): Float64Array {
	const columns = channels.slice(0, count);
	for (let channel = count; channel < channels.length; channel++) {
		columns[channel % count] = join(columns[channel % count]!, channels[channel]!);
	}
	return columns;
}

/** Magnitudes below this have no normal float32 as scale. */
const SMALLEST = 2 ** -118;

/** LPBQ's channel scale counts sixteenfold, as the scale of a block with the largest integer. */
function raiseToScales(
	form: WeightForm,
	layout: BlockLayout,
	range: { readonly first: number; readonly count: number },
	maxima: Float64Array,
): void {
	if (form.lpbq !== undefined) {
		const stored = form.lpbq.channelScales.data.read(0, form.lpbq.channelScales.data.byteLength);
		new Float32Array(Uint8Array.from(stored).buffer).forEach((scale, channel) => {
			maxima[channel] = Math.abs(scale) * MAX_BLOCK_SCALE_INT;
		});
		return;
	}
	formScales(form, range).forEach((scale, index) => {
		const slab = Math.floor(index / (layout.channels * layout.spatial));
		const inSlab = Math.floor((index % (layout.channels * layout.spatial)) / layout.spatial);
		const channel = Math.floor((range.first + slab) / layout.blocks) * layout.channels + inSlab;
		maxima[channel] = Math.max(maxima[channel]!, Math.abs(scale));
	});
}

function int8Form(form: WeightForm, scales: Float32Array): WeightForm {
	const { codes, channelAxis } = form;
	const layout = layoutOf(form);
	const { channelCount } = layout;
	const perChannel = Float32Array.from({ length: channelCount }, (_, channel) => scales[channel % scales.length]!);
	const made = slabBytes(layout, (range) =>
		bytesOf(quantizeInt8(formValues(form, range), layout, range.first, range.count, perChannel)),
	);
	return {
		...form,
		codes: tensor(DataType.INT8, codes.shape, made),
		blockSize: 0,
		scale: tensor(DataType.FLOAT, [codes.shape[channelAxis]!], bytesOf(scales)),
		lpbq: undefined,
		zeroPoint: tensor(DataType.INT8, [codes.shape[channelAxis]!], new Uint8Array(scales.length)),
	};
}
