import { defineLinear } from "./define-linear.js";
import { DYNAMIC_QPARAMS, quantizeRows } from "./dynamic-input.js";
import { NIBBLE_ORDERS, unpackNibbles } from "./packing.js";
import { VULKAN_FLOAT32 } from "./published.js";
import { Q4GSW_INPUT, Q4GSW_SOURCE, Q4GSW_WEIGHT, q4gswConfigs } from "./q4gsw.js";

/**
 * Float input, quantized to int8 with a scale and a zero point for every row; per-group symmetric int4 weight:
 *   q[m, k] = clamp(round(input[m, k] / input_scale[m]) + input_zero_point[m], -128, 127)
 *   output[m, n] = sum over groups of input_scale[m] * weight_scales[k/g, n]
 *                  * (sum of q[m, k] * w[n, k] - input_zero_point[m] * sum of w[n, k])  + bias[n],  w = nibble - 8
 */
export const linearDq8caQ4gsw = defineLinear({
	name: "linear_dq8ca_q4gsw",
	summary: "float input quantized to int8 a row, per-group symmetric int4 weight",
	source: Q4GSW_SOURCE,
	inputs: { input: Q4GSW_INPUT, ...DYNAMIC_QPARAMS, ...Q4GSW_WEIGHT },
	output: "float32",
	activations: ["float32"],
	rounding: "half-away",
	published: q4gswConfigs("float32", () => VULKAN_FLOAT32),
	operands(inputs, config) {
		return {
			activation: quantizeRows(inputs.input, inputs.input_scale, inputs.input_zero_point, config),
			weight: { codes: unpackNibbles(inputs.weight, NIBBLE_ORDERS["onnx-uint4"]), scales: inputs.weight_scales },
			bias: inputs.bias,
		};
	},
});
