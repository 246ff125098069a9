import { closeSync, createReadStream, openSync, readSync, statSync } from "node:fs";
import type { Readable } from "node:stream";
import { constants, createInflateRaw, inflateRawSync } from "node:zlib";
import { QGraphError } from "../diagnostics.js";
import { elementCount } from "../ir/types.js";
import { reasonOf } from "../onnx/io-error.js";
import { bytesPerElement, type ElementType } from "./element-type.js";
import { type NpyHeader, npyHeader, npzError, readNpy, readNpz } from "./npz.js";

/** Reads bytes one after the other. */
export interface ByteReader {
	/** The next so many bytes, in memory of their own. Rejects with `runtime/npz` where there are not so many. */
	read(length: number): Promise<Uint8Array<ArrayBuffer>>;
	skip(length: number): Promise<void>;
	close(): void;
}

/** An array in a file, little-endian elements in row-major order, that is read a piece at a time. */
export interface ArrayFile {
	readonly type: ElementType;
	readonly shape: readonly number[];
	/** A reader at the first element. */
	open(): ByteReader;
}

/** Bytes that hold the header of any array. */
const HEADER_BYTES = 2 ** 16;

/** The array of a .npy file. Throws `runtime/npz`. */
export function openNpy(path: string): ArrayFile {
	return guarded(path, () => {
		const { size } = statSync(path);
		const failure = (problem: string) => npzError(path, `it ${problem}`);
		const header = npyHeader(readRange(path, 0, Math.min(size, HEADER_BYTES)), failure);
		if (header.isColumnMajor) return inMemory(readNpy(path));
		requireLength(header, size, failure);
		return { ...header, open: () => new RangeReader(path, header.start, size) };
	});
}

/** The arrays of an .npz file, compressed or not. Throws `runtime/npz`. */
export function openNpz(path: string): Map<string, ArrayFile> {
	return guarded(path, () => {
		const arrays = new Map<string, ArrayFile>();
		for (const entry of zipEntries(path)) {
			const name = entry.name.replace(/\.npy$/, "");
			const failure = (problem: string) => npzError(path, `array '${name}' ${problem}`);
			const isStored = entry.method === 0;
			if (!isStored && entry.method !== 8) throw failure("is compressed in a way that numpy does not use");
			const packed = readRange(path, entry.start, entry.start + Math.min(entry.packedSize, HEADER_BYTES));
			const header = npyHeader(
				isStored ? packed : inflateRawSync(packed, { finishFlush: constants.Z_SYNC_FLUSH }),
				failure,
			);
			requireLength(header, entry.size, failure);
			if (header.isColumnMajor) {
				arrays.set(name, inMemory(readNpz(path).get(name)!));
				continue;
			}
			const end = entry.start + entry.packedSize;
			const open = () =>
				isStored
					? new RangeReader(path, entry.start + header.start, end)
					: new InflatingReader(path, entry.start, end, header.start);
			arrays.set(name, { ...header, open });
		}
		return arrays;
	});
}

/** A file of nothing but elements. */
export function openRaw(path: string, type: ElementType, shape: readonly number[]): ArrayFile {
	return { type, shape, open: () => new RangeReader(path, 0, elementCount(shape) * bytesPerElement(type)) };
}

function inMemory({
	type,
	shape,
	bytes,
}: {
	type: ElementType;
	shape: readonly number[];
	bytes: Uint8Array;
}): ArrayFile {
	return {
		type,
		shape,
		open() {
			let at = 0;
			return {
				async read(length) {
					at += length;
					return Uint8Array.from(bytes.subarray(at - length, at));
				},
				async skip(length) {
					at += length;
				},
				close: () => undefined,
			};
		},
	};
}

function requireLength(
	{ type, shape, start }: NpyHeader,
	size: number,
	failure: (problem: string) => QGraphError,
): void {
	const expected = elementCount(shape) * bytesPerElement(type);
	if (size - start !== expected) throw failure(`has ${size - start} bytes of data, expected ${expected}`);
}

/** Bytes of a file from `at` to `end`. */
class RangeReader implements ByteReader {
	readonly #path: string;
	readonly #end: number;
	#at: number;
	#file: number | undefined;

	constructor(path: string, at: number, end: number) {
		this.#path = path;
		this.#at = at;
		this.#end = end;
	}

