import protobuf from "protobufjs/minimal.js";
import { QGraphError } from "../diagnostics.js";
import { computedData, readAll, type TensorData } from "../ir/data.js";
import { bitsPerElement, DataType, rawByteLength } from "../ir/types.js";
import type { Payload, WireRecord } from "./record.js";

/**
 * The elements of a tensor whose file keeps them in float_data, int32_data, ... as raw little-endian bytes. Float fields
 * are that already; integer fields are varints, decoded when somebody reads (onnx.proto: 16-bit floats are bit patterns,
 * sub-byte types one packed byte an entry of int32_data).
 */
export function typedData(record: WireRecord<"TensorProto">, shape: readonly number[]): TensorData | undefined {
	const dtype = record.data_type ?? DataType.UNDEFINED;
	if (record.float_data !== undefined) return record.float_data;
	if (record.double_data !== undefined) return record.double_data;
	const integers = record.int32_data ?? record.int64_data ?? record.uint64_data;
	const byteLength = rawByteLength(dtype, shape);
	if (integers === undefined || byteLength === undefined) return undefined;
	const elementBytes = Math.max(8, bitsPerElement(dtype) ?? 8) / 8;
	let decoded: WeakRef<Uint8Array> | undefined;
	return computedData(byteLength, (start, end) => {
		const bytes = decoded?.deref() ?? decodeVarints(integers, elementBytes, byteLength, record.name ?? "");
		decoded = new WeakRef(bytes);
		return bytes.subarray(start, end);
	});
}

function decodeVarints(payload: Payload, elementBytes: number, byteLength: number, name: string): Uint8Array {
	const reader = protobuf.Reader.create(readAll(payload));
	const out = new Uint8Array(byteLength);
	let at = 0;
	while (reader.pos < reader.len && at < byteLength) {
		const { low, high } = reader.int64();
		for (let byte = 0; byte < elementBytes; byte++) {
			out[at++] = (byte < 4 ? low >>> (8 * byte) : high >>> (8 * (byte - 4))) & 0xff;
		}
	}
	if (reader.pos < reader.len || at < byteLength) {
		throw new QGraphError(
			"onnx/invalid-tensor",
			`tensor '${name}' does not hold as many elements as its shape needs (${byteLength} bytes)`,
			{ value: name },
		);
	}
	return out;
}
