import protobuf from "protobufjs/minimal.js";
import { QGraphError } from "../diagnostics.js";
import { computedData, readAll, type TensorData } from "../ir/data.js";
import { bitsPerElement, DataType, elementCount, rawByteLength } from "../ir/types.js";
import type { Payload, WireRecord } from "./record.js";
import { shown } from "./text.js";

/**
 * The elements of a tensor whose file keeps them in float_data, int32_data, ... as raw little-endian bytes; undefined
 * where the field of its type is absent. Float fields are that already; integer fields are varints, decoded when somebody
 * reads. As onnx 1.23 writes them: 16-bit floats are bit patterns, an entry of int32_data holds one packed byte of 2-bit and
 * 4-bit types, and one element of 6-bit types, which raw bytes have packed.
 */
export function typedData(record: WireRecord<"TensorProto">, shape: readonly number[]): TensorData | undefined {
	const dtype = record.data_type ?? DataType.UNDEFINED;
	switch (dtype) {
		case DataType.FLOAT:
		case DataType.COMPLEX64:
			return record.float_data;
		case DataType.DOUBLE:
		case DataType.COMPLEX128:
			return record.double_data;
		case DataType.INT64:
			return integerData(record.int64_data, dtype, shape, record.name);
		case DataType.UINT32:
		case DataType.UINT64:
			return integerData(record.uint64_data, dtype, shape, record.name);
		default:
			return integerData(record.int32_data, dtype, shape, record.name);
	}
}

function integerData(
	varints: Payload | undefined,
	dtype: DataType,
	shape: readonly number[],
	name = "",
): TensorData | undefined {
	const bits = bitsPerElement(dtype);
	const byteLength = rawByteLength(dtype, shape);
	if (varints === undefined || bits === undefined || byteLength === undefined) return undefined;
	const entries = bits < 6 ? byteLength : elementCount(shape);
	let decoded: WeakRef<Uint8Array> | undefined;
	return computedData(byteLength, (start, end) => {
		const bytes = decoded?.deref() ?? decodeVarints(varints, entries, bits, byteLength, name);
		decoded = new WeakRef(bytes);
		return bytes.subarray(start, end);
	});
}

function decodeVarints(varints: Payload, entries: number, bits: number, byteLength: number, name: string): Uint8Array {
	if (varints.byteLength < entries) throw wrongCount(name, entries);
	const reader = protobuf.Reader.create(readAll(varints));
	const out = new Uint8Array(byteLength);
	for (let entry = 0; entry < entries; entry++) {
		if (reader.pos >= reader.len) throw wrongCount(name, entries);
		const value = readVarint(reader, name);
		if (bits === 6) writeSixBits(out, entry, value.low);
		else writeBytes(out, entry, Math.max(1, bits / 8), value);
	}
	if (reader.pos < reader.len) throw wrongCount(name, entries);
	return out;
}

function writeBytes(out: Uint8Array, entry: number, count: number, { low, high }: protobuf.Long): void {
	for (let byte = 0; byte < count; byte++) {
		out[entry * count + byte] = byte < 4 ? low >>> (8 * byte) : high >>> (8 * (byte - 4));
	}
}

function writeSixBits(out: Uint8Array, entry: number, value: number): void {
	const [byte, shift] = [(entry * 6) >> 3, (entry * 6) & 7];
	const bits = (value & 0x3f) << shift;
	out[byte] = out[byte]! | bits;
	if (bits > 0xff) out[byte + 1] = bits >> 8;
}

function wrongCount(name: string, needed: number): QGraphError {
	return new QGraphError(
		"onnx/invalid-tensor",
		`tensor '${shown(name)}' does not hold as many numbers as its shape and type need (${needed})`,
		{ value: name },
	);
}

function readVarint(reader: protobuf.Reader, name: string): protobuf.Long {
	try {
		return reader.int64();
	} catch (cause) {
		const message = `tensor '${shown(name)}' has an element that is cut off`;
		throw new QGraphError("onnx/invalid-tensor", message, { value: name }, { cause });
	}
}
