/*
 * Layouts in which runtimes keep int4 weights and their scales. In memory here: codes -8..7 as [N, K], scales as [K/g, N].
 */

import { expectLength } from "../quant/layout.js";
import { packInt4, packUint4, unpackInt4, unpackUint4 } from "../quant/packing.js";

/** How two int4 codes, those of an even and of the next odd k, become a byte. */
export interface NibbleOrder {
	/** The half of the byte that the code of even k is in. */
	readonly even: "low" | "high";
	/** `shifted`: code + 8, 0..15. `twos-complement`: the low four bits of the code. */
	readonly sign: "shifted" | "twos-complement";
}

/**
 * The orders in use, by name:
 * - `onnx`: ONNX's INT4 and QNN.
 * - `onnx-uint4`: ONNX's UINT4 with zero point 8, MatMulNBits, and ET-VK's q4gsw, whose byte is (odd + 8) << 4 | (even + 8).
 * - `vulkan`: ET-VK's first int4 kernels (qga4w, qta8a_qga4w, qcs4w), even k in the high nibble.
 * - `high-first`: the same with two's complement.
 */
export const NIBBLE_ORDERS = {
	onnx: { even: "low", sign: "twos-complement" },
	"onnx-uint4": { even: "low", sign: "shifted" },
	vulkan: { even: "high", sign: "shifted" },
	"high-first": { even: "high", sign: "twos-complement" },
} as const satisfies Record<string, NibbleOrder>;

/**
 * Packs codes, two a byte.
 *
 * @param codes -8..7, [N, K] with K even, row-major.
 * @returns [N, K/2].
 * @throws RangeError when the number of codes is odd, or a code is not in -8..7.
 */
export function packNibbles(codes: Int8Array, { even, sign }: NibbleOrder): Uint8Array {
	if (codes.length % 2 !== 0) throw new RangeError(`${codes.length} codes, expected an even number`);
	const wrong = codes.find((code) => code < -8 || code > 7);
	if (wrong !== undefined) throw new RangeError(`the code ${wrong}, expected -8 to 7`);
	const bytes = sign === "shifted" ? packUint4(Uint8Array.from(codes, (code) => code + 8)) : packInt4(codes);
	return even === "low" ? bytes : bytes.map(swapHalves);
}

/**
 * The codes of packed bytes, the inverse of {@link packNibbles}.
 *
 * @param bytes [N, K/2].
 * @returns codes -8..7, [N, K].
 */
export function unpackNibbles(bytes: Uint8Array, { even, sign }: NibbleOrder): Int8Array {
	const lowFirst = even === "low" ? bytes : bytes.map(swapHalves);
	const count = bytes.length * 2;
	if (sign === "twos-complement") return unpackInt4(lowFirst, 0, count);
	const nibbles = unpackUint4(lowFirst, 0, count);
	const codes = new Int8Array(count);
	for (let index = 0; index < count; index++) codes[index] = nibbles[index]! - 8;
	return codes;
}

function swapHalves(byte: number): number {
	return ((byte & 15) << 4) | (byte >>> 4);
}

/** [N, K/g] -> [K/g, N], or with the arguments turned round the way back. */
export function transposeScales<T extends Float32Array | Int32Array | Uint8Array>(
	scales: T,
	rows: number,
	columns: number,
): T {
	expectLength("scales", scales.length, rows * columns);
	const out = scales.slice() as T;
	for (let row = 0; row < rows; row++) {
		for (let column = 0; column < columns; column++) out[column * rows + row] = scales[row * columns + column]!;
	}
	return out;
}

/**
 * Scales and zeros side by side, [K/g, N, 2], as torch's int4 kernels and ET-VK's qga4w take them.
 *
 * @param scales [K/g, N].
 * @param zeros [K/g, N]; added to `(nibble - 8) * scale`.
 */
export function interleaveScalesAndZeros(scales: Float32Array, zeros: Float32Array): Float32Array {
	expectLength("zeros", zeros.length, scales.length);
	return Float32Array.from(
		{ length: 2 * scales.length },
		(_, index) => (index % 2 === 0 ? scales : zeros)[index >>> 1]!,
	);
}

/** The inverse of {@link interleaveScalesAndZeros}. */
export function separateScalesAndZeros(pairs: Float32Array): {
	readonly scales: Float32Array;
	readonly zeros: Float32Array;
} {
	if (pairs.length % 2 !== 0) throw new RangeError(`${pairs.length} scales and zeros, expected an even number`);
	return {
		scales: pairs.filter((_, index) => index % 2 === 0),
		zeros: pairs.filter((_, index) => index % 2 === 1),
	};
}

/**
 * The sum of the codes of every group, which integer kernels multiply with the activation's zero point.
 *
 * @param codes [N, K].
 * @returns int32, [K/g, N].
 */
export function weightSums(codes: Int8Array, depth: number, channels: number, groupSize: number): Int32Array {
	expectLength("codes", codes.length, depth * channels);
	const sums = new Int32Array((depth / groupSize) * channels);
	for (let channel = 0, at = 0; channel < channels; channel++) {
		for (let k = 0; k < depth; k++, at++) sums[Math.floor(k / groupSize) * channels + channel]! += codes[at]!;
	}
	return sums;
}
