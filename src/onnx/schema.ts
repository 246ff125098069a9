/**
 * The messages of onnx.proto (ONNX 1.23, IR version 14): field numbers, names and types. A name of another message as a
 * type means that message; `packed` fields are written packed, all others one by one, and both forms are read.
 */
export const MESSAGES = {
	ModelProto: {
		ir_version: { id: 1, type: "int64" },
		producer_name: { id: 2, type: "string" },
		producer_version: { id: 3, type: "string" },
		domain: { id: 4, type: "string" },
		model_version: { id: 5, type: "int64" },
		doc_string: { id: 6, type: "string" },
		graph: { id: 7, type: "GraphProto" },
		opset_import: { id: 8, type: "OperatorSetIdProto", repeated: true },
		metadata_props: { id: 14, type: "StringStringEntryProto", repeated: true },
		training_info: { id: 20, type: "TrainingInfoProto", repeated: true },
		functions: { id: 25, type: "FunctionProto", repeated: true },
		configuration: { id: 26, type: "DeviceConfigurationProto", repeated: true },
	},
	GraphProto: {
		node: { id: 1, type: "NodeProto", repeated: true },
		name: { id: 2, type: "string" },
		initializer: { id: 5, type: "TensorProto", repeated: true },
		doc_string: { id: 10, type: "string" },
		input: { id: 11, type: "ValueInfoProto", repeated: true },
		output: { id: 12, type: "ValueInfoProto", repeated: true },
		value_info: { id: 13, type: "ValueInfoProto", repeated: true },
		quantization_annotation: { id: 14, type: "TensorAnnotation", repeated: true },
		sparse_initializer: { id: 15, type: "SparseTensorProto", repeated: true },
		metadata_props: { id: 16, type: "StringStringEntryProto", repeated: true },
	},
	NodeProto: {
		input: { id: 1, type: "string", repeated: true },
		output: { id: 2, type: "string", repeated: true },
		name: { id: 3, type: "string" },
		op_type: { id: 4, type: "string" },
		attribute: { id: 5, type: "AttributeProto", repeated: true },
		doc_string: { id: 6, type: "string" },
		domain: { id: 7, type: "string" },
		overload: { id: 8, type: "string" },
		metadata_props: { id: 9, type: "StringStringEntryProto", repeated: true },
		device_configurations: { id: 10, type: "NodeDeviceConfigurationProto", repeated: true },
	},
	AttributeProto: {
		name: { id: 1, type: "string" },
		f: { id: 2, type: "float" },
		i: { id: 3, type: "int64" },
		s: { id: 4, type: "bytes" },
		t: { id: 5, type: "TensorProto" },
		g: { id: 6, type: "GraphProto" },
		floats: { id: 7, type: "float", repeated: true },
		ints: { id: 8, type: "int64", repeated: true },
		strings: { id: 9, type: "bytes", repeated: true },
		tensors: { id: 10, type: "TensorProto", repeated: true },
		graphs: { id: 11, type: "GraphProto", repeated: true },
		doc_string: { id: 13, type: "string" },
		tp: { id: 14, type: "TypeProto" },
		type_protos: { id: 15, type: "TypeProto", repeated: true },
		type: { id: 20, type: "int32" },
		ref_attr_name: { id: 21, type: "string" },
		sparse_tensor: { id: 22, type: "SparseTensorProto" },
		sparse_tensors: { id: 23, type: "SparseTensorProto", repeated: true },
	},
	TensorProto: {
		dims: { id: 1, type: "int64", repeated: true },
		data_type: { id: 2, type: "int32" },
		segment: { id: 3, type: "TensorProto.Segment" },
		float_data: { id: 4, type: "float", packed: true },
		int32_data: { id: 5, type: "int32", packed: true },
		string_data: { id: 6, type: "bytes", repeated: true },
		int64_data: { id: 7, type: "int64", packed: true },
		name: { id: 8, type: "string" },
		raw_data: { id: 9, type: "bytes" },
		double_data: { id: 10, type: "double", packed: true },
		uint64_data: { id: 11, type: "uint64", packed: true },
		doc_string: { id: 12, type: "string" },
		external_data: { id: 13, type: "StringStringEntryProto", repeated: true },
		data_location: { id: 14, type: "int32" },
		metadata_props: { id: 16, type: "StringStringEntryProto", repeated: true },
	},
	"TensorProto.Segment": { begin: { id: 1, type: "int64" }, end: { id: 2, type: "int64" } },
	SparseTensorProto: {
		values: { id: 1, type: "TensorProto" },
		indices: { id: 2, type: "TensorProto" },
		dims: { id: 3, type: "int64", repeated: true },
	},
	ValueInfoProto: {
		name: { id: 1, type: "string" },
		type: { id: 2, type: "TypeProto" },
		doc_string: { id: 3, type: "string" },
		metadata_props: { id: 4, type: "StringStringEntryProto", repeated: true },
	},
	TypeProto: {
		tensor_type: { id: 1, type: "TypeProto.Tensor", oneof: "value" },
		sequence_type: { id: 4, type: "TypeProto.Sequence", oneof: "value" },
		map_type: { id: 5, type: "TypeProto.Map", oneof: "value" },
		denotation: { id: 6, type: "string" },
		opaque_type: { id: 7, type: "TypeProto.Opaque", oneof: "value" },
		sparse_tensor_type: { id: 8, type: "TypeProto.Tensor", oneof: "value" },
		optional_type: { id: 9, type: "TypeProto.Sequence", oneof: "value" },
	},
	"TypeProto.Tensor": { elem_type: { id: 1, type: "int32" }, shape: { id: 2, type: "TensorShapeProto" } },
	"TypeProto.Sequence": { elem_type: { id: 1, type: "TypeProto" } },
	"TypeProto.Map": { key_type: { id: 1, type: "int32" }, value_type: { id: 2, type: "TypeProto" } },
	"TypeProto.Opaque": { domain: { id: 1, type: "string" }, name: { id: 2, type: "string" } },
	TensorShapeProto: { dim: { id: 1, type: "TensorShapeProto.Dimension", repeated: true } },
	"TensorShapeProto.Dimension": {
		dim_value: { id: 1, type: "int64", oneof: "value" },
		dim_param: { id: 2, type: "string", oneof: "value" },
		denotation: { id: 3, type: "string" },
	},
	TensorAnnotation: {
		tensor_name: { id: 1, type: "string" },
		quant_parameter_tensor_names: { id: 2, type: "StringStringEntryProto", repeated: true },
	},
	OperatorSetIdProto: { domain: { id: 1, type: "string" }, version: { id: 2, type: "int64" } },
	StringStringEntryProto: { key: { id: 1, type: "string" }, value: { id: 2, type: "string" } },
	TrainingInfoProto: {
		initialization: { id: 1, type: "GraphProto" },
		algorithm: { id: 2, type: "GraphProto" },
		initialization_binding: { id: 3, type: "StringStringEntryProto", repeated: true },
		update_binding: { id: 4, type: "StringStringEntryProto", repeated: true },
	},
	FunctionProto: {
		name: { id: 1, type: "string" },
		input: { id: 4, type: "string", repeated: true },
		output: { id: 5, type: "string", repeated: true },
		attribute: { id: 6, type: "string", repeated: true },
		node: { id: 7, type: "NodeProto", repeated: true },
		doc_string: { id: 8, type: "string" },
		opset_import: { id: 9, type: "OperatorSetIdProto", repeated: true },
		domain: { id: 10, type: "string" },
		attribute_proto: { id: 11, type: "AttributeProto", repeated: true },
		value_info: { id: 12, type: "ValueInfoProto", repeated: true },
		overload: { id: 13, type: "string" },
		metadata_props: { id: 14, type: "StringStringEntryProto", repeated: true },
	},
	DeviceConfigurationProto: {
		name: { id: 1, type: "string" },
		num_devices: { id: 2, type: "int32" },
		device: { id: 3, type: "string", repeated: true },
	},
	NodeDeviceConfigurationProto: {
		configuration_id: { id: 1, type: "string" },
		sharding_spec: { id: 2, type: "ShardingSpecProto", repeated: true },
		pipeline_stage: { id: 3, type: "int32" },
	},
	ShardingSpecProto: {
		tensor_name: { id: 1, type: "string" },
		device: { id: 2, type: "int64", repeated: true },
		index_to_device_group_map: { id: 3, type: "IntIntListEntryProto", repeated: true },
		sharded_dim: { id: 4, type: "ShardedDimProto", repeated: true },
	},
	IntIntListEntryProto: { key: { id: 1, type: "int64" }, value: { id: 2, type: "int64", repeated: true } },
	ShardedDimProto: {
		axis: { id: 1, type: "int64" },
		simple_sharding: { id: 2, type: "SimpleShardedDimProto", repeated: true },
	},
	SimpleShardedDimProto: {
		dim_value: { id: 1, type: "int64", oneof: "dim" },
		dim_param: { id: 2, type: "string", oneof: "dim" },
		num_shards: { id: 3, type: "int64" },
	},
} as const;

