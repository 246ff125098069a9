import { randomBytes } from "node:crypto";
import { constants, existsSync } from "node:fs";
import { copyFile, type FileHandle, open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { QGraphError } from "../diagnostics.js";
import { FileData, type TensorData } from "../ir/data.js";

const BUFFER_BYTES = 4 * 2 ** 20;

export interface OutputOptions {
	readonly signal?: AbortSignal | undefined;
	/** Called with the bytes written since the last call. */
	readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * A set of files that appears as a whole or not at all. Each is written beside its place under a temporary name and
 * synced; `commit` renames them, the main file last. Where a data file of an older output is replaced, the older main
 * file goes first, so that a crash in between leaves no main file rather than one with another's data.
 */
export class OutputSet {
	readonly #options: OutputOptions;
	readonly #temporaries: Map<string, string> = new Map();

	constructor(options: OutputOptions) {
		this.#options = options;
	}

	/** Writes `target` from pieces at rising offsets; gaps become zeros. */
	async write(
		target: string,
		pieces: Iterable<{ readonly offset: number; readonly data: Uint8Array | TensorData }>,
	): Promise<void> {
		const file = new BufferedFile(await this.#create(target), this.#options);
		try {
			for (const { offset, data } of pieces) {
				await file.pad(offset);
				await file.append(data);
			}
			await file.flush();
			await file.handle.sync();
		} finally {
			await file.handle.close();
		}
	}

	/** Makes `target` a copy of the file `from`, by the kernel. */
	async copy(target: string, from: string, size: number): Promise<void> {
		const temporary = this.#temporary(target);
		await copyFile(from, temporary, constants.COPYFILE_FICLONE);
		const handle = await open(temporary, "r");
		try {
			await handle.sync();
		} finally {
			await handle.close();
		}
		this.#options.signal?.throwIfAborted();
		this.#options.onBytes?.(size);
	}

	/** Puts everything in place; `main` is the file that makes the others mean something. */
	async commit(main: string): Promise<void> {
		const others = [...this.#temporaries].filter(([target]) => target !== main);
		if (others.some(([target]) => existsSync(target))) await rm(main, { force: true });
		for (const [target, temporary] of others) await this.#rename(temporary, target);
		const temporary = this.#temporaries.get(main);
		if (temporary !== undefined) await this.#rename(temporary, main);
		await syncFolder(path.dirname(main));
	}

	/** Removes what was written but not committed. */
	async discard(): Promise<void> {
		for (const temporary of this.#temporaries.values()) await rm(temporary, { force: true });
	}

	async #create(target: string): Promise<FileHandle> {
		return open(this.#temporary(target), "wx");
	}

	#temporary(target: string): string {
		const name = `.${path.basename(target)}.${randomBytes(6).toString("hex")}.tmp`;
		const temporary = path.join(path.dirname(target), name);
		this.#temporaries.set(target, temporary);
		return temporary;
	}

	async #rename(temporary: string, target: string): Promise<void> {
		await rename(temporary, target);
		this.#temporaries.delete(target);
	}
}

/** Appends through two buffers: one is filled while the other is on its way to the disk. */
class BufferedFile {
	readonly handle: FileHandle;
	readonly #options: OutputOptions;
	#filling: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
	#writing: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
	#pending: Promise<void> = Promise.resolve();
	#used = 0;
	#position = 0;

	constructor(handle: FileHandle, options: OutputOptions) {
		this.handle = handle;
		this.#options = options;
	}

	/** Fills up with zeros to `offset`. */
	async pad(offset: number): Promise<void> {
		while (this.#position + this.#used < offset) {
			const count = Math.min(offset - this.#position - this.#used, BUFFER_BYTES - this.#used);
			this.#filling.fill(0, this.#used, this.#used + count);
			await this.#advance(count);
		}
	}

	async append(data: Uint8Array | TensorData): Promise<void> {
		for (let done = 0; done < data.byteLength; ) {
			const count = Math.min(data.byteLength - done, BUFFER_BYTES - this.#used);
			const target = this.#filling.subarray(this.#used, this.#used + count);
			if (data instanceof FileData) data.file.readInto(target, data.offset + done);
			else target.set(bytesOf(data, done, done + count));
			done += count;
			await this.#advance(count);
		}
	}

	async flush(): Promise<void> {
		await this.#swap();
		await this.#pending;
	}

	async #advance(count: number): Promise<void> {
		this.#used += count;
		if (this.#used === BUFFER_BYTES) await this.#swap();
	}

	async #swap(): Promise<void> {
		await this.#pending;
		this.#options.signal?.throwIfAborted();
		[this.#filling, this.#writing] = [this.#writing, this.#filling];
		const [bytes, position] = [this.#used, this.#position];
		this.#position += bytes;
		this.#used = 0;
		this.#pending = this.#write(this.#writing.subarray(0, bytes), position);
		this.#pending.catch(() => {});
	}

	async #write(bytes: Buffer, position: number): Promise<void> {
		for (let done = 0; done < bytes.byteLength; ) {
			const { bytesWritten } = await this.handle.write(bytes, done, bytes.byteLength - done, position + done);
			done += bytesWritten;
		}
		this.#options.onBytes?.(bytes.byteLength);
	}
}

function bytesOf(data: Uint8Array | TensorData, start: number, end: number): Uint8Array {
	if (data instanceof Uint8Array) return data.subarray(start, end);
	const bytes = data.read(start, end);
	if (bytes.byteLength !== end - start) {
		throw new QGraphError(
			"write/wrong-length",
			`${bytes.byteLength} bytes were produced where ${end - start} were due`,
		);
	}
	return bytes;
}

/** Makes renames in a folder durable, where the platform can. */
async function syncFolder(folder: string): Promise<void> {
	const handle = await open(folder, "r").catch(() => undefined);
	await handle?.sync().catch(() => undefined);
	await handle?.close();
}
