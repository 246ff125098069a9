import { readFileSync } from "node:fs";

/**
 * A protobuf encoder that shares nothing with src/onnx: the field table is dumped from the descriptors of the Python
 * package onnx 1.23.2, the bytes are put together here.
 */
export interface FieldEntry {
	readonly id: number;
	readonly type: string;
	readonly repeated?: boolean;
	readonly packed?: boolean;
	readonly oneof?: string;
}

export type MessageTable = Readonly<Record<string, Readonly<Record<string, FieldEntry>>>>;

const vector = new URL("../vectors/onnx-schema.json", import.meta.url);
export const REFERENCE: { readonly onnx: string; readonly ir_version: number; readonly messages: MessageTable } =
	JSON.parse(readFileSync(vector, "utf8"));

/** Values by field name. A Buffer stands for bytes or for the content of a packed field; `{ bits }` for a float. */
export interface Fields {
	readonly [field: string]: unknown;
	/** Bytes to put behind the fields. */
	readonly $raw?: Buffer;
}

/** The message `name` with its fields in the order of their numbers. */
export function encode(name: string, fields: Fields): Buffer {
	const entries = Object.entries(REFERENCE.messages[name] ?? {}).sort(([, a], [, b]) => a.id - b.id);
	for (const key of Object.keys(fields)) {
		if (key !== "$raw" && !entries.some(([field]) => field === key)) throw new Error(`${name} has no field ${key}`);
	}
	const parts = entries.flatMap(([field, entry]) =>
		fields[field] === undefined ? [] : [encodeField(entry, fields[field])],
	);
	return Buffer.concat([...parts, fields.$raw ?? Buffer.alloc(0)]);
}

/** A model file; without a graph of its own it gets an empty one. */
export function model(fields: Fields): Buffer {
	return encode("ModelProto", { graph: {}, ...fields });
}

/** A model file with the graph `fields`. */
export function graphModel(fields: Fields): Buffer {
	return model({ graph: fields });
}

/** One field, tag included. */
export function encodeField(entry: FieldEntry, value: unknown): Buffer {
	if (entry.packed) {
		const content = Buffer.isBuffer(value)
			? value
			: Buffer.concat((value as unknown[]).map((v) => scalar(entry.type, v)));
		return delimited(entry.id, content);
	}
	const values = entry.repeated ? (value as unknown[]) : [value];
	return Buffer.concat(values.map((element) => encodeElement(entry, element)));
}

function encodeElement({ id, type }: FieldEntry, value: unknown): Buffer {
	if (type === "string") return delimited(id, Buffer.isBuffer(value) ? value : Buffer.from(value as string));
	if (type === "bytes") return delimited(id, value as Buffer);
	if (type in REFERENCE.messages) return delimited(id, encode(type, value as Fields));
	return Buffer.concat([tag(id, type === "float" ? 5 : 0), scalar(type, value)]);
}

export function scalar(type: string, value: unknown): Buffer {
	if (type === "float") return fixed32(value as number | { readonly bits: number });
	if (type !== "double") return varint(value as number | bigint);
	const bytes = Buffer.alloc(8);
	bytes.writeDoubleLE(value as number);
	return bytes;
}

export function fixed32(value: number | { readonly bits: number }): Buffer {
	const bytes = Buffer.alloc(4);
	if (typeof value === "number") bytes.writeFloatLE(value);
	else bytes.writeUInt32LE(value.bits);
	return bytes;
}

export function varint(value: number | bigint): Buffer {
	const bytes: number[] = [];
	for (let rest = BigInt.asUintN(64, BigInt(value)); ; rest >>= 7n) {
		if (rest < 128n) {
			bytes.push(Number(rest));
			return Buffer.from(bytes);
		}
		bytes.push(Number(rest & 127n) | 128);
	}
}

export function tag(id: number, wireType: number): Buffer {
	return varint(id * 8 + wireType);
}

export function delimited(id: number, content: Buffer | string): Buffer {
	const bytes = Buffer.from(content);
	return Buffer.concat([tag(id, 2), varint(bytes.length), bytes]);
}

/** Fields that no message has, one of each wire type; the group has another in it. */
export const UNKNOWN_FIELDS: Readonly<Record<string, Buffer>> = {
	varint: Buffer.concat([tag(900, 0), varint(-1)]),
	fixed64: Buffer.concat([tag(901, 1), Buffer.from("12345678")]),
	delimited: delimited(902, "some bytes"),
	group: Buffer.concat([tag(903, 3), tag(904, 3), tag(1, 0), varint(300), tag(904, 4), delimited(1, "x"), tag(903, 4)]),
	fixed32: Buffer.concat([tag(905, 5), Buffer.from("1234")]),
	"highest number": Buffer.concat([tag(2 ** 29 - 1, 0), varint(7)]),
};

/** Bytes again and again; for hostile files. */
export function repeat(bytes: Buffer, times: number): Buffer {
	const all = Buffer.alloc(bytes.length * times);
	for (let i = 0; i < times; i++) bytes.copy(all, i * bytes.length);
	return all;
}
