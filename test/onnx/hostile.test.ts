import { mkdirSync } from "node:fs";
import { getHeapStatistics } from "node:v8";
import { describe, expect, it } from "vitest";
import { memorySource } from "../../src/onnx/byte-source.js";
import { parseModel, readModel, serializeModel, writeModel } from "../../src/onnx/file.js";
import { structureBudget } from "../../src/onnx/limits.js";
import { readMessage } from "../../src/onnx/wire-reader.js";
import { externalTensor, failure, initializerModel, put, temporaryFolder } from "../support/onnx-files.js";
import { delimited, encode, graphModel, model, repeat, tag, UNKNOWN_FIELDS, varint } from "../support/onnx-wire.js";

const at = temporaryFolder();

/** What reading the bytes fails with: always a QGraphError, and a message of one line. */
async function refusal(bytes: Uint8Array): Promise<string> {
	const fromFile = await failure(() => readModel(put(at("m.onnx"), bytes)));
	const fromMemory = await failure(() => parseModel(bytes));
	for (const error of [fromFile, fromMemory]) {
		expect(error.name).toBe("QGraphError");
		expect(error.message).not.toMatch(/[\n\r]/);
		expect(error.message.length).toBeLessThan(600);
	}
	expect(fromMemory.code).toBe(fromFile.code);
	expect(fromFile.message).toContain("m.onnx");
	return fromFile.code ?? "";
}

/** Reads, writes and compares; or gives the code of the refusal. */
function roundTrip(bytes: Buffer): string {
	try {
		return bytes.equals(serializeModel(parseModel(bytes))) ? "same" : "different";
	} catch (error) {
		expect(error).toMatchObject({ name: "QGraphError" });
		return (error as { code: string }).code;
	}
}

describe("what is no model", () => {
	it.each([
		["an empty file", "", "onnx/not-a-model"],
		["text", "Dear Sir,\nplease find the model attached.\n", "onnx/malformed"],
		["a Python pickle", Buffer.from("80049500000000000000005d942e", "hex"), "onnx/malformed"],
		["a zip archive", "PK\u0003\u0004\u0014\0\0\0\0\0", "onnx/malformed"],
		["a web page", "<!DOCTYPE html><html><body>404</body></html>", "onnx/malformed"],
		["zeros", Buffer.alloc(1000), "onnx/malformed"],
		["a model without its graph", encode("ModelProto", { ir_version: 8 }), "onnx/not-a-model"],
		["only unknown fields", UNKNOWN_FIELDS.delimited!, "onnx/not-a-model"],
		["a graph without its model", encode("GraphProto", { name: "g" }), "onnx/not-a-model"],
	])("%s", async (_, content, code) => {
		expect(await refusal(Buffer.from(content))).toBe(code);
	});

	it("a Git LFS pointer, and the message says what to do", async () => {
		const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
		const error = await failure(() => readModel(put(at("m.onnx"), pointer)));
		expect(error).toMatchObject({ code: "onnx/malformed" });
		expect(error.message).toContain("git lfs pull");
	});

	it("a folder, and nothing at all", async () => {
		mkdirSync(at("folder"));
		for (const [file, reason] of [
			["folder", "not a file"],
			["gone.onnx", "no such file"],
			["gone/m.onnx", "no such file"],
		] as const) {
			const error = await failure(() => readModel(at(file)));
			expect(error).toMatchObject({ name: "QGraphError", code: "onnx/not-found", at: { file: at(file) } });
			expect(error.message).toContain(reason);
		}
		put(at("file"), "");
		expect(await failure(() => readModel(at("file", "m.onnx")))).toMatchObject({ code: "onnx/not-found" });
	});
});

