import { floatInput } from "./common-inputs.js";
import { defineLinear } from "./define-linear.js";
import { between } from "./draws.js";
import { table, VULKAN_FLOAT32 } from "./published.js";
import { Q8CSW_WEIGHT } from "./q8csw.js";

const published = { activation: "float32", rounding: "half-away", tolerance: VULKAN_FLOAT32 } as const;

/** Float input, per-channel symmetric int8 weight: output[m, n] = sum of input[m, k] * weight[n, k] * weight_scales[n] + bias[n]. */
export const linearQ8csw = defineLinear({
	name: "linear_q8csw",
	summary: "float input, per-channel symmetric int8 weight",
	source: "ExecuTorch, backends/vulkan/test/custom_ops/test_q8csw_linear.cpp",
	inputs: {
		input: floatInput(between(-1, 1)),
		...Q8CSW_WEIGHT,
	},
	output: "float32",
	activations: ["float32"],
	rounding: "half-away",
	published: [
		...table(
			{ ...published, bias: true },
			[4, 64, 32],
			[4, 128, 64],
			[4, 256, 128],
			[32, 64, 32],
			[32, 128, 64],
			[32, 256, 128],
		),
		...table(published, [32, 128, 64], [32, 256, 128]),
		...table({ ...published, bias: true, performance: true }, [256, 2048, 2048], [512, 2048, 2048], [1024, 2048, 2048]),
	],
	operands(inputs) {
		return {
			activation: { values: inputs.input },
			weight: { codes: inputs.weight, scales: inputs.weight_scales },
			bias: inputs.bias,
		};
	},
});
