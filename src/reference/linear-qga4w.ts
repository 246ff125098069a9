import { EVEN_HIGH_NIBBLES, floatInput, SCALES_AND_ZEROS } from "./common-inputs.js";
import { defineLinear } from "./define-linear.js";
import { between } from "./draws.js";
import { NIBBLE_ORDERS, separateScalesAndZeros, unpackNibbles } from "./packing.js";
import { allclose, table } from "./published.js";

const published = { activation: "float32", rounding: "half-away", tolerance: allclose(1e-4) } as const;

/**
 * Float input, per-group affine int4 weight:
 *   output[m, n] = sum of input[m, k] * ((nibble[n, k] - 8) * scale[k/g, n] + zero[k/g, n])
 */
export const linearQga4w = defineLinear({
	name: "linear_qga4w",
	summary: "float input, per-group affine int4 weight with float zeros",
	source: "ExecuTorch, backends/vulkan/test/op_tests/linear_weight_int4_test.cpp",
	inputs: {
		input: floatInput(between(0, 1)),
		weight: EVEN_HIGH_NIBBLES,
		scales_and_zeros: SCALES_AND_ZEROS,
	},
	output: "float32",
	activations: ["float32"],
	rounding: "half-away",
	published: table(published, [4, 128, 32, 32], [1, 256, 256, 32], [256, 256, 256, 32]),
	operands(inputs) {
		const { scales, zeros } = separateScalesAndZeros(inputs.scales_and_zeros);
		return {
			activation: { values: inputs.input },
			weight: { codes: unpackNibbles(inputs.weight, NIBBLE_ORDERS.vulkan), scales, offsets: zeros },
		};
	},
});
