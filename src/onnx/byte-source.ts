import { bytesData, type DataFile, fileData } from "../ir/data.js";
import type { Payload } from "./record.js";

/** Where the wire reader takes a model's bytes from. */
export interface ByteSource {
	readonly size: number;
	/** Fills `target` with the bytes from `offset`; they are there. */
	readInto(target: Uint8Array, offset: number): void;
	/** The bytes [offset, offset + length), not read now. */
	locate(offset: number, length: number): Payload;
}

export function fileSource(file: DataFile): ByteSource {
	return {
		size: file.size,
		readInto: (target, offset) => file.readInto(target, offset),
		locate: (offset, length) => fileData(file, offset, length),
	};
}

export function memorySource(bytes: Uint8Array): ByteSource {
	return {
		size: bytes.byteLength,
		readInto: (target, offset) => target.set(bytes.subarray(offset, offset + target.byteLength)),
		locate: (offset, length) => bytesData(bytes.subarray(offset, offset + length)),
	};
}