describe("damage", () => {
	const tensor = { name: "w", dims: [2, 3], data_type: 1, float_data: [1, 2, 3, 4, 5, 6] };
	const body = { name: "body", node: [{ op_type: "Op", input: ["x"], output: ["z"] }], initializer: [tensor] };
	const whole = model({
		ir_version: 10,
		producer_name: "pr\u00f6ducer",
		graph: {
			node: [{ op_type: "If", attribute: [{ name: "then_branch", type: 5, g: body }], $raw: UNKNOWN_FIELDS.group! }],
			input: [{ name: "x", type: { tensor_type: { elem_type: 1, shape: { dim: [{ dim_value: 300 }] } } } }],
			initializer: [{ name: "long", data_type: 2, dims: [5000], raw_data: Buffer.alloc(5000, 3) }],
		},
		opset_import: [{ domain: "", version: 21 }],
	});

	it("cut off anywhere: an error, or a model that lacks what followed", async () => {
		for (let length = 0; length < whole.length; length++) {
			const result = roundTrip(whole.subarray(0, length));
			expect(["same", "onnx/malformed", "onnx/not-a-model"], `at byte ${length}`).toContain(result);
		}
		expect(roundTrip(whole)).toBe("same");
		for (const length of [1, 10, 100, 4300, whole.length - 9]) await refusal(whole.subarray(0, length));
	});

	it("any byte replaced: an error, or another model", () => {
		const bytes = model({ ir_version: 10, graph: body, opset_import: [{ version: 21 }] });
		for (let i = 0; i < bytes.length; i++) {
			for (const value of [0x00, 0x01, 0x7f, 0x80, 0xff, bytes[i]! ^ 1, bytes[i]! ^ 0x80]) {
				const damaged = Buffer.from(bytes);
				damaged[i] = value;
				roundTrip(damaged);
			}
		}
	});

	it.each([
		["a length beyond the file", Buffer.concat([tag(7, 2), varint(100), Buffer.from("x")])],
		["a length of 4 GiB", Buffer.concat([tag(7, 2), varint(2 ** 32 - 1)])],
		["a length of 2^32", Buffer.concat([tag(7, 2), varint(2n ** 32n)])],
		["a tag of more than 32 bits", Buffer.concat([varint(2n ** 35n), Buffer.from("xx")])],
		["a length of 2^63", Buffer.concat([tag(7, 2), varint(2n ** 63n)])],
		["a length beyond its message", Buffer.concat([tag(7, 2), varint(3), tag(1, 2), varint(50), Buffer.alloc(60)])],
		["a number of eleven bytes", Buffer.concat([tag(1, 0), Buffer.alloc(10, 0xff), Buffer.from([1])])],
		["a number that does not end", Buffer.concat([tag(1, 0), Buffer.alloc(5, 0x80)])],
		["field number 0", Buffer.from([0x00, 0x00])],
		["field number 0 in a group", Buffer.concat([tag(900, 3), Buffer.from([0, 0]), tag(900, 4)])],
		["wire type 6", Buffer.from([0x0e, 0x00])],
		["wire type 7", Buffer.from([0x0f, 0x00])],
		["an end of a group that did not begin", tag(900, 4)],
		["a group that does not end", Buffer.concat([tag(900, 3), tag(1, 0), varint(1)])],
		["a group with the end of another", Buffer.concat([tag(900, 3), tag(901, 4)])],
		["a group that ends outside its message", Buffer.concat([delimited(7, tag(900, 3)), tag(900, 4)])],
		["half a fixed number", Buffer.concat([tag(900, 5), Buffer.from("12")])],
		["half a long fixed number", Buffer.concat([tag(900, 1), Buffer.from("1234")])],
	])("%s", async (_, bytes) => {
		expect(await refusal(bytes)).toBe("onnx/malformed");
	});

	it("a declared length that is far too long costs no memory", async () => {
		const before = process.memoryUsage().arrayBuffers;
		for (const id of [5, 1, 15]) {
			const bytes = Buffer.concat([tag(7, 2), varint(6), tag(id, 2), varint(2 ** 31 - 1)]);
			expect(await refusal(bytes)).toBe("onnx/malformed");
		}
		expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24);
	});
});

