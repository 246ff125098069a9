import { bitsPerElement, DataType } from "../ir/types.js";

/** How activations are written as integers. */
interface Codes {
	readonly dtype: DataType;
	readonly scale: number;
	readonly zeroPoint: number;
}

/** Largest finite fp16. */
const LARGEST = 65504;

/** Of activations; with inputs up to 2^-16 a MatMul is 52 dB, with 2^-18 40 dB. */
const SMALLEST_RANGE = 2 ** -17;

/** Of the largest block scale; a MatMul is 65 dB with 2^-15, 48 dB with 2^-18, 31 dB with 2^-21. */
const SMALLEST_SCALE = 2 ** -18;

/** Does the HTP take float scales for blocks of this size along `depth`? INT4 in multiples of 8, INT8 in multiples of 4. */
export function isFloatBlockShape(dtype: DataType, depth: number, blockSize: number): boolean {
	const step = bitsPerElement(dtype) === 8 ? 4 : 8;
	return blockSize > 0 && blockSize % step === 0 && depth % blockSize === 0;
}

/** What of a weight with float block scales, or of what it multiplies and makes, fp16 cannot hold; undefined: nothing. */
export function fp16Fault(
	dtype: DataType,
	largestScale: number,
	input: Codes | undefined,
	output: Codes | undefined,
): string | undefined {
	if (largestScale === 0) return undefined;
	if (largestScale < SMALLEST_SCALE) {
		return `block scales up to ${largestScale.toExponential(1)}, expected ${SMALLEST_SCALE.toExponential(1)} or more`;
	}
	if (largestScale * 2 ** (bitsPerElement(dtype)! - 1) > LARGEST) {
		return `block scales up to ${largestScale.toExponential(1)}, with which weights exceed ${LARGEST}`;
	}
	for (const [name, codes] of [["inputs", input] as const, ["results", output] as const]) {
		if (codes === undefined) continue;
		const magnitude = magnitudeOf(codes);
		if (magnitude > LARGEST) return `${name} up to ${magnitude.toExponential(1)}, expected ${LARGEST} at most`;
		if (magnitude < SMALLEST_RANGE) {
			return `${name} up to ${magnitude.toExponential(1)}, expected ${SMALLEST_RANGE.toExponential(1)} or more`;
		}
	}
	return undefined;
}

const SIGNED: readonly number[] = [DataType.INT8, DataType.INT16, DataType.INT32];

function magnitudeOf({ dtype, scale, zeroPoint }: Codes): number {
	const count = 2 ** bitsPerElement(dtype)!;
	const lowest = SIGNED.includes(dtype) ? -count / 2 : 0;
	return scale * Math.max(Math.abs(lowest - zeroPoint), Math.abs(lowest + count - 1 - zeroPoint));
}