export type MessageName = keyof typeof MESSAGES;
export type ScalarType = "int32" | "int64" | "uint64" | "float" | "double" | "string" | "bytes";

/** How a field's bytes are laid out: the low three bits of its tag. */
export const WireType = { VARINT: 0, FIXED64: 1, DELIMITED: 2, GROUP: 3, END_GROUP: 4, FIXED32: 5 } as const;

export interface FieldSpec {
	readonly name: string;
	readonly id: number;
	readonly type: ScalarType | MessageName;
	/** Of the message that the type names; undefined for scalars. */
	readonly message: MessageSpec | undefined;
	readonly repeated: boolean;
	readonly packed: boolean;
	/** Of one element. */
	readonly wireType: number;
	/** Names of the other members of its oneof: one of them at most is present. */
	readonly rivals: readonly string[];
}

export interface MessageSpec {
	readonly name: MessageName;
	/** In the order in which fields are written. */
	readonly fields: readonly FieldSpec[];
	readonly byId: ReadonlyMap<number, FieldSpec>;
}

interface FieldEntry {
	readonly id: number;
	readonly type: ScalarType | MessageName;
	readonly repeated?: boolean;
	readonly packed?: boolean;
	readonly oneof?: string;
}

const SPECS = buildSpecs();

export function messageSpec(name: MessageName): MessageSpec {
	const spec = SPECS.get(name);
	if (spec === undefined) throw new Error(`no message '${name}' in the schema`);
	return spec;
}

