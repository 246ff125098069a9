import { DataType } from "../ir/types.js";
import { decodeFloat16, float32ToFloat16 } from "../quant/float16.js";

interface ElementInfo {
	readonly dataType: DataType;
	readonly bytes: number;
	/** Little-endian bytes as numbers; 64-bit integers beyond 2^53 lose their last bits. */
	readonly numbers: (bytes: ArrayBuffer) => ArrayLike<number>;
}

/** Element types that tensors going into and coming out of a runtime have, by numpy's names of them. */
const ELEMENTS = {
	float32: { dataType: DataType.FLOAT, bytes: 4, numbers: (bytes) => new Float32Array(bytes) },
	float64: { dataType: DataType.DOUBLE, bytes: 8, numbers: (bytes) => new Float64Array(bytes) },
	float16: { dataType: DataType.FLOAT16, bytes: 2, numbers: (bytes) => decodeFloat16(new Uint8Array(bytes)) },
	int8: { dataType: DataType.INT8, bytes: 1, numbers: (bytes) => new Int8Array(bytes) },
	uint8: { dataType: DataType.UINT8, bytes: 1, numbers: (bytes) => new Uint8Array(bytes) },
	int16: { dataType: DataType.INT16, bytes: 2, numbers: (bytes) => new Int16Array(bytes) },
	uint16: { dataType: DataType.UINT16, bytes: 2, numbers: (bytes) => new Uint16Array(bytes) },
	int32: { dataType: DataType.INT32, bytes: 4, numbers: (bytes) => new Int32Array(bytes) },
	uint32: { dataType: DataType.UINT32, bytes: 4, numbers: (bytes) => new Uint32Array(bytes) },
	int64: {
		dataType: DataType.INT64,
		bytes: 8,
		numbers: (bytes) => Float64Array.from(new BigInt64Array(bytes), Number),
	},
	uint64: {
		dataType: DataType.UINT64,
		bytes: 8,
		numbers: (bytes) => Float64Array.from(new BigUint64Array(bytes), Number),
	},
	bool: { dataType: DataType.BOOL, bytes: 1, numbers: (bytes) => new Uint8Array(bytes) },
} as const satisfies Record<string, ElementInfo>;

/** An element type by numpy's name of it: `float32`, `int64`, `bool`. */
export type ElementType = keyof typeof ELEMENTS;

export function isElementType(name: string): name is ElementType {
	return name in ELEMENTS;
}

/** The element type of an ONNX type; undefined for those that runtimes neither take nor give (strings, 4 bits). */
export function elementTypeOf(dataType: DataType): ElementType | undefined {
	for (const [name, info] of Object.entries(ELEMENTS)) if (info.dataType === dataType) return name as ElementType;
	return undefined;
}

export function bytesPerElement(type: ElementType): number {
	return ELEMENTS[type].bytes;
}

export function isFloat(type: ElementType): boolean {
	return type.startsWith("float");
}

/** Little-endian bytes as numbers. */
export function numbersOf(type: ElementType, bytes: ArrayBuffer): ArrayLike<number> {
	return ELEMENTS[type].numbers(bytes);
}

/** Numbers as little-endian bytes: rounded to integers, and to the nearest float. The caller checks ranges. */
export function bytesFrom(type: ElementType, values: ArrayLike<number>): Uint8Array<ArrayBuffer> {
	const { bytes } = ELEMENTS[type];
	const buffer = new ArrayBuffer(values.length * bytes);
	const view = new DataView(buffer);
	const put = WRITERS[type];
	for (let index = 0; index < values.length; index++) put(view, index * bytes, values[index]!);
	return new Uint8Array(buffer);
}

type Writer = (view: DataView, at: number, value: number) => void;

const WRITERS: Readonly<Record<ElementType, Writer>> = {
	float32: (view, at, value) => view.setFloat32(at, value, true),
	float64: (view, at, value) => view.setFloat64(at, value, true),
	float16: (view, at, value) => view.setUint16(at, float32ToFloat16(value), true),
	int8: (view, at, value) => view.setInt8(at, Math.round(value)),
	uint8: (view, at, value) => view.setUint8(at, Math.round(value)),
	int16: (view, at, value) => view.setInt16(at, Math.round(value), true),
	uint16: (view, at, value) => view.setUint16(at, Math.round(value), true),
	int32: (view, at, value) => view.setInt32(at, Math.round(value), true),
	uint32: (view, at, value) => view.setUint32(at, Math.round(value), true),
	int64: (view, at, value) => view.setBigInt64(at, BigInt(Math.round(value)), true),
	uint64: (view, at, value) => view.setBigUint64(at, BigInt(Math.round(value)), true),
	bool: (view, at, value) => view.setUint8(at, value === 0 ? 0 : 1),
};
