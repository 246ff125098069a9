import { describe, expect, it } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { tensorType } from "../../src/ir/types.js";
import { parseModel, serializeModel } from "../../src/onnx/file.js";
import { recordOf } from "../support/onnx-records.js";
import { encode, type Fields, graphModel, model } from "../support/onnx-wire.js";

function roundTrip(bytes: Buffer): Buffer {
	return Buffer.from(serializeModel(parseModel(bytes)));
}

const float = { tensor_type: { elem_type: 1, shape: { dim: [{ dim_value: 2 }] } } };
const int = { tensor_type: { elem_type: 7 } };
const node = (fields: Fields) => graphModel({ node: [fields] });
const attributes = (...list: Fields[]) => node({ op_type: "Op", attribute: list });
const nan = { bits: 0x7f80_0001 };

describe("what a file says comes out as it was said", () => {
	const cases: Readonly<Record<string, Buffer>> = {
		"explicit empty strings and zeros": model({
			ir_version: 0,
			producer_name: "",
			producer_version: "",
			domain: "",
			model_version: 0,
			doc_string: "",
			graph: { name: "", doc_string: "", node: [{ name: "", op_type: "", doc_string: "", domain: "", overload: "" }] },
			opset_import: [{ domain: "", version: 0 }, {}],
			functions: [{ name: "", doc_string: "", domain: "", overload: "" }],
		}),
		"inputs and outputs without a type": graphModel({ input: [{ name: "x" }], output: [{ name: "y" }, {}] }),
		"empty types": graphModel({
			input: [
				{ name: "x", type: {} },
				{ name: "y", type: { denotation: "" } },
			],
		}),
		"shapes without dimensions and without a rank": graphModel({
			input: [
				{ name: "scalar", type: { tensor_type: { elem_type: 1, shape: {} } } },
				{ name: "unranked", type: { tensor_type: { elem_type: 1 } } },
				{ name: "untyped", type: { tensor_type: {} } },
			],
		}),
		"dimensions of all kinds": graphModel({
			input: [
				{
					name: "x",
					type: {
						tensor_type: {
							elem_type: 1,
							shape: {
								dim: [
									{ dim_value: -1 },
									{ dim_param: "" },
									{},
									{ dim_value: 2n ** 60n + 1n },
									{ dim_param: "N", denotation: "B" },
								],
							},
						},
					},
				},
			],
		}),
		"a dimension below 0": graphModel({
			input: [{ name: "x", type: { tensor_type: { elem_type: 1, shape: { dim: [{ dim_value: -1 }] } } } }],
		}),
		"a dimension beyond 2^53": graphModel({
			input: [{ name: "x", type: { tensor_type: { elem_type: 1, shape: { dim: [{ dim_value: 2n ** 60n + 1n }] } } } }],
		}),
		"references to attributes of the calling node": model({
			functions: [
				{ name: "f", node: [{ op_type: "Op", attribute: [{ name: "alpha", type: 1, ref_attr_name: "beta" }] }] },
				{ name: "g", node: [{ op_type: "Op", attribute: [{ name: "alpha", ref_attr_name: "beta" }] }] },
			],
		}),
		"a reference with a value": attributes({ name: "a", type: 1, ref_attr_name: "b", f: 1.5 }),
		"an empty reference": attributes({ name: "a", type: 1, ref_attr_name: "", f: 1.5 }),
		"attributes without their type": attributes({ name: "a", f: 1 }, { name: "b", ints: [1, 2] }, { name: "c" }),
		"attributes without their value": attributes(
			...Array.from({ length: 15 }, (_, type) => ({ name: `a${type}`, type })),
		),
		"attributes that contradict their type": attributes(
			{ name: "a", type: 1, i: 5 },
			{ name: "b", type: 7, f: 1, ints: [1] },
			{ name: "c", type: 99, s: Buffer.from("x") },
			{ name: "d", f: 1, i: 2 },
			{ name: "e", type: 5, g: { name: "sub", node: [{ name: "inner" }] }, t: { name: "t" } },
		),
		"an attribute name given twice, and names with a NUL": attributes(
			{ name: "a", type: 2, i: 1 },
			{ name: "a", type: 2, i: 2 },
			{ name: "a\x002", type: 2, i: 3 },
			{ name: "a\0", type: 2, i: 4 },
			{ name: "a", type: 1, f: 5 },
			{ type: 2, i: 6 },
			{ name: "", type: 2, i: 7 },
		),
		"metadata keys given twice, empty and absent": model({
			metadata_props: [{ key: "k", value: "1" }, { key: "k", value: "2" }, { key: "" }, { value: "v" }, {}],
			graph: { metadata_props: [{ key: "k" }, { key: "k", value: "" }] },
		}),
		"value_info of outputs, inputs, and of nothing": graphModel({
			node: [{ op_type: "Op", input: ["x"], output: ["y"] }],
			input: [{ name: "x", type: float }],
			output: [{ name: "y", type: float }],
			value_info: [
				{ name: "y", type: float },
				{ name: "x", type: int },
				{ name: "nothing", type: float },
				{ name: "x" },
				{ name: "y", type: int, doc_string: "again" },
				{ name: "nothing", type: int },
				{ type: float },
				{ name: "" },
			],
		}),
		"one value described differently by several graphs": graphModel({
			name: "outer",
			node: [
				{ op_type: "Op", output: ["y"] },
				{
					op_type: "If",
					output: ["z"],
					attribute: [
						{ name: "then_branch", type: 5, g: { name: "then", output: [{ name: "y", type: int }] } },
						{
							name: "else_branch",
							type: 5,
							g: { name: "else", output: [{ name: "y", doc_string: "else" }, { name: "y" }] },
						},
					],
				},
			],
			output: [{ name: "y", type: float }, { name: "z" }, { name: "y", doc_string: "twice" }],
			value_info: [{ name: "y", doc_string: "info" }],
		}),
		"unnamed nodes and absent optional inputs and outputs": graphModel({
			node: [
				{ op_type: "Op", input: ["", "x", ""], output: ["", "y"] },
				{ op_type: "Op", input: [], output: [""] },
				{ op_type: "Op", input: ["", ""] },
			],
		}),
		"names that are defined twice": graphModel({
			node: [
				{ op_type: "A", input: ["x"], output: ["y", "y"] },
				{ op_type: "B", input: ["y"], output: ["y"] },
				{ op_type: "C", input: ["w", "y"], output: ["w"] },
			],
			initializer: [{ name: "w" }, { name: "w", dims: [1] }, { name: "x" }, {}, {}],
			input: [{ name: "x" }, { name: "x", type: float }],
			sparse_initializer: [{ values: { name: "w" } }, { values: { name: "s" } }, {}],
			output: [{ name: "y" }, { name: "y", type: float }],
		}),
		"uses before and without a definition": graphModel({
			node: [
				{ op_type: "A", input: ["later", "never"], output: ["first"] },
				{ op_type: "B", input: ["first"], output: ["later"] },
			],
			output: [{ name: "nowhere" }],
		}),
		"numbers at their limits": attributes(
			{ name: "a", type: 2, i: 2n ** 63n - 1n },
			{ name: "b", type: 2, i: -(2n ** 63n) },
			{ name: "c", type: 7, ints: [-1, 0, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n, -(2n ** 53n)] },
			{ name: "d", type: 2, i: -1 },
		),
		"floats with their bits": attributes(
			{ name: "a", type: 1, f: nan },
			{ name: "b", type: 6, floats: [nan, -0, { bits: 0xffc0_0001 }, { bits: 0x7fc0_0000 }, Infinity, { bits: 1 }] },
			{ name: "c", type: 1, f: -0 },
			{ name: "d", type: 1, f: { bits: 0x7fc0_0000 } },
			{ name: "e", type: 1, f: { bits: 0xffc0_0000 } },
		),
		"names that are not UTF-8": graphModel({
			name: Buffer.from([0xff, 0x41, 0xc3]),
			node: [
				{ input: [Buffer.from("x\x80", "latin1")], output: [Buffer.from([0xed, 0xa0, 0x80])] },
				{ input: [Buffer.from("x\x81", "latin1")], output: [Buffer.from([0xf0, 0x9f, 0x98])] },
				{
					name: Buffer.from("\u{1f600}\ufffd"),
					output: [Buffer.concat([Buffer.from("\u{1f600}"), Buffer.from([0x80])])],
				},
			],
		}),
		"texts that look odd": model({ producer_name: "\ufeff\ufffd\0\u{10ffff}", doc_string: "e\u0301\r\n" }),
		"training steps that read the main graph": model({
			graph: { node: [{ op_type: "Op", output: ["y"] }] },
			training_info: [
				{ algorithm: { node: [{ op_type: "Loss", input: ["y"], output: ["l"] }] } },
				{ initialization: {} },
			],
		}),
		"a tensor that says where its data is not": graphModel({
			initializer: [{ name: "w", data_location: 0, external_data: [{ key: "location", value: "../x" }] }],
		}),
	};

	it.each(Object.entries(cases))("%s", (_, bytes) => {
		expect(roundTrip(bytes)).toEqual(bytes);
	});
});

