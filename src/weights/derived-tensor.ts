import { computedData, type TensorData } from "../ir/data.js";
import { bytesOf, type Tensor, tensor } from "../ir/tensor.js";
import { bitsPerElement, DataType, elementCount } from "../ir/types.js";
import { encodeBfloat16, encodeFloat16 } from "../quant/float16.js";
import { packUint4 } from "../quant/packing.js";
import { elementsOf, isReadable } from "./numbers.js";

/** Elements made at a time. */
const PIECE_ELEMENTS = 2 ** 18;

const ENCODERS: Readonly<Record<DataType, (values: Float32Array) => Uint8Array>> = {
	[DataType.FLOAT]: bytesOf,
	[DataType.FLOAT16]: encodeFloat16,
	[DataType.BFLOAT16]: encodeBfloat16,
};

/** The numbers that codes of a type may be. */
const CODE_RANGES: Readonly<Record<DataType, readonly [min: number, max: number]>> = {
	[DataType.INT4]: [-8, 7],
	[DataType.UINT4]: [0, 15],
	[DataType.INT8]: [-128, 127],
	[DataType.UINT8]: [0, 255],
	[DataType.INT16]: [-32768, 32767],
	[DataType.UINT16]: [0, 65535],
};

/** FLOAT, FLOAT16 or BFLOAT16? */
export function isFloatType(dtype: DataType): boolean {
	return dtype in ENCODERS;
}

/** A tensor of floats with elements of another of these types, made when they are read; itself where that is its own. */
export function asFloatType(source: Tensor, dtype: DataType): Tensor {
	const encode = ENCODERS[dtype];
	if (source.dtype === dtype || encode === undefined) return source;
	return derived(source, dtype, (first, count) => encode(Float32Array.from(elementsOf(source, first, count)!)));
}

/**
 * A tensor of integers with elements of another type, as Cast makes it; itself where that is its own. undefined where the
 * elements do not fit, or either type is none of codes. Reads all of them.
 */
export function asCodeType(source: Tensor, dtype: DataType): Tensor | undefined {
	if (source.dtype === dtype) return source;
	const range = CODE_RANGES[dtype];
	if (range === undefined || isFloatType(source.dtype) || !isReadable(source)) return undefined;
	const [min, max] = range;
	const total = elementCount(source.shape);
	for (let first = 0; first < total; first += PIECE_ELEMENTS) {
		const numbers = Array.from(elementsOf(source, first, Math.min(PIECE_ELEMENTS, total - first)) ?? [Number.NaN]);
		if (!numbers.every((number) => number >= min && number <= max)) return undefined;
	}
	return derived(source, dtype, (first, count) => encodeCodes(elementsOf(source, first, count)!, dtype));
}

/** How QuantizeLinear makes codes. */
export interface QuantizeParameters {
	/**
	 * FLOAT, FLOAT16 or BFLOAT16: one element, one for every index of `axis`, or with blocks one a block. Those of blocks may
	 * have length 1 along other axes, too, for all of them, as AIMET writes them where ONNX does not allow it.
	 */
	readonly scale: Tensor;
	/** Of the codes' type and the shape of `scale`; undefined: all 0. */
	readonly zeroPoint: Tensor | undefined;
	readonly dtype: DataType;
	/** 0 or more. */
	readonly axis: number;
	/** 0 where scales are not blocked. */
	readonly blockSize: number;
}

/**
 * What QuantizeLinear makes of a tensor of floats, made when it is read: saturate(round(x / scale) + zero point), divided in
 * float32, halves to even (ONNX's QuantizeLinear, as ONNX Runtime computes it). undefined where shapes or types do not fit.
 */
export function quantizedTensor(source: Tensor, parameters: QuantizeParameters): Tensor | undefined {
	const { scale, zeroPoint, dtype, axis, blockSize } = parameters;
	const range = CODE_RANGES[dtype];
	const scaleCount = elementCount(scale.shape);
	const depth = source.shape[axis] ?? 1;
	const blocks = blockSize === 0 ? depth : Math.ceil(depth / blockSize);
	const expected = source.shape.map((dim, index) => (index === axis ? blocks : dim));
	const fits =
		blockSize === 0 ? scaleCount === 1 || scale.shape.join() === String(depth) : spreadsTo(scale.shape, expected);
	const isTyped = isFloatType(source.dtype) && isFloatType(scale.dtype) && (zeroPoint?.dtype ?? dtype) === dtype;
	const isWhole = [source, scale, ...(zeroPoint === undefined ? [] : [zeroPoint])].every(isReadable);
	if (range === undefined || !fits || !isTyped || !isWhole) return undefined;
	if (zeroPoint !== undefined && elementCount(zeroPoint.shape) !== scaleCount) return undefined;
	if (blockSize !== 0 && scale.shape.join() !== expected.join()) {
		const spread = (small: Tensor) => tensor(small.dtype, expected, spreadData(small, expected));
		return quantizedTensor(source, { ...parameters, scale: spread(scale), zeroPoint: zeroPoint && spread(zeroPoint) });
	}
	const inner = elementCount(source.shape.slice(axis + 1));
	/** Which scale the element has. */
	const placeOf = (element: number): number => {
		if (scaleCount === 1) return 0;
		const row = Math.floor(element / inner);
		const index = row % depth;
		if (blockSize === 0) return index;
		return (((row - index) / depth) * blocks + Math.floor(index / blockSize)) * inner + (element - row * inner);
	};
	const [min, max] = range;
	return derived(source, dtype, (first, count) => {
		const values = elementsOf(source, first, count)!;
		const codes = new Int32Array(count);
		// scales of blocks lie in the order of the elements, but for rows of a block having the same ones
		const isBlocked = scaleCount > 1 && blockSize !== 0;
		const from = isBlocked ? placeOf(Math.floor(first / inner) * inner) : 0;
		const to = isBlocked ? placeOf(Math.ceil((first + count) / inner) * inner - 1) + 1 : scaleCount;
		const scales = elementsOf(scale, from, to - from)!;
		const zeros = zeroPoint && elementsOf(zeroPoint, from, to - from)!;
		for (let index = 0; index < count; index++) {
			const place = placeOf(first + index) - from;
			const quotient = Math.fround(values[index]! / scales[place]!);
			const code = quotient + ROUNDER - ROUNDER + (zeros?.[place] ?? 0);
			codes[index] = code > max ? max : code < min ? min : code;
		}
		return encodeCodes(codes, dtype);
	});
}

