import { between, powerOfTwo, wholeWithEnds } from "./draws.js";
import type { ActivationOperand } from "./operands.js";
import { quantize, rounder } from "./rounding.js";
import type { InputSpecs, LinearConfig, TensorArray } from "./tensor-spec.js";

/* Inputs that a kernel quantizes itself, with a scale and a zero point for every row (chooseQparamsPerToken makes them). */

export const DYNAMIC_QPARAMS = {
	input_scale: {
		type: "float32",
		dims: ["M"],
		about: "one a row",
		typical: between(0.02, 0.1),
		exact: powerOfTwo(-3, 1),
	},
	input_zero_point: {
		type: "int8",
		dims: ["M"],
		about: "one a row",
		typical: wholeWithEnds(-30, 30),
		exact: wholeWithEnds(-128, 127),
	},
} as const satisfies InputSpecs;

/** clamp(round(input / scale) + zeroPoint, -128, 127) of every element. */
export function quantizeRows(
	input: TensorArray,
	scales: Float32Array,
	zeroPoints: Int8Array,
	{ rows, depth, rounding }: LinearConfig,
): ActivationOperand {
	const round = rounder(rounding);
	const values = new Int8Array(input.length);
	for (let row = 0; row < rows; row++) {
		for (let at = row * depth; at < (row + 1) * depth; at++) {
			values[at] = quantize(input[at]!, scales[row]!, zeroPoints[row]!, { min: -128, max: 127 }, round);
		}
	}
	return { values, scales, zeroPoints };
}
