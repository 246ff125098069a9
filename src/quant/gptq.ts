/*
 * GPTQ (Frantar et al. 2022, arXiv 2210.17323): codes are chosen column by column, and the error of each is made good by the
 * columns that follow, so that the layer's output is least off rather than its weights. With H = R R^T the second moments of
 * the layer's inputs, R upper triangular, the squared error of the output is that of (w - q) R. Its element k is least where
 * q_k is w_k + sum over i < k of (w_i - q_i) R_ik / R_kk. That is what the paper does with U = R^-1 and the errors
 * (w - q) R = (w - q) U^-1, without an inverse.
 *
 * Here the scales are fixed before: LPBQ's, or one a channel. So columns may come in any order: those of large inputs first,
 * for their errors are the largest and leave most columns to make them good.
 *
 * A channel with one scale and few inputs has so few codes that its error depends on how they happen to be rounded: of a 3 x 3
 * kernel that finds edges the sum of codes has to be 0 for a plain background to remain nothing. Scales a little apart round in
 * other ways, of which the best one is found by trying (chooseScales).
 *
 * Columns that came early were chosen before it was known what those behind them could make good. So codes are gone through
 * again (refined-codes.ts).
 */

import type { GptqFactors } from "./moment-factor.js";
import { CodeRefiner } from "./refined-codes.js";
import { SPREAD_CHANNELS, SPREAD_ROWS, SpreadKernel } from "./spread-kernel.js";

/** How the codes of channels are chosen. */
export interface GptqProblem extends GptqFactors {
	readonly depth: number;
	/** Inputs that share a scale. */
	readonly blockSize: number;
	readonly codeMin: number;
	readonly codeMax: number;
	/** How often at most codes are gone through again; 0 is GPTQ alone. */
	readonly sweeps: number;
}

/** Some channels that are worked on together, with inputs in the order of the problem. */
export interface ChannelTile {
	/** At most SPREAD_CHANNELS. */
	readonly count: number;
	/** [depth, SPREAD_CHANNELS], as are the others. */
	readonly weights: Float32Array;
	readonly scales: Float32Array;
	readonly codes: Int8Array;
	/** What is left of the error of the output at each input: (w - q) R. */
	readonly rests: Float32Array;
}

/**
 * The codes of the channels of some groups, with as many channels each, one after the other.
 *
 * @param weights [channelCount, depth]; left as they are.
 * @param scales of every weight's block, [channelCount, blocks]; above 0.
 * @param codes receives the codes, [channelCount, depth].
 * @returns the mean squared error of the output of every channel, as it is before codes are gone through again.
 */
export function gptqCodes(
	weights: Float32Array,
	scales: Float32Array,
	problem: GptqProblem,
	codes: Int8Array,
): Float64Array {
	const { depth } = problem;
	const errors = new Float64Array(weights.length / depth);
	const groups = problem.order.length / depth;
	const worker = new TileWorker(depth);
	for (let group = 0; group < groups; group++) {
		const of = <T extends Float32Array | Float64Array | Int8Array | Uint32Array>(array: T): T =>
			array.subarray((group * array.length) / groups, ((group + 1) * array.length) / groups) as T;
		const { factors, moments, order } = problem;
		const own = { ...problem, factors: of(factors), moments: of(moments), order: of(order) };
		worker.choose(of(weights), of(scales), own, of(codes), of(errors));
	}
	return errors;
}

/**
 * Multiplies the scales of every channel by that one of `factors` with which GPTQ leaves the least error of the output.
 *
 * @param scales as {@link gptqCodes} takes them; changed.
 */
