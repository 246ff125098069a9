import type { TypeTable } from "../../inference/index.js";
import { bytesOf, type Tensor, tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";

/** The tensor that a small value is known to be; undefined where a part of it is not known or its type is not stored here. */
export function knownTensor(value: Value, types: TypeTable): Tensor | undefined {
	const type = types.typeOf(value);
	const elements = types.elementsOf(value);
	const shape = types.staticShapeOf(value);
	if (type?.kind !== "tensor" || shape === undefined || !elements?.every((element) => typeof element === "number")) {
		return undefined;
	}
	const bytes = bytesFor(type.elementType, elements as readonly number[]);
	return bytes && tensor(type.elementType, shape, bytes);
}

function bytesFor(elementType: DataType, numbers: readonly number[]): Uint8Array | undefined {
	switch (elementType) {
		case DataType.INT64:
			return numbers.every(Number.isSafeInteger) ? bytesOf(BigInt64Array.from(numbers, BigInt)) : undefined;
		case DataType.INT32:
			return bytesOf(Int32Array.from(numbers));
		case DataType.FLOAT:
			return bytesOf(Float32Array.from(numbers));
		case DataType.BOOL:
			return Uint8Array.from(numbers);
		default:
			return undefined;
	}
}
