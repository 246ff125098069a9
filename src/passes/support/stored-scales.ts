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
	const { data } = scale;
	let finite = true;
	let negative = 0;
	for (let at = 0; at < data.byteLength; at += PIECE_BYTES) {
		const bytes = Uint8Array.from(data.read(at, Math.min(at + PIECE_BYTES, data.byteLength)));
		for (const value of new Float32Array(bytes.buffer)) {
			if (value < 0) negative++;
			if (!Number.isFinite(value)) finite = false;
		}
	}
	return { finite, negative };
}

/** Bytes read at a time. */
const PIECE_BYTES = 2 ** 18;
