import { describe, expect, it } from "vitest";
import { parseModel, serializeModel } from "../../src/onnx/file.js";
import { recordOf } from "../support/onnx-records.js";
import {
	delimited,
	encode,
	encodeField,
	fixed32,
	graphModel,
	model,
	REFERENCE,
	repeat,
	tag,
	UNKNOWN_FIELDS,
	varint,
} from "../support/onnx-wire.js";

/** A field of a message, alone. */
function field(message: string, name: string, value: unknown): Buffer {
	return encodeField(REFERENCE.messages[message]![name]!, value);
}

function roundTrip(bytes: Buffer): Buffer {
	return Buffer.from(serializeModel(parseModel(bytes)));
}

describe("fields in another order", () => {
	it("mean the same, and come out in the order of their numbers", () => {
		const parts = [
			field("ModelProto", "graph", { name: "g", node: [{ op_type: "Relu", input: ["x"], output: ["y"] }] }),
			field("ModelProto", "producer_name", "somebody"),
			UNKNOWN_FIELDS.group!,
			field("ModelProto", "opset_import", [{ domain: "", version: 21 }]),
			field("ModelProto", "ir_version", 10),
		];
		const bytes = Buffer.concat(parts);
		const sorted = Buffer.concat([parts[4]!, parts[1]!, parts[0]!, parts[3]!, parts[2]!]);
		expect(recordOf(bytes, "ModelProto")).toEqual(recordOf(sorted, "ModelProto"));
		expect(roundTrip(bytes)).toEqual(sorted);
	});

	it("keep the order of repeated fields that are interleaved", () => {
		const graph = Buffer.concat([
			field("GraphProto", "node", [{ name: "first" }]),
			field("GraphProto", "input", [{ name: "a" }]),
			UNKNOWN_FIELDS.varint!,
			field("GraphProto", "node", [{ name: "second" }]),
			UNKNOWN_FIELDS.fixed32!,
			field("GraphProto", "input", [{ name: "b" }]),
		]);
		const expected = encode("GraphProto", {
			node: [{ name: "first" }, { name: "second" }],
			input: [{ name: "a" }, { name: "b" }],
			$raw: Buffer.concat([UNKNOWN_FIELDS.varint!, UNKNOWN_FIELDS.fixed32!]),
		});
		expect(roundTrip(delimited(7, graph))).toEqual(delimited(7, expected));
	});
});

describe("packed and unpacked numbers", () => {
	const unpackedInts = { ints: [1, -2, 2n ** 62n] };
	const packedInts = Buffer.concat(unpackedInts.ints.map((value) => varint(value)));

	it("of a field that is not declared packed may be packed", () => {
		const packed = Buffer.concat([delimited(7, Buffer.concat([fixed32(1.5), fixed32(-0)])), delimited(8, packedInts)]);
		const unpacked = encode("AttributeProto", { floats: [1.5, -0], ...unpackedInts });
		expect(recordOf(packed, "AttributeProto")).toEqual(recordOf(unpacked, "AttributeProto"));
		expect(recordOf(delimited(1, varint(300)), "TensorProto")).toEqual({ dims: [300] });
	});

	it("of a field that is declared packed may stand alone, or in several packs, or both", () => {
		const whole = field("TensorProto", "int64_data", [5, -1, 2n ** 63n - 1n, 0]);
		const pieces = Buffer.concat([
			Buffer.concat([tag(7, 0), varint(5)]),
			delimited(7, Buffer.concat([varint(-1), varint(2n ** 63n - 1n)])),
			Buffer.concat([tag(7, 0), varint(0)]),
		]);
		expect(recordOf(pieces, "TensorProto")).toEqual(recordOf(whole, "TensorProto"));
		const floats = Buffer.concat([1, 2, 3].map((value) => Buffer.concat([tag(4, 5), fixed32(value)])));
		expect(recordOf(floats, "TensorProto")).toEqual(
			recordOf(encode("TensorProto", { float_data: [1, 2, 3] }), "TensorProto"),
		);
	});

	it("join large and small packs in order, and ranges across them read right", () => {
		const [big, small] = [repeat(fixed32(7), 2000), fixed32(-3)];
		const alone = Buffer.concat([tag(4, 5), small]);
		const packs = [delimited(4, big), alone, alone, delimited(4, big), delimited(4, small)];
		const tensor = Buffer.concat([encode("TensorProto", { dims: [4003], data_type: 1 }), ...packs]);
		const { data } = [...parseModel(graphModel({ $raw: delimited(5, tensor) })).graph.initializers][0]!.initializer!;
		const expected = Buffer.concat([big, small, small, big, small]);
		expect(Buffer.from(data.read(0, data.byteLength))).toEqual(expected);
		for (const [start, end] of [
			[7996, 8008],
			[8000, 8000],
			[8001, 8006],
			[16007, 16012],
			[0, 4],
			[8004, 16012],
		] as const) {
			expect(Buffer.from(data.read(start, end)), `${start} to ${end}`).toEqual(expected.subarray(start, end));
		}
	});

	it("refuses a packed number that is cut off", () => {
		const bytes = delimited(8, Buffer.concat([varint(1), Buffer.from([0x80])]));
		expect(() => recordOf(bytes, "AttributeProto")).toThrow(expect.objectContaining({ code: "onnx/malformed" }));
		// Read on, the number would swallow the tag of the field behind it, and the rest would look like another field.
		const followed = Buffer.concat([bytes, tag(3, 0), tag(2, 0), varint(5)]);
		expect(() => recordOf(followed, "AttributeProto")).toThrow(expect.objectContaining({ code: "onnx/malformed" }));
		expect(() => recordOf(Buffer.concat([delimited(7, "123"), bytes]), "AttributeProto")).toThrow(
			expect.objectContaining({ code: "onnx/malformed" }),
		);
	});
});

