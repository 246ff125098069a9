import type { FileHandle } from "node:fs/promises";
import { FileData, type TensorData } from "../ir/data.js";
import { exactBytes } from "./payload.js";

const BUFFER_BYTES = 4 * 2 ** 20;

export interface BufferedFileOptions {
	readonly signal?: AbortSignal | undefined;
	/** Called with the bytes written since the last call. */
	readonly onBytes?: ((bytes: number) => void) | undefined;
}

/** Appends to a new file through two buffers: one is filled while the other is on its way to the disk. */
export class BufferedFile {
	readonly #handle: FileHandle;
	readonly #options: BufferedFileOptions;
	#filling: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
	#writing: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
	#pending: Promise<void> = Promise.resolve();
	#used = 0;
	#position = 0;

	constructor(handle: FileHandle, options: BufferedFileOptions) {
		this.#handle = handle;
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

	async append(data: TensorData): Promise<void> {
		for (let done = 0; done < data.byteLength; ) {
			const count = Math.min(data.byteLength - done, BUFFER_BYTES - this.#used);
			const target = this.#filling.subarray(this.#used, this.#used + count);
			if (data instanceof FileData) data.file.readInto(target, data.offset + done);
			else target.set(exactBytes(data, done, done + count));
			done += count;
			await this.#advance(count);
		}
	}

	/** Writes pieces at rising offsets to the end; gaps become zeros. */
	async appendAll(pieces: Iterable<{ readonly offset: number; readonly data: TensorData }>): Promise<void> {
		for (const { offset, data } of pieces) {
			await this.pad(offset);
			await this.append(data);
		}
		await this.flush();
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
		// The next swap or flush awaits it; until then a failure must not count as unhandled.
		this.#pending.catch(() => undefined);
	}

	async #write(bytes: Buffer, position: number): Promise<void> {
		for (let done = 0; done < bytes.byteLength; ) {
			const { bytesWritten } = await this.#handle.write(bytes, done, bytes.byteLength - done, position + done);
			done += bytesWritten;
		}
		this.#options.onBytes?.(bytes.byteLength);
	}
}
