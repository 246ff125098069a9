import { allRows, type LinearResult, quantizeSums } from "./define-linear.js";
import { linearLpbq } from "./linear-lpbq.js";
import { ARRAY_CLASSES, type InputsOf, type LinearConfig } from "./tensor-spec.js";

/**
 * {@link linearLpbq} with the rounding of the HTP's own arithmetic, v73 and later; found by taking apart what its emulator
 * gives. 8-bit activations are accumulated as `linearLpbq.integer` does. 16-bit ones, taken as unsigned, go through 8-bit
 * multipliers in two halves, and the sum of the low halves loses its last eight bits:
 *   accumulator = sum of (x >> 8) * w + floor(sum of (x & 255) * w / 256) - floor(zero point * sum of w / 256 + 1/2)
 *   output = clamp(round(accumulator * 256 * input_scale * channel_scale / output_scale) + output_zero_point)
 * with w = code * block scale. So results lie up to 256 * input_scale * channel_scale / output_scale steps too low. v68 is
 * coarser still and not described by this.
 *
 * @param rows which rows to compute; default all.
 * @throws RangeError when the config makes no sense or an array does not hold what its shape needs.
 */
export function htpLpbq(
	config: LinearConfig,
	inputs: InputsOf<typeof linearLpbq.inputs>,
	rows: readonly number[] = allRows(config),
): LinearResult {
	const { activation: type, depth, channels, groupSize } = config;
	if (type !== "uint16" && type !== "int16") return linearLpbq.integer(config, inputs, rows);
	const { activation, weight, output } = linearLpbq.operands(config, inputs);
	const { blockScales, channelScales } = weight.lpbq!;
	const shift = type === "int16" ? 32768 : 0;
	const zeroPoint = inputs.input_zero_point[0]! + shift;
	const sums = new Float32Array(rows.length * channels);
	for (let channel = 0; channel < channels; channel++) {
		const w = Array.from({ length: depth }, (_, k) => {
			const blockScale = blockScales[Math.floor(k / groupSize) * channels + channel]!;
			return weight.codes[channel * depth + k]! * blockScale;
		});
		const weightSum = w.reduce((a, b) => a + b, 0);
		const scale = 256 * inputs.input_scale[0]! * channelScales[channel]!;
		for (const [index, row] of rows.entries()) {
			let high = 0;
			let low = 0;
			for (let k = 0; k < depth; k++) {
				const x = activation.values[row * depth + k]! + shift;
				high += (x >> 8) * w[k]!;
				low += (x & 255) * w[k]!;
			}
			const accumulator = high + Math.floor(low / 256) - Math.floor((zeroPoint * weightSum) / 256 + 0.5);
			sums[index * channels + channel] = accumulator * scale;
		}
	}
	const codes = new ARRAY_CLASSES[type](sums.length);
	quantizeSums(sums, rows, config, output!, codes);
	return { output: codes, sums };
}
