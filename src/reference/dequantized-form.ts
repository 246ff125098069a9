import type { LinearOperands } from "./operands.js";
import type { LinearConfig } from "./tensor-spec.js";

/**
 * The float form: activation and weight dequantized to float32, each rounded once; their products added up exactly (in
 * float64), the bias added, the sum rounded to float32.
 *
 * @param rows which rows of the activation.
 * @returns [rows, N].
 */
export function dequantizedSums(
	{ depth, channels, groupSize }: LinearConfig,
	{ activation, weight, bias }: LinearOperands,
	rows: readonly number[],
): Float32Array {
	const x = new Float32Array(rows.length * depth);
	for (const [index, row] of rows.entries()) {
		const scale = activation.scales?.[row] ?? 1;
		const zeroPoint = activation.zeroPoints?.[row] ?? 0;
		for (let k = 0; k < depth; k++) x[index * depth + k] = (activation.values[row * depth + k]! - zeroPoint) * scale;
	}
	const w = new Float32Array(depth);
	const sums = new Float32Array(rows.length * channels);
	for (let channel = 0; channel < channels; channel++) {
		for (let k = 0; k < depth; k++) {
			const place = Math.floor(k / groupSize) * channels + channel;
			const code = weight.codes[channel * depth + k]! - (weight.zeroPoints?.[place] ?? 0);
			w[k] = code * weight.scales[place]! + (weight.offsets?.[place] ?? 0);
		}
		for (let index = 0; index < rows.length; index++) {
			let sum = bias?.[channel] ?? 0;
			for (let k = 0, at = index * depth; k < depth; k++, at++) sum += x[at]! * w[k]!;
			sums[index * channels + channel] = sum;
		}
	}
	return sums;
}
