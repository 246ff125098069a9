import { QGraphError } from "../diagnostics.js";
import type { ByteSource } from "./byte-source.js";
import { Cursor, LOOK_AHEAD } from "./cursor.js";
import { JoinedData } from "./joined-data.js";
import {
	LIFT_THRESHOLD,
	MAX_MESSAGE_DEPTH,
	messageCost,
	NAME_COST,
	NUMBER_COST,
	PAYLOAD_COST,
	STRING_COST,
	structureBudget,
} from "./limits.js";
import type { AnyRecord, Payload, WireRecord } from "./record.js";
import { type FieldSpec, type MessageName, type MessageSpec, messageSpec, WireType } from "./schema.js";
import { decodeText } from "./text.js";

/**
 * Reads the message `name` that fills `source`: bytes fields above LIFT_THRESHOLD are located and hopped over, so that the
 * cost is that of the model's structure. Which fields there are says the schema; what it does not know is kept as it is.
 * A structure that would take more than `budget` bytes of memory is refused.
 */
export function readMessage<M extends MessageName>(
	source: ByteSource,
	name: M,
	budget: number = structureBudget(),
): WireRecord<M> {
	return new WireReader(source, budget).read(messageSpec(name)) as WireRecord<M>;
}

class WireReader {
	readonly #cursor: Cursor;
	readonly #budget: number;
	#spent = 0;

	constructor(source: ByteSource, budget: number) {
		this.#cursor = new Cursor(source);
		this.#budget = budget;
	}

	read(spec: MessageSpec): AnyRecord {
		try {
			return this.#message(spec, this.#cursor.size, 0, {});
		} catch (error) {
			const isOfProtobuf = error instanceof Error && !(error instanceof QGraphError) && !("syscall" in error);
			throw isOfProtobuf ? this.#malformed(`cannot read a ${spec.name}: ${error.message}`) : error;
		}
	}

