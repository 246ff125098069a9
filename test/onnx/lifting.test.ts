import { describe, expect, it } from "vitest";
import { type BytesData, FileData } from "../../src/ir/data.js";
import { memorySource } from "../../src/onnx/byte-source.js";
import { parseModel, serializeModel } from "../../src/onnx/file.js";
import { LIFT_THRESHOLD } from "../../src/onnx/limits.js";
import { encodeModel } from "../../src/onnx/model-codec.js";
import { readMessage } from "../../src/onnx/wire-reader.js";
import { writeMessage } from "../../src/onnx/wire-writer.js";
import { plain, recordOf } from "../support/onnx-records.js";
import { lengthOf, type Part, SpySource } from "../support/onnx-spy.js";
import { delimited, encode, type Fields, graphModel, model, repeat, tag, varint } from "../support/onnx-wire.js";

const SIZES = [LIFT_THRESHOLD - 1, LIFT_THRESHOLD, LIFT_THRESHOLD + 1, 3 * LIFT_THRESHOLD];

/** Bytes that differ from place to place. */
const payload = (size: number) => Buffer.from(Array.from({ length: size }, (_, i) => (i * 7 + (i >> 8)) & 0x7f));

const inSubgraph = (depth: number, initializer: Fields): Fields =>
	depth === 0
		? { initializer: [initializer] }
		: {
				node: [{ op_type: "If", attribute: [{ name: "then_branch", type: 5, g: inSubgraph(depth - 1, initializer) }] }],
			};

const PLACES: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
	"raw_data of an initializer": (raw_data) => graphModel({ initializer: [{ name: "w", raw_data }] }),
	"raw_data in a subgraph's subgraph": (raw_data) => model({ graph: inSubgraph(3, { name: "w", raw_data }) }),
	"a string attribute": (s) => graphModel({ node: [{ attribute: [{ name: "vocabulary", type: 3, s }] }] }),
	"a list of strings": (s) => graphModel({ node: [{ attribute: [{ name: "a", type: 8, strings: [s, s] }] }] }),
	"an element of a tensor of strings": (s) => graphModel({ initializer: [{ data_type: 8, string_data: [s] }] }),
	"a Constant in a function": (raw_data) =>
		model({
			functions: [{ node: [{ op_type: "Constant", attribute: [{ name: "value", type: 4, t: { raw_data } }] }] }],
		}),
	"values of a sparse initializer": (raw_data) =>
		graphModel({ sparse_initializer: [{ values: { raw_data }, indices: { raw_data } }] }),
	"a packed field": (bytes) => graphModel({ initializer: [{ data_type: 3, dims: [bytes.length], int32_data: bytes }] }),
	"an unknown field": (bytes) => graphModel({ node: [{ $raw: delimited(777, bytes) }] }),
	"an unknown group": (bytes) =>
		graphModel({ node: [{ $raw: Buffer.concat([tag(777, 3), delimited(5, bytes), tag(777, 4)]) }] }),
	"many small unknown fields": (bytes) =>
		graphModel({ $raw: repeat(Buffer.concat([tag(777, 0), varint(1)]), bytes.length) }),
};

/** Bytes of the field that surround the payload and go with it. */
const OVERHEAD: Readonly<Record<string, number>> = { "an unknown field": 4, "an unknown group": 7 };

describe.each(Object.entries(PLACES))("%s", (name, place) => {
	it.each(SIZES)("of %d bytes survives, and is left where it is when it is long", (size) => {
		const bytes = place(payload(size));
		const spy = new SpySource(bytes);
		const record = readMessage(spy, "ModelProto");
		const length = name === "many small unknown fields" ? 3 * size : size + (OVERHEAD[name] ?? 0);
		expect(spy.located.map((range) => range.length)).toEqual(
			length > LIFT_THRESHOLD ? spy.located.map(() => length) : [],
		);
		expect(spy.located.length > 0).toBe(length > LIFT_THRESHOLD);
		expect(plain(record)).toEqual(recordOf(bytes, "ModelProto"));
		expect(bytes.equals(serializeModel(parseModel(bytes)))).toBe(true);
	});

	it("is a piece of its own when it is written again", () => {
		const bytes = place(payload(10_000));
		const { pieces } = writeMessage(readMessage(memorySource(bytes), "ModelProto"), "ModelProto");
		expect(pieces.some((piece) => piece.byteLength >= 10_000)).toBe(true);
		expect(bytes.equals(Buffer.concat(pieces.map((piece) => piece.read(0, piece.byteLength))))).toBe(true);
	});
});

