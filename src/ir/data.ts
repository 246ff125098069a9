import { closeSync, fstatSync, openSync, read, readSync, statSync } from "node:fs";
import { promisify } from "node:util";
import { QGraphError } from "../diagnostics.js";

/**
 * Bytes that may not be in memory: where they come from is the kind's business. Immutable.
 * `read` returns the bytes [start, end) and may return a view, which the caller must not write to.
 */
export interface TensorData {
	readonly byteLength: number;
	read(start: number, end: number): Uint8Array;
}

/** Bytes in memory. */
export class BytesData implements TensorData {
	readonly byteLength: number;
	readonly bytes: Uint8Array;

	constructor(bytes: Uint8Array) {
		this.bytes = bytes;
		this.byteLength = bytes.byteLength;
	}

	read(start: number, end: number): Uint8Array {
		return this.bytes.subarray(start, end);
	}
}

/** A range of a file, read when somebody asks for it. */
export class FileData implements TensorData {
	readonly file: DataFile;
	readonly offset: number;
	readonly byteLength: number;

	constructor(file: DataFile, offset: number, byteLength: number) {
		this.file = file;
		this.offset = offset;
		this.byteLength = byteLength;
	}

	read(start: number, end: number): Uint8Array {
		return this.file.read(this.offset + start, end - start);
	}
}

/** Bytes made by a function when they are written or asked for, piece by piece. */
export class ComputedData implements TensorData {
	readonly byteLength: number;
	readonly produce: (start: number, end: number) => Uint8Array;

	constructor(byteLength: number, produce: (start: number, end: number) => Uint8Array) {
		this.byteLength = byteLength;
		this.produce = produce;
	}

	read(start: number, end: number): Uint8Array {
		return this.produce(start, end);
	}
}

export function bytesData(bytes: Uint8Array): TensorData {
	return new BytesData(bytes);
}

export function fileData(file: DataFile, offset: number, byteLength: number): TensorData {
	return new FileData(file, offset, byteLength);
}

export function computedData(byteLength: number, produce: (start: number, end: number) => Uint8Array): TensorData {
	return new ComputedData(byteLength, produce);
}

/** Is shown bytes from `start` on while they are copied; they are valid until it returns. */
export type CopyWatcher = (bytes: Uint8Array, start: number) => void;

const copyWatchers = new WeakMap<TensorData, CopyWatcher>();

/**
 * Has `watcher` see the bytes of `data` whenever a write copies them, so that they need not be read once more: in order,
 * but not necessarily all of them, nor once only. Undefined ends it.
 */
export function watchCopies(data: FileData, watcher: CopyWatcher | undefined): void {
	if (watcher === undefined) copyWatchers.delete(data);
	else copyWatchers.set(data, watcher);
}

/** Shows bytes of `data` that were copied, from `start` on, to whom {@link watchCopies} named. */
export function showCopied(data: FileData, bytes: Uint8Array, start: number): void {
	copyWatchers.get(data)?.(bytes, start);
}

/** Bytes that {@link everyPiece} reads at a time. */
const PIECE_BYTES = 2 ** 18;

/** Memory for pieces, while no caller holds it: reading into fresh memory takes twice as long. */
let spare: Buffer | undefined;

/**
 * Shows `test` the bytes of `data` in pieces until it returns false, and tells whether it never did. A piece is valid
 * until `test` returns.
 */
export function everyPiece(data: TensorData, test: (bytes: Uint8Array, start: number) => boolean): boolean {
	const scratch = spare ?? Buffer.allocUnsafeSlow(PIECE_BYTES);
	spare = undefined;
	try {
		for (let start = 0; start < data.byteLength; start += PIECE_BYTES) {
			const end = Math.min(start + PIECE_BYTES, data.byteLength);
			let bytes: Uint8Array;
			if (data instanceof FileData) {
				bytes = scratch.subarray(0, end - start);
				data.file.readInto(bytes, data.offset + start);
			} else bytes = data.read(start, end);
			if (!test(bytes, start)) return false;
		}
		return true;
	} finally {
		spare = scratch;
	}
}

