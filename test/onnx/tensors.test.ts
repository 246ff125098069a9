import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Tensor } from "../../src/ir/tensor.js";
import { DataType, dataTypeName } from "../../src/ir/types.js";
import { parseModel, serializeModel } from "../../src/onnx/file.js";
import { type Fields, graphModel } from "../support/onnx-wire.js";

interface Vector {
	readonly type: string;
	readonly number: number;
	readonly dims: readonly number[];
	/** The field that the typed form uses. */
	readonly field: string;
	/** A TensorProto in typed form, and the same elements as raw bytes: both from Python's onnx.helper. */
	readonly tensor: string;
	readonly raw: string;
}

const vectors: readonly Vector[] = JSON.parse(
	readFileSync(new URL("../vectors/onnx-tensors.json", import.meta.url), "utf8"),
).tensors;

function initializer(fields: Fields | Buffer): Tensor {
	const list = Buffer.isBuffer(fields) ? { initializer: [{ $raw: fields }] } : { initializer: [fields] };
	const bytes = graphModel(list);
	const model = parseModel(bytes);
	expect(Buffer.from(serializeModel(model)), "the round trip").toEqual(bytes);
	return [...model.graph.initializers][0]!.initializer!;
}

const bytesOf = (tensor: Tensor) => Buffer.from(tensor.data.read(0, tensor.data.byteLength)).toString("hex");

describe.each(vectors)("$type", ({ number, dims, tensor, raw, type }) => {
	it("is read from its typed field as little-endian bytes", () => {
		const typed = initializer(Buffer.from(tensor, "hex"));
		expect(dataTypeName(typed.dtype)).toBe(type);
		expect(typed.shape).toEqual(dims);
		expect(typed.data.byteLength).toBe(raw.length / 2);
		expect(bytesOf(typed)).toBe(raw);
	});

	it("is read from raw_data as it is", () => {
		expect(bytesOf(initializer({ dims, data_type: number, raw_data: Buffer.from(raw, "hex") }))).toBe(raw);
	});

	it("gives any range of its bytes", () => {
		const { data } = initializer(Buffer.from(tensor, "hex"));
		for (let start = 0; start <= data.byteLength; start++) {
			for (let end = start; end <= data.byteLength; end++) {
				expect(Buffer.from(data.read(start, end)).toString("hex")).toBe(raw.slice(2 * start, 2 * end));
			}
		}
	});
});

describe("tensors", () => {
	it("of all types but strings have a vector", () => {
		const numbers = Object.values(DataType).filter((type) => type !== DataType.UNDEFINED && type !== DataType.STRING);
		expect(vectors.map((vector) => vector.number)).toEqual(numbers.sort((a, b) => a - b));
	});

	it("of strings have their elements as bytes", () => {
		const elements = ["", "abc", "\u00e9"].map((text) => Buffer.from(text));
		const strings = initializer({ dims: [4], data_type: 8, string_data: [...elements, Buffer.from([0xff, 0])] });
		expect(strings.strings?.map((element) => Buffer.from(element))).toEqual([...elements, Buffer.from([0xff, 0])]);
		expect(strings.data.byteLength).toBe(0);
		expect(initializer({ dims: [0], data_type: 8 }).strings).toEqual([]);
		expect(initializer({ dims: [0], data_type: 1 }).strings).toBeUndefined();
	});

	it("without elements, and scalars", () => {
		expect(initializer({ dims: [3, 0], data_type: 1 }).data.byteLength).toBe(0);
		expect(initializer({ dims: [0], data_type: 1, raw_data: Buffer.alloc(0) }).data.byteLength).toBe(0);
		expect(bytesOf(initializer({ data_type: 6, int32_data: [-2] }))).toBe("feffffff");
	});

	it("of a type or with fields that make no sense hold what raw_data says, or nothing", () => {
		expect(bytesOf(initializer({ dims: [2], data_type: 99, raw_data: Buffer.from("abc") }))).toBe("616263");
		expect(initializer({ dims: [2], data_type: 99, int32_data: [1, 2] }).data.byteLength).toBe(0);
		expect(initializer({ dims: [1], data_type: 1, int32_data: [1] }).data.byteLength).toBe(0);
		expect(initializer({ dims: [1] }).data.byteLength).toBe(0);
		const both = initializer({ dims: [1], data_type: 6, int32_data: [1], raw_data: Buffer.from([9, 0, 0, 0]) });
		expect(bytesOf(both)).toBe("09000000");
	});

	it.each([
		["a number too few", { dims: [3], data_type: 6, int32_data: [1, 2], name: "w" }],
		["a number too many", { dims: [1], data_type: 6, int32_data: [1, 2], name: "w" }],
		["one number of many bytes instead of two", { dims: [2], data_type: 7, int64_data: [2n ** 62n], name: "w" }],
		["one byte of the two that three elements take", { dims: [3], data_type: 22, int32_data: [1], name: "w" }],
		["far too few to reserve memory for", { dims: [2 ** 40], data_type: 13, uint64_data: [1], name: "w" }],
	] as const)("with %s fail when read, not before", (_, fields) => {
		const { data } = initializer(fields);
		expect(() => data.read(0, 1)).toThrow(
			expect.objectContaining({
				code: "onnx/invalid-tensor",
				message: expect.stringContaining("'w'"),
				at: { value: "w" },
			}),
		);
	});

	it("with a number that is cut off fail when read", () => {
		const { data } = initializer({ dims: [2], data_type: 6, int32_data: Buffer.from([1, 0x80]), name: "w" });
		expect(() => data.read(0, 1)).toThrow(expect.objectContaining({ code: "onnx/invalid-tensor" }));
	});

	it.each([
		["-1", [-1]],
		["-2^63", [2, -(2n ** 63n)]],
		["2^63-1", [2n ** 63n - 1n]],
		["2^40 x 2^40", [2 ** 40, 2 ** 40]],
		["2^62 x 0", [2n ** 62n, 0]],
	] as const)("of the impossible shape %s are refused", (_, dims) => {
		const bytes = graphModel({ initializer: [{ dims, name: "w" }] });
		const expected = { code: "onnx/invalid-tensor", at: { value: "w" } };
		expect(() => parseModel(bytes)).toThrow(expect.objectContaining(expected));
	});

	it("say what is wrong on one short line, whatever their names are", () => {
		const bytes = graphModel({
			initializer: [{ dims: Array.from({ length: 5000 }, () => -1), name: `a\nb${"x".repeat(10_000)}` }],
		});
		let message = "";
		try {
			parseModel(bytes);
		} catch (error) {
			message = (error as Error).message;
		}
		expect(message).toMatch(/^tensor 'a\ufffdbx+\.\.\.x+' has the impossible shape \[-1, .*\.\.\.\]$/);
		expect(message.length).toBeLessThan(300);
	});
});
