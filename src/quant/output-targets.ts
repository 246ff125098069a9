/*
 * Weights that make good at their outputs what layers before them got wrong. A layer sees the inputs x of a model whose earlier
 * weights are codes already, and its output is off by e even with weights w that are exact. Of all changes d of w,
 * E[(e - d x)^2] is least with d H = E[e x^T], where H = E[x x^T]: so codes should come near w + d rather than w (Li et al.
 * 2025, "GPTAQ", arXiv 2504.02692, there with the inputs of the float model). With H = R R^T, R upper triangular, d is found
 * by going through the inputs twice, from the last one and from the first one.
 *
 * Only a part of d is taken: what samples show of e is chance in part, and codes that make good what others did wrong
 * have less room for their own errors. On MiniLM a half is better than the whole by 0.3 dB.
 */

import type { GptqFactors } from "./moment-factor.js";
import { SPREAD_CHANNELS, SPREAD_ROWS, SpreadKernel } from "./spread-kernel.js";

/** The part of errors that is made good. */
export const MADE_GOOD = 0.5;

/**
 * Changes the weights of the channels of some groups, with as many channels each, one after the other, to what their codes
 * should come near.
 *
 * @param weights [channelCount, depth].
 * @param errors means of error times input over the rows that the factors are of, [channelCount, depth].
 * @param part of the errors that is to be made good, 0 to 1.
 */
export function addMadeGood(
	weights: Float32Array,
	errors: Float32Array,
	{ factors, order }: GptqFactors,
	depth: number,
	part: number = MADE_GOOD,
): void {
	const groups = order.length / depth;
	const channels = weights.length / depth / groups;
	const kernel = SpreadKernel.float32(depth);
	for (let group = 0; group < groups; group++) {
		const own = factors.subarray(group * depth * depth, (group + 1) * depth * depth);
		const inputs = order.subarray(group * depth, (group + 1) * depth);
		for (let first = group * channels; first < (group + 1) * channels; first += SPREAD_CHANNELS) {
			const count = Math.min(SPREAD_CHANNELS, (group + 1) * channels - first);
			kernel.columns.fill(0);
			for (let j = 0, at = 0; j < depth; j++, at += SPREAD_CHANNELS) {
				for (let c = 0; c < count; c++) kernel.columns[at + c] = errors[(first + c) * depth + inputs[j]!]!;
			}
			const changes = solve(own, depth, kernel);
			for (let j = 0, at = 0; j < depth; j++, at += SPREAD_CHANNELS) {
				for (let c = 0; c < count; c++) weights[(first + c) * depth + inputs[j]!]! += part * changes[at + c]!;
			}
		}
	}
}

/** d with d R R^T = g, of which the columns of the kernel are g. @returns [depth, SPREAD_CHANNELS]. */
function solve(factors: Float32Array, depth: number, kernel: SpreadKernel<Float32Array>): Float32Array {
	const { columns, errors, weights, stride } = kernel;
	const solved = new Float32Array(depth * SPREAD_CHANNELS);
	/** Sets `solved` at place j and a row of errors to the column divided by `divisor`. */
	const take = (j: number, row: number, divisor: number) => {
		for (let c = 0, at = j * SPREAD_CHANNELS; c < SPREAD_CHANNELS; c++, at++) {
			solved[at] = columns[at]! / divisor;
			errors[row * SPREAD_CHANNELS + c] = solved[at]!;
		}
	};
	const lastStart = Math.floor((depth - 1) / SPREAD_ROWS) * SPREAD_ROWS;
	for (let start = lastStart; start >= 0; start -= SPREAD_ROWS) {
		const end = Math.min(start + SPREAD_ROWS, depth);
		for (let j = end - 1; j >= start; j--) {
			take(j, j - start, Math.sqrt(factors[j * depth + j]!));
			weights.set(factors.subarray(j * depth, j * depth + j), (j - start) * stride);
			kernel.spread(j - start, 1, start, j);
		}
		kernel.spread(0, end - start, 0, start);
	}
	for (let j = 0; j < depth; j++) {
		const diagonal = Math.sqrt(factors[j * depth + j]!);
		for (let at = j * SPREAD_CHANNELS; at < (j + 1) * SPREAD_CHANNELS; at++) columns[at] = solved[at]! / diagonal;
	}
	for (let start = 0; start < depth; start += SPREAD_ROWS) {
		const end = Math.min(start + SPREAD_ROWS, depth);
		for (let j = start; j < end; j++) {
			take(j, j - start, 1);
			weights.set(factors.subarray(j * depth + j, (j + 1) * depth), (j - start) * stride + j);
			// an even number of columns: the one in front is done with
			kernel.spread(j - start, 1, j + 1 - ((end - j - 1) % 2), end);
		}
		kernel.spread(0, end - start, end, depth);
	}
	return solved;
}
