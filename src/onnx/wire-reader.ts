import protobuf from "protobufjs/minimal.js";
import { QGraphError } from "../diagnostics.js";
import { bytesData, readAll } from "../ir/data.js";
import type { ByteSource } from "./byte-source.js";
import { LIFT_THRESHOLD, MAX_MESSAGE_DEPTH, MAX_STRUCTURE_BYTES, MAX_STRUCTURE_ITEMS } from "./limits.js";
import type { AnyRecord, Payload, WireRecord } from "./record.js";
import {
	type FieldSpec,
	isMessage,
	MESSAGES,
	type MessageName,
	type MessageSpec,
	messageSpec,
	type ScalarType,
} from "./schema.js";
import { decodeText } from "./text.js";

const WINDOW_BYTES = 256 * 1024;
/** A tag and a length, the longest things that must not straddle the window's end, take at most 20 bytes. */
const LOOK_AHEAD = 20;
const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const GROUP = 3;
const END_GROUP = 4;
const FIXED32 = 5;

/**
 * Reads the message `name` that fills `source`. The source is read through a window, and bytes fields above
 * LIFT_THRESHOLD are located and hopped over, so that the cost is that of the model's structure. protobufjs reads the
 * primitives; which fields there are says the schema; whatever the schema does not know is kept as it is.
 */
export function readMessage<M extends MessageName>(source: ByteSource, name: M): WireRecord<M> {
	return new WireReader(source).read(messageSpec(name)) as WireRecord<M>;
}

class WireReader {
	readonly #source: ByteSource;
	readonly #window: Buffer;
	readonly #reader: protobuf.Reader;
	#windowStart = 0;
	#bytes = 0;
	#items = 0;

	constructor(source: ByteSource) {
		this.#source = source;
		this.#window = Buffer.allocUnsafe(Math.min(WINDOW_BYTES, source.size));
		this.#reader = new protobuf.Reader(this.#window);
		this.#load(0);
	}

	read(spec: MessageSpec): AnyRecord {
		try {
			return this.#message(spec, this.#source.size, 0, {});
		} catch (error) {
			if (error instanceof QGraphError) throw error;
			throw this.#malformed(spec.name, error instanceof Error ? error.message : String(error));
		}
	}

