import type { Dimension, ValueType } from "../ir/types.js";
import { originOf, setOrigin } from "./origin.js";
import type { WireRecord } from "./record.js";

/** TypeProto -> ValueType. */
export function decodeType(record: WireRecord<"TypeProto">): ValueType {
	const type = typeOf(record);
	return isPlain(record) ? type : setOrigin(type, record);
}

/** ValueType -> TypeProto: the stored record for a type that came from a file, for types are immutable. */
export function encodeType(type: ValueType): WireRecord<"TypeProto"> {
	return originOf(type, "TypeProto") ?? recordOf(type);
}

/** Is the record what `recordOf` makes of its type? Asked for tensors only, which are nearly all there are. */
function isPlain(record: WireRecord<"TypeProto">): boolean {
	const { tensor_type, ...more } = record;
	if (tensor_type?.elem_type === undefined || !isEmpty(more)) return false;
	const { elem_type: _, shape, ...moreOfTensor } = tensor_type;
	if (!isEmpty(moreOfTensor)) return false;
	const { dim, ...moreOfShape } = shape ?? {};
	return isEmpty(moreOfShape) && (dim ?? []).every(isPlainDimension);
}

function isPlainDimension({ dim_value, dim_param, ...more }: WireRecord<"TensorShapeProto.Dimension">): boolean {
	return typeof dim_value !== "bigint" && !((dim_value ?? 0) < 0) && dim_param !== "" && isEmpty(more);
}

function isEmpty(fields: object): boolean {
	for (const _ in fields) return false;
	return true;
}

function typeOf(record: WireRecord<"TypeProto">): ValueType {
	const dense = record.tensor_type ?? record.sparse_tensor_type;
	if (dense !== undefined) {
		return {
			kind: record.tensor_type === undefined ? "sparse-tensor" : "tensor",
			elementType: dense.elem_type ?? 0,
			shape: dense.shape === undefined ? undefined : (dense.shape.dim ?? []).map(dimensionOf),
		};
	}
	const wrapped = record.sequence_type ?? record.optional_type;
	if (wrapped !== undefined) {
		const element = wrapped.elem_type === undefined ? undefined : decodeType(wrapped.elem_type);
		return { kind: record.sequence_type === undefined ? "optional" : "sequence", element };
	}
	if (record.map_type !== undefined) {
		const { key_type, value_type } = record.map_type;
		return {
			kind: "map",
			keyType: key_type ?? 0,
			value: value_type === undefined ? undefined : decodeType(value_type),
		};
	}
	if (record.opaque_type !== undefined) {
		return { kind: "opaque", domain: record.opaque_type.domain ?? "", name: record.opaque_type.name ?? "" };
	}
	return { kind: "unknown" };
}

/** Negative lengths, as paddle2onnx writes them, stand for any. */
function dimensionOf({ dim_value, dim_param }: WireRecord<"TensorShapeProto.Dimension">): Dimension {
	if (dim_value !== undefined) return dim_value < 0 ? undefined : Number(dim_value);
	return dim_param === "" ? undefined : dim_param;
}

function recordOf(type: ValueType): WireRecord<"TypeProto"> {
	switch (type.kind) {
		case "tensor":
			return { tensor_type: tensorRecord(type.elementType, type.shape) };
		case "sparse-tensor":
			return { sparse_tensor_type: tensorRecord(type.elementType, type.shape) };
		case "sequence":
			return { sequence_type: { elem_type: type.element && encodeType(type.element) } };
		case "optional":
			return { optional_type: { elem_type: type.element && encodeType(type.element) } };
		case "map":
			return { map_type: { key_type: type.keyType, value_type: type.value && encodeType(type.value) } };
		case "opaque":
			return { opaque_type: { domain: type.domain, name: type.name } };
		case "unknown":
			return {};
	}
}

function tensorRecord(elementType: number, shape: readonly Dimension[] | undefined): WireRecord<"TypeProto.Tensor"> {
	return {
		elem_type: elementType,
		shape:
			shape === undefined
				? undefined
				: {
						dim: shape.map((dim) =>
							typeof dim === "number" ? { dim_value: dim } : dim === undefined ? {} : { dim_param: dim },
						),
					},
	};
}
