import { everyPiece } from "../../ir/data.js";
import { DataType, rawByteLength } from "../../ir/types.js";
import type { WeightSite } from "../../weights/weight-site.js";

/** What the stored block scales of a weight look like. */
export interface StoredScaleFacts {
	readonly finite: boolean;
	readonly negative: number;
}

/** Looks at all block scales of the weight at `site`; undefined where it has no FLOAT ones. */
export function storedScaleFacts({ scheme, dequantization }: WeightSite): StoredScaleFacts | undefined {
	const scale = dequantization?.scale?.tensor;
	if (scheme !== "block" || scale?.dtype !== DataType.FLOAT) return undefined;
	if (scale.data.byteLength !== rawByteLength(scale.dtype, scale.shape)) return undefined;
	let finite = true;
	let negative = 0;
	everyPiece(scale.data, (bytes) => {
		for (const value of new Float32Array(Uint8Array.from(bytes).buffer)) {
			if (value < 0) negative++;
			if (!Number.isFinite(value)) finite = false;
		}
		return true;
	});
	return { finite, negative };
}
