import protobuf from "protobufjs/minimal.js";
import { LIFT_THRESHOLD } from "./limits.js";
import type { AnyRecord, Payload, WireRecord } from "./record.js";
import {
	type FieldSpec,
	isMessage,
	type MessageName,
	type MessageSpec,
	messageSpec,
	type ScalarType,
} from "./schema.js";
import { encodeText } from "./text.js";

/** A serialized message: pieces in order, those of big payloads not yet read. */
export interface EncodedMessage {
	readonly byteLength: number;
	readonly pieces: readonly (Uint8Array | Payload)[];
}

/**
 * Serializes a record of message `name`: fields in the order of their numbers, then unknown ones, as protobuf's own
 * writers do. Sizes are computed first, so that nothing is copied from level to level.
 */
export function writeMessage<M extends MessageName>(record: WireRecord<M>, name: M): EncodedMessage {
	const writer = new RecordWriter();
	const spec = messageSpec(name);
	writer.message(record as AnyRecord, spec);
	return { byteLength: writer.size(record as AnyRecord, spec), pieces: writer.finish() };
}

class RecordWriter {
	readonly #sizes: Map<AnyRecord, number> = new Map();
	readonly #pieces: (Uint8Array | Payload)[] = [];
	#writer: protobuf.Writer = protobuf.Writer.create();

	finish(): (Uint8Array | Payload)[] {
		this.#flush();
		return this.#pieces;
	}

	size(record: AnyRecord, spec: MessageSpec): number {
		const known = this.#sizes.get(record);
		if (known !== undefined) return known;
		let total = 0;
		for (const field of spec.fields) {
			const tagSize = varintSize(field.id << 3);
			for (const value of valuesOf(record, field)) {
				const size = this.#valueSize(field, value);
				total += tagSize + size + (isDelimited(field) ? varintSize(size) : 0);
			}
		}
		for (const piece of record.$unknown ?? []) total += piece.byteLength;
		this.#sizes.set(record, total);
		return total;
	}

	message(record: AnyRecord, spec: MessageSpec): void {
		for (const field of spec.fields) {
			for (const value of valuesOf(record, field)) this.#field(field, value);
		}
		for (const piece of record.$unknown ?? []) this.#payload(piece);
	}

	#field(field: FieldSpec, value: unknown): void {
		const { type } = field;
		this.#writer.uint32(((field.id << 3) | wireTypeOf(field)) >>> 0);
		if (isMessage(type)) {
			const spec = messageSpec(type);
			this.#writer.uint32(this.size(value as AnyRecord, spec));
			this.message(value as AnyRecord, spec);
		} else if (field.packed || type === "bytes") {
			const payload = value as Payload;
			this.#writer.uint32(payload.byteLength);
			this.#payload(payload);
		} else this.#scalar(type, value);
	}

	#scalar(type: ScalarType, value: unknown): void {
		if (type === "int32") this.#writer.int32(value as number);
		else if (type === "int64") this.#writer.int64(typeof value === "bigint" ? longOf(value) : (value as number));
		else if (type === "string") this.#writer.bytes(encodeText(value as string));
		else if (value instanceof Float32Array)
			this.#writer.fixed32(new Uint32Array(value.buffer, value.byteOffset, 1)[0]!);
		else this.#writer.float(value as number);
	}

	#payload(payload: Payload): void {
		if (payload.byteLength > LIFT_THRESHOLD) {
			this.#flush();
			this.#pieces.push(payload);
			return;
		}
		this.#writer.raw(payload.read(0, payload.byteLength));
	}

	#flush(): void {
		const bytes = this.#writer.finish();
		if (bytes.byteLength > 0) this.#pieces.push(bytes);
		this.#writer = protobuf.Writer.create();
	}

	#valueSize(field: FieldSpec, value: unknown): number {
		const { type } = field;
		if (isMessage(type)) return this.size(value as AnyRecord, messageSpec(type));
		if (field.packed || type === "bytes") return (value as Payload).byteLength;
		if (type === "string") return textSize(value as string);
		if (type === "float") return 4;
		return integerSize(value as number | bigint);
	}
}

function valuesOf(record: AnyRecord, field: FieldSpec): readonly unknown[] {
	const value = record[field.name];
	if (value === undefined) return [];
	return field.repeated ? (value as readonly unknown[]) : [value];
}

function isDelimited(field: FieldSpec): boolean {
	return wireTypeOf(field) === 2;
}

function wireTypeOf(field: FieldSpec): number {
	if (field.packed || isMessage(field.type) || field.type === "string" || field.type === "bytes") return 2;
	return field.type === "float" ? 5 : 0;
}

function textSize(text: string): number {
	return text.isWellFormed() ? Buffer.byteLength(text, "utf8") : encodeText(text).byteLength;
}

function varintSize(value: number): number {
	return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : value < 0x10000000 ? 4 : 5;
}

function integerSize(value: number | bigint): number {
	if (value >= 0 && value < 0x80) return 1;
	if (value < 0) return 10;
	return Math.ceil(value.toString(2).length / 7);
}

/** The two halves of a 64-bit integer, as protobufjs takes them. */
function longOf(value: bigint): protobuf.Long {
	const low = Number(BigInt.asIntN(32, value));
	const high = Number(BigInt.asIntN(32, value >> 32n));
	return { low, high, unsigned: false } as protobuf.Long;
}