export function chooseScales(
	weights: Float32Array,
	scales: Float32Array,
	problem: GptqProblem,
	factors: readonly number[],
): void {
	const channelCount = weights.length / problem.depth;
	const blocks = scales.length / channelCount;
	const codes = new Int8Array(weights.length);
	const least = new Float64Array(channelCount).fill(Number.POSITIVE_INFINITY);
	const best = new Float64Array(channelCount).fill(1);
	for (const factor of factors) {
		const tried = scales.map((scale) => scale * factor);
		const errors = gptqCodes(weights, tried, { ...problem, sweeps: 0 }, codes);
		for (let channel = 0; channel < channelCount; channel++) {
			if (errors[channel]! >= least[channel]!) continue;
			least[channel] = errors[channel]!;
			best[channel] = factor;
		}
	}
	for (let index = 0; index < scales.length; index++) scales[index]! *= best[Math.floor(index / blocks)]!;
}

/** Memory for channels of one depth. */
class TileWorker {
	readonly #tile: ChannelTile;
	readonly #kernel: SpreadKernel<Float32Array>;

	constructor(depth: number) {
		const elements = depth * SPREAD_CHANNELS;
		this.#tile = {
			count: 0,
			weights: new Float32Array(elements),
			scales: new Float32Array(elements).fill(1),
			codes: new Int8Array(elements),
			rests: new Float32Array(elements),
		};
		this.#kernel = SpreadKernel.float32(depth);
	}

	/** Of one group. */
	choose(
		weights: Float32Array,
		scales: Float32Array,
		problem: GptqProblem,
		codes: Int8Array,
		squaredErrors: Float64Array,
	): void {
		const { depth, order, blockSize, sweeps } = problem;
		const channelCount = weights.length / depth;
		const blocks = Math.ceil(depth / blockSize);
		const refiner = new CodeRefiner(problem, this.#kernel);
		for (let first = 0; first < channelCount; first += SPREAD_CHANNELS) {
			const tile = { ...this.#tile, count: Math.min(SPREAD_CHANNELS, channelCount - first) };
			for (let c = 0; c < tile.count; c++) {
				const channel = first + c;
				for (let j = 0, at = c; j < depth; j++, at += SPREAD_CHANNELS) {
					const input = order[j]!;
					tile.weights[at] = weights[channel * depth + input]!;
					tile.scales[at] = scales[channel * blocks + Math.floor(input / blockSize)]!;
				}
			}
			spreadErrors(tile, problem, this.#kernel);
			for (let c = 0; c < tile.count; c++) {
				let sum = 0;
				for (let at = c; at < depth * SPREAD_CHANNELS; at += SPREAD_CHANNELS) sum += tile.rests[at]! ** 2;
				squaredErrors[first + c] = sum;
			}
			refiner.refine(tile, sweeps);
			for (let c = 0; c < tile.count; c++) {
				const start = (first + c) * depth;
				for (let j = 0, at = c; j < depth; j++, at += SPREAD_CHANNELS) codes[start + order[j]!] = tile.codes[at]!;
			}
		}
	}
}

/** GPTQ, sixteen inputs at a time: what they leave to each other first, then what they leave to all that follow. */
function spreadErrors(
	{ count, weights, scales, codes, rests }: ChannelTile,
	{ depth, factors, codeMin, codeMax }: GptqProblem,
	kernel: SpreadKernel<Float32Array>,
): void {
	const { columns, errors, stride } = kernel;
	columns.set(weights);
	errors.fill(0);
	for (let first = 0; first < depth; first += SPREAD_ROWS) {
		const end = Math.min(first + SPREAD_ROWS, depth);
		for (let j = first; j < end; j++) {
			const row = j - first;
			kernel.weights.set(factors.subarray(j * depth + j, (j + 1) * depth), row * stride + j);
			const last = Math.sqrt(factors[j * depth + j]!);
			for (let c = 0, at = j * SPREAD_CHANNELS; c < count; c++, at++) {
				const [value, scale] = [columns[at]!, scales[at]!];
				const code = Math.min(Math.max(Math.floor(value / scale + 0.5), codeMin), codeMax);
				codes[at] = code;
				rests[at] = (value - code * scale) * last;
				errors[row * SPREAD_CHANNELS + c] = code * scale - weights[at]!;
			}
			// an even number of columns: the one in front is done with
			kernel.spread(row, 1, j + 1 - ((end - j - 1) % 2), end);
		}
		kernel.spread(0, end - first, end, depth);
	}
}
