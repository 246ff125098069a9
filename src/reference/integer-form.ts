/*
 * The integer form: codes are multiplied and added up as integers, scales are applied to the sums. With x and w for codes
 * and zx, zw for their zero points,
 *   sum of (x - zx) * (w - zw)  =  sum of x * w  -  zx * sum of w  -  zw * sum of x  +  g * zx * zw
 * so that the sums of the weights can be made beforehand. Accumulators are exact here, whatever their size;
 * `linearRange` says how many bits hold them.
 */
import type { LinearOperands } from "./operands.js";
import type { LinearConfig } from "./tensor-spec.js";

/** The integers of one group of one output. */
export interface GroupSums {
	/** Sum of activation code * weight code (* block scale with LPBQ). Of float activations: float32. */
	readonly accumulator: number;
	/** Sum of the weight codes (* block scale with LPBQ). */
	readonly weightSum: number;
	/** Sum of the activation codes. */
	readonly inputSum: number;
}

/** The sums of every group of one output, in order. */
export function groupSums(
	{ depth, channels, groupSize }: LinearConfig,
	{ activation: { values }, weight: { codes, lpbq } }: LinearOperands,
	row: number,
	channel: number,
): GroupSums[] {
	const sums: GroupSums[] = [];
	for (let start = 0; start < depth; start += groupSize) {
		let accumulator = 0;
		let weightSum = 0;
		let inputSum = 0;
		for (let k = start; k < start + groupSize; k++) {
			const x = values[row * depth + k]!;
			const w = codes[channel * depth + k]!;
			accumulator += x * w;
			weightSum += w;
			inputSum += x;
		}
		const blockScale = lpbq?.blockScales[(start / groupSize) * channels + channel] ?? 1;
		sums.push({ accumulator: accumulator * blockScale, weightSum: weightSum * blockScale, inputSum });
	}
	return sums;
}

/**
 * Integer accumulation, then scales. Group by group in order, products and sums rounded to float32 as a backend without
 * wider floats does; with LPBQ over all groups at once, one multiplication with activation scale * channel scale at the end.
 *
 * @param rows which rows of the activation.
 * @returns float32 [rows, N].
 */
export function integerSums(config: LinearConfig, operands: LinearOperands, rows: readonly number[]): Float32Array {
	const { channels } = config;
	const sums = new Float32Array(rows.length * channels);
	for (const [index, row] of rows.entries()) {
		for (let channel = 0; channel < channels; channel++) {
			sums[index * channels + channel] = scaledSum(config, operands, row, channel);
		}
	}
	return sums;
}

function scaledSum(config: LinearConfig, operands: LinearOperands, row: number, channel: number): number {
	const { channels, groupSize } = config;
	const { activation, weight, bias } = operands;
	const scale = activation.scales?.[row] ?? 1;
	const zeroPoint = activation.zeroPoints?.[row] ?? 0;
	const groups = groupSums(config, operands, row, channel);
	const addend = bias?.[channel] ?? 0;
	if (weight.lpbq !== undefined) {
		const accumulator = groups.reduce((sum, group) => sum + group.accumulator - zeroPoint * group.weightSum, 0);
		return Math.fround(Math.fround(scale * weight.lpbq.channelScales[channel]!) * accumulator) + addend;
	}
	let sum = 0;
	for (const [group, { accumulator, weightSum, inputSum }] of groups.entries()) {
		const place = group * channels + channel;
		const weightZero = weight.zeroPoints?.[place] ?? 0;
		const integer = accumulator - zeroPoint * weightSum - weightZero * inputSum + groupSize * zeroPoint * weightZero;
		sum = Math.fround(sum + Math.fround(Math.fround(scale * weight.scales[place]!) * integer));
		const offset = weight.offsets?.[place];
		if (offset === undefined) continue;
		sum = Math.fround(sum + Math.fround(Math.fround(scale * offset) * (inputSum - groupSize * zeroPoint)));
	}
	return sum + addend;
}