describe("a change touches only what it changes", () => {
	const bytes = (fields: Fields, extra: Fields = {}) =>
		model({
			ir_version: 10,
			producer_name: "",
			graph: {
				name: "g",
				node: [
					{
						op_type: "Op",
						name: "",
						input: ["x"],
						output: ["y"],
						attribute: [{ name: "a", type: 2, i: 1 }],
						...fields,
					},
				],
				metadata_props: [{ key: "k", value: "1" }, { key: "k", value: "2" }, { key: "other" }],
				input: [{ name: "x", type: float, doc_string: "" }],
			},
			opset_import: [{ version: 20 }, { domain: "com.acme", version: 1 }],
			...extra,
		});
	const changed = (change: (model: Model) => void) => {
		const parsed = parseModel(bytes({}));
		change(parsed);
		return Buffer.from(serializeModel(parsed));
	};
	const first = (parsed: Model) => [...parsed.graph.nodes][0]!;

	it("a node's name", () => {
		const after = changed((parsed) => {
			first(parsed).name = "n";
		});
		expect(after).toEqual(bytes({ name: "n" }));
	});

	it("an attribute", () => {
		const after = changed((parsed) => {
			first(parsed).attributes.set("a", intAttribute(-5));
			first(parsed).attributes.set("b", intAttribute(2n ** 60n));
		});
		const attribute = [
			{ name: "a", type: 2, i: -5 },
			{ name: "b", type: 2, i: 2n ** 60n },
		];
		expect(after).toEqual(bytes({ attribute }));
	});

	it("an operator set, which keeps the absent domain absent", () => {
		const after = changed((parsed) => {
			parsed.opsetImports.set("", 21);
		});
		const opsets = [{ version: 21 }, { domain: "com.acme", version: 1 }];
		expect(after).toEqual(bytes({}, { opset_import: opsets }));
	});

	it("metadata: new keys go to the end, doubled ones stay", () => {
		const after = parseModel(
			changed((parsed) => {
				parsed.graph.metadata.set("new", "n").set("other", "o");
			}),
		);
		const expected = encode("GraphProto", {
			metadata_props: [
				{ key: "k", value: "1" },
				{ key: "k", value: "2" },
				{ key: "other", value: "o" },
				{ key: "new", value: "n" },
			],
		});
		expect(Buffer.from(serializeModel(after)).includes(expected)).toBe(true);
	});

	it("a type", () => {
		const after = parseModel(
			changed((parsed) => {
				parsed.graph.inputs[0]!.type = tensorType(7, [3, "N", undefined]);
			}),
		);
		const type = { tensor_type: { elem_type: 7, shape: { dim: [{ dim_value: 3 }, { dim_param: "N" }, {}] } } };
		const input = encode("ValueInfoProto", { name: "x", type, doc_string: "" });
		expect(Buffer.from(serializeModel(after)).includes(input)).toBe(true);
	});

	it("a type of a value that is described twice, in both places", () => {
		const file = (a: Fields, b: Fields) =>
			graphModel({
				node: [{ op_type: "Op", output: ["y"] }],
				output: [{ name: "y", type: a }],
				value_info: [{ name: "y", type: b, doc_string: "again" }],
			});
		const parsed = parseModel(file(float, int));
		parsed.graph.outputs[0]!.type = tensorType(9);
		const bool = { tensor_type: { elem_type: 9 } };
		const written = recordOf(serializeModel(parsed), "ModelProto");
		expect(written).toMatchObject({ graph: { output: [{ type: bool }], value_info: [{ name: "y", type: bool }] } });
	});

	it("a name: every use follows, in subgraphs too", () => {
		const inner = (name: string) => ({ name: "body", node: [{ op_type: "Op", input: [name], output: ["z"] }] });
		const file = (name: string) =>
			graphModel({
				node: [
					{ op_type: "If", input: ["c"], output: ["r"], attribute: [{ name: "then_branch", type: 5, g: inner(name) }] },
				],
				initializer: [{ name }],
				value_info: [{ name, type: float }],
			});
		const parsed = parseModel(file("w"));
		for (const value of parsed.graph.initializers) value.name = "renamed";
		expect(Buffer.from(serializeModel(parsed))).toEqual(file("renamed"));
	});
});

it("a dimension below 0 stands for any length", () => {
	const dim = [{ dim_value: -1 }, { dim_value: 3 }, { dim_param: "?" }];
	const { graph } = parseModel(
		graphModel({ input: [{ name: "x", type: { tensor_type: { elem_type: 1, shape: { dim } } } }] }),
	);
	expect(graph.inputs[0]!.type).toMatchObject({ shape: [undefined, 3, "?"] });
});
