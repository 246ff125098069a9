import { computedData } from "../../src/ir/data.js";
import type { ByteSource } from "../../src/onnx/byte-source.js";

/** Bytes that are there, or that many zeros that are not. */
export type Part = Buffer | { readonly zeros: number };

/** A source of any size that counts what is read of it. */
export class SpySource implements ByteSource {
	readonly size: number;
	bytesRead = 0;
	reads = 0;
	/** Ranges that were located and not read. */
	readonly located: { readonly offset: number; readonly length: number }[] = [];
	readonly #parts: readonly Part[];

	constructor(...parts: readonly Part[]) {
		this.#parts = parts;
		this.size = parts.reduce((sum, part) => sum + lengthOf(part), 0);
	}

	readInto(target: Uint8Array, offset: number): void {
		if (offset + target.byteLength > this.size) throw new Error("a read beyond the end of the source");
		this.bytesRead += target.byteLength;
		this.reads++;
		this.#fill(target, offset);
	}

	locate(offset: number, length: number) {
		this.located.push({ offset, length });
		return computedData(length, (start, end) => {
			const bytes = new Uint8Array(end - start);
			this.#fill(bytes, offset + start);
			return bytes;
		});
	}

	#fill(target: Uint8Array, offset: number): void {
		let start = 0;
		for (const part of this.#parts) {
			const end = start + lengthOf(part);
			const [from, to] = [Math.max(offset, start), Math.min(offset + target.byteLength, end)];
			if (from < to) {
				const slice = target.subarray(from - offset, to - offset);
				if (Buffer.isBuffer(part)) slice.set(part.subarray(from - start, to - start));
				else slice.fill(0);
			}
			start = end;
		}
	}
}

export function lengthOf(part: Part): number {
	return Buffer.isBuffer(part) ? part.length : part.zeros;
}
