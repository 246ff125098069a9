import { FileData, showCopied, type TensorData } from "../ir/data.js";
import { PAGE_BYTES, type PageWriter, pageBuffer } from "./page-writer.js";
import { exactBytes } from "./payload.js";

const BUFFER_BYTES = 4 * 2 ** 20;

/** So many bytes are read by another thread; fewer are there before it is asked. */
const LARGE_BYTES = 2 ** 18;

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
	readonly #writer: PageWriter;
	readonly #options: BufferedFileOptions;
	#filling: Buffer = pageBuffer(BUFFER_BYTES);
	#writing: Buffer = pageBuffer(BUFFER_BYTES);
	#pending: Promise<void> = Promise.resolve();
	/** The place in the file of the buffer that is being filled; it begins with a page. */
	#origin = 0;
	/** The bytes of that buffer that are filled: [start, end). */
	#start = 0;
	#end = 0;
	/** Where what was written before the last jump ends. */
	#written = 0;
	/** What was copied last and not shown yet; its bytes are in one of the buffers. */
	#copied: { readonly data: FileData; readonly bytes: Uint8Array; readonly start: number } | undefined;

	constructor(writer: PageWriter, options: BufferedFileOptions) {
		this.#writer = writer;
		this.#options = options;
	}

	/** Writes pieces, in whatever order; gaps between them become zeros. */
	async writeAll(pieces: Iterable<Piece>): Promise<void> {
		try {
			for (const { offset, data } of pieces) {
				await this.#goTo(offset);
				await this.#append(data);
			}
			await this.#swap();
			this.#show();
			await this.#pending;
		} finally {
			await this.#pending.catch(() => undefined);
		}
	}

	/** Goes on at `offset`; what is never written is zeros. */
	async #goTo(offset: number): Promise<void> {
		const end = this.#origin + this.#end;
		const gap = offset - end;
		if (gap === 0) return;
		// zeros keep the buffer whole, where they cover nothing that was written before
		if (end >= this.#written && gap > 0 && gap <= BUFFER_BYTES - this.#end) {
			this.#filling.fill(0, this.#end, this.#end + gap);
			await this.#advance(gap);
			return;
		}
		if (this.#end > this.#start) await this.#swap();
		this.#written = Math.max(this.#written, end);
		this.#moveTo(offset);
	}

	async #append(data: TensorData): Promise<void> {
		for (let done = 0; done < data.byteLength; ) {
			const count = Math.min(data.byteLength - done, BUFFER_BYTES - this.#end);
			const target = this.#filling.subarray(this.#end, this.#end + count);
			if (data instanceof FileData) await this.#copy(target, data, done);
			else {
				this.#show();
				target.set(exactBytes(data, done, done + count));
			}
			done += count;
			await this.#advance(count);
		}
	}

	/** Who watches what is copied sees a piece while the next one is read. */
	async #copy(target: Uint8Array, data: FileData, start: number): Promise<void> {
		const isLarge = target.byteLength >= LARGE_BYTES;
		const reading = isLarge ? data.file.readIntoLater(target, data.offset + start) : undefined;
		try {
			this.#show();
		} finally {
			await reading;
		}
		if (!isLarge) data.file.readInto(target, data.offset + start);
		this.#copied = { data, bytes: target, start };
	}

	#show(): void {
		const copied = this.#copied;
		this.#copied = undefined;
		if (copied !== undefined) showCopied(copied.data, copied.bytes, copied.start);
	}

	async #advance(count: number): Promise<void> {
		this.#end += count;
		if (this.#end === BUFFER_BYTES) await this.#swap();
	}

	async #swap(): Promise<void> {
		await this.#pending;
		this.#options.signal?.throwIfAborted();
		[this.#filling, this.#writing] = [this.#writing, this.#filling];
		this.#pending = this.#write(this.#writing.subarray(this.#start, this.#end), this.#origin + this.#start);
		// The next swap or the end awaits it; until then a failure must not count as unhandled.
		this.#pending.catch(() => undefined);
		this.#moveTo(this.#origin + this.#end);
	}

	#moveTo(offset: number): void {
		this.#start = offset % PAGE_BYTES;
		this.#end = this.#start;
		this.#origin = offset - this.#start;
	}

	async #write(bytes: Buffer, position: number): Promise<void> {
		await this.#writer.write(bytes, position);
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
