import type { Tensor } from "../ir/tensor.js";
import { bitsPerElement, DataType, elementCount, rawByteLength } from "../ir/types.js";
import { bfloat16ToFloat32, decodeBfloat16, decodeFloat16, float16ToFloat32 } from "../quant/float16.js";
import { unpackInt4, unpackUint2, unpackUint4 } from "../quant/packing.js";
import type { Constant } from "./constant.js";

/** Elements of this many bytes are read at a time; whole elements of every type fit. */
const PIECE_BYTES = 2 ** 18;

type Read = (view: DataView, offset: number) => number;

const READERS: Readonly<Record<DataType, Read>> = {
	[DataType.FLOAT]: (view, offset) => view.getFloat32(offset, true),
	[DataType.DOUBLE]: (view, offset) => view.getFloat64(offset, true),
	[DataType.FLOAT16]: (view, offset) => float16ToFloat32(view.getUint16(offset, true)),
	[DataType.BFLOAT16]: (view, offset) => bfloat16ToFloat32(view.getUint16(offset, true)),
	[DataType.INT64]: (view, offset) => Number(view.getBigInt64(offset, true)),
	[DataType.UINT64]: (view, offset) => Number(view.getBigUint64(offset, true)),
	[DataType.INT32]: (view, offset) => view.getInt32(offset, true),
	[DataType.UINT32]: (view, offset) => view.getUint32(offset, true),
	[DataType.INT16]: (view, offset) => view.getInt16(offset, true),
	[DataType.UINT16]: (view, offset) => view.getUint16(offset, true),
	[DataType.INT8]: (view, offset) => view.getInt8(offset),
	[DataType.UINT8]: (view, offset) => view.getUint8(offset),
	[DataType.BOOL]: (view, offset) => view.getUint8(offset),
};

/** Are the stored bytes of `tensor` numbers that can be read, as many as its shape needs? */
export function isReadable({ dtype, shape, data }: Tensor): boolean {
	const known = READERS[dtype] !== undefined || dtype === DataType.INT4 || dtype === DataType.UINT4;
	return known && data.byteLength === rawByteLength(dtype, shape);
}

/**
 * Shows `visit` the elements of `tensor`, from element `from` on and `count` at most, a piece of the bytes in memory at a
 * time; stops where `visit` returns false. Nothing is shown of tensors that are not readable.
 */
export function eachNumber(
	tensor: Tensor,
	visit: (value: number, index: number) => boolean | undefined,
	from = 0,
	count = Number.POSITIVE_INFINITY,
): void {
	if (!isReadable(tensor)) return;
	const end = Math.min(elementCount(tensor.shape), from + count);
	const bits = bitsPerElement(tensor.dtype)!;
	const perPiece = (PIECE_BYTES * 8) / bits;
	for (let at = from; at < end; at = Math.min(end, at + perPiece)) {
		const start = Math.floor((at * bits) / 8);
		const stop = Math.min(end, at + perPiece);
		const bytes = tensor.data.read(start, Math.ceil((stop * bits) / 8));
		const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
		const read = READERS[tensor.dtype] ?? nibbleReader(tensor.dtype);
		for (let index = at; index < stop; index++) {
			const position = bits < 8 ? index - (start * 8) / bits : (index * bits) / 8 - start;
			if (visit(read(view, position), index) === false) return;
		}
	}
}

/** The elements of a tensor that is known to be small: a bias, or scales with one a channel. */
export function numbersOf(tensor: Tensor): Float64Array {
	const numbers = new Float64Array(isReadable(tensor) ? elementCount(tensor.shape) : 0);
	eachNumber(tensor, (value, index) => {
		numbers[index] = value;
	});
	return numbers;
}

/** The only element of a constant; undefined where it has none or several. */
export function scalarOf(constant: Constant | undefined): number | undefined {
	if (constant === undefined || elementCount(constant.tensor.shape) !== 1) return undefined;
	return numbersOf(constant.tensor)[0];
}

/** `position` counts nibbles. */
function nibbleReader(dtype: DataType): Read {
	return (view, position) => {
		const nibble = (view.getUint8(position >> 1) >> ((position & 1) * 4)) & 15;
		return dtype === DataType.INT4 && nibble > 7 ? nibble - 16 : nibble;
	};
}

/** `count` elements from `first` on; undefined where the type has no numbers or the bytes are not as many as the shape says. */
export function elementsOf(
	{ dtype, shape, data }: Tensor,
	first: number,
	count: number,
): ArrayLike<number> | undefined {
	const bits = bitsPerElement(dtype);
	if (bits === undefined || data.byteLength !== rawByteLength(dtype, shape)) return undefined;
	const bytes = Uint8Array.from(data.read(Math.floor((first * bits) / 8), Math.ceil(((first + count) * bits) / 8)));
	switch (dtype) {
		case DataType.FLOAT:
			return new Float32Array(bytes.buffer);
		case DataType.DOUBLE:
			return new Float64Array(bytes.buffer);
		case DataType.FLOAT16:
			return decodeFloat16(bytes);
		case DataType.BFLOAT16:
			return decodeBfloat16(bytes);
		case DataType.UINT8:
			return bytes;
		case DataType.INT8:
			return new Int8Array(bytes.buffer);
		case DataType.UINT16:
			return new Uint16Array(bytes.buffer);
		case DataType.INT16:
			return new Int16Array(bytes.buffer);
		case DataType.INT32:
			return new Int32Array(bytes.buffer);
		case DataType.UINT4:
			return unpackUint4(bytes, first % 2, count);
		case DataType.INT4:
			return unpackInt4(bytes, first % 2, count);
		case DataType.UINT2:
			return unpackUint2(bytes, first % 4, count);
		case DataType.INT64:
			return Float64Array.from(new BigInt64Array(bytes.buffer), Number);
		default:
			return undefined;
	}
}