describe("a message given twice", () => {
	it("is merged: lists are joined, the last of single fields counts, unknown fields add up", () => {
		const first = { name: "a", node: [{ name: "n1" }], doc_string: "kept", $raw: UNKNOWN_FIELDS.varint! };
		const second = { name: "b", node: [{ name: "n2" }], $raw: UNKNOWN_FIELDS.fixed64! };
		const bytes = Buffer.concat([field("ModelProto", "graph", first), field("ModelProto", "graph", second)]);
		const merged = graphModel({
			name: "b",
			node: [{ name: "n1" }, { name: "n2" }],
			doc_string: "kept",
			$raw: Buffer.concat([UNKNOWN_FIELDS.varint!, UNKNOWN_FIELDS.fixed64!]),
		});
		expect(roundTrip(bytes)).toEqual(merged);
	});

	it("joins packed fields", () => {
		const attribute = Buffer.concat([
			field("AttributeProto", "t", { dims: [2], float_data: [1, 2] }),
			field("AttributeProto", "t", { dims: [2], float_data: [3, 4], data_type: 1 }),
		]);
		const merged = encode("AttributeProto", { t: { dims: [2, 2], float_data: [1, 2, 3, 4], data_type: 1 } });
		expect(recordOf(attribute, "AttributeProto")).toEqual(recordOf(merged, "AttributeProto"));
	});

	it("costs time in proportion to its size", () => {
		const once = field("AttributeProto", "t", { float_data: [1], $raw: UNKNOWN_FIELDS.varint! });
		const record = recordOf(repeat(once, 50_000), "AttributeProto") as {
			t: { $unknown: string; float_data: { bytes: string } };
		};
		expect(record.t.$unknown).toHaveLength(50_000 * UNKNOWN_FIELDS.varint!.length);
		expect(record.t.float_data.bytes).toHaveLength(200_000);
	});
});

describe("a oneof given twice", () => {
	const dimension = (...parts: Buffer[]) => recordOf(Buffer.concat(parts), "TensorShapeProto.Dimension");
	const value = field("TensorShapeProto.Dimension", "dim_value", 5);
	const param = field("TensorShapeProto.Dimension", "dim_param", "N");

	it("means its last member", () => {
		expect(dimension(value, param)).toEqual({ dim_param: "N" });
		expect(dimension(param, value)).toEqual({ dim_value: 5 });
		expect(dimension(value, param, value)).toEqual({ dim_value: 5 });
	});

	it("forgets what an earlier message member held", () => {
		const tensor = (elem_type: number) => field("TypeProto", "tensor_type", { elem_type });
		const sequence = field("TypeProto", "sequence_type", { elem_type: {} });
		expect(recordOf(Buffer.concat([tensor(1), sequence]), "TypeProto")).toEqual({ sequence_type: { elem_type: {} } });
		const shape = field("TypeProto", "tensor_type", { shape: {} });
		expect(recordOf(Buffer.concat([tensor(1), sequence, shape]), "TypeProto")).toEqual({ tensor_type: { shape: {} } });
		expect(recordOf(Buffer.concat([tensor(1), shape]), "TypeProto")).toEqual({
			tensor_type: { elem_type: 1, shape: {} },
		});
	});
});

describe("odd encodings", () => {
	it("reads numbers that take more bytes than they need", () => {
		const long = Buffer.from([0x08, 0x8a, 0x80, 0x80, 0x00]);
		expect(recordOf(long, "ModelProto")).toEqual({ ir_version: 10 });
		expect(roundTrip(Buffer.concat([long, field("ModelProto", "graph", {})]))).toEqual(model({ ir_version: 10 }));
	});

	it("keeps a known field of a wrong wire type as an unknown one", () => {
		const wrong = Buffer.concat([tag(2, 0), varint(5)]);
		const bytes = Buffer.concat([wrong, field("ModelProto", "graph", {})]);
		expect(recordOf(bytes, "ModelProto")).toEqual({ graph: {}, $unknown: wrong.toString("latin1") });
		expect(roundTrip(bytes)).toEqual(model({ $raw: wrong }));
	});

	it("keeps integers beyond 2^53 exactly", () => {
		for (const value of [2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, -1n, 127n, 128n, 2n ** 32n]) {
			const bytes = model({ ir_version: value, model_version: value, opset_import: [{ domain: "d", version: value }] });
			expect(roundTrip(bytes), String(value)).toEqual(bytes);
		}
	});

	it("keeps negative 32-bit numbers in their ten bytes", () => {
		const bytes = graphModel({ initializer: [{ data_type: -1, name: "w" }] });
		expect(roundTrip(bytes)).toEqual(bytes);
		expect([...parseModel(bytes).graph.initializers][0]!.initializer!.dtype).toBe(-1);
	});
});
