/*
 * float16 (1 sign, 5 exponent, 10 fraction bits) and bfloat16 (the upper half of a float32), to and from float32.
 * Widening is exact. Narrowing rounds to nearest, halves to even, and overflows to infinity; a NaN stays some NaN.
 * Byte arrays are little-endian, as ONNX's raw_data is.
 */

const float32View = new Float32Array(1);
const bitsView = new Uint32Array(float32View.buffer);

let float16Table: Float32Array | undefined;

/** The float32 with the same value as the float16 whose 16 bits are given. */
export function float16ToFloat32(bits: number): number {
	const sign = bits & 0x8000 ? -1 : 1;
	const exponent = (bits >>> 10) & 0x1f;
	const fraction = bits & 0x3ff;
	if (exponent === 0) return sign * fraction * 2 ** -24;
	if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
	return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** The 16 bits of the float16 nearest to a float32. */
export function float32ToFloat16(value: number): number {
	float32View[0] = value;
	const bits = bitsView[0]!;
	const sign = (bits >>> 16) & 0x8000;
	const magnitude = bits & 0x7fffffff;
	if (magnitude > 0x7f800000) return sign | 0x7e00;
	if (magnitude >= 0x47800000) return sign | 0x7c00;
	if (magnitude >= 0x38800000) return sign | halfEvenShift(magnitude - 0x38000000, 13);
	const shift = 126 - (magnitude >>> 23);
	return shift > 24 ? sign : sign | halfEvenShift((magnitude & 0x7fffff) | 0x800000, shift);
}

/** The float32 with the same value as the bfloat16 whose 16 bits are given. */
export function bfloat16ToFloat32(bits: number): number {
	bitsView[0] = bits << 16;
	return float32View[0]!;
}

/** The 16 bits of the bfloat16 nearest to a float32. */
export function float32ToBfloat16(value: number): number {
	float32View[0] = value;
	const bits = bitsView[0]!;
	if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
	return halfEvenShift(bits, 16);
}

/** Widens little-endian float16 bytes, two per value. */
export function decodeFloat16(bytes: Uint8Array): Float32Array {
	float16Table ??= Float32Array.from({ length: 0x10000 }, (_, bits) => float16ToFloat32(bits));
	const table = float16Table;
	const out = new Float32Array(valueCount(bytes));
	for (let i = 0; i < out.length; i++) out[i] = table[bytes[2 * i]! | (bytes[2 * i + 1]! << 8)]!;
	return out;
}

/** Narrows to little-endian float16 bytes, two per value. */
export function encodeFloat16(values: Float32Array): Uint8Array {
	return encode(values, float32ToFloat16);
}

/** Widens little-endian bfloat16 bytes, two per value. */
export function decodeBfloat16(bytes: Uint8Array): Float32Array {
	const out = new Float32Array(valueCount(bytes));
	const bits = new Uint32Array(out.buffer);
	for (let i = 0; i < bits.length; i++) bits[i] = (bytes[2 * i]! << 16) | (bytes[2 * i + 1]! << 24);
	return out;
}

/** Narrows to little-endian bfloat16 bytes, two per value. */
export function encodeBfloat16(values: Float32Array): Uint8Array {
	return encode(values, float32ToBfloat16);
}

function encode(values: Float32Array, narrow: (value: number) => number): Uint8Array {
	const bytes = new Uint8Array(values.length * 2);
	for (let i = 0; i < values.length; i++) {
		const bits = narrow(values[i]!);
		bytes[2 * i] = bits;
		bytes[2 * i + 1] = bits >>> 8;
	}
	return bytes;
}

function valueCount(bytes: Uint8Array): number {
	if (bytes.length % 2 !== 0) throw new RangeError(`${bytes.length} bytes of 16-bit values`);
	return bytes.length / 2;
}

/** bits / 2^shift (1 <= shift <= 24), rounded to the nearest integer, halves to even. */
function halfEvenShift(bits: number, shift: number): number {
	const quotient = bits >>> shift;
	const remainder = bits & ((1 << shift) - 1);
	const half = 1 << (shift - 1);
	return quotient + (remainder > half || (remainder === half && (quotient & 1) === 1) ? 1 : 0);
}
