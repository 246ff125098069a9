import type { TypeTable } from "../inference/index.js";
import type { DataType, Dimension } from "../ir/types.js";
import type { Value } from "../ir/value.js";

/** What is known of the types of values. */
export interface TypeSource {
	elementTypeOf(value: Value): DataType | undefined;
	/** undefined: not even the rank is known. */
	shapeOf(value: Value): readonly Dimension[] | undefined;
}

export function typeSource(types: TypeTable): TypeSource {
	return {
		elementTypeOf(value) {
			const type = types.typeOf(value);
			return type?.kind === "tensor" ? type.elementType : undefined;
		},
		shapeOf: (value) => types.shapeOf(value),
	};
}
