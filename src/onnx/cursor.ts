import protobuf from "protobufjs/minimal.js";
import { bytesData } from "../ir/data.js";
import type { ByteSource } from "./byte-source.js";
import { LIFT_THRESHOLD } from "./limits.js";
import type { Payload } from "./record.js";

/** A tag and a length, the longest things that are read in one go, take at most 20 bytes. */
export const LOOK_AHEAD = 20;

/** Bytes read at first and after a hop: what stands between two big payloads is short. */
const FIRST_READ = 4 * 1024;
const LONGEST_READ = 256 * 1024;

/**
 * A place in a byte source, moving forward. Only a window of the source is in memory; it grows as long as reading goes on
 * without hops, so that the payloads hopped over are not read along with their surroundings. protobufjs reads the
 * primitives.
 */
export class Cursor {
	readonly #source: ByteSource;
	readonly #window: Buffer;
	readonly #reader: protobuf.Reader;
	#windowStart = 0;
	#readAhead = FIRST_READ;

	constructor(source: ByteSource) {
		this.#source = source;
		this.#window = Buffer.allocUnsafe(Math.min(LONGEST_READ, source.size));
		this.#reader = new protobuf.Reader(this.#window);
		this.#load(0, 0);
	}

	get size(): number {
		return this.#source.size;
	}

	get position(): number {
		return this.#windowStart + this.#reader.pos;
	}

	seek(position: number): void {
		const inWindow = position - this.#windowStart;
		if (inWindow >= 0 && inWindow <= this.#reader.len) {
			this.#reader.pos = inWindow;
			return;
		}
		this.#readAhead = FIRST_READ;
		this.#load(position, 0);
	}

	/** Sees to it that the next `count` bytes, or all that are left, are in the window. */
	prepare(count: number): void {
		const { pos, len } = this.#reader;
		if (len - pos < count && this.#windowStart + len < this.#source.size) this.#load(this.position, count);
	}

	/** A field's number and wire type. */
	tag(): number {
		return this.#reader.tag();
	}

	/** A length prefix: up to 4 GiB, twice of what protobuf's own readers take. */
	length(): number {
		const { pos, buf } = this.#reader;
		const length = this.#reader.uint32();
		const count = this.#reader.pos - pos;
		if (count > 5 || (count === 5 && buf[pos + 4]! > 0x0f)) throw new RangeError("a length has more than 32 bits");
		return length;
	}

	int32(): number {
		return this.#reader.int32();
	}

	/** A bigint only where a number cannot hold it. */
	int64(): number | bigint {
		const { buf, pos } = this.#reader;
		if (pos < this.#reader.len && buf[pos]! < 0x80) {
			this.#reader.pos++;
			return buf[pos]!;
		}
		const { low, high } = this.#reader.int64();
		const value = high * 2 ** 32 + (low >>> 0);
		return Number.isSafeInteger(value) ? value : (BigInt(high) << 32n) | BigInt(low >>> 0);
	}

	fixed32(): number {
		return this.#reader.fixed32();
	}

	fixed64(): void {
		this.#reader.fixed64();
	}

	/** The next `length` bytes: located where they are many, copied where they are few. */
	payload(length: number): Payload {
		if (length > LIFT_THRESHOLD) {
			const payload = this.#source.locate(this.position, length);
			this.seek(this.position + length);
			return payload;
		}
		return bytesData(new Uint8Array(this.take(length)));
	}

	/** The next `length` bytes, in memory; valid until the next read. */
	take(length: number): Buffer {
		if (length > this.#window.byteLength) {
			const bytes = Buffer.allocUnsafe(length);
			this.#source.readInto(bytes, this.position);
			this.seek(this.position + length);
			return bytes;
		}
		this.prepare(length);
		const { pos } = this.#reader;
		this.#reader.pos += length;
		return this.#window.subarray(pos, pos + length);
	}

	/** Fills the window from `position` on, with `count` bytes or more. */
	#load(position: number, count: number): void {
		const wanted = Math.min(this.#window.byteLength, Math.max(count, this.#readAhead));
		const length = Math.min(wanted, this.#source.size - position);
		this.#readAhead = Math.min(LONGEST_READ, this.#readAhead * 4);
		this.#source.readInto(this.#window.subarray(0, length), position);
		this.#windowStart = position;
		this.#reader.pos = 0;
		this.#reader.len = length;
	}
}
