import { floatInput } from "./common-inputs.js";
import { defineLinear } from "./define-linear.js";
import { whole } from "./draws.js";
import { DYNAMIC_QPARAMS, quantizeRows } from "./dynamic-input.js";
import type { Tolerance } from "./kernel.js";
import { table } from "./published.js";
import { Q8CSW_WEIGHT } from "./q8csw.js";

const tolerance: Tolerance = { absolute: 1e-2, relative: 1e-2, combine: "either" };
const published = { activation: "float32", rounding: "half-away", tolerance } as const;

/**
 * Float input, quantized to int8 with a scale and a zero point for every row; per-channel symmetric int8 weight:
 *   q[m, k] = clamp(round(input[m, k] / input_scale[m]) + input_zero_point[m], -128, 127)
 *   output[m, n] = input_scale[m] * weight_scales[n]
 *                  * (sum of q[m, k] * weight[n, k] - input_zero_point[m] * sum of weight[n, k]) + bias[n]
 */
export const linearDq8caQ8csw = defineLinear({
	name: "linear_dq8ca_q8csw",
	summary: "float input quantized to int8 a row, per-channel symmetric int8 weight",
	source: "ExecuTorch, backends/vulkan/test/custom_ops/test_dq8ca_q8csw_linear.cpp",
	inputs: {
		input: floatInput(whole(-10, 10)),
		...DYNAMIC_QPARAMS,
		...Q8CSW_WEIGHT,
	},
	output: "float32",
	activations: ["float32"],
	rounding: "half-away",
	published: [
		...table(
			published,
			[4, 64, 32],
			[4, 128, 64],
			[4, 256, 128],
			[32, 64, 32],
			[32, 128, 64],
			[32, 256, 128],
			[64, 64, 64],
		),
		...table({ ...published, bias: true }, [4, 64, 32], [4, 128, 64], [32, 128, 64], [64, 64, 64]),
		...table({ ...published, performance: true }, [128, 2048, 2048], [1024, 2048, 2048]),
	],
	operands(inputs, config) {
		return {
			activation: quantizeRows(inputs.input, inputs.input_scale, inputs.input_zero_point, config),
			weight: { codes: inputs.weight, scales: inputs.weight_scales },
			bias: inputs.bias,
		};
	},
});
