import { DataFile, FileData, type TensorData } from "../../ir/data.js";

/** Bytes that another thread can get at: in a file, which it reads itself, or sent along. */
export type ByteRange =
	| { readonly path: string; readonly identity: string; readonly offset: number; readonly length: number }
	| { readonly bytes: Uint8Array };

/** The bytes [start, end) of `data`. */
export function byteRange(data: TensorData, start: number, end: number): ByteRange {
	if (!(data instanceof FileData)) return { bytes: new Uint8Array(data.read(start, end)) };
	const { path, identity } = data.file;
	return { path, identity, offset: data.offset + start, length: end - start };
}

/** The bytes [start, end) of `range`. */
export function sliceRange(range: ByteRange, start: number, end: number): ByteRange {
	if ("bytes" in range) return { bytes: range.bytes.subarray(start, end) };
	return { ...range, offset: range.offset + start, length: end - start };
}

/** Reads ranges into memory that is used again and again: what `read` returns is valid until another range is read. */
export class RangeReader {
	#file: DataFile | undefined;
	#scratch: Uint8Array = new Uint8Array();
	#last: { readonly offset: number; readonly length: number } = { offset: 0, length: 0 };

	read(range: ByteRange): Uint8Array {
		if ("bytes" in range) return range.bytes;
		const { path, identity, offset, length } = range;
		if (this.#file?.path !== path || this.#file.identity !== identity) {
			this.#file?.close();
			this.#file = new DataFile(path, identity);
			this.#last = { offset: 0, length: 0 };
		}
		if (this.#last.offset === offset && this.#last.length === length) return this.#scratch.subarray(0, length);
		if (this.#scratch.byteLength < length) this.#scratch = Buffer.allocUnsafeSlow(length);
		const bytes = this.#scratch.subarray(0, length);
		this.#file.readInto(bytes, offset);
		this.#last = { offset, length };
		return bytes;
	}
}
