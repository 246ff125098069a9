import { EVEN_HIGH_NIBBLES, TOKEN_CODES } from "./common-inputs.js";
import { defineLinear } from "./define-linear.js";
import { between, powerOfTwo, whole, wholeWithEnds } from "./draws.js";
import { NIBBLE_ORDERS, unpackNibbles } from "./packing.js";
import { allclose, table } from "./published.js";

const published = { activation: "int8", rounding: "half-away", tolerance: allclose(5e-3) } as const;

/**
 * Per-token affine int8 input, per-group affine int4 weight with whole zero points, float output:
 *   output[m, n] = sum of input_scale[m] * weight_scale[k/g, n]
 *                  * (input[m, k] - input_zero_point[m]) * (nibble[n, k] - 8 - weight_zero[k/g, n])
 */
export const linearQta8aQga4w = defineLinear({
	name: "linear_qta8a_qga4w",
	summary: "per-token affine int8 input, per-group affine int4 weight, float output",
	source: "ExecuTorch PR #12375, backends/vulkan/test/op_tests/linear_qta8a_qga4w_test.cpp",
	inputs: {
		...TOKEN_CODES,
		weight: EVEN_HIGH_NIBBLES,
		weight_scale: {
			type: "float32",
			dims: ["K/g", "N"],
			about: "one a group",
			typical: between(0, 1),
			exact: powerOfTwo(-3, 0),
		},
		weight_zero: {
			type: "int32",
			dims: ["K/g", "N"],
			about: "one a group, -128..127",
			typical: whole(-128, 127),
			exact: wholeWithEnds(-128, 127),
		},
	},
	output: "float32",
	activations: ["int8"],
	rounding: "half-away",
	published: table(
		published,
		[2, 8, 8, 8],
		[2, 16, 8, 8],
		[4, 64, 32, 32],
		[4, 128, 32, 32],
		[8, 64, 16, 32],
		[256, 256, 256, 32],
		[1, 8, 8, 8],
		[1, 16, 8, 8],
		[1, 32, 32, 32],
		[1, 64, 16, 32],
		[1, 256, 256, 32],
	),
	operands(inputs) {
		return {
			activation: { values: inputs.input, scales: inputs.input_scale, zeroPoints: inputs.input_zero_point },
			weight: {
				codes: unpackNibbles(inputs.weight, NIBBLE_ORDERS.vulkan),
				scales: inputs.weight_scale,
				zeroPoints: inputs.weight_zero,
			},
		};
	},
});
