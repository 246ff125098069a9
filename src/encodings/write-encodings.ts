import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { QGraphError } from "../diagnostics.js";
import { type AffineEncoding, codeTypeName, type Encodings, type TensorEncoding, unsignedShift } from "./encoding.js";
import type { JsonValue, NumberArray } from "./json-reader.js";
import { type JsonNode, jsonText, numbersNode, textNode, toNode } from "./json-writer.js";

/** Characters that are collected before they are written. */
const PIECE_LENGTH = 2 ** 16;

/** The text of an encodings file as AIMET writes it: keys in alphabetical order, four spaces, a number a line. */
export function encodingsText(encodings: Encodings): string {
	return [...textOf(encodings)].join("");
}

/**
 * Writes an encodings file, as {@link encodingsText} but a piece at a time; it appears under its name when it is complete.
 *
 * @throws QGraphError `write/exists` unless `overwrite` is set, `write/failed`.
 */
export function writeEncodings(
	encodings: Encodings,
	file: string,
	options: { readonly overwrite?: boolean } = {},
): void {
	if (options.overwrite !== true && existsSync(file)) {
		throw new QGraphError("write/exists", `'${file}' exists; use --force to replace it`, { file });
	}
	const temporary = `${file}.${process.pid}.part`;
	try {
		const descriptor = openSync(temporary, "w");
		try {
			let pending = "";
			for (const text of textOf(encodings)) {
				pending += text;
				if (pending.length < PIECE_LENGTH) continue;
				writeSync(descriptor, pending);
				pending = "";
			}
			writeSync(descriptor, pending);
			fsyncSync(descriptor);
		} finally {
			closeSync(descriptor);
		}
		renameSync(temporary, file);
	} catch (error) {
		rmSync(temporary, { force: true });
		const reason = error instanceof Error ? error.message : String(error);
		throw new QGraphError("write/failed", `cannot write '${file}': ${reason}`, { file }, { cause: error });
	}
}

function textOf(encodings: Encodings): Generator<string> {
	const { version, entries, header } = encodings;
	const top = new Map<string, JsonNode>([["version", textNode(version)]]);
	for (const [key, value] of header) top.set(key, toNode(value));
	const section = (of: "parameter" | "activation"): JsonNode => {
		const own = entries.filter((entry) => entry.section === of);
		if (version !== "0.6.1") return { kind: "list", elements: own.map((entry) => () => version1Node(entry)) };
		return { kind: "object", members: new Map(own.map((entry) => [entry.name, () => legacyNode(entry)])) };
	};
	if (version.startsWith("2"))
		top.set("encodings", { kind: "list", elements: entries.map((entry) => () => version2Node(entry)) });
	else {
		top.set("activation_encodings", section("activation"));
		top.set("param_encodings", section("parameter"));
	}
	return jsonText({ kind: "object", members: new Map([...top].map(([key, node]) => [key, () => node])) });
}

type Scalar = string | number | boolean;

function objectOf(fields: Readonly<Record<string, Scalar | JsonNode | undefined>>): JsonNode {
	const members = new Map<string, () => JsonNode>();
	for (const [key, value] of Object.entries(fields)) {
		if (value === undefined) continue;
		members.set(key, () => (typeof value === "object" ? value : textNode(value)));
	}
	return { kind: "object", members };
}

function legacyNode(entry: TensorEncoding): JsonNode {
	if (entry.kind === "float") return { kind: "list", elements: [() => objectOf({ bitwidth: 16, dtype: "float" })] };
	if (entry.kind === "lpbq") throw new Error("version 0.6.1 has no LPBQ");
	const { codes, scales, zeroPoints } = entry;
	const least = codes.signed ? -(2 ** (codes.bits - 1)) : 0;
	const element = (index: number) => () => {
		const scale = scales.values[index]!;
		const zero = zeroPoints?.[index] ?? 0;
		return objectOf({
			bitwidth: codes.bits,
			dtype: "int",
			is_symmetric: codes.signed ? "True" : "False",
			max: float((least + 2 ** codes.bits - 1 - zero) * scale),
			min: float((least - zero) * scale),
			offset: float(offsetOf(entry, index)),
			scale: float(scale),
		});
	};
	return { kind: "list", elements: Array.from(scales.values, (_, index) => element(index)) };
}

