import { bytesData, type TensorData } from "./data.js";
import { DataType, elementCount } from "./types.js";

/**
 * A constant array. Immutable: to change a weight, give its value another tensor. `data` holds little-endian elements in
 * row-major order, sub-byte types packed low bits first over the whole tensor (onnx.proto, TensorProto.raw_data), except
 * for strings, which are in `strings`.
 */
export interface Tensor {
	readonly dtype: DataType;
	readonly shape: readonly number[];
	readonly data: TensorData;
	/** The elements of a tensor of strings, as bytes; undefined for every other type. */
	readonly strings?: readonly Uint8Array[];
	/** The tensor's own name, where it is not an initializer (whose name is its value's). */
	readonly name?: string;
}

/** A tensor given by the coordinates of its elements that are not zero. */
export interface SparseTensor {
	readonly values: Tensor;
	readonly indices: Tensor;
	readonly shape: readonly number[];
}

export function tensor(dtype: DataType, shape: readonly number[], data: TensorData | Uint8Array): Tensor {
	return { dtype, shape: [...shape], data: data instanceof Uint8Array ? bytesData(data) : data };
}

/** A FLOAT tensor of the given values. */
export function floatTensor(shape: readonly number[], values: ArrayLike<number>): Tensor {
	return tensor(DataType.FLOAT, shape, bytesOf(Float32Array.from(values)));
}

/** An INT64 tensor of the given values. */
export function int64Tensor(shape: readonly number[], values: readonly (number | bigint)[]): Tensor {
	return tensor(DataType.INT64, shape, bytesOf(BigInt64Array.from(values, BigInt)));
}

/** The bytes of a typed array, without a copy. */
export function bytesOf(array: ArrayBufferView): Uint8Array {
	return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** Number of elements of a tensor. */
export function tensorSize(value: Tensor): number {
	return elementCount(value.shape);
}
