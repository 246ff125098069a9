import { readFileSync } from "node:fs";
import fc from "fast-check";
import onnxProto from "onnx-proto";
import { describe, expect, it } from "vitest";
import { memorySource } from "../../src/onnx/byte-source.js";
import { parseModel, serializeModel } from "../../src/onnx/file.js";
import { readMessage } from "../../src/onnx/wire-reader.js";
import { messageArbitrary, modelArbitrary } from "../support/onnx-arbitrary.js";
import { schemaName } from "../support/onnx-records.js";
import { encode, type FieldEntry, type Fields, REFERENCE } from "../support/onnx-wire.js";

/** A message class that protobufjs generated from ONNX 1.10.2. */
interface MessageClass {
	readonly prototype: object;
	decode(bytes: Uint8Array): object;
	encode(message: object): { finish(): Uint8Array };
}

function classOf(name: string): MessageClass | undefined {
	let found: unknown = onnxProto.onnx;
	for (const part of name.split(".")) found = (found as Record<string, unknown> | undefined)?.[part];
	return found as MessageClass | undefined;
}

const camel = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

/** A message as onnx-proto decoded it, in plain values; lists without elements left out. */
function theirs(message: object): object {
	const value = (field: unknown): unknown => {
		if (Array.isArray(field)) return field.map(value);
		if (field instanceof Uint8Array) return Buffer.from(field).toString("hex");
		if (typeof field !== "object" || field === null) return field;
		return "low" in field ? BigInt(String(field)) : theirs(field);
	};
	const entries = Object.entries(message).filter(([, field]) => !Array.isArray(field) || field.length > 0);
	return Object.fromEntries(entries.map(([key, field]) => [key, value(field)]));
}

/** The same of a record of ours, of the fields that onnx-proto knows. */
function ours(record: Record<string, unknown>, name: string): object {
	const known = classOf(name)!.prototype;
	const result: Record<string, unknown> = {};
	for (const [field, entry] of Object.entries(REFERENCE.messages[name]!)) {
		const value = record[field];
		if (!(camel(field) in known) || value === undefined) continue;
		if (entry.packed) result[camel(field)] = unpacked(bytesOf(value), entry.type);
		else if (entry.repeated) result[camel(field)] = (value as unknown[]).map((element) => single(element, entry));
		else result[camel(field)] = single(value, entry);
	}
	return Object.fromEntries(Object.entries(result).filter(([, field]) => !Array.isArray(field) || field.length > 0));
}

function single(value: unknown, { type }: FieldEntry): unknown {
	if (type in REFERENCE.messages) return ours(value as Record<string, unknown>, type);
	if (type === "bytes") return bytesOf(value).toString("hex");
	if (type === "int64") return BigInt(value as number | bigint);
	return value instanceof Float32Array ? value[0] : value;
}

function bytesOf(payload: unknown): Buffer {
	const data = payload as { byteLength: number; read(start: number, end: number): Uint8Array };
	return Buffer.from(data.read(0, data.byteLength));
}

function unpacked(bytes: Buffer, type: string): unknown[] {
	if (type === "float") return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
	if (type === "double") return Array.from({ length: bytes.length / 8 }, (_, i) => bytes.readDoubleLE(8 * i));
	const values: unknown[] = [];
	for (let [at, value, shift] = [0, 0n, 0n]; at < bytes.length; at++) {
		value |= BigInt(bytes[at]! & 127) << shift;
		shift += 7n;
		if (bytes[at]! > 127) continue;
		const signed = BigInt.asIntN(64, value);
		values.push(type === "int32" ? Number(signed) : type === "uint64" ? BigInt.asUintN(64, value) : signed);
		[value, shift] = [0n, 0n];
	}
	return values;
}

function decoded(bytes: Uint8Array, name: string): object {
	return ours(readMessage(memorySource(bytes), schemaName(name)) as Record<string, unknown>, name);
}

/** Strings that are UTF-8: onnx-proto reads others as something else. */
function withText(fields: Fields, name: string): Fields {
	const value = (field: unknown, { type }: FieldEntry): unknown => {
		if (Array.isArray(field)) return field.map((element) => value(element, { id: 0, type }));
		if (type in REFERENCE.messages) return withText(field as Fields, type);
		return type === "string" && Buffer.isBuffer(field) ? field.toString("latin1") : field;
	};
	const entries = Object.entries(fields);
	return Object.fromEntries(
		entries.map(([key, field]) => [key, key === "$raw" ? field : value(field, REFERENCE.messages[name]![key]!)]),
	);
}

const known = Object.keys(REFERENCE.messages).filter((name) => classOf(name)?.decode !== undefined);

describe("onnx-proto 8.0.1", () => {
	it("knows most messages", () => {
		expect(known).toHaveLength(21);
	});

	it.each(known)("decodes %s to what we decode, and we read what it encodes", (name) => {
		fc.assert(
			fc.property(messageArbitrary(name, 3), (fields) => {
				const bytes = encode(name, withText(fields, name));
				const message = classOf(name)!.decode(bytes);
				expect(decoded(bytes, name)).toEqual(theirs(message));
				const encoded = classOf(name)!.encode(message).finish();
				expect(decoded(encoded, name)).toEqual(theirs(message));
			}),
			{ numRuns: 60 },
		);
	});

	it("decodes what we write of whole models", () => {
		fc.assert(
			fc.property(modelArbitrary(), (fields) => {
				const bytes = encode("ModelProto", withText(fields, "ModelProto"));
				const written = serializeModel(parseModel(bytes));
				expect(theirs(onnxProto.onnx.ModelProto.decode(written))).toEqual(decoded(bytes, "ModelProto"));
			}),
			{ numRuns: 100 },
		);
	});

	it("is the version pinned to ONNX 1.10.2", () => {
		const manifest = new URL("../../node_modules/onnx-proto/package.json", import.meta.url);
		expect(JSON.parse(readFileSync(manifest, "utf8"))).toMatchObject({
			version: "8.0.1",
			config: { onnx_tag: "v1.10.2" },
		});
	});
});
