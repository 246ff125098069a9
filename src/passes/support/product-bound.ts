import type { Tensor } from "../../ir/tensor.js";
import { elementCount } from "../../ir/types.js";
import type { Interval } from "../../quant/grid.js";
import { constantOf } from "../../weights/constant.js";
import { elementsOf } from "../../weights/numbers.js";
import type { Dequantization, WeightSite } from "../../weights/weight-site.js";
import { rangeOf } from "./qdq.js";
import { valuesOf } from "./small-constant.js";

/** Codes that are read at a time. */
const PIECE_ELEMENTS = 2 ** 20;

/**
 * The interval that no product of a row within `input` and the [K, N] weight at `site` leaves: for every column the sum of
 * the largest contributions. Sound, and far wider than what occurs, about sqrt(K) times. Reads the weight in pieces;
 * undefined where it is no quantized matrix at the right of a MatMul.
 */
export function productBound(
	{ dequantization, stored, input: place }: WeightSite,
	input: Interval,
): Interval | undefined {
	const [depth, channels, ...rest] = stored.tensor.shape;
	if (dequantization === undefined || place !== 1 || depth === undefined || !channels || rest.length > 0)
		return undefined;
	const parameters = rowParameters(dequantization, channels);
	if (parameters === undefined) return undefined;
	const lo = new Float64Array(channels);
	const hi = new Float64Array(channels);
	const rowsAtOnce = Math.max(1, Math.floor(PIECE_ELEMENTS / channels));
	for (let first = 0; first < depth; first += rowsAtOnce) {
		const count = Math.min(rowsAtOnce, depth - first);
		const codes = elementsOf(stored.tensor, first * channels, count * channels);
		if (codes === undefined) return undefined;
		for (let row = 0; row < count; row++) {
			const { scales, zeroPoints } = parameters(first + row);
			addRow(codes, row * channels, scales, zeroPoints, input, lo, hi);
		}
	}
	const bound = { lo: rangeOf(lo).lo, hi: rangeOf(hi).hi };
	return Number.isFinite(bound.hi - bound.lo) ? bound : undefined;
}

function addRow(
	codes: ArrayLike<number>,
	start: number,
	scales: ArrayLike<number>,
	zeroPoints: ArrayLike<number>,
	input: Interval,
	lo: Float64Array,
	hi: Float64Array,
): void {
	for (let channel = 0; channel < lo.length; channel++) {
		const weight = (codes[start + channel]! - zeroPoints[channel]!) * scales[channel]!;
		const low = weight * input.lo;
		const high = weight * input.hi;
		if (low < high) {
			lo[channel]! += low;
			hi[channel]! += high;
		} else {
			lo[channel]! += high;
			hi[channel]! += low;
		}
	}
}

interface RowParameters {
	readonly scales: ArrayLike<number>;
	readonly zeroPoints: ArrayLike<number>;
}

/** The scales and zero points of a row of the weight, one a channel. */
function rowParameters(dequantization: Dequantization, channels: number): ((row: number) => RowParameters) | undefined {
	const { axis, blockSize, hasZeroPoint, zeroPoint } = dequantization;
	if (blockSize > 0 && axis !== 0) return undefined;
	const scaleRow = scaleRows(dequantization, channels);
	const zeroRow = hasZeroPoint ? zeroPoint && rowsOf(zeroPoint.tensor, channels) : () => new Uint8Array(channels);
	if (scaleRow === undefined || zeroRow === undefined) return undefined;
	let last: { readonly block: number; readonly parameters: RowParameters } | undefined;
	return (row) => {
		const block = blockSize > 0 ? Math.floor(row / blockSize) : 0;
		if (last?.block !== block) last = { block, parameters: { scales: scaleRow(block), zeroPoints: zeroRow(block) } };
		return last.parameters;
	};
}

function scaleRows(
	{ scale, scaleNode, axis }: Dequantization,
	channels: number,
): ((row: number) => ArrayLike<number>) | undefined {
	if (scale !== undefined) {
		const { shape } = scale.tensor;
		if (shape.length === 1 && shape[0] !== 1 && axis !== 1) return undefined;
		return rowsOf(scale.tensor, channels);
	}
	const integers = constantOf(scaleNode?.inputs[0])?.tensor;
	const channelScales = constantOf(scaleNode?.inputs[1])?.tensor;
	const scales = channelScales && valuesOf(channelScales);
	const rows = integers && rowsOf(integers, channels);
	if (scales?.length !== channels || rows === undefined) return undefined;
	return (row) => Float32Array.from(rows(row), (integer, channel) => integer * scales[channel]!);
}

/** Rows of a matrix of `channels` columns, or what serves for every row: a vector, or one number for all. */
function rowsOf(tensor: Tensor, channels: number): ((row: number) => ArrayLike<number>) | undefined {
	const count = elementCount(tensor.shape);
	if (count === 1) {
		const value = valuesOf(tensor)?.[0];
		return value === undefined ? undefined : () => new Float64Array(channels).fill(value);
	}
	if (count % channels !== 0 || elementsOf(tensor, 0, channels) === undefined) return undefined;
	return (row) => elementsOf(tensor, count === channels ? 0 : row * channels, channels)!;
}
