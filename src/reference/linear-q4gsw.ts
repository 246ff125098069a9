import { defineLinear } from "./define-linear.js";
import type { Tolerance } from "./kernel.js";
import { NIBBLE_ORDERS, unpackNibbles } from "./packing.js";
import { VULKAN_FLOAT32 } from "./published.js";
import { Q4GSW_INPUT, Q4GSW_SOURCE, Q4GSW_WEIGHT, q4gswConfigs } from "./q4gsw.js";

/** Sums in float16 lose more the longer they are. */
const vulkanFloat16 = (depth: number): Tolerance => ({
	absolute: Math.max(1, 0.1 * Math.sqrt(depth)),
	relative: 0.1,
	combine: "either",
});

/**
 * Float input, per-group symmetric int4 weight:
 *   output[m, n] = sum of input[m, k] * (nibble[n, k] - 8) * weight_scales[k/g, n] + bias[n]
 * The output is float32 whatever the input is, so that nothing but the kernel's own arithmetic is measured.
 */
export const linearQ4gsw = defineLinear({
	name: "linear_q4gsw",
	summary: "float input, per-group symmetric int4 weight",
	source: Q4GSW_SOURCE,
	inputs: { input: Q4GSW_INPUT, ...Q4GSW_WEIGHT },
	output: "float32",
	activations: ["float32", "float16"],
	rounding: "half-away",
	published: [...q4gswConfigs("float32", () => VULKAN_FLOAT32), ...q4gswConfigs("float16", vulkanFloat16)],
	operands(inputs) {
		return {
			activation: { values: inputs.input },
			weight: { codes: unpackNibbles(inputs.weight, NIBBLE_ORDERS["onnx-uint4"]), scales: inputs.weight_scales },
			bias: inputs.bias,
		};
	},
});
