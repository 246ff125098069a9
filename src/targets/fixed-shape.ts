import type { Dimension } from "../ir/types.js";

/** `shape`, where all of it is known. */
export function fixedShape(shape: readonly Dimension[] | undefined): readonly number[] | undefined {
	return shape?.every((dim) => typeof dim === "number") === true ? (shape as readonly number[]) : undefined;
}
