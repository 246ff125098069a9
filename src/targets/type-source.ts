import { isOnnxOp } from "../ir/node.js";
import type { DataType, Dimension, ValueType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { constantOf } from "../weights/constant.js";

/** What is known of the types of values. */
export interface TypeSource {
	elementTypeOf(value: Value): DataType | undefined;
	/** undefined: not even the rank is known. */
	shapeOf(value: Value): readonly Dimension[] | undefined;
}

/** Operators whose result has the shape of their first input. */
const SAME_SHAPE = [
	"QuantizeLinear",
	"DequantizeLinear",
	"Identity",
	"Relu",
	"Sigmoid",
	"Tanh",
	"Gelu",
	"Softmax",
	"LayerNormalization",
];

/** Types as `typeOf` says, those of constants, and the element types of quantized values. */
export function typeSource(typeOf: (value: Value) => ValueType | undefined): TypeSource {
	const tensorType = (value: Value) => {
		const type = typeOf(value);
		return type?.kind === "tensor" ? type : undefined;
	};
	return {
		elementTypeOf(value) {
			const known = constantOf(value)?.tensor.dtype ?? tensorType(value)?.elementType;
			if (known !== undefined) return known;
			const { producer } = value;
			if (producer === undefined || !isOnnxOp(producer, "QuantizeLinear")) return undefined;
			return constantOf(producer.inputs[2])?.tensor.dtype;
		},
		shapeOf(value) {
			for (let at: Value | undefined = value; at !== undefined; ) {
				const known = constantOf(at)?.tensor.shape ?? tensorType(at)?.shape;
				if (known !== undefined) return known;
				const { producer }: Value = at;
				if (producer === undefined || !isOnnxOp(producer, ...SAME_SHAPE)) return undefined;
				at = producer.inputs[0];
			}
			return undefined;
		},
	};
}