function buildSpecs(): ReadonlyMap<MessageName, MessageSpec> {
	const names = Object.keys(MESSAGES) as MessageName[];
	const specs = new Map(
		names.map((name) => [name, { name, fields: [] as FieldSpec[], byId: new Map<number, FieldSpec>() }]),
	);
	for (const [name, spec] of specs) {
		const entries: [string, FieldEntry][] = Object.entries(MESSAGES[name]);
		for (const [fieldName, { id, type, repeated = false, packed = false, oneof }] of entries) {
			spec.fields.push({
				name: fieldName,
				id,
				type,
				message: specs.get(type as MessageName),
				repeated,
				packed,
				wireType: wireTypeOf(type),
				rivals: entries.flatMap(([other, entry]) =>
					oneof !== undefined && entry.oneof === oneof && other !== fieldName ? [other] : [],
				),
			});
		}
		spec.fields.sort((a, b) => a.id - b.id);
		for (const field of spec.fields) spec.byId.set(field.id, field);
	}
	return specs;
}

function wireTypeOf(type: ScalarType | MessageName): number {
	if (type === "int32" || type === "int64" || type === "uint64") return WireType.VARINT;
	if (type === "float") return WireType.FIXED32;
	return type === "double" ? WireType.FIXED64 : WireType.DELIMITED;
}