function version1Node(entry: TensorEncoding): JsonNode {
	const { name } = entry;
	if (entry.kind === "float")
		return objectOf({ bw: floatBits(entry.type), dtype: "FLOAT", enc_type: "PER_TENSOR", name });
	const { codes, blockSize } = entry;
	if (entry.kind === "lpbq") {
		const offset = -(2 ** (entry.expandedBits - 1));
		return objectOf({
			block_size: blockSize,
			bw: entry.expandedBits,
			compressed_bw: codes.bits,
			dtype: "INT",
			enc_type: "LPBQ",
			is_sym: true,
			name,
			offset: integers(listOf(entry.channelScales.values.map(() => offset))),
			per_block_int_scale: integers(entry.integers),
			scale: floats(entry.channelScales),
		});
	}
	const offsets = entry.scales.values.map((_, index) => offsetOf(entry, index));
	const shifts = offsets.map((offset) => offset - Math.floor(offset));
	return objectOf({
		block_size: blockSize === 0 ? undefined : blockSize,
		bw: codes.bits,
		dtype: "INT",
		enc_type: `PER_${entry.granularity.toUpperCase()}`,
		is_sym: codes.signed,
		name,
		offset: floats(listOf(offsets.map(Math.floor))),
		scale: floats(entry.scales),
		zero_point_shift: shifts.every((shift) => shift === 0) ? undefined : floats(listOf(shifts)),
	});
}

function version2Node(entry: TensorEncoding): JsonNode {
	const { name } = entry;
	if (entry.kind === "float") return objectOf({ name, output_dtype: entry.type });
	const common = {
		axis: entry.axis,
		block_size: entry.blockSize === 0 ? undefined : entry.blockSize,
		name,
		output_dtype: codeTypeName(entry.codes),
	};
	if (entry.kind === "affine") {
		const { scales, zeroPoints } = entry;
		const zeros = zeroPoints && { shape: scales.shape, values: zeroPoints };
		const isWhole = zeroPoints?.every(Number.isInteger) ?? true;
		return objectOf({
			...common,
			y_scale: floats(scales),
			y_zero_point: zeros && (isWhole ? integers(zeros) : floats(zeros)),
		});
	}
	if (entry.channelAxis === undefined) {
		const scales = {
			per_block_int_scale: integers(entry.integers),
			per_channel_float_scale: floats(entry.channelScales),
		};
		return objectOf({ ...common, ...scales });
	}
	const scale = { axis: entry.channelAxis, x: integers(entry.integers), x_scale: floats(entry.channelScales) };
	return objectOf({ ...common, y_scale: objectOf(scale) });
}

/** What AIMET adds to the code's unsigned view: -8 for symmetric int4. */
function offsetOf({ zeroPoints, codes }: AffineEncoding, index: number): number {
	return 0 - (zeroPoints?.[index] ?? 0) - unsignedShift(codes);
}

function floatBits(type: string): number {
	return Number(/\d+/.exec(type)?.[0] ?? 16);
}

function listOf(values: Float64Array): NumberArray {
	return { shape: [values.length], values };
}

function float(value: number): JsonNode {
	return floats({ shape: [], values: Float64Array.of(value) });
}

function floats(numbers: NumberArray): JsonNode {
	return numbersNode(numbers, "float");
}

function integers(numbers: NumberArray): JsonNode {
	return numbersNode(numbers, "integer");
}

/** What the file has beside its encodings when qgraph made it. */
export function headerOf(producer: {
	readonly package: string;
	readonly version: string;
}): ReadonlyMap<string, JsonValue> {
	return new Map([["producer", new Map(Object.entries(producer))]]);
}
