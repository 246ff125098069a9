import { DataType } from "../../ir/types.js";
import type { WeightForm } from "./weight-form.js";

/** Bytes read at a time. */
const PIECE_BYTES = 2 ** 18;

/** `zero`: none, or all 0; `middle`: UINT4, all 8; `mixed`: anything else. Reads them all. */
export function zeroPointKind({ codes, zeroPoint }: WeightForm): "zero" | "middle" | "mixed" {
	const isSigned = codes.dtype === DataType.INT4 || codes.dtype === DataType.INT8;
	if (zeroPoint === undefined) return isSigned ? "zero" : "mixed";
	const wanted = isSigned ? 0 : 0x88;
	if (!isSigned && codes.dtype !== DataType.UINT4) return "mixed";
	const { data, shape } = zeroPoint;
	const isOdd = codes.dtype !== DataType.INT8 && shape.reduce((product, dim) => product * dim, 1) % 2 === 1;
	const expected = Buffer.alloc(Math.min(PIECE_BYTES, data.byteLength), wanted);
	for (let at = 0; at < data.byteLength; at += PIECE_BYTES) {
		const end = Math.min(at + PIECE_BYTES, data.byteLength);
		const bytes = data.read(at, end);
		const last = end === data.byteLength && isOdd ? bytes.length - 1 : bytes.length;
		if (Buffer.compare(bytes.subarray(0, last), expected.subarray(0, last)) !== 0) return "mixed";
		if (last < bytes.length && (bytes[last]! & 15) !== (wanted & 15)) return "mixed";
	}
	return isSigned ? "zero" : "middle";
}