/** Reads all bytes of `data` into memory: only for what is known to be small. */
export function readAll(data: TensorData): Uint8Array {
	return data.read(0, data.byteLength);
}

/** Models may name thousands of data files; no more than this many are open at once. */
const MAX_OPEN_FILES = 32;
const openFiles = new Set<DataFile>();

function closeOne(): void {
	for (const file of openFiles) {
		if (file.isIdle) {
			file.close();
			return;
		}
	}
}

const readLater = promisify(read);

/**
 * A file that tensors point into. It is opened at the first read and refuses to read when it is no longer the file that
 * was there when the model was read (`data/file-changed`), so that stale offsets never pick up other bytes.
 */
export class DataFile {
	readonly path: string;
	readonly size: number;
	/** Changes with the file: device, inode, size and time of the last change. */
	readonly identity: string;
	#descriptor: number | undefined;
	/** Reads under way, which need the descriptor. */
	#reads = 0;

	/** `identity`: of the file that it must be; left out, whatever is there now. */
	constructor(path: string, identity?: string) {
		this.path = path;
		const stat = statSync(path, { bigint: true });
		this.size = Number(stat.size);
		this.identity = identity ?? identityOf(stat);
	}

	read(offset: number, length: number): Uint8Array {
		const target = Buffer.allocUnsafeSlow(length);
		this.readInto(target, offset);
		return target;
	}

	/** Fills `target` with the bytes from `offset`; throws `data/short-read` when the file ends before. */
	readInto(target: Uint8Array, offset: number): void {
		const descriptor = this.open();
		let done = 0;
		while (done < target.byteLength) {
			const count = readSync(descriptor, target, done, Math.min(target.byteLength - done, 1 << 30), offset + done);
			if (count === 0) throw this.#shortRead(target, offset, done);
			done += count;
		}
	}

	/** Does what `readInto` does while this thread does something else. */
	async readIntoLater(target: Uint8Array, offset: number): Promise<void> {
		const descriptor = this.open();
		this.#reads++;
		try {
			for (let done = 0; done < target.byteLength; ) {
				const wanted = Math.min(target.byteLength - done, 1 << 30);
				const { bytesRead } = await readLater(descriptor, target, done, wanted, offset + done);
				if (bytesRead === 0) throw this.#shortRead(target, offset, done);
				done += bytesRead;
			}
		} finally {
			this.#reads--;
		}
	}

	#shortRead(target: Uint8Array, offset: number, done: number): QGraphError {
		return new QGraphError(
			"data/short-read",
			`file '${this.path}' ends at byte ${offset + done}, but ${target.byteLength} bytes from ${offset} were expected`,
			{ file: this.path },
		);
	}

	/** The open descriptor; it belongs to this object. Throws `data/file-changed` for a file that is not what it was. */
	open(): number {
		if (this.#descriptor === undefined) {
			if (openFiles.size >= MAX_OPEN_FILES) closeOne();
			this.#descriptor = this.#reopen();
			openFiles.add(this);
		}
		if (identityOf(fstatSync(this.#descriptor, { bigint: true })) === this.identity) return this.#descriptor;
		this.close();
		throw new QGraphError(
			"data/file-changed",
			`file '${this.path}' was changed since the model was read; read the model again`,
			{ file: this.path },
		);
	}

	#reopen(): number {
		try {
			return openSync(this.path, "r");
		} catch (error) {
			if (!(error instanceof Error) || !("code" in error) || error.code !== "ENOENT") throw error;
			const message = `file '${this.path}' was removed since the model was read; put it back and read the model again`;
			throw new QGraphError("data/file-changed", message, { file: this.path }, { cause: error });
		}
	}

	/** Is nobody waiting for bytes of it? */
	get isIdle(): boolean {
		return this.#reads === 0;
	}

	close(): void {
		if (this.#descriptor === undefined) return;
		closeSync(this.#descriptor);
		this.#descriptor = undefined;
		openFiles.delete(this);
	}
}

function identityOf(stat: { dev: bigint; ino: bigint; size: bigint; mtimeNs: bigint }): string {
	return `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}`;
}
