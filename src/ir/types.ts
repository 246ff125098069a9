/** Element types of ONNX tensors, by the numbers of TensorProto.DataType (onnx.proto, IR version 14). */
export const DataType = {
	UNDEFINED: 0,
	FLOAT: 1,
	UINT8: 2,
	INT8: 3,
	UINT16: 4,
	INT16: 5,
	INT32: 6,
	INT64: 7,
	STRING: 8,
	BOOL: 9,
	FLOAT16: 10,
	DOUBLE: 11,
	UINT32: 12,
	UINT64: 13,
	COMPLEX64: 14,
	COMPLEX128: 15,
	BFLOAT16: 16,
	FLOAT8E4M3FN: 17,
	FLOAT8E4M3FNUZ: 18,
	FLOAT8E5M2: 19,
	FLOAT8E5M2FNUZ: 20,
	UINT4: 21,
	INT4: 22,
	FLOAT4E2M1: 23,
	FLOAT8E8M0: 24,
	UINT2: 25,
	INT2: 26,
	FLOAT6E2M3: 27,
	FLOAT6E3M2: 28,
} as const;

/** A number of {@link DataType}; a file may carry numbers that this version does not name. */
export type DataType = number;

const NAMES = new Map<number, string>(Object.entries(DataType).map(([name, value]) => [value, name]));

const BITS: Readonly<Record<number, number>> = {
	[DataType.FLOAT]: 32,
	[DataType.UINT8]: 8,
	[DataType.INT8]: 8,
	[DataType.UINT16]: 16,
	[DataType.INT16]: 16,
	[DataType.INT32]: 32,
	[DataType.INT64]: 64,
	[DataType.BOOL]: 8,
	[DataType.FLOAT16]: 16,
	[DataType.DOUBLE]: 64,
	[DataType.UINT32]: 32,
	[DataType.UINT64]: 64,
	[DataType.COMPLEX64]: 64,
	[DataType.COMPLEX128]: 128,
	[DataType.BFLOAT16]: 16,
	[DataType.FLOAT8E4M3FN]: 8,
	[DataType.FLOAT8E4M3FNUZ]: 8,
	[DataType.FLOAT8E5M2]: 8,
	[DataType.FLOAT8E5M2FNUZ]: 8,
	[DataType.UINT4]: 4,
	[DataType.INT4]: 4,
	[DataType.FLOAT4E2M1]: 4,
	[DataType.FLOAT8E8M0]: 8,
	[DataType.UINT2]: 2,
	[DataType.INT2]: 2,
	[DataType.FLOAT6E2M3]: 6,
	[DataType.FLOAT6E3M2]: 6,
};

/** The ONNX name of an element type, `INT4`; a number without a name comes back as `TYPE_99`. */
export function dataTypeName(type: DataType): string {
	return NAMES.get(type) ?? `TYPE_${type}`;
}

/** Bits of one element; undefined for strings and for types this version does not know. */
export function bitsPerElement(type: DataType): number | undefined {
	return BITS[type];
}

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
	return shape.reduce((product, dim) => product * dim, 1);
}

/** Bytes that `shape` takes in raw form, sub-byte types packed over the whole tensor; undefined for strings. */
export function rawByteLength(type: DataType, shape: readonly number[]): number | undefined {
	const bits = bitsPerElement(type);
	return bits === undefined ? undefined : Math.ceil((elementCount(shape) * bits) / 8);
}

/** One dimension: a fixed length, the name of a symbolic one, or undefined where nothing is known. */
export type Dimension = number | string | undefined;

/** What is known of a value's type. Immutable: change a value's type by giving it another object. */
export type ValueType =
	| {
			readonly kind: "tensor" | "sparse-tensor";
			readonly elementType: DataType;
			/** undefined: the rank is not known. */
			readonly shape: readonly Dimension[] | undefined;
	  }
	| { readonly kind: "sequence" | "optional"; readonly element: ValueType | undefined }
	| { readonly kind: "map"; readonly keyType: DataType; readonly value: ValueType | undefined }
	| { readonly kind: "opaque"; readonly domain: string; readonly name: string }
	| { readonly kind: "unknown" };

/** A tensor type. */
export function tensorType(elementType: DataType, shape?: readonly Dimension[]): ValueType {
	return { kind: "tensor", elementType, shape };
}
