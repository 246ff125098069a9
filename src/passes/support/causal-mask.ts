import type { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { floatScalar } from "./attention.js";
import { rangeOf, scalar, vector } from "./lengths.js";
import type { GraphWriter } from "./node-writer.js";

/** Positions of a sequence behind a past: INT64 scalars and vectors. */
export interface Positions {
	/** Past and sequence together. */
	readonly total: Value;
	/** Of the elements of the sequence, [sequence]. */
	readonly own: Value;
}

/** What makes masks of one kind the same. */
export interface MaskForm {
	/** An element sees so many, itself included; 0: all before it. */
	readonly window: number;
	readonly dtype: DataType;
	/** What is added to the scores of elements that are not seen. */
	readonly masked: number;
}

/**
 * What is added to scores, [sequence, total]: 0 where the element of the row sees that of the column, which is itself and
 * those before it, up to a window, else `masked`.
 */
export function causalMask(writer: GraphWriter, { total, own }: Positions, { window, dtype, masked }: MaskForm): Value {
	const columns = rangeOf(writer, scalar(writer, 0), total);
	const rows = writer.emit("Unsqueeze", [own, vector(writer, "column_axis", 1)], {}, "rows");
	const past = writer.emit("LessOrEqual", [columns, rows], {}, "past");
	const seen = window === 0 ? past : writer.emit("And", [past, inWindow(writer, columns, rows, window)], {}, "seen");
	const [zero, low] = [0, masked].map((value) => writer.constant("bias", floatScalar(dtype, value)));
	return writer.emit("Where", [seen, zero, low], {}, "mask");
}

/** Is the column one of the `window` last up to the row? */
export function inWindow(writer: GraphWriter, columns: Value, rows: Value, window: number): Value {
	const before = writer.emit("Sub", [rows, scalar(writer, window)], {}, "before_window");
	return writer.emit("Greater", [columns, before], {}, "in_window");
}
