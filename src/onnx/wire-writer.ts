import protobuf from "protobufjs/minimal.js";
import { bytesData } from "../ir/data.js";
import { LIFT_THRESHOLD } from "./limits.js";
import { exactBytes } from "./payload.js";
import type { AnyRecord, Payload, WireRecord } from "./record.js";
import { type FieldSpec, type MessageName, type MessageSpec, messageSpec, WireType } from "./schema.js";
import { encodeText, textByteLength } from "./text.js";

/** A serialized message: pieces in order, those of big payloads not yet read. */
export interface EncodedMessage {
	readonly byteLength: number;
	readonly pieces: readonly Payload[];
}

/**
 * Serializes a record of message `name`: fields in the order of their numbers, then unknown ones, as protobuf's own
 * writers do. Sizes are computed first, so that nothing is copied from level to level.
 */
export function writeMessage<M extends MessageName>(record: WireRecord<M>, name: M): EncodedMessage {
	const writer = new RecordWriter();
	const spec = messageSpec(name);
	const byteLength = writer.measure(record as AnyRecord, spec);
	writer.message(record as AnyRecord, spec);
	return { byteLength, pieces: writer.finish() };
}

class RecordWriter {
	/** Sizes of messages, in the order in which they are met: `measure` notes them, `message` takes them. */
	readonly #sizes: number[] = [];
	#nextSize = 0;
	readonly #pieces: Payload[] = [];
	#writer: protobuf.Writer = protobuf.Writer.create();

	finish(): Payload[] {
		this.#flush();
		return this.#pieces;
	}

	measure(record: AnyRecord, spec: MessageSpec): number {
		const slot = this.#sizes.push(0) - 1;
		let total = 0;
		for (const field of spec.fields) {
			const value = record[field.name];
			if (value === undefined) continue;
			if (field.repeated) for (const element of value as unknown[]) total += this.#measureField(field, element);
			else total += this.#measureField(field, value);
		}
		for (const run of record.$unknown ?? []) total += run.byteLength;
		this.#sizes[slot] = total;
		return total;
	}

	message(record: AnyRecord, spec: MessageSpec): void {
		this.#nextSize++;
		for (const field of spec.fields) {
			const value = record[field.name];
			if (value === undefined) continue;
			if (field.repeated) for (const element of value as unknown[]) this.#field(field, element);
			else this.#field(field, value);
		}
		for (const run of record.$unknown ?? []) this.#payload(run);
	}

	#field(field: FieldSpec, value: unknown): void {
		const wireType = field.packed ? WireType.DELIMITED : field.wireType;
		this.#writer.uint32((field.id << 3) | wireType);
		if (field.message !== undefined) {
			this.#writer.uint32(this.#sizes[this.#nextSize]!);
			this.message(value as AnyRecord, field.message);
		} else if (field.packed || field.type === "bytes") {
			this.#writer.uint32((value as Payload).byteLength);
			this.#payload(value as Payload);
		} else if (field.type === "string") {
			if ((value as string).isWellFormed()) this.#writer.string(value as string);
			else this.#writer.bytes(encodeText(value as string));
		} else if (field.type === "float") this.#float(value as number | Float32Array);
		else if (typeof value === "bigint") this.#writer.int64(longOf(value));
		else if (field.type === "int32") this.#writer.int32(value as number);
		else this.#writer.int64(value as number);
	}

	#float(value: number | Float32Array): void {
		if (typeof value === "number") this.#writer.float(value);
		else this.#writer.fixed32(new Uint32Array(value.buffer, value.byteOffset, 1)[0]!);
	}

	#payload(payload: Payload): void {
		if (payload.byteLength > LIFT_THRESHOLD) {
			this.#flush();
			this.#pieces.push(payload);
		} else this.#writer.raw(exactBytes(payload, 0, payload.byteLength));
	}

	#flush(): void {
		const bytes = this.#writer.finish(true);
		if (bytes.byteLength > 0) this.#pieces.push(bytesData(bytes));
		this.#writer = protobuf.Writer.create();
	}

	/** Bytes of a field: tag, length prefix where there is one, and value. */
	#measureField(field: FieldSpec, value: unknown): number {
		const tagSize = field.id < 16 ? 1 : 2;
		if (field.message !== undefined) return tagSize + delimitedSize(this.measure(value as AnyRecord, field.message));
		if (field.packed || field.type === "bytes") return tagSize + delimitedSize((value as Payload).byteLength);
		if (field.type === "string") return tagSize + delimitedSize(textByteLength(value as string));
		return tagSize + (field.type === "float" ? 4 : integerSize(value as number | bigint));
	}
}

function delimitedSize(length: number): number {
	return length + (length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x200000 ? 3 : length < 0x10000000 ? 4 : 5);
}

/** Bytes of an integer as a varint: seven bits each, and ten bytes for negative ones. */
function integerSize(value: number | bigint): number {
	if (value < 0) return 10;
	let size = 1;
	for (let limit = 0x80; value >= limit && size < 10; limit *= 0x80) size++;
	return size;
}

/** The two halves of a 64-bit integer, as protobufjs takes them. */
function longOf(value: bigint): protobuf.Long {
	const low = Number(BigInt.asIntN(32, value));
	const high = Number(BigInt.asIntN(32, value >> 32n));
	return { low, high, unsigned: false } as protobuf.Long;
}
