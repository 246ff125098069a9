import { DataType } from "../../ir/types.js";
import { hull, type Interval, intervalOf } from "../../quant/grid.js";
import { SILU_LOWEST, silu } from "../../quant/saturation.js";
import { coveringEncoding, type Encoding, encodingOf } from "./qdq.js";

/** What a Sigmoid is multiplied by. */
export interface GateFactor {
	readonly encoding: Encoding;
	/** a, where the product is `x Sigmoid(a x)`; undefined where the Sigmoid is that of another value. */
	readonly slope: number | undefined;
}

/** The encoding of a Sigmoid's output: steps that are a power of two, which the HTP's kernel takes for granted. */
export function gateEncoding(dtype: DataType): Encoding {
	switch (dtype) {
		case DataType.UINT16:
			return encodingOf(dtype, 2 ** -16, 0);
		case DataType.INT16:
			return encodingOf(dtype, 2 ** -15, 0);
		case DataType.UINT8:
			return encodingOf(dtype, 2 ** -8, 0);
		default:
			return encodingOf(dtype, 2 ** -7, 0);
	}
}

/** The encoding of `factor * x`, whose codes are those of x. */
export function scaledEncoding({ dtype, scale, zeroPoint }: Encoding, factor: number): Encoding {
	return encodingOf(dtype, scale * factor, zeroPoint);
}

/** The encoding of a product with a Sigmoid: all that it can be. */
export function productEncoding({ encoding, slope }: GateFactor): Encoding {
	const all = intervalOf(encoding);
	return coveringEncoding(encoding.dtype, slope === undefined ? hull(all, { lo: 0, hi: 0 }) : siluInterval(all, slope));
}

/** What `x Sigmoid(slope x)` can be, for x in an interval. */
function siluInterval({ lo, hi }: Interval, slope: number): Interval {
	const ends = [lo, hi, Math.min(Math.max(lo, SILU_LOWEST / slope), hi)].map((x) => silu(slope * x) / slope);
	return { lo: Math.min(...ends), hi: Math.max(...ends) };
}
