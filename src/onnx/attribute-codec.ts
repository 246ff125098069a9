import type { Attribute, AttributeKind } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import type { SparseTensor, Tensor } from "../ir/tensor.js";
import type { ExternalDataResolver } from "./external-data.js";
import { originOf, setOrigin } from "./origin.js";
import type { WireRecord } from "./record.js";
import {
	decodeSparseTensor,
	decodeTensor,
	encodeSparseTensor,
	encodeTensor,
	type Placer,
	type TensorRole,
} from "./tensor-codec.js";
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

/** What encoding attributes needs of the node around them. */
export interface AttributeEncoding {
	/** Of the tensors in them. */
	readonly role: TensorRole;
	readonly place: Placer;
	encodeGraph(graph: Graph): WireRecord<"GraphProto">;
}

/** A name given twice keeps both attributes: the later ones under the name, a NUL and a number. */
export function decodeAttributes(
	records: readonly AttributeRecord[] | undefined,
	context: AttributeContext,
): Map<string, Attribute> {
	const attributes = new Map<string, Attribute>();
	const copies = new Map<string, number>();
	for (const record of records ?? []) {
		const name = record.name ?? "";
		const attribute = attributeOf(record, context);
		let key = name;
		for (let copy = copies.get(name) ?? 2; attributes.has(key); copy++) {
			key = `${name}\0${copy}`;
			copies.set(name, copy + 1);
		}
		attributes.set(key, attribute);
		if (key !== name || !isPlain(record, attribute)) setOrigin(attribute, originRecord(record, attribute));
	}
	return attributes;
}

export function encodeAttributes(
	attributes: ReadonlyMap<string, Attribute>,
	encoding: AttributeEncoding,
): AttributeRecord[] {
	return Array.from(attributes, ([key, attribute]) => {
		const stored = originOf(attribute, "AttributeProto");
		const record = stored === undefined ? recordOf(attribute) : { ...stored };
		const storedName = stored?.name ?? "";
		const isStoredName = stored !== undefined && (key === storedName || key.startsWith(`${storedName}\0`));
		record.name = isStoredName ? stored.name : key;
		encodeParts(record, attribute, encoding);
		return record;
	});
}

function attributeOf(record: AttributeRecord, { external, decodeGraph }: AttributeContext): Attribute {
	const present = KINDS.filter(([, , field]) => record[field] !== undefined);
	const declared = KINDS.find(([, type]) => type === record.type);
	if (record.ref_attr_name !== undefined && record.ref_attr_name !== "") {
		return present.length > 0 ? { kind: "opaque" } : { kind: "reference", to: record.ref_attr_name, of: declared?.[0] };
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

/** Is the record what `recordOf` and `encodeParts` make of the attribute? Then it need not be kept. */
function isPlain(record: AttributeRecord, attribute: Attribute): boolean {
	if (attribute.kind === "opaque" || attribute.kind === "reference") return false;
	const [, type, field] = KINDS.find(([kind]) => kind === attribute.kind)!;
	const fields = Object.keys(record).length;
	if (fields !== 3 || record.name === undefined || record.type !== type || record[field] === undefined) return false;
	return !(record.f instanceof Float32Array) && !record.floats?.some((value) => value instanceof Float32Array);
}

/** The record to keep for an attribute: without the graphs, which the attribute holds in full. */
function originRecord(record: AttributeRecord, attribute: Attribute): AttributeRecord {
	return attribute.kind === "opaque" ? record : { ...record, g: undefined, graphs: undefined };
}

/** The record of an attribute that comes from a pass or is plain, without what `encodeParts` fills in. */
function recordOf(attribute: Attribute): AttributeRecord {
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
			record.i = toWire(attribute.value);
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
			record.ints = attribute.value.map(toWire);
			break;
		case "strings":
			record.strings = [...attribute.value];
			break;
		case "types":
			record.type_protos = attribute.value.map(encodeType);
	}
	return record;
}

/** Fills in the tensors and graphs of an attribute: where a tensor's bytes go is decided anew at every write. */
function encodeParts(
	record: AttributeRecord,
	attribute: Attribute,
	{ role, place, encodeGraph }: AttributeEncoding,
): void {
	const encodeDense = (tensor: Tensor) => encodeTensor(tensor, tensor.name ?? "", place, role);
	const encodeSparse = (sparse: SparseTensor) => encodeSparseTensor(sparse, sparse.values.name ?? "", place, role);
	switch (attribute.kind) {
		case "tensor":
			record.t = encodeDense(attribute.value);
			break;
		case "tensors":
			record.tensors = attribute.value.map(encodeDense);
			break;
		case "sparse-tensor":
			record.sparse_tensor = encodeSparse(attribute.value);
			break;
		case "sparse-tensors":
			record.sparse_tensors = attribute.value.map(encodeSparse);
			break;
		case "graph":
			record.g = encodeGraph(attribute.value);
			break;
		case "graphs":
			record.graphs = attribute.value.map(encodeGraph);
	}
}

/** A NaN with its bits comes as an array. */
function toNumber(value: number | Float32Array | undefined): number {
	return typeof value === "number" ? value : value === undefined ? 0 : Number.NaN;
}

function toWire(value: bigint): number | bigint {
	const number = Number(value);
	return Number.isSafeInteger(number) ? number : BigInt.asIntN(64, value);
}