/** A model of `count` tensors of `size` zeros each, with `between` before each, that takes no memory to speak of. */
function bigModel(
	count: number,
	size: number,
	between: Buffer = Buffer.alloc(0),
): { source: SpySource; structure: number } {
	const parts: Part[] = [];
	for (let i = 0; i < count; i++) {
		const head = Buffer.concat([
			encode("TensorProto", { dims: [size], data_type: 2, name: `w${i}` }),
			tag(9, 2),
			varint(size),
		]);
		parts.push(between, tag(5, 2), varint(head.length + size), head, { zeros: size });
	}
	const length = parts.reduce((sum, part) => sum + lengthOf(part), 0);
	const source = new SpySource(tag(7, 2), varint(length), ...parts);
	return { source, structure: source.size - count * size };
}

describe("reading a model with big weights inside", () => {
	it("reads little more than its structure", () => {
		for (const [count, size] of [
			[1000, 100_000],
			[1000, 10_000],
			[10, 2 ** 28],
		] as const) {
			const { source, structure } = bigModel(count, size);
			const record = readMessage(source, "ModelProto");
			expect(record.graph?.initializer).toHaveLength(count);
			expect(source.located).toHaveLength(count);
			expect(source.bytesRead).toBeLessThanOrEqual(structure + (count + 1) * 4096 + 4096);
		}
	});

	it("takes large reads where there is nothing to hop over", () => {
		const node = encode("GraphProto", {
			node: [{ op_type: "Relu", input: ["some/long/name"], output: ["another/name"] }],
		});
		const source = new SpySource(delimited(7, repeat(node, 100_000)));
		expect(readMessage(source, "ModelProto").graph?.node).toHaveLength(100_000);
		expect(source.reads).toBeLessThan(source.size / 200_000 + 10);
		expect(source.bytesRead).toBeLessThan(source.size * 1.01);
	});

	it("finds its way beyond 4 GiB", () => {
		const size = 2 ** 31 - 100;
		const tensor = (name: string): Part[] => {
			const head = Buffer.concat([encode("TensorProto", { name }), tag(9, 2), varint(size)]);
			return [Buffer.concat([tag(5, 2), varint(head.length + size), head]), { zeros: size }];
		};
		const source = new SpySource(...tensor("a"), ...tensor("b"), ...tensor("c"), encode("GraphProto", { name: "g" }));
		const graph = readMessage(source, "GraphProto");
		expect(graph.name).toBe("g");
		expect(graph.initializer?.map((record) => [record.name, record.raw_data?.byteLength])).toEqual([
			["a", size],
			["b", size],
			["c", size],
		]);
	});
});

describe("the window over the file", () => {
	it("cuts no field, wherever its end falls", () => {
		const node = { name: "n", input: ["a", "b"], attribute: [{ name: "i", type: 7, ints: [-1, 2n ** 60n, 300] }] };
		for (const boundary of [4096, 4096 + 16_384]) {
			for (let pad = boundary - 130; pad <= boundary; pad++) {
				const bytes = model({ doc_string: "d".repeat(pad), graph: { node: [node, node] } });
				expect(recordOf(bytes, "ModelProto")).toEqual({
					doc_string: "d".repeat(pad),
					graph: {
						node: [node, node].map((entry) => ({
							...entry,
							attribute: [{ name: "i", type: 7, ints: [-1, 2n ** 60n, 300] }],
						})),
					},
				});
			}
		}
	});

	it.each([4095, 4096, 4097, 262_143, 262_144, 262_145, 1_000_000])("holds texts of %d bytes", (length) => {
		const bytes = model({ producer_name: "x".repeat(length), doc_string: "\u00e9".repeat(length) });
		expect(bytes.equals(serializeModel(parseModel(bytes)))).toBe(true);
	});
});

describe("the payloads of a parsed model", () => {
	it("are views of the bytes when they are long, and copies when they are short", () => {
		const bytes = graphModel({
			initializer: [
				{ name: "long", raw_data: payload(9000) },
				{ name: "short", raw_data: payload(9) },
			],
		});
		const [long, short] = [...parseModel(bytes).graph.initializers].map((value) => value.initializer?.data);
		expect((long as BytesData).bytes.buffer).toBe(bytes.buffer);
		expect((short as BytesData).bytes.buffer).not.toBe(bytes.buffer);
		expect(long).not.toBeInstanceOf(FileData);
	});

	it("are handed on, not read, when the model is encoded", () => {
		const bytes = graphModel({ initializer: [{ name: "w", raw_data: payload(9000) }] });
		const parsed = parseModel(bytes);
		const [value] = parsed.graph.initializers;
		const encoded = encodeModel(parsed, () => "inline").graph?.initializer?.[0]?.raw_data;
		expect(encoded).toBe(value?.initializer?.data);
	});
});
