import { EVEN_HIGH_NIBBLES, SCALES_AND_ZEROS, TOKEN_CODES } from "./common-inputs.js";
import { defineLinear } from "./define-linear.js";
import { between, powerOfTwo, whole } from "./draws.js";
import { NIBBLE_ORDERS, separateScalesAndZeros, unpackNibbles } from "./packing.js";
import { allclose, table } from "./published.js";

const published = { activation: "int8", rounding: "half-away", tolerance: allclose(1) } as const;

/**
 * Per-token affine int8 input, per-group affine int4 weight, per-token affine int8 output:
 *   x[m, k] = (input[m, k] - input_zero_point[m]) * input_scale[m]
 *   w[n, k] = (nibble[n, k] - 8) * scale[k/g, n] + zero[k/g, n]
 *   output[m, n] = clamp(round((sum of x[m, k] * w[n, k]) / output_scale[m]) + output_zero_point[m], -128, 127)
 */
export const linearQta8aQga4wQta8o = defineLinear({
	name: "linear_qta8a_qga4w_qta8o",
	summary: "per-token affine int8 input and output, per-group affine int4 weight with float zeros",
	source: "ExecuTorch PR #12005, backends/vulkan/test/op_tests/linear_qta8a_qga4w_qta8o_test.cpp",
	inputs: {
		...TOKEN_CODES,
		weight: EVEN_HIGH_NIBBLES,
		scales_and_zeros: SCALES_AND_ZEROS,
		output_scale: {
			type: "float32",
			dims: ["M"],
			about: "one a token",
			typical: between(0.1, 0.2),
			exact: powerOfTwo(0, 0),
		},
		output_zero_point: { type: "int32", dims: ["M"], about: "one a token", typical: whole(-10, 9), exact: whole(0, 0) },
	},
	output: "int8",
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
		[1, 256, 256, 32],
		[1, 32, 32, 32],
		[1, 64, 16, 32],
	),
	outputInputs: { scale: "output_scale", zeroPoint: "output_zero_point" },
	drawsOutput: true,
	operands(inputs) {
		const { scales, zeros } = separateScalesAndZeros(inputs.scales_and_zeros);
		return {
			activation: { values: inputs.input, scales: inputs.input_scale, zeroPoints: inputs.input_zero_point },
			weight: { codes: unpackNibbles(inputs.weight, NIBBLE_ORDERS.vulkan), scales, offsets: zeros },
			output: {
				scales: inputs.output_scale,
				zeroPoints: inputs.output_zero_point,
				range: { min: -128, max: 127 },
			},
		};
	},
});
