import { readFileSync, writeFileSync } from "node:fs";
import { unzipSync, zipSync } from "fflate";
import { QGraphError } from "../diagnostics.js";
import { elementCount } from "../ir/types.js";
import { reasonOf } from "../onnx/io-error.js";
import { bytesPerElement, type ElementType } from "./element-type.js";

/** An array of an .npz file: little-endian elements in row-major order. */
export interface NumpyArray {
	readonly type: ElementType;
	readonly shape: readonly number[];
	readonly bytes: Uint8Array;
}

/** Inputs are small; an archive that unpacks to more is broken or hostile. */
const MAX_ARRAY_BYTES = 2 ** 32;

/** numpy's codes of the element types. */
const TYPES: Readonly<Record<string, ElementType>> = {
	f4: "float32",
	f8: "float64",
	f2: "float16",
	i1: "int8",
	u1: "uint8",
	i2: "int16",
	u2: "uint16",
	i4: "int32",
	u4: "uint32",
	i8: "int64",
	u8: "uint64",
	b1: "bool",
};

/** Reads the arrays of an .npz file, compressed or not. Throws `runtime/npz`. */
export function readNpz(path: string): Map<string, NumpyArray> {
	const arrays = new Map<string, NumpyArray>();
	for (const [entry, bytes] of Object.entries(unzip(path))) {
		const name = entry.replace(/\.npy$/, "");
		arrays.set(
			name,
			parseNpy(bytes, (problem) => npzError(path, `array '${name}' ${problem}`)),
		);
	}
	return arrays;
}

/** What numpy writes for a time: the same arrays make the same file. */
const NO_TIME = new Date(1980, 0, 1);

/** Writes an .npz file, not compressed, as numpy's `savez` does. */
export function writeNpz(path: string, arrays: ReadonlyMap<string, NumpyArray>): void {
	const entries = [...arrays].map(([name, array]) => [`${name}.npy`, npyOf(array)] as const);
	writeFileSync(path, zipSync(Object.fromEntries(entries), { level: 0, mtime: NO_TIME }));
}

/** Writes a .npy file. */
export function writeNpy(path: string, array: NumpyArray): void {
	writeFileSync(path, npyOf(array));
}

/** A file of the .npy format, version 1.0: the header ends at a multiple of 64 bytes. */
function npyOf({ type, shape, bytes }: NumpyArray): Uint8Array {
	const [code] = Object.entries(TYPES).find(([, name]) => name === type)!;
	const descr = `${code.endsWith("1") ? "|" : "<"}${code}`;
	const sizes = shape.map((size) => `${size},`).join(" ");
	const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${sizes}), }`;
	const length = Math.ceil((header.length + 11) / 64) * 64 - 10;
	const start = Buffer.alloc(10 + length, " ", "latin1");
	start.write("\x93NUMPY\x01\x00", 0, "latin1");
	start.writeUInt16LE(length, 8);
	start.write(`${header.padEnd(length - 1)}\n`, 10, "latin1");
	return Buffer.concat([start, bytes]);
}

/** Reads a .npy file. Throws `runtime/npz`. */
export function readNpy(path: string): NumpyArray {
	try {
		return parseNpy(readFileSync(path), (problem) => npzError(path, `it ${problem}`));
	} catch (error) {
		throw error instanceof QGraphError ? error : npzError(path, reasonOf(error), error);
	}
}

function unzip(path: string): Record<string, Uint8Array> {
	try {
		const bytes = readFileSync(path);
		return unzipSync(bytes, {
			filter({ name, originalSize }) {
				if (originalSize > MAX_ARRAY_BYTES) throw new Error(`array '${name}' is larger than ${MAX_ARRAY_BYTES} bytes`);
				return true;
			},
		});
	} catch (error) {
		throw npzError(path, reasonOf(error), error);
	}
}

/** What stands in front of the elements of a .npy file. */
export interface NpyHeader {
	readonly type: ElementType;
	readonly shape: readonly number[];
	readonly isColumnMajor: boolean;
	/** Where the elements begin. */
	readonly start: number;
}

/** Reads a header. The .npy format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. */
export function npyHeader(bytes: Uint8Array, failure: (problem: string) => QGraphError): NpyHeader {
	const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	if (buffer.length < 12 || buffer.toString("latin1", 0, 6) !== "\x93NUMPY") throw failure("is not in the .npy format");
	const headerStart = buffer[6] === 1 ? 10 : 12;
	const start = headerStart + (buffer[6] === 1 ? buffer.readUInt16LE(8) : buffer.readUInt32LE(8));
	const header = buffer.toString("latin1", headerStart, Math.min(start, buffer.length));
	const [, code] = /'descr': '([^']*)'/.exec(header) ?? [];
	const [, order] = /'fortran_order': (True|False)/.exec(header) ?? [];
	const [, sizes] = /'shape': \(([\d, L]*)\)/.exec(header) ?? [];
	const type = TYPES[code?.slice(1) ?? ""];
	if (type === undefined || code?.[0] === ">" || order === undefined || sizes === undefined) {
		throw failure(`has the element type '${code ?? "?"}', expected little-endian numbers or booleans`);
	}
	const shape = (sizes.match(/\d+/g) ?? []).map(Number);
	return { type, shape, isColumnMajor: order === "True", start };
}

function parseNpy(bytes: Uint8Array, failure: (problem: string) => QGraphError): NumpyArray {
	const { type, shape, isColumnMajor, start } = npyHeader(bytes, failure);
	// of a Buffer, slice() would not copy
	const data = new Uint8Array(bytes.buffer, bytes.byteOffset + start, Math.max(0, bytes.byteLength - start));
	const size = bytesPerElement(type);
	const expected = elementCount(shape) * size;
	if (data.byteLength !== expected) throw failure(`has ${data.byteLength} bytes of data, expected ${expected}`);
	return { type, shape, bytes: isColumnMajor ? rowMajor(data, shape, size) : data };
}

/** Column-major elements in row-major order. */
function rowMajor(data: Uint8Array, shape: readonly number[], size: number): Uint8Array {
	const out = new Uint8Array(data.byteLength);
	const index = shape.map(() => 0);
	for (let to = 0; to < data.byteLength; to += size) {
		let from = 0;
		for (let axis = shape.length - 1; axis >= 0; axis--) from = from * shape[axis]! + index[axis]!;
		out.set(data.subarray(from * size, (from + 1) * size), to);
		for (let axis = shape.length - 1; axis >= 0; axis--) {
			index[axis]!++;
			if (index[axis]! < shape[axis]!) break;
			index[axis] = 0;
		}
	}
	return out;
}

/** The error that says that arrays cannot be read. */
export function npzError(path: string, problem: string, cause?: unknown): QGraphError {
	const options = cause === undefined ? undefined : { cause };
	return new QGraphError("runtime/npz", `cannot read '${path}': ${problem}`, { file: path }, options);
}