function spreadsTo(shape: readonly number[], wanted: readonly number[]): boolean {
	return shape.length === wanted.length && shape.every((dim, axis) => dim === wanted[axis] || dim === 1);
}

/** The elements of a tensor repeated along its axes of length 1, made when they are read. */
function spreadData({ dtype, shape, data }: Tensor, wanted: readonly number[]): TensorData {
	const placeOf = (element: number): number => {
		let place = 0;
		let stride = 1;
		for (let axis = wanted.length - 1, rest = element; axis >= 0; axis--) {
			const index = rest % wanted[axis]!;
			rest = (rest - index) / wanted[axis]!;
			if (shape[axis] === 1) continue;
			place += index * stride;
			stride *= shape[axis]!;
		}
		return place;
	};
	const source = tensor(dtype, shape, data);
	return derived({ ...source, shape: wanted }, dtype, (first, count) => {
		const all = elementsOf(source, 0, elementCount(shape))!;
		const elements = Float32Array.from({ length: count }, (_, index) => all[placeOf(first + index)]!);
		return isFloatType(dtype) ? ENCODERS[dtype]!(elements) : encodeCodes(elements, dtype);
	}).data;
}

/** Adding and taking away 1.5 * 2^52 rounds to the nearest integer, halves to even. */
const ROUNDER = 1.5 * 2 ** 52;

/**
 * What DequantizeLinear makes of codes with one scale, or one for every index of `axis`: (code - zero point) * scale, in the
 * type of the scales. undefined where shapes or types do not fit.
 */
export function dequantizedTensor(
	codes: Tensor,
	{ scale, zeroPoint, axis }: Pick<QuantizeParameters, "scale" | "zeroPoint" | "axis">,
): Tensor | undefined {
	const depth = codes.shape[axis] ?? 1;
	const channels = elementCount(scale.shape);
	const encode = ENCODERS[scale.dtype];
	if ((channels !== 1 && channels !== depth) || encode === undefined) return undefined;
	if (zeroPoint !== undefined && elementCount(zeroPoint.shape) !== channels) return undefined;
	const scales = isReadable(scale) ? elementsOf(scale, 0, channels) : undefined;
	const zeros = zeroPoint === undefined ? [] : elementsOf(zeroPoint, 0, channels);
	if (scales === undefined || zeros === undefined || !isReadable(codes)) return undefined;
	const inner = elementCount(codes.shape.slice(axis + 1));
	return derived(codes, scale.dtype, (first, count) => {
		const values = Float32Array.from(elementsOf(codes, first, count)!);
		for (let index = 0; index < count; index++) {
			const channel = channels === 1 ? 0 : Math.floor((first + index) / inner) % depth;
			values[index] = (values[index]! - (zeros[channel] ?? 0)) * scales[channel]!;
		}
		return encode(values);
	});
}

/** A tensor of the shape of `source` whose elements `make` makes, some at a time: their bytes, the first at an even place. */
function derived(source: Tensor, dtype: DataType, make: (first: number, count: number) => Uint8Array): Tensor {
	const bits = bitsPerElement(dtype)!;
	const total = elementCount(source.shape);
	const data = computedData(Math.ceil((total * bits) / 8), (start, end) => {
		const result = new Uint8Array(end - start);
		for (let at = start; at < end; ) {
			const first = Math.floor((at * 8) / bits);
			const count = Math.min(PIECE_ELEMENTS, Math.min(total, Math.ceil((end * 8) / bits)) - first);
			const skipped = at - (first * bits) / 8;
			const bytes = make(first, count).subarray(skipped, skipped + end - at);
			result.set(bytes, at - start);
			at += bytes.byteLength;
		}
		return result;
	});
	return tensor(dtype, source.shape, data);
}

function encodeCodes(codes: ArrayLike<number>, dtype: DataType): Uint8Array {
	switch (bitsPerElement(dtype)) {
		case 4:
			return packUint4(Uint8Array.from(codes));
		case 8:
			return Uint8Array.from(codes);
		default:
			return bytesOf(Uint16Array.from(codes));
	}
}
