import { QGraphError } from "../diagnostics.js";
import type { TensorData } from "../ir/data.js";

/** The bytes [start, end) of `data`, which may come from a pass: as many as asked for, or `write/wrong-length`. */
export function exactBytes(data: TensorData, start: number, end: number): Uint8Array {
	const bytes = data.read(start, end);
	if (bytes.byteLength === end - start) return bytes;
	throw new QGraphError("write/wrong-length", `${bytes.byteLength} bytes were produced where ${end - start} were due`);
}
