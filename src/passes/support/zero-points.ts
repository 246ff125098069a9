import { DataType } from "../../ir/types.js";
import { repeatedByte } from "../../weights/repeated-byte.js";
import type { WeightForm } from "./weight-form.js";

/** `zero`: none, or all 0; `middle`: UINT4, all 8; `mixed`: anything else. Reads them all. */
export function zeroPointKind({
	codes,
	zeroPoint,
}: Pick<WeightForm, "codes" | "zeroPoint">): "zero" | "middle" | "mixed" {
	const isSigned = codes.dtype === DataType.INT4 || codes.dtype === DataType.INT8;
	if (zeroPoint === undefined) return isSigned ? "zero" : "mixed";
	const byte = repeatedByte(zeroPoint);
	if (isSigned) return byte === 0 ? "zero" : "mixed";
	return codes.dtype === DataType.UINT4 && byte === 0x88 ? "middle" : "mixed";
}
