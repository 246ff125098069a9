import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { memorySource } from "../../src/onnx/byte-source.js";
import { parseModel, serializeModel } from "../../src/onnx/file.js";
import { MESSAGES, type MessageName } from "../../src/onnx/schema.js";
import { readMessage } from "../../src/onnx/wire-reader.js";
import { writeMessage } from "../../src/onnx/wire-writer.js";
import { messageArbitrary, modelArbitrary } from "../support/onnx-arbitrary.js";
import { SAME_AS, schemaName } from "../support/onnx-records.js";
import { encode, type FieldEntry, type Fields, model, REFERENCE, UNKNOWN_FIELDS } from "../support/onnx-wire.js";

function rewritten(bytes: Buffer, name: MessageName): Buffer {
	const { pieces, byteLength } = writeMessage(readMessage(memorySource(bytes), name), name);
	const written = Buffer.concat(pieces.map((piece) => piece.read(0, piece.byteLength)));
	expect(byteLength, "the length announced").toBe(written.length);
	return written;
}

const messages = Object.entries(REFERENCE.messages);

/** Where each message can stand in a model: a function from the message to a model that has it. */
const HOSTS: Readonly<Record<string, (fields: Fields) => Fields>> = {
	ModelProto: (fields) => fields,
	GraphProto: (fields) => ({ graph: fields }),
	NodeProto: (fields) => ({ graph: { node: [fields] } }),
	AttributeProto: (fields) => ({ graph: { node: [{ attribute: [fields] }] } }),
	TensorProto: (fields) => ({ graph: { initializer: [fields] } }),
	"TensorProto.Segment": (fields) => ({ graph: { initializer: [{ segment: fields }] } }),
	SparseTensorProto: (fields) => ({ graph: { sparse_initializer: [fields] } }),
	ValueInfoProto: (fields) => ({ graph: { input: [fields], output: [fields], value_info: [fields] } }),
	TypeProto: (fields) => ({ graph: { input: [{ type: fields }] } }),
	"TypeProto.Tensor": (fields) => ({ graph: { input: [{ type: { tensor_type: fields } }] } }),
	"TypeProto.SparseTensor": (fields) => ({ graph: { input: [{ type: { sparse_tensor_type: fields } }] } }),
	"TypeProto.Sequence": (fields) => ({ graph: { input: [{ type: { sequence_type: fields } }] } }),
	"TypeProto.Optional": (fields) => ({ graph: { input: [{ type: { optional_type: fields } }] } }),
	"TypeProto.Map": (fields) => ({ graph: { input: [{ type: { map_type: fields } }] } }),
	"TypeProto.Opaque": (fields) => ({ graph: { input: [{ type: { opaque_type: fields } }] } }),
	TensorShapeProto: (fields) => ({ graph: { input: [{ type: { tensor_type: { shape: fields } } }] } }),
	"TensorShapeProto.Dimension": (fields) => ({
		graph: { input: [{ type: { tensor_type: { shape: { dim: [fields, fields] } } } }] },
	}),
	TensorAnnotation: (fields) => ({ graph: { quantization_annotation: [fields] } }),
	OperatorSetIdProto: (fields) => ({ opset_import: [fields], functions: [{ opset_import: [fields] }] }),
	StringStringEntryProto: (fields) => ({
		metadata_props: [fields],
		graph: { metadata_props: [fields], node: [{ metadata_props: [fields] }] },
		training_info: [{ initialization_binding: [fields], update_binding: [fields] }],
		functions: [{ metadata_props: [fields] }],
	}),
	TrainingInfoProto: (fields) => ({ training_info: [fields] }),
	FunctionProto: (fields) => ({ functions: [fields] }),
	DeviceConfigurationProto: (fields) => ({ configuration: [fields] }),
	NodeDeviceConfigurationProto: (fields) => ({ graph: { node: [{ device_configurations: [fields] }] } }),
	ShardingSpecProto: (fields) => HOSTS.NodeDeviceConfigurationProto!({ sharding_spec: [fields] }),
	IntIntListEntryProto: (fields) => HOSTS.ShardingSpecProto!({ index_to_device_group_map: [fields] }),
	ShardedDimProto: (fields) => HOSTS.ShardingSpecProto!({ sharded_dim: [fields] }),
	SimpleShardedDimProto: (fields) => HOSTS.ShardedDimProto!({ simple_sharding: [fields] }),
};

/** Two values for a field: the one that says nothing, and one that says something. */
function samples({ type, repeated, packed }: FieldEntry): unknown[] {
	const [empty, full]: unknown[] =
		type in REFERENCE.messages
			? [{}, { $raw: UNKNOWN_FIELDS.varint }]
			: type === "string"
				? ["", "some näme"]
				: type === "bytes"
					? [Buffer.alloc(0), Buffer.from([0, 255, 10])]
					: type === "float" || type === "double"
						? [0, -1.5]
						: [0, type === "uint64" ? 2n ** 64n - 1n : 5];
	return repeated || packed ? [[empty], [full, empty, full]] : [empty, full];
}

describe("the schema table", () => {
	it("is that of onnx 1.23.2", () => {
		const merged: Record<string, Record<string, object>> = {};
		for (const [name, fields] of messages) {
			if (name in SAME_AS) {
				expect(fields, name).toEqual(REFERENCE.messages[SAME_AS[name]!]);
				continue;
			}
			merged[name] = {};
			for (const [field, entry] of Object.entries(fields)) {
				const { packed, repeated, ...rest } = entry;
				const type = SAME_AS[entry.type] ?? entry.type;
				merged[name][field] = packed ? { ...rest, type, packed } : { ...rest, type, ...(repeated ? { repeated } : {}) };
			}
		}
		expect(MESSAGES).toEqual(merged);
	});
});

describe.each(messages)("%s", (name, fields) => {
	const cases = Object.entries(fields).flatMap(([field, entry]) =>
		samples(entry).map((value, index) => [`${field}, ${index === 0 ? "empty" : "full"}`, { [field]: value }] as const),
	);
	const unknown = Object.entries(UNKNOWN_FIELDS).map(([kind, $raw]) => [`unknown ${kind}`, { $raw }] as const);

	it.each([["nothing", {}] as const, ...cases, ...unknown])("survives as a record: %s", (_, value) => {
		const bytes = encode(name, value);
		expect(rewritten(bytes, schemaName(name))).toEqual(bytes);
	});

	it.each([["nothing", {}] as const, ...cases, ...unknown])("survives in a model: %s", (_, value) => {
		const bytes = model(HOSTS[name]!(value));
		expect(Buffer.from(serializeModel(parseModel(bytes)))).toEqual(bytes);
	});

	it("survives whatever is in it", () => {
		fc.assert(
			fc.property(messageArbitrary(name, 3), (value) => {
				const bytes = encode(name, value);
				expect(rewritten(bytes, schemaName(name))).toEqual(bytes);
			}),
			{ numRuns: 30 },
		);
	});
});

describe("random models", () => {
	it("survive as records and as models", () => {
		fc.assert(
			fc.property(modelArbitrary(), (fields) => {
				const bytes = encode("ModelProto", fields);
				expect(rewritten(bytes, "ModelProto")).toEqual(bytes);
				expect(Buffer.from(serializeModel(parseModel(bytes)))).toEqual(bytes);
			}),
			{ numRuns: 300 },
		);
	});
});
