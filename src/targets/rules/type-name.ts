import { type DataType, dataTypeName } from "../../ir/types.js";

/** The element type of codes; "float" where there are none. */
export function typeName(dtype: DataType | undefined): string {
	return dtype === undefined ? "float" : dataTypeName(dtype);
}
