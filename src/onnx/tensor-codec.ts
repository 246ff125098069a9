import { QGraphError } from "../diagnostics.js";
import { bytesData, readAll, type TensorData } from "../ir/data.js";
import type { SparseTensor, Tensor } from "../ir/tensor.js";
import { DataType, elementCount, rawByteLength } from "../ir/types.js";
import type { ExternalDataResolver } from "./external-data.js";
import { decodeEntries, keep, originOf, setOrigin } from "./origin.js";
import type { Payload, WireRecord } from "./record.js";
import { shown } from "./text.js";
import { typedData } from "./typed-data.js";

type TensorRecord = WireRecord<"TensorProto">;

/** TensorProto.DataLocation. */
const EXTERNAL = 1;

/** The fields that hold a tensor's elements in the model file. */
const DATA_FIELDS = ["raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"] as const;

/** A range of a data file. */
export interface ExternalRange {
	readonly location: string;
	readonly offset: number;
	readonly length: number;
}

/** Where a tensor's bytes go: into the model file, where they are (`stored`), or to a range of a data file. */
export type Placement = "inline" | "stored" | ExternalRange;

/** Weights are initializers and Constant nodes; runtimes read other attributes from the model file only. */
export type TensorRole = "weight" | "attribute";

/** Decides where the bytes of a tensor go; called once a tensor, in the order of the file. */
export type Placer = (tensor: Tensor, role: TensorRole) => Placement;

/** TensorProto -> Tensor; `external` finds data files, and is absent for a model that came from memory. */
export function decodeTensor(record: TensorRecord, external: ExternalDataResolver | undefined): Tensor {
	const shape = dimsOf(record.dims, record.name ?? "");
	if (!Number.isSafeInteger(elementCount(shape))) throw impossibleShape(shape, record.name ?? "");
	const dtype = record.data_type ?? DataType.UNDEFINED;
	const tensor = {
		dtype,
		shape,
		data: dataOf(record, shape, external),
		...(record.name === undefined ? {} : { name: record.name }),
	};
	return setOrigin(dtype === DataType.STRING ? withStrings(tensor, record.string_data ?? []) : tensor, record);
}

/** Does the tensor come from a file that keeps it in a data file? */
export function isStoredExternally(tensor: Tensor): boolean {
	return originOf(tensor, "TensorProto")?.data_location === EXTERNAL;
}

/** Does the tensor come from a file, unchanged? */
export function isFromFile(tensor: Tensor): boolean {
	return originOf(tensor, "TensorProto") !== undefined;
}

/** The location of a tensor that its file keeps in a data file; undefined for every other tensor. */
export function storedLocation(tensor: Tensor): string | undefined {
	const stored = originOf(tensor, "TensorProto");
	if (stored?.data_location !== EXTERNAL) return undefined;
	return decodeEntries(stored.external_data).get("location");
}

/** Tensor -> TensorProto named `name`. */
export function encodeTensor(tensor: Tensor, name: string, place: Placer, role: TensorRole): TensorRecord {
	const stored = originOf(tensor, "TensorProto");
	const record: TensorRecord = stored === undefined ? freshRecord(tensor) : { ...stored };
	record.name = keep(stored?.name, name, "");
	const placement = place(tensor, role);
	if (placement === "stored") return record;
	if (placement === "inline") {
		if (stored?.data_location !== EXTERNAL) return record;
		record.external_data = undefined;
		record.data_location = undefined;
		record.raw_data = tensor.data.byteLength > 0 ? tensor.data : undefined;
		return record;
	}
	for (const field of DATA_FIELDS) record[field] = undefined;
	record.data_location = EXTERNAL;
	record.external_data = [
		{ key: "location", value: placement.location },
		{ key: "offset", value: String(placement.offset) },
		{ key: "length", value: String(placement.length) },
	];
	return record;
}

export function decodeSparseTensor(
	record: WireRecord<"SparseTensorProto">,
	external: ExternalDataResolver | undefined,
): SparseTensor {
	return setOrigin(
		{
			values: decodeTensor(record.values ?? {}, external),
			indices: decodeTensor(record.indices ?? {}, external),
			shape: dimsOf(record.dims, record.values?.name ?? ""),
		},
		record,
	);
}

/** SparseTensor -> SparseTensorProto; the name is that of its values. */
export function encodeSparseTensor(
	sparse: SparseTensor,
	name: string,
	place: Placer,
	role: TensorRole,
): WireRecord<"SparseTensorProto"> {
	const stored = originOf(sparse, "SparseTensorProto");
	const values = encodeTensor(sparse.values, name, place, role);
	const indices = encodeTensor(sparse.indices, sparse.indices.name ?? "", place, role);
	if (stored !== undefined) {
		return { ...stored, values: stored.values && values, indices: stored.indices && indices };
	}
	return { values, indices, dims: [...sparse.shape] };
}

function freshRecord(tensor: Tensor): TensorRecord {
	const record: TensorRecord = { dims: [...tensor.shape], data_type: tensor.dtype };
	if (tensor.strings !== undefined) record.string_data = tensor.strings.map(bytesData);
	else record.raw_data = tensor.data;
	return record;
}

/** `tensor` with its elements, which are read when somebody asks for them. */
function withStrings(tensor: Tensor, elements: readonly Payload[]): Tensor {
	let strings: readonly Uint8Array[] | undefined;
	return Object.defineProperty(tensor, "strings", {
		enumerable: true,
		get: () => {
			strings ??= elements.map(readAll);
			return strings;
		},
	});
}

function dataOf(
	record: TensorRecord,
	shape: readonly number[],
	external: ExternalDataResolver | undefined,
): TensorData {
	if (record.data_location !== EXTERNAL) {
		return record.raw_data ?? typedData(record, shape) ?? bytesData(new Uint8Array());
	}
	const dtype = record.data_type ?? DataType.UNDEFINED;
	const where = { value: record.name ?? "" };
	if (dtype === DataType.STRING) {
		const message = `tensor '${shown(where.value)}' holds strings, which cannot be external data`;
		throw new QGraphError("external-data/invalid", message, where);
	}
	if (external === undefined) {
		const message = `tensor '${shown(where.value)}' has external data, but the model was not read from a folder`;
		throw new QGraphError("external-data/missing", message, where);
	}
	return external.resolve(record, rawByteLength(dtype, shape));
}

function dimsOf(dims: readonly (number | bigint)[] | undefined, name: string): number[] {
	const shape = (dims ?? []).map(Number);
	if (shape.every((dim) => dim >= 0 && Number.isSafeInteger(dim))) return shape;
	throw impossibleShape(shape, name);
}

function impossibleShape(shape: readonly number[], name: string): QGraphError {
	const text = shape.slice(0, 8).join(", ");
	return new QGraphError(
		"onnx/invalid-tensor",
		`tensor '${shown(name)}' has the impossible shape [${text}${shape.length > 8 ? ", ..." : ""}]`,
		{ value: name },
	);
}