	/** Reads fields up to `end` into `record`, which holds what an earlier part of the same message said. */
	#message(spec: MessageSpec, end: number, depth: number, record: AnyRecord): AnyRecord {
		if (depth > MAX_MESSAGE_DEPTH) {
			throw new QGraphError(
				"onnx/too-deep",
				`messages are nested deeper than ${MAX_MESSAGE_DEPTH} levels at byte ${this.#cursor.position}`,
			);
		}
		this.#spend(messageCost(spec.name));
		const cursor = this.#cursor;
		/** Where a run of unknown fields began. */
		let unknown: number | undefined;
		while (cursor.position < end) {
			cursor.prepare(LOOK_AHEAD);
			const start = cursor.position;
			const tag = cursor.tag();
			const field = spec.byId.get(tag >>> 3);
			if (field !== undefined && accepts(field, tag & 7)) {
				if (unknown !== undefined) this.#keep(record, unknown, start);
				unknown = undefined;
				this.#field(field, tag & 7, end, depth, record);
			} else {
				unknown ??= start;
				this.#skipField(tag, end, start);
			}
			if (cursor.position > end) throw this.#malformed(`field ${tag >>> 3} of a ${spec.name} runs past its end`);
		}
		if (unknown !== undefined) this.#keep(record, unknown, end);
		return record;
	}

	/** Parks the unknown fields from `start` to `end` on `record`. */
	#keep(record: AnyRecord, start: number, end: number): void {
		const here = this.#cursor.position;
		this.#cursor.seek(start);
		record.$unknown ??= [];
		record.$unknown.push(this.#take(end - start));
		this.#cursor.seek(here);
	}

	#field(field: FieldSpec, wireType: number, end: number, depth: number, record: AnyRecord): void {
		const { name, message } = field;
		if (field.packed) {
			join(record, name, wireType === WireType.DELIMITED ? this.#payload(end) : this.#element(wireType));
			return;
		}
		if (wireType !== field.wireType) {
			this.#list(field, end, listOf(record, name));
			return;
		}
		for (const rival of field.rivals) if (rival in record) delete record[rival];
		if (message === undefined) {
			if (field.repeated) listOf(record, name).push(this.#scalar(field, end));
			else record[name] = this.#scalar(field, end);
			return;
		}
		const length = this.#length(end);
		const into = field.repeated ? {} : ((record[name] as AnyRecord | undefined) ?? {});
		const value = this.#message(message, this.#cursor.position + length, depth + 1, into);
		if (field.repeated) listOf(record, name).push(value);
		else record[name] = value;
	}

	/** The numbers of a repeated field that the schema does not declare packed but the file has packed. */
	#list(field: FieldSpec, end: number, list: unknown[]): void {
		const listEnd = this.#length(end) + this.#cursor.position;
		while (this.#cursor.position < listEnd) list.push(this.#scalar(field, listEnd));
		if (this.#cursor.position > listEnd) throw this.#malformed(`a number of field '${field.name}' is cut off`);
	}

	#scalar({ type, repeated }: FieldSpec, end: number): unknown {
		this.#cursor.prepare(LOOK_AHEAD);
		switch (type) {
			case "int32":
				this.#spend(NUMBER_COST);
				return this.#cursor.int32();
			case "int64":
				this.#spend(NUMBER_COST);
				return this.#cursor.int64();
			case "float":
				this.#spend(NUMBER_COST);
				return this.#float();
			case "string":
				this.#spend(repeated ? NAME_COST : STRING_COST);
				return this.#string(end);
			case "bytes":
				return this.#payload(end);
			default:
				throw new Error(`no field that is not packed has type ${type}`);
		}
	}

	/** A NaN that is not the usual one comes with its bits. */
	#float(): number | Float32Array {
		floatBits[0] = this.#cursor.fixed32();
		const value = floatValue[0]!;
		if (!Number.isNaN(value) || floatBits[0] === USUAL_NAN) return value;
		this.#spend(PAYLOAD_COST);
		return floatValue.slice();
	}

	#string(end: number): string {
		const length = this.#length(end);
		this.#spend(length);
		return decodeText(this.#cursor.take(length));
	}

	#payload(end: number): Payload {
		return this.#take(this.#length(end));
	}

	#take(length: number): Payload {
		this.#spend(PAYLOAD_COST + (length > LIFT_THRESHOLD ? 0 : length));
		return this.#cursor.payload(length);
	}

	/** One number of a packed field that was written alone. */
	#element(wireType: number): Payload {
		const start = this.#cursor.position;
		this.#skipValue(wireType, start);
		const length = this.#cursor.position - start;
		this.#cursor.seek(start);
		this.#spend(length);
		return this.#cursor.payload(length);
	}

	/** A length prefix; what it announces must lie within the enclosing message. */
	#length(end: number): number {
		this.#cursor.prepare(LOOK_AHEAD);
		const length = this.#cursor.length();
		const left = end - this.#cursor.position;
		if (length > left) {
			throw this.#malformed(`a field announces ${length} bytes, but ${Math.max(0, left)} are left in its message`);
		}
		return length;
	}

	/** Hops over the value of the field `tag`. Groups may nest, so they are counted, not recursed into. */
	#skipField(tag: number, end: number, start: number): void {
		const open: number[] = [];
		for (let current = tag; ; current = this.#cursor.tag()) {
			const [id, wireType] = [current >>> 3, current & 7];
			if (id === 0) throw this.#malformed("a field has number 0");
			if (wireType === WireType.GROUP) open.push(id);
			else if (wireType === WireType.END_GROUP) {
				if (open.pop() !== id) throw this.#malformed(`the group at byte ${start} is not closed properly`);
			} else this.#skipValue(wireType, end);
			if (open.length === 0) return;
			if (open.length > MAX_MESSAGE_DEPTH) throw this.#malformed("groups are nested too deeply");
			if (this.#cursor.position >= end) throw this.#malformed(`the group at byte ${start} does not end`);
			this.#cursor.prepare(LOOK_AHEAD);
		}
	}

	#skipValue(wireType: number, end: number): void {
		this.#cursor.prepare(LOOK_AHEAD);
		if (wireType === WireType.VARINT) this.#cursor.int64();
		else if (wireType === WireType.FIXED64) this.#cursor.fixed64();
		else if (wireType === WireType.FIXED32) this.#cursor.fixed32();
		else if (wireType === WireType.DELIMITED) this.#cursor.seek(this.#length(end) + this.#cursor.position);
		else throw this.#malformed(`wire type ${wireType} does not exist`);
	}

	/** Counts what the structure takes in memory, so that a small hostile file cannot use it up. */
	#spend(bytes: number): void {
		this.#spent += bytes;
		if (this.#spent <= this.#budget) return;
		const [reached, budget] = [this.#cursor.position, Math.round(this.#budget / 2 ** 20)];
		throw new QGraphError(
			"onnx/too-large",
			`the structure up to byte ${reached} takes ${budget} MiB, all that Node may use for it here; give it more with --max-old-space-size`,
		);
	}

	#malformed(reason: string): QGraphError {
		return new QGraphError(
			"onnx/malformed",
			`the file breaks off or is damaged near byte ${this.#cursor.position}: ${reason}`,
		);
	}
}

const USUAL_NAN = 0x7fc00000;
const floatBits = new Uint32Array(1);
const floatValue = new Float32Array(floatBits.buffer);

/** Can `field` have wire type `wireType`? Numbers of a repeated field may be packed or not, whatever the schema says. */
function accepts(field: FieldSpec, wireType: number): boolean {
	if (wireType === field.wireType) return true;
	return wireType === WireType.DELIMITED && (field.packed || field.repeated);
}

function listOf(record: AnyRecord, name: string): unknown[] {
	record[name] ??= [];
	return record[name] as unknown[];
}

function join(record: AnyRecord, name: string, piece: Payload): void {
	const before = record[name];
	if (before === undefined) record[name] = piece;
	else if (before instanceof JoinedData) before.append(piece);
	else {
		const joined = new JoinedData();
		joined.append(before as Payload);
		joined.append(piece);
		record[name] = joined;
	}
}
