import type { FileHandle } from "node:fs/promises";
import { copyInto, FileData, type TensorData } from "../ir/data.js";
import { exactBytes } from "./payload.js";

const BUFFER_BYTES = 4 * 2 ** 20;

export interface BufferedFileOptions {
	readonly signal?: AbortSignal | undefined;
	/** Called with the bytes written since the last call. */
	readonly onBytes?: ((bytes: number) => void) | undefined;
}

/** A run of bytes of a file. */
export interface Piece {
	readonly offset: number;
	readonly data: TensorData;
}

/** Writes a new file through two buffers: one is filled while the other is on its way to the disk. */
export class BufferedFile {
	readonly #handle: FileHandle;
	readonly #options: BufferedFileOptions;
	#filling: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
	#writing: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
	#pending: Promise<void> = Promise.resolve();
	#used = 0;
	#position = 0;
	/** Where what was written before the last jump ends. */
	#written = 0;

	constructor(handle: FileHandle, options: BufferedFileOptions) {
		this.#handle = handle;
		this.#options = options;
	}

	/** Goes on at `offset`; what is never written is zeros. */
	async #goTo(offset: number): Promise<void> {
		const end = this.#position + this.#used;
		const gap = offset - end;
		if (gap === 0) return;
		// zeros keep the buffer whole, where they cover nothing that was written before
		if (end >= this.#written && gap > 0 && gap <= BUFFER_BYTES - this.#used) {
			this.#filling.fill(0, this.#used, this.#used + gap);
			await this.#advance(gap);
			return;
		}
		if (this.#used > 0) await this.#swap();
		this.#written = Math.max(this.#written, end);
		this.#position = offset;
	}

	async #append(data: TensorData): Promise<void> {
		for (let done = 0; done < data.byteLength; ) {
			const count = Math.min(data.byteLength - done, BUFFER_BYTES - this.#used);
			const target = this.#filling.subarray(this.#used, this.#used + count);
			if (data instanceof FileData) copyInto(target, data, done);
			else target.set(exactBytes(data, done, done + count));
			done += count;
			await this.#advance(count);
		}
	}

	/** Writes pieces, in whatever order; gaps between them become zeros. */
	async writeAll(pieces: Iterable<Piece>): Promise<void> {
		for (const { offset, data } of pieces) {
			await this.#goTo(offset);
			await this.#append(data);
		}
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

/**
 * `pieces` with those that have to be computed spread evenly among those that are copied, by bytes: the disk has something
 * to do while they are computed, and the other way round. Both kinds keep their order.
 */
export function spreadComputed<P extends Piece>(pieces: readonly P[]): P[] {
	const isCopied = ({ data }: P) => data instanceof FileData;
	const computed = pieces.filter((piece) => !isCopied(piece));
	const copied = pieces.filter(isCopied);
	const bytesOf = (all: readonly P[]) => all.reduce((sum, { data }) => sum + data.byteLength, 0);
	const share = bytesOf(computed) / bytesOf(copied);
	const spread: P[] = [];
	let [next, ahead] = [0, 0];
	for (const piece of copied) {
		spread.push(piece);
		ahead += piece.data.byteLength * share;
		for (; next < computed.length && ahead >= computed[next]!.data.byteLength; next++) {
			spread.push(computed[next]!);
			ahead -= computed[next]!.data.byteLength;
		}
	}
	return [...spread, ...computed.slice(next)];
}
