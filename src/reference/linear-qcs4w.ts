import { EVEN_HIGH_NIBBLES, floatInput } from "./common-inputs.js";
import { defineLinear } from "./define-linear.js";
import { between, powerOfTwo } from "./draws.js";
import { NIBBLE_ORDERS, unpackNibbles } from "./packing.js";
import { allclose, table } from "./published.js";

const published = { activation: "float32", rounding: "half-away", tolerance: allclose(1e-4) } as const;

/** Float input, per-channel symmetric int4 weight: output[m, n] = sum of input[m, k] * (nibble[n, k] - 8) * scale[n]. */
export const linearQcs4w = defineLinear({
	name: "linear_qcs4w",
	summary: "float input, per-channel symmetric int4 weight",
	source: "ExecuTorch, backends/vulkan/test/op_tests/linear_weight_int4_test.cpp",
	inputs: {
		input: floatInput(between(0, 1)),
		weight: EVEN_HIGH_NIBBLES,
		scales: { type: "float32", dims: ["N"], about: "one a channel", typical: between(0, 1), exact: powerOfTwo(-3, 0) },
	},
	output: "float32",
	activations: ["float32"],
	rounding: "half-away",
	published: table(published, [4, 128, 32], [1, 256, 256], [32, 32, 32]),
	operands(inputs) {
		return {
			activation: { values: inputs.input },
			weight: { codes: unpackNibbles(inputs.weight, NIBBLE_ORDERS.vulkan), scales: inputs.scales },
		};
	},
});