	get #position(): number {
		return this.#windowStart + this.#reader.pos;
	}

	#moveTo(position: number): void {
		const inWindow = position - this.#windowStart;
		if (inWindow >= 0 && inWindow <= this.#reader.len) {
			this.#reader.pos = inWindow;
			return;
		}
		this.#load(position);
	}

	#load(position: number): void {
		const length = Math.min(this.#window.byteLength, this.#source.size - position);
		this.#source.readInto(this.#window.subarray(0, length), position);
		this.#windowStart = position;
		this.#reader.pos = 0;
		this.#reader.len = length;
	}

	/** Sees to it that `count` bytes, or all that are left, are in the window. */
	#lookAhead(count: number): void {
		const { pos, len } = this.#reader;
		if (len - pos < count && this.#windowStart + len < this.#source.size) this.#load(this.#windowStart + pos);
	}

	#message(spec: MessageSpec, end: number, depth: number, record: AnyRecord): AnyRecord {
		if (depth > MAX_MESSAGE_DEPTH) {
			throw new QGraphError(
				"onnx/too-deep",
				`messages are nested deeper than ${MAX_MESSAGE_DEPTH} levels at byte ${this.#position}`,
			);
		}
		const packed = new Map<string, Payload[]>();
		const unknown: Payload[] = [];
		while (this.#position < end) {
			this.#lookAhead(LOOK_AHEAD);
			const start = this.#position;
			const tag = this.#reader.uint32();
			const field = spec.byId.get(tag >>> 3);
			this.#count(1);
			if (field === undefined || !this.#field(field, tag & 7, end, depth, record, packed)) {
				this.#moveTo(start);
				this.#reader.uint32();
				unknown.push(this.#skipped(spec, start, tag, end));
			}
			if (this.#position > end) throw this.#malformed(spec.name, `field ${tag >>> 3} runs past the end of its message`);
		}
		for (const [name, pieces] of packed) {
			record[name] = pieces.length === 1 ? pieces[0] : bytesData(Buffer.concat(pieces.map(readAll)));
		}
		if (unknown.length > 0) record.$unknown = [...(record.$unknown ?? []), ...unknown];
		return record;
	}

	/** Reads one field into `record`; false where its wire type is not one the schema allows. */
	#field(
		field: FieldSpec,
		wireType: number,
		end: number,
		depth: number,
		record: AnyRecord,
		packed: Map<string, Payload[]>,
	): boolean {
		const { name, type } = field;
		if (field.packed) {
			if (wireType === DELIMITED) push(packed, name, this.#payload(this.#length(end)));
			else if (wireType === wireTypeOf(type)) push(packed, name, this.#element(wireType));
			else return false;
			return true;
		}
		if (wireType !== wireTypeOf(type)) {
			if (!(field.repeated && wireType === DELIMITED && !isMessage(type))) return false;
			const list = listOf(record, name);
			const listEnd = this.#length(end) + this.#position;
			while (this.#position < listEnd) list.push(this.#scalar(type, listEnd));
			return this.#position === listEnd;
		}
		if (!(name in record)) for (const other of ONEOF_OTHERS.get(field) ?? []) delete record[other.name];
		const value = isMessage(type)
			? this.#nested(type, end, depth, field.repeated ? {} : ((record[name] as AnyRecord | undefined) ?? {}))
			: this.#scalar(type, end);
		if (field.repeated) listOf(record, name).push(value);
		else record[name] = value;
		return true;
	}

	#nested(type: MessageName, end: number, depth: number, into: AnyRecord): AnyRecord {
		const length = this.#length(end);
		return this.#message(messageSpec(type), this.#position + length, depth + 1, into);
	}

	#scalar(type: ScalarType | MessageName, end: number): unknown {
		this.#lookAhead(LOOK_AHEAD);
		this.#count(1);
		switch (type) {
			case "int32":
				return this.#reader.int32();
			case "int64":
				return this.#int64();
			case "float":
				return this.#float();
			case "string":
				return decodeText(this.#take(this.#length(end)));
			case "bytes":
				return this.#payload(this.#length(end));
			default:
				throw new Error(`no scalar field has type ${type}`);
		}
	}

	#int64(): number | bigint {
		const { buf, pos } = this.#reader;
		if (pos < this.#reader.len && buf[pos]! < 0x80) {
			this.#reader.pos++;
			return buf[pos]!;
		}
		const { low, high } = this.#reader.int64();
		const value = high * 2 ** 32 + (low >>> 0);
		return Number.isSafeInteger(value) ? value : (BigInt(high) << 32n) | BigInt(low >>> 0);
	}

	#float(): number | Float32Array {
		const bits = this.#reader.fixed32();
		const value = new Float32Array(Uint32Array.of(bits).buffer);
		return Number.isNaN(value[0]) ? value : value[0]!;
	}

	/** A length prefix; what it announces must lie within the enclosing message. */
	#length(end: number): number {
		this.#lookAhead(LOOK_AHEAD);
		const length = this.#reader.uint32();
		if (length > end - this.#position) {
			throw new QGraphError(
				"onnx/malformed",
				`the file breaks off or is damaged: a field at byte ${this.#position} announces ${length} bytes, but only ${Math.max(0, end - this.#position)} are left in its message`,
			);
		}
		return length;
	}

	/** The next `length` bytes: located where they are many, copied where they are few. */
	#payload(length: number): Payload {
		if (length > LIFT_THRESHOLD) {
			const payload = this.#source.locate(this.#position, length);
			this.#moveTo(this.#position + length);
			return payload;
		}
		return bytesData(Uint8Array.from(this.#take(length)));
	}

	/** The next `length` bytes, in memory; valid until the next read. */
	#take(length: number): Buffer {
		this.#count(0, length);
		if (length > this.#window.byteLength) {
			const bytes = Buffer.allocUnsafe(length);
			this.#source.readInto(bytes, this.#position);
			this.#moveTo(this.#position + length);
			return bytes;
		}
		this.#lookAhead(length);
		const { pos } = this.#reader;
		this.#reader.pos += length;
		return this.#window.subarray(pos, pos + length);
	}

	/** One element of a packed field that was written alone. */
	#element(wireType: number): Payload {
		this.#lookAhead(LOOK_AHEAD);
		const start = this.#reader.pos;
		this.#skip(wireType, start);
		return bytesData(Uint8Array.from(this.#window.subarray(start, this.#reader.pos)));
	}

	/** The bytes of the field that began at `start` and whose tag was just read. */
	#skipped(spec: MessageSpec, start: number, tag: number, end: number): Payload {
		if (tag >>> 3 === 0) throw this.#malformed(spec.name, "a field has number 0");
		const stop = this.#skipValue(tag, end, start);
		this.#moveTo(start);
		return this.#payload(stop - start);
	}

	/** Hops over the value of the field `tag`; returns where it ends. Groups may nest, so they are counted, not recursed. */
	#skipValue(tag: number, end: number, start: number): number {
		const open: number[] = [];
		let current = tag;
		for (;;) {
			const wireType = current & 7;
			if (wireType === GROUP) open.push(current >>> 3);
			else if (wireType === END_GROUP) {
				if (open.pop() !== current >>> 3)
					throw this.#malformed("group", `the group at byte ${start} is not closed properly`);
			} else this.#skip(wireType, end);
			if (open.length > MAX_MESSAGE_DEPTH) throw this.#malformed("group", "groups are nested too deeply");
			if (open.length === 0) return this.#position;
			if (this.#position >= end) throw this.#malformed("group", `the group at byte ${start} does not end`);
			this.#lookAhead(LOOK_AHEAD);
			current = this.#reader.uint32();
			this.#count(1);
		}
	}

	#skip(wireType: number, end: number): void {
		this.#lookAhead(LOOK_AHEAD);
		if (wireType === VARINT) this.#reader.uint64();
		else if (wireType === FIXED64) this.#reader.fixed64();
		else if (wireType === FIXED32) this.#reader.fixed32();
		else if (wireType === DELIMITED) {
			const length = this.#length(end);
			this.#moveTo(this.#position + length);
		} else throw this.#malformed("field", `wire type ${wireType} does not exist`);
	}

	#count(items: number, bytes = 0): void {
		this.#items += items;
		this.#bytes += bytes;
		if (this.#items > MAX_STRUCTURE_ITEMS || this.#bytes > MAX_STRUCTURE_BYTES) {
			throw new QGraphError(
				"onnx/too-large",
				`the structure has more than ${MAX_STRUCTURE_ITEMS} items or ${MAX_STRUCTURE_BYTES} bytes by byte ${this.#position}`,
			);
		}
	}

	#malformed(what: string, reason: string): QGraphError {
		return new QGraphError(
			"onnx/malformed",
			`the file breaks off or is damaged: cannot read a ${what} near byte ${this.#position}: ${reason}`,
		);
	}
}

/** For a member of a oneof, the other members: reading one clears them. */
const ONEOF_OTHERS = new Map<FieldSpec, readonly FieldSpec[]>();
for (const name of Object.keys(MESSAGES) as MessageName[]) {
	const members = messageSpec(name).fields.filter((field) => field.oneof !== undefined);
	for (const member of members)
		ONEOF_OTHERS.set(
			member,
			members.filter((other) => other !== member),
		);
}

function wireTypeOf(type: ScalarType | MessageName): number {
	if (type === "int32" || type === "int64" || type === "uint64") return VARINT;
	if (type === "float") return FIXED32;
	return type === "double" ? FIXED64 : DELIMITED;
}

function listOf(record: AnyRecord, name: string): unknown[] {
	record[name] ??= [];
	return record[name] as unknown[];
}

function push(lists: Map<string, Payload[]>, name: string, payload: Payload): void {
	const list = lists.get(name);
	if (list) list.push(payload);
	else lists.set(name, [payload]);
}