describe("depth", () => {
	const nested = (levels: number) => {
		let graph = encode("GraphProto", { name: "innermost" });
		for (let i = 0; i < levels; i++) graph = delimited(1, delimited(5, delimited(6, graph)));
		return delimited(7, graph);
	};

	it("as far as ONNX runtimes go is fine", () => {
		expect(roundTrip(nested(33))).toBe("same");
		expect(roundTrip(nested(60))).toBe("same");
	});

	it("of 10,000 subgraphs, types and groups is refused", async () => {
		expect(await refusal(nested(10_000))).toBe("onnx/too-deep");
		let type: Buffer = Buffer.alloc(0);
		for (let i = 0; i < 10_000; i++) type = delimited(4, delimited(1, type));
		expect(await refusal(graphModel({ input: [{ $raw: delimited(2, type) }] }))).toBe("onnx/too-deep");
		const groups = Buffer.concat([repeat(tag(900, 3), 10_000), repeat(tag(900, 4), 10_000)]);
		expect(await refusal(model({ $raw: groups }))).toBe("onnx/malformed");
	});

	it("of groups as far as anybody goes is fine", () => {
		const groups = Buffer.concat([repeat(tag(900, 3), 100), repeat(tag(900, 4), 100)]);
		expect(roundTrip(model({ $raw: groups }))).toBe("same");
	});
});

/** Files whose few bytes unfold to very many objects: what each repeats, and where. */
const BOMBS: Readonly<Record<string, (count: number) => Buffer>> = {
	nodes: (n) => delimited(7, repeat(encode("GraphProto", { node: [{}] }), n)),
	"inputs of a node": (n) => delimited(7, delimited(1, repeat(encode("NodeProto", { input: ["x"] }), n))),
	"outputs of a node": (n) => delimited(7, delimited(1, repeat(encode("NodeProto", { output: ["x"] }), n))),
	"attributes of one name": (n) => delimited(7, delimited(1, repeat(encode("NodeProto", { attribute: [{}] }), n))),
	subgraphs: (n) => delimited(7, delimited(1, delimited(5, repeat(encode("AttributeProto", { graphs: [{}] }), n)))),
	initializers: (n) => delimited(7, repeat(encode("GraphProto", { initializer: [{}] }), n)),
	"sparse initializers": (n) => delimited(7, repeat(encode("GraphProto", { sparse_initializer: [{}] }), n)),
	"descriptions of one value": (n) => delimited(7, repeat(encode("GraphProto", { value_info: [{ name: "x" }] }), n)),
	"outputs of one name": (n) => delimited(7, repeat(encode("GraphProto", { output: [{ name: "x" }] }), n)),
	annotations: (n) => delimited(7, repeat(encode("GraphProto", { quantization_annotation: [{}] }), n)),
	functions: (n) => Buffer.concat([delimited(7, ""), repeat(encode("ModelProto", { functions: [{}] }), n)]),
	"training steps": (n) => Buffer.concat([delimited(7, ""), repeat(encode("ModelProto", { training_info: [{}] }), n)]),
	metadata: (n) => Buffer.concat([delimited(7, ""), repeat(encode("ModelProto", { metadata_props: [{}] }), n)]),
	"operator sets": (n) => Buffer.concat([delimited(7, ""), repeat(encode("ModelProto", { opset_import: [{}] }), n)]),
	graphs: (n) => repeat(delimited(7, ""), n),
	dimensions: (n) => delimited(7, delimited(5, repeat(encode("TensorProto", { dims: [1] }), n))),
	integers: (n) => delimited(7, delimited(1, delimited(5, repeat(encode("AttributeProto", { ints: [1] }), n)))),
	strings: (n) =>
		delimited(7, delimited(1, delimited(5, repeat(encode("AttributeProto", { strings: [Buffer.alloc(0)] }), n)))),
	"packed fields in pieces": (n) => delimited(7, delimited(5, repeat(delimited(4, "1234"), n))),
	"unknown fields": (n) => Buffer.concat([delimited(7, ""), repeat(UNKNOWN_FIELDS.varint!, n)]),
	"unknown fields between known ones": (n) =>
		Buffer.concat([delimited(7, ""), repeat(Buffer.concat([UNKNOWN_FIELDS.varint!, tag(1, 0), varint(1)]), n)]),
};

