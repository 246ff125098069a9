import type { Attribute, AttributeKind } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import type { ExternalDataResolver } from "./external-data.js";
import { keep, originOf, setOrigin } from "./origin.js";
import type { WireRecord } from "./record.js";
import { decodeSparseTensor, decodeTensor, encodeSparseTensor, encodeTensor, type Placer } from "./tensor-codec.js";
import { decodeType, encodeType } from "./type-codec.js";

type AttributeRecord = WireRecord<"AttributeProto">;

/** AttributeProto.AttributeType and the field that holds the value. */
const KINDS = [
	["float", 1, "f"],
	["int", 2, "i"],
	["string", 3, "s"],
	["tensor", 4, "t"],
	["graph", 5, "g"],
	["floats", 6, "floats"],
	["ints", 7, "ints"],
	["strings", 8, "strings"],
	["tensors", 9, "tensors"],
	["graphs", 10, "graphs"],
	["sparse-tensor", 11, "sparse_tensor"],
	["sparse-tensors", 12, "sparse_tensors"],
	["type", 13, "tp"],
	["types", 14, "type_protos"],
] as const satisfies readonly (readonly [AttributeKind, number, keyof AttributeRecord])[];

/** What decoding an attribute needs of the graph around it. */
export interface AttributeContext {
	readonly external: ExternalDataResolver | undefined;
	decodeGraph(record: WireRecord<"GraphProto">): Graph;
}

/** AttributeProto -> Attribute. */
export function decodeAttribute(record: AttributeRecord, context: AttributeContext): Attribute {
	return setOrigin(attributeOf(record, context), record);
}

function attributeOf(record: AttributeRecord, { external, decodeGraph }: AttributeContext): Attribute {
	const present = KINDS.filter(([, , field]) => record[field] !== undefined);
	const declared = KINDS.find(([, type]) => type === record.type);
	if (record.ref_attr_name !== undefined && record.ref_attr_name !== "" && present.length === 0) {
		return { kind: "reference", to: record.ref_attr_name, of: declared?.[0] };
	}
	const kind = declared ?? (record.type === undefined || record.type === 0 ? present[0] : undefined);
	if (kind === undefined || present.some((other) => other !== kind)) return { kind: "opaque" };
	switch (kind[0]) {
		case "float":
			return { kind: "float", value: toNumber(record.f) };
		case "int":
			return { kind: "int", value: BigInt(record.i ?? 0) };
		case "floats":
			return { kind: "floats", value: (record.floats ?? []).map(toNumber) };
		case "ints":
			return { kind: "ints", value: (record.ints ?? []).map(BigInt) };
		case "strings":
			return { kind: "strings", value: record.strings ?? [] };
		case "tensors":
			return { kind: "tensors", value: (record.tensors ?? []).map((tensor) => decodeTensor(tensor, external)) };
		case "graphs":
			return { kind: "graphs", value: (record.graphs ?? []).map(decodeGraph) };
		case "sparse-tensors": {
			const value = (record.sparse_tensors ?? []).map((tensor) => decodeSparseTensor(tensor, external));
			return { kind: "sparse-tensors", value };
		}
		case "types":
			return { kind: "types", value: (record.type_protos ?? []).map(decodeType) };
		case "string":
			return record.s === undefined ? { kind: "opaque" } : { kind: "string", value: record.s };
		case "tensor":
			return record.t === undefined ? { kind: "opaque" } : { kind: "tensor", value: decodeTensor(record.t, external) };
		case "graph":
			return record.g === undefined ? { kind: "opaque" } : { kind: "graph", value: decodeGraph(record.g) };
		case "sparse-tensor":
			return record.sparse_tensor === undefined
				? { kind: "opaque" }
				: { kind: "sparse-tensor", value: decodeSparseTensor(record.sparse_tensor, external) };
		case "type":
			return record.tp === undefined ? { kind: "opaque" } : { kind: "type", value: decodeType(record.tp) };
	}
}

/** Attribute -> AttributeProto named `name`. */
export function encodeAttribute(
	attribute: Attribute,
	name: string,
	place: Placer,
	encodeGraph: (graph: Graph) => WireRecord<"GraphProto">,
): AttributeRecord {
	const stored = originOf(attribute, "AttributeProto");
	const record: AttributeRecord = { ...(stored ?? freshRecord(attribute)) };
	record.name = keep(stored?.name, name, "");
	switch (attribute.kind) {
		case "tensor":
			record.t = encodeTensor(attribute.value, attribute.value.name ?? "", place);
			break;
		case "tensors":
			if (attribute.value.length > 0) {
				record.tensors = attribute.value.map((tensor) => encodeTensor(tensor, tensor.name ?? "", place));
			}
			break;
		case "sparse-tensor":
			record.sparse_tensor = encodeSparseTensor(attribute.value, attribute.value.values.name ?? "", place);
			break;
		case "sparse-tensors":
			if (attribute.value.length > 0) {
				record.sparse_tensors = attribute.value.map((sparse) =>
					encodeSparseTensor(sparse, sparse.values.name ?? "", place),
				);
			}
			break;
		case "graph":
			record.g = encodeGraph(attribute.value);
			break;
		case "graphs":
			if (attribute.value.length > 0) record.graphs = attribute.value.map(encodeGraph);
	}
	return record;
}

/** The record of an attribute that a pass made, without what `encodeAttribute` fills in. */
function freshRecord(attribute: Attribute): AttributeRecord {
	if (attribute.kind === "opaque") return {};
	const kind = attribute.kind === "reference" ? attribute.of : attribute.kind;
	const record: AttributeRecord = { type: KINDS.find(([name]) => name === kind)?.[1] };
	switch (attribute.kind) {
		case "reference":
			record.ref_attr_name = attribute.to;
			break;
		case "float":
			record.f = attribute.value;
			break;
		case "int":
			record.i = attribute.value;
			break;
		case "string":
			record.s = attribute.value;
			break;
		case "type":
			record.tp = encodeType(attribute.value);
			break;
		case "floats":
			record.floats = [...attribute.value];
			break;
		case "ints":
			record.ints = [...attribute.value];
			break;
		case "strings":
			record.strings = [...attribute.value];
			break;
		case "types":
			record.type_protos = attribute.value.map(encodeType);
	}
	return record;
}

function toNumber(value: number | Float32Array | undefined): number {
	return typeof value === "number" ? value : value === undefined ? 0 : Number.NaN;
}
