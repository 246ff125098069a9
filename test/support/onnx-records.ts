import { memorySource } from "../../src/onnx/byte-source.js";
import type { MessageName } from "../../src/onnx/schema.js";
import { readMessage } from "../../src/onnx/wire-reader.js";

/** Messages with the same fields that src/onnx/schema.ts has once. */
export const SAME_AS: Readonly<Record<string, MessageName>> = {
	"TypeProto.SparseTensor": "TypeProto.Tensor",
	"TypeProto.Optional": "TypeProto.Sequence",
};

/** What src/onnx/schema.ts calls the message `name`. */
export function schemaName(name: string): MessageName {
	return SAME_AS[name] ?? (name as MessageName);
}

/** A record with every payload replaced by its bytes, for comparing with toEqual. Absent lists and empty ones are one. */
export function plain(value: unknown): unknown {
	if (Array.isArray(value)) return value.map(plain);
	if (value instanceof Float32Array) return { nan: Buffer.from(value.buffer).toString("hex") };
	if (typeof value !== "object" || value === null) return value;
	if ("byteLength" in value && "read" in value) {
		const data = value as { byteLength: number; read(start: number, end: number): Uint8Array };
		return { bytes: Buffer.from(data.read(0, data.byteLength)).toString("latin1") };
	}
	const fields: Record<string, unknown> = {};
	for (const [key, field] of Object.entries(value)) {
		if (field === undefined || (Array.isArray(field) && field.length === 0)) continue;
		fields[key] = key === "$unknown" ? joined(field) : plain(field);
	}
	return fields;
}

/** The record that `bytes` hold, as `plain` shows it. */
export function recordOf(bytes: Uint8Array, name: MessageName): unknown {
	return plain(readMessage(memorySource(bytes), name));
}

/** Unknown fields come in runs; only their bytes count. */
function joined(runs: { byteLength: number; read(start: number, end: number): Uint8Array }[]): string {
	return Buffer.concat(runs.map((run) => run.read(0, run.byteLength))).toString("latin1");
}
