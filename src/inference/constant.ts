import { QGraphError } from "../diagnostics.js";
import { readAll } from "../ir/data.js";
import { type Tensor, tensorSize } from "../ir/tensor.js";
import { DataType, rawByteLength } from "../ir/types.js";
import type { Elements } from "./fact.js";

/** Tensors above this many elements are weights, not shapes: their contents are not looked at. */
export const MAX_ELEMENTS = 2048;

const cache = new WeakMap<Tensor, { readonly elements: Elements | undefined }>();

/** The elements of a small constant; undefined for big ones, for types without numbers and for data out of reach. */
export function elementsOfTensor(tensor: Tensor): Elements | undefined {
	let known = cache.get(tensor);
	if (known === undefined) {
		known = { elements: readElements(tensor) };
		cache.set(tensor, known);
	}
	return known.elements;
}

function readElements(tensor: Tensor): Elements | undefined {
	const read = READERS[tensor.dtype];
	const count = tensorSize(tensor);
	if (read === undefined || count > MAX_ELEMENTS) return undefined;
	if (tensor.data.byteLength !== rawByteLength(tensor.dtype, tensor.shape)) return undefined;
	const bytes = bytesOf(tensor);
	if (bytes === undefined) return undefined;
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const size = count === 0 ? 0 : bytes.byteLength / count;
	return Array.from({ length: count }, (_, index) => read(view, index * size));
}

/** A model whose data files are missing still has types. */
function bytesOf(tensor: Tensor): Uint8Array | undefined {
	try {
		return readAll(tensor.data);
	} catch (error) {
		if (error instanceof QGraphError) return undefined;
		throw error;
	}
}

const READERS: Readonly<Record<DataType, (view: DataView, offset: number) => number>> = {
	[DataType.FLOAT]: (view, offset) => view.getFloat32(offset, true),
	[DataType.DOUBLE]: (view, offset) => view.getFloat64(offset, true),
	[DataType.INT64]: (view, offset) => Number(view.getBigInt64(offset, true)),
	[DataType.UINT64]: (view, offset) => Number(view.getBigUint64(offset, true)),
	[DataType.INT32]: (view, offset) => view.getInt32(offset, true),
	[DataType.UINT32]: (view, offset) => view.getUint32(offset, true),
	[DataType.INT16]: (view, offset) => view.getInt16(offset, true),
	[DataType.UINT16]: (view, offset) => view.getUint16(offset, true),
	[DataType.INT8]: (view, offset) => view.getInt8(offset),
	[DataType.UINT8]: (view, offset) => view.getUint8(offset),
	[DataType.BOOL]: (view, offset) => (view.getUint8(offset) === 0 ? 0 : 1),
};
