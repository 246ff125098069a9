import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/** Bytes of a page: what the disk is written in, and what bytes that it takes from memory begin at. */
export const PAGE_BYTES = 4096;

/** Fewer bytes are written sooner by way of the page cache. */
const DIRECT_BYTES = 2 ** 18;

/** The only part of WebAssembly that is used here; Node's types do not have it. */
declare const WebAssembly: {
	readonly Memory: new (size: {
		readonly initial: number;
		readonly maximum: number;
	}) => { readonly buffer: ArrayBuffer };
};

const WASM_PAGE_BYTES = 2 ** 16;

/** A buffer that begins at a page; other buffers of Node do not. */
export function pageBuffer(byteLength: number): Buffer {
	const pages = Math.ceil(byteLength / WASM_PAGE_BYTES);
	return Buffer.from(new WebAssembly.Memory({ initial: pages, maximum: pages }).buffer, 0, byteLength);
}

/**
 * Writes a file, whole pages from memory to the disk where the system can (O_DIRECT). What is going to be synced anyway is
 * then neither copied by the kernel nor kept in its cache, which for large files takes longer than the disk.
 */
export class PageWriter {
	readonly #handle: FileHandle;
	readonly #path: string;
	/** Of the same file; null where there is none. */
	#direct: FileHandle | null | undefined;

	constructor(handle: FileHandle, path: string) {
		this.#handle = handle;
		this.#path = path;
	}

	/** Are whole pages on the disk once they are written? */
	get isDirect(): boolean {
		return this.#direct !== undefined && this.#direct !== null;
	}

	/** Writes all of `bytes`; those that become whole pages of the file begin at a page of memory. */
	async write(bytes: Buffer, position: number): Promise<void> {
		const first = -position & (PAGE_BYTES - 1);
		const whole = Math.floor((bytes.byteLength - first) / PAGE_BYTES) * PAGE_BYTES;
		if (whole < DIRECT_BYTES) {
			await writeAll(this.#handle, bytes, position);
			return;
		}
		await writeAll(this.#handle, bytes.subarray(0, first), position);
		const done = first + (await this.#writePages(bytes.subarray(first, first + whole), position + first));
		await writeAll(this.#handle, bytes.subarray(done), position + done);
	}

	async close(): Promise<void> {
		await this.#direct?.close();
	}

	/** How many bytes could be written so. */
	async #writePages(pages: Buffer, position: number): Promise<number> {
		this.#direct ??= await this.#open();
		if (this.#direct === null) return 0;
		try {
			const { bytesWritten } = await this.#direct.write(pages, 0, pages.byteLength, position);
			return bytesWritten;
		} catch (error) {
			if (!(error instanceof Error) || !("code" in error) || error.code !== "EINVAL") throw error;
			await this.#direct.close();
			this.#direct = null;
			return 0;
		}
	}

	async #open(): Promise<FileHandle | null> {
		if (constants.O_DIRECT === undefined) return null;
		return open(this.#path, constants.O_WRONLY | constants.O_DIRECT).catch(() => null);
	}
}

async function writeAll(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
	for (let done = 0; done < bytes.byteLength; ) {
		const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done, position + done);
		done += bytesWritten;
	}
}
