/*
 * Codes after GPTQ, gone through again: every one in turn is set to its best value given all others (coordinate descent, as in
 * Behdin et al. 2023, "QuantEase", arXiv 2309.01885, there from rounded codes). With the error e = w - q of a channel and
 * g = H e, the output's error e^T H e is least in q_j alone at q_j + g_j / H_jj; of codes the nearest to that, clamped, is
 * best, for the error is a parabola in it. No step makes the error of the output larger.
 */

import type { ChannelTile, GptqProblem } from "./gptq.js";
import { SPREAD_CHANNELS, SPREAD_ROWS, type SpreadKernel } from "./spread-kernel.js";

export class CodeRefiner {
	readonly #problem: GptqProblem;
	readonly #kernel: SpreadKernel<Float32Array>;
	/** 1 / H_jj; 0 for inputs that never are. */
	readonly #inverses: Float32Array;

	/** @param problem of one group. */
	constructor(problem: GptqProblem, kernel: SpreadKernel<Float32Array>) {
		const { depth, moments } = problem;
		this.#problem = problem;
		this.#kernel = kernel;
		this.#inverses = Float32Array.from({ length: depth }, (_, j) => {
			const square = moments[j * depth + j]!;
			return square > 0 ? 1 / square : 0;
		});
	}

	/** Goes through all codes, `sweeps` times at most, until none changes. */
	refine(tile: ChannelTile, sweeps: number): void {
		if (sweeps === 0) return;
		this.#startGradients(tile);
		for (let sweep = 0; sweep < sweeps && this.#sweep(tile); sweep++);
	}

	/** The columns become g = R z, with z = e R what is left at each input. */
	#startGradients({ count, rests }: ChannelTile): void {
		const { depth, factors } = this.#problem;
		const { columns, errors, weights, stride } = this.#kernel;
		columns.fill(0);
		errors.fill(0);
		for (let first = 0; first < depth; first += SPREAD_ROWS) {
			const end = Math.min(first + SPREAD_ROWS, depth);
			for (let k = first; k < end; k++) {
				const row = (k - first) * stride;
				weights.set(factors.subarray(k * depth, k * depth + k), row);
				weights.fill(0, row + k, row + end);
				weights[row + k] = Math.sqrt(factors[k * depth + k]!);
				for (let c = 0, at = k * SPREAD_CHANNELS; c < count; c++, at++) {
					errors[(k - first) * SPREAD_CHANNELS + c] = -rests[at]!;
				}
			}
			this.#kernel.spread(0, end - first, 0, end);
		}
	}

	/** Goes through all codes once. @returns whether any has changed. */
	#sweep(tile: ChannelTile): boolean {
		const { depth } = this.#problem;
		let isChanged = false;
		for (let first = 0; first < depth; first += SPREAD_ROWS) {
			const end = Math.min(first + SPREAD_ROWS, depth);
			let rows = 0;
			for (let j = first; j < end; j++) {
				if (!this.#change(tile, j, rows)) continue;
				this.#loadMoments(rows, j);
				this.#kernel.spread(rows, 1, first, end);
				rows++;
			}
			this.#kernel.spread(0, rows, 0, first);
			this.#kernel.spread(0, rows, end, depth);
			isChanged ||= rows > 0;
		}
		return isChanged;
	}

	/** Sets the codes of one input, and a row of errors to what they change. @returns whether any has changed. */
	#change({ count, scales, codes }: ChannelTile, j: number, row: number): boolean {
		const { codeMin, codeMax } = this.#problem;
		const { columns, errors } = this.#kernel;
		const inverse = this.#inverses[j]!;
		let isChanged = false;
		for (let c = 0, at = j * SPREAD_CHANNELS; c < count; c++, at++) {
			const [code, scale] = [codes[at]!, scales[at]!];
			const better = Math.min(Math.max(Math.floor(code + (columns[at]! * inverse) / scale + 0.5), codeMin), codeMax);
			errors[row * SPREAD_CHANNELS + c] = (better - code) * scale;
			if (better === code) continue;
			codes[at] = better;
			isChanged = true;
		}
		return isChanged;
	}

	#loadMoments(row: number, j: number): void {
		const { depth, moments } = this.#problem;
		this.#kernel.weights.set(moments.subarray(j * depth, (j + 1) * depth), row * this.#kernel.stride);
	}
}