describe.each(Object.entries(BOMBS))("a hundred thousand %s", (_, bomb) => {
	it("are read and written in proportion", () => {
		const result = roundTrip(bomb(100_000));
		expect(["same", "different", "onnx/too-large"]).toContain(result);
	});
});

describe("the memory budget", () => {
	it.each(Object.entries(BOMBS))(
		"refuses a hundred thousand %s where there is memory for a tenth of them",
		(name, bomb) => {
			const read = () => readMessage(memorySource(bomb(100_000)), "ModelProto", 1_000_000);
			if (name === "unknown fields") expect(read().$unknown).toHaveLength(1);
			else expect(read).toThrow(expect.objectContaining({ code: "onnx/too-large" }));
		},
	);

	it("is a share of what Node may use", () => {
		expect(structureBudget()).toBeLessThan(getHeapStatistics().heap_size_limit);
		expect(structureBudget()).toBeGreaterThan(getHeapStatistics().heap_size_limit / 2);
	});

	it.each(["nodes", "functions", "training steps"])(
		"refuses ten megabytes of empty %s, or there is room for them",
		(name) => {
			const bytes = BOMBS[name]!(Math.ceil(10_000_000 / (BOMBS[name]!(101).length - BOMBS[name]!(100).length)));
			let outcome = "read";
			try {
				parseModel(bytes);
			} catch (error) {
				outcome = (error as { code?: string }).code ?? String(error);
			}
			expect(["read", "onnx/too-large"]).toContain(outcome);
		},
	);
});

describe("odd contents", () => {
	it("a graph that goes in circles is read and written as it is", () => {
		const node = [
			{ op_type: "A", input: ["b"], output: ["a"] },
			{ op_type: "B", input: ["a"], output: ["b"] },
			{ op_type: "C", input: ["c"], output: ["c"] },
		];
		expect(roundTrip(graphModel({ node }))).toBe("same");
	});

	it("a chain of 200,000 nodes is read and written", () => {
		const node = Array.from({ length: 200_000 }, (_, i) => ({
			op_type: "Relu",
			input: [`v${i}`],
			output: [`v${i + 1}`],
		}));
		expect(roundTrip(graphModel({ node }))).toBe("same");
	});

	it("megabytes of text that is not UTF-8 are read and written", () => {
		for (const unit of ["ff", "41ff", "e2ff", "c3a9ff", "f09f98"]) {
			const text = repeat(Buffer.from(unit, "hex"), 1_000_000);
			expect(roundTrip(model({ $raw: delimited(6, text) })) !== "onnx/malformed", unit).toBe(true);
			expect(roundTrip(graphModel({ doc_string: text })), unit).toBe("same");
		}
	});

	it("hostile names do not reach beyond the folder when the model is written", async () => {
		const inside = initializerModel(externalTensor("../../evil", 4, { location: "d" }));
		put(at("in", "d"), "1234");
		mkdirSync(at("out"));
		await writeModel(await readModel(put(at("in", "m.onnx"), inside)), at("out", "m.onnx"));
		for (const location of ["../d", "/d", "sub/../../d", "~/../../d"]) {
			const file = put(at("in", "m.onnx"), initializerModel(externalTensor("w", 4, { location })));
			expect(await failure(() => readModel(file))).toMatchObject({ code: "external-data/outside" });
		}
	});
});
