import { QGraphError } from "../../diagnostics.js";

/**
 * Reads an importance matrix of llama.cpp in either of its formats: GGUF, which `llama-imatrix` writes by default, and the
 * older binary one (`--output-format dat`).
 *
 * @returns by name of the weight, numbers in proportion to the mean squares of its inputs; those of all experts together.
 * @throws QGraphError `recipe/statistics` for anything else.
 */
export function readLlamaImportance(file: string, bytes: Buffer): Map<string, ArrayLike<number>> {
	try {
		return bytes.subarray(0, 4).toString("latin1") === "GGUF" ? readGguf(bytes) : readDat(bytes);
	} catch (error) {
		if (!(error instanceof Malformed)) throw error;
		throw new QGraphError("recipe/statistics", `cannot use '${file}': ${error.message}`, { file });
	}
}

class Malformed extends Error {}

const NOT_IMPORTANCE = "it is neither .npz nor .json nor an importance matrix of llama.cpp";

/** Reads little-endian numbers one after the other. */
class Reader {
	readonly bytes: Buffer;
	at = 0;

	constructor(bytes: Buffer) {
		this.bytes = bytes;
	}

	take(length: number): Buffer {
		if (!(length >= 0 && length <= this.bytes.length - this.at)) throw new Malformed(NOT_IMPORTANCE);
		this.at += length;
		return this.bytes.subarray(this.at - length, this.at);
	}

	int32(): number {
		return this.take(4).readInt32LE();
	}

	uint64(): number {
		return Number(this.take(8).readBigUInt64LE());
	}

	string(length: number): string {
		return this.take(length).toString("utf8");
	}
}

/** Count, then for each: name length, name, calls, values, float32 sums of squares times calls over counts. */
function readDat(bytes: Buffer): Map<string, ArrayLike<number>> {
	const reader = new Reader(bytes);
	const matrix = new Map<string, ArrayLike<number>>();
	const count = reader.int32();
	if (count <= 0) throw new Malformed(NOT_IMPORTANCE);
	for (let entry = 0; entry < count; entry++) {
		const name = reader.string(reader.int32());
		reader.int32();
		matrix.set(name, floatsOf(reader.take(reader.int32() * 4)));
	}
	return matrix;
}

/** Bytes of GGUF's value types, by number; 8 is a string, 9 an array. */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, Number.NaN, Number.NaN, 8, 8, 8] as const;
const [STRING, ARRAY, UINT32] = [8, 9, 4];
const F32 = 0;
const DEFAULT_ALIGNMENT = 32;
const SUMS = ".in_sum2";
const COUNTS = ".counts";

interface GgufTensor {
	/** The innermost first. */
	readonly dimensions: readonly number[];
	readonly type: number;
	readonly offset: number;
}

/** Sums of squares [K, experts] as `<weight>.in_sum2`, and beside them how many there were as `<weight>.counts`. */
function readGguf(bytes: Buffer): Map<string, ArrayLike<number>> {
	const reader = new Reader(bytes);
	reader.take(4);
	const version = reader.int32();
	if (version !== 2 && version !== 3) throw new Malformed(`it is GGUF of version ${version}, expected 2 or 3`);
	const [tensorCount, valueCount] = [reader.uint64(), reader.uint64()];
	const alignment = readValues(reader, valueCount);
	const tensors = readTensorInfos(reader, tensorCount);
	const start = Math.ceil(reader.at / alignment) * alignment;
	const matrix = new Map<string, ArrayLike<number>>();
	for (const [name, { dimensions, type, offset }] of tensors) {
		if (!name.endsWith(SUMS)) continue;
		const weight = name.slice(0, -SUMS.length);
		if (type !== F32 || !tensors.has(`${weight}${COUNTS}`)) throw new Malformed(`it has no counts for '${weight}'`);
		const [depth = 0, ...others] = dimensions;
		const experts = others.reduce((a, b) => a * b, 1);
		if (depth * experts === 0) continue;
		reader.at = Math.min(start + offset, bytes.length);
		const sums = floatsOf(reader.take(4 * depth * experts));
		const total = new Float64Array(depth);
		for (let expert = 0; expert < experts; expert++) {
			for (let j = 0; j < depth; j++) total[j]! += sums[expert * depth + j]!;
		}
		matrix.set(weight, total);
	}
	if (matrix.size === 0) throw new Malformed("it is GGUF without importance: no tensor's name ends in '.in_sum2'");
	return matrix;
}

/** Skips over the key-value pairs; returns the alignment of tensors. */
function readValues(reader: Reader, count: number): number {
	let alignment = DEFAULT_ALIGNMENT;
	for (let index = 0; index < count; index++) {
		const key = reader.string(reader.uint64());
		const type = reader.int32();
		if (key === "general.alignment" && type === UINT32) alignment = Math.max(1, reader.int32());
		else skipValue(reader, type);
	}
	return alignment;
}

function skipValue(reader: Reader, type: number): void {
	if (type === STRING) reader.take(reader.uint64());
	else if (type === ARRAY) {
		const [elementType, length] = [reader.int32(), reader.uint64()];
		const size = VALUE_BYTES[elementType];
		if (elementType === STRING) for (let index = 0; index < length; index++) skipValue(reader, STRING);
		else reader.take((size ?? Number.NaN) * length);
	} else reader.take(VALUE_BYTES[type] ?? Number.NaN);
}

function readTensorInfos(reader: Reader, count: number): Map<string, GgufTensor> {
	const tensors = new Map<string, GgufTensor>();
	for (let index = 0; index < count; index++) {
		const name = reader.string(reader.uint64());
		const rank = reader.int32();
		if (!(rank >= 0 && rank <= 8)) throw new Malformed(NOT_IMPORTANCE);
		const dimensions = Array.from({ length: rank }, () => reader.uint64());
		tensors.set(name, { dimensions, type: reader.int32(), offset: reader.uint64() });
	}
	return tensors;
}

function floatsOf(bytes: Buffer): Float32Array {
	return new Float32Array(Uint8Array.from(bytes).buffer);
}
