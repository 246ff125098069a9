import { DataType } from "../../ir/types.js";

export const EIGHT_BITS: readonly (DataType | undefined)[] = [DataType.UINT8, DataType.INT8];
export const SIXTEEN_BITS: readonly (DataType | undefined)[] = [DataType.UINT16, DataType.INT16];
