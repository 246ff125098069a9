import { QGraphError } from "../diagnostics.js";
import { bytesData, readAll, type TensorData } from "../ir/data.js";
import type { SparseTensor, Tensor } from "../ir/tensor.js";
import { DataType, rawByteLength } from "../ir/types.js";
import type { ExternalDataResolver } from "./external-data.js";
import { decodeEntries, keep, originOf, setOrigin } from "./origin.js";
import type { WireRecord } from "./record.js";
import { typedData } from "./typed-data.js";

type TensorRecord = WireRecord<"TensorProto">;

/** TensorProto.DataLocation. */
const EXTERNAL = 1;

/** Where a tensor's bytes go: into the model file, or to a range of a data file. */
export type Placement = "inline" | { readonly location: string; readonly offset: number; readonly length: number };

/** Decides where the bytes of a tensor go; called once a tensor, in the order of the file. */
export type Placer = (tensor: Tensor) => Placement;

/** TensorProto -> Tensor; `external` finds data files, and is absent for a model that came from memory. */
export function decodeTensor(record: TensorRecord, external: ExternalDataResolver | undefined): Tensor {
	const shape = dimsOf(record.dims, record.name ?? "");
	const dtype = record.data_type ?? DataType.UNDEFINED;
	const strings = dtype === DataType.STRING ? (record.string_data ?? []).map(readAll) : undefined;
	return setOrigin(
		{
			dtype,
			shape,
			data: dataOf(record, shape, external),
			...(strings === undefined ? {} : { strings }),
			...(record.name === undefined ? {} : { name: record.name }),
		},
		record,
	);
}

/** Does the tensor come from a file that keeps it in a data file? */
export function isStoredExternally(tensor: Tensor): boolean {
	return originOf(tensor, "TensorProto")?.data_location === EXTERNAL;
}

/** Does the tensor come from a file, unchanged? */
export function isFromFile(tensor: Tensor): boolean {
	return originOf(tensor, "TensorProto") !== undefined;
}

/** The place of a tensor that its file keeps in a data file; undefined for every other tensor. */
export function storedPlacement(tensor: Tensor): Exclude<Placement, "inline"> | undefined {
	const stored = originOf(tensor, "TensorProto");
	if (stored?.data_location !== EXTERNAL) return undefined;
	const entries = decodeEntries(stored.external_data);
	return {
		location: entries.get("location") ?? "",
		offset: Number(entries.get("offset") ?? 0),
		length: tensor.data.byteLength,
	};
}

/** Tensor -> TensorProto named `name`. */
export function encodeTensor(tensor: Tensor, name: string, place: Placer): TensorRecord {
	const stored = originOf(tensor, "TensorProto");
	const record: TensorRecord = { ...(stored ?? freshRecord(tensor)) };
	record.name = keep(stored?.name, name, "");
	const placement = place(tensor);
	const wasExternal = stored?.data_location === EXTERNAL;
	if (placement === "inline") {
		if (!wasExternal) return record;
		record.external_data = undefined;
		record.data_location = undefined;
		record.raw_data = tensor.data;
		return record;
	}
	for (const field of ["raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"] as const) {
		record[field] = undefined;
	}
	record.data_location = EXTERNAL;
	const before = storedPlacement(tensor);
	if (before?.location === placement.location && before.offset === placement.offset) return record;
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
export function encodeSparseTensor(sparse: SparseTensor, name: string, place: Placer): WireRecord<"SparseTensorProto"> {
	const stored = originOf(sparse, "SparseTensorProto");
	const values = encodeTensor(sparse.values, name, place);
	const indices = encodeTensor(sparse.indices, sparse.indices.name ?? "", place);
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

function dataOf(
	record: TensorRecord,
	shape: readonly number[],
	external: ExternalDataResolver | undefined,
): TensorData {
	if (record.data_location === EXTERNAL) {
		if (external === undefined) {
			throw new QGraphError(
				"external-data/missing",
				`tensor '${record.name ?? ""}' has external data, but the model was not read from a folder`,
			);
		}
		return external.resolve(record, rawByteLength(record.data_type ?? 0, shape));
	}
	return record.raw_data ?? typedData(record, shape) ?? bytesData(new Uint8Array());
}

function dimsOf(dims: readonly (number | bigint)[] | undefined, name: string): number[] {
	const shape = (dims ?? []).map(Number);
	const total = shape.reduce((product, dim) => product * dim, 1);
	if (shape.some((dim) => dim < 0 || !Number.isSafeInteger(dim)) || !Number.isSafeInteger(total)) {
		throw new QGraphError("onnx/invalid-tensor", `tensor '${name}' has the impossible shape [${shape.join(", ")}]`, {
			value: name,
		});
	}
	return shape;
}