	async read(length: number): Promise<Uint8Array<ArrayBuffer>> {
		if (this.#at + length > this.#end) throw npzError(this.#path, "it ends before its elements do");
		this.#file ??= openSync(this.#path, "r");
		const bytes = new Uint8Array(length);
		const read = readSync(this.#file, bytes, 0, length, this.#at);
		if (read < length) throw npzError(this.#path, "it ends before its elements do");
		this.#at += length;
		return bytes;
	}

	async skip(length: number): Promise<void> {
		this.#at += length;
	}

	close(): void {
		if (this.#file !== undefined) closeSync(this.#file);
		this.#file = undefined;
	}
}

/** What a deflated range of a file inflates to, from byte `skipped` on. */
class InflatingReader implements ByteReader {
	readonly #path: string;
	readonly #stream: Readable;
	readonly #chunks: AsyncIterator<Uint8Array>;
	#rest: Uint8Array = new Uint8Array(0);
	#skipped: number;

	constructor(path: string, start: number, end: number, skipped: number) {
		this.#path = path;
		const source = createReadStream(path, { start, end: end - 1 });
		const inflate = createInflateRaw();
		source.on("error", (error) => inflate.destroy(error));
		inflate.on("close", () => source.destroy());
		this.#stream = source.pipe(inflate);
		this.#chunks = this.#stream[Symbol.asyncIterator]();
		this.#skipped = skipped;
	}

	async read(length: number): Promise<Uint8Array<ArrayBuffer>> {
		const skipped = this.#skipped;
		this.#skipped = 0;
		await this.#take(skipped, () => undefined);
		const bytes = new Uint8Array(length);
		await this.#take(length, (chunk, at) => bytes.set(chunk, at));
		return bytes;
	}

	async skip(length: number): Promise<void> {
		this.#skipped += length;
	}

	close(): void {
		this.#stream.destroy();
	}

	async #take(length: number, visit: (chunk: Uint8Array, at: number) => void): Promise<void> {
		for (let at = 0; at < length; ) {
			if (this.#rest.length === 0) this.#rest = await this.#next();
			const chunk = this.#rest.subarray(0, length - at);
			visit(chunk, at);
			at += chunk.length;
			this.#rest = this.#rest.subarray(chunk.length);
		}
	}

	async #next(): Promise<Uint8Array> {
		try {
			const { done, value } = await this.#chunks.next();
			if (done !== true) return value;
		} catch (error) {
			throw npzError(this.#path, reasonOf(error), error);
		}
		throw npzError(this.#path, "it ends before its elements do");
	}
}

interface ZipEntry {
	readonly name: string;
	readonly method: number;
	readonly packedSize: number;
	readonly size: number;
	/** Of the data in the file. */
	readonly start: number;
}

const END_BYTES = 22;
const MAX_COMMENT = 2 ** 16;

/** Why a file that should be a zip archive has no directory at its end. */
function noDirectory(path: string, size: number): string {
	if (size === 0) return "it is empty";
	const isBegun = Buffer.from(readRange(path, 0, Math.min(4, size))).toString("latin1") === "PK\x03\x04";
	if (!isBegun) return "it is no zip archive, which numpy's savez writes";
	return `it ends after ${size} bytes without the directory of a zip archive: it was cut off, write or copy it anew`;
}

/** The files of a zip archive. Format: PKWARE APPNOTE 6.3, sections 4.3 and 4.5.3 (sizes of 64 bits). */
function zipEntries(path: string): ZipEntry[] {
	const { size } = statSync(path);
	const tail = readRange(path, Math.max(0, size - END_BYTES - MAX_COMMENT - 20), size);
	const end = tail.lastIndexOf("PK\x05\x06", undefined, "latin1");
	if (end < 0 || end + END_BYTES > tail.length) throw new Error(noDirectory(path, size));
	let [count, length, start] = [tail.readUInt16LE(end + 10), tail.readUInt32LE(end + 12), tail.readUInt32LE(end + 16)];
	if (end >= 20 && tail.toString("latin1", end - 20, end - 16) === "PK\x06\x07") {
		const at = Number(tail.readBigUInt64LE(end - 12));
		const large = readRange(path, at, at + 56);
		count = Number(large.readBigUInt64LE(32));
		length = Number(large.readBigUInt64LE(40));
		start = Number(large.readBigUInt64LE(48));
	}
	if (start + length > size) throw new Error("its directory lies outside of it");
	const directory = readRange(path, start, start + length);
	const entries: ZipEntry[] = [];
	for (let at = 0; entries.length < count; ) {
		if (directory.toString("latin1", at, at + 4) !== "PK\x01\x02") throw new Error("its directory is broken");
		const [nameLength, extraLength] = [directory.readUInt16LE(at + 28), directory.readUInt16LE(at + 30)];
		const name = directory.toString("utf8", at + 46, at + 46 + nameLength);
		const fields = [directory.readUInt32LE(at + 24), directory.readUInt32LE(at + 20), directory.readUInt32LE(at + 42)];
		const extra = directory.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength);
		const [unpacked, packedSize, local] = largeFields(fields, extra);
		const header = readRange(path, local!, local! + 30);
		const data = local! + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
		if (data + packedSize! > size) throw new Error(`its file '${name}' is cut off`);
		const method = directory.readUInt16LE(at + 10);
		entries.push({ name, method, packedSize: packedSize!, size: unpacked!, start: data });
		at += 46 + nameLength + extraLength + directory.readUInt16LE(at + 32);
	}
	return entries;
}

/** Fields that are all ones stand in the extra field of 64-bit numbers, in the same order. */
function largeFields(fields: readonly number[], extra: Buffer): number[] {
	let at = 0;
	while (at + 4 <= extra.length && extra.readUInt16LE(at) !== 1) at += 4 + extra.readUInt16LE(at + 2);
	at += 4;
	return fields.map((field) => {
		if (field !== 0xffffffff || at + 8 > extra.length) return field;
		at += 8;
		return Number(extra.readBigUInt64LE(at - 8));
	});
}

function readRange(path: string, start: number, end: number): Buffer {
	const file = openSync(path, "r");
	try {
		const bytes = Buffer.alloc(Math.max(0, end - start));
		return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, start));
	} finally {
		closeSync(file);
	}
}

function guarded<T>(path: string, open: () => T): T {
	try {
		return open();
	} catch (error) {
		throw error instanceof QGraphError ? error : npzError(path, reasonOf(error), error);
	}
}
