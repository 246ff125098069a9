/*
 * GPTQ (Frantar et al. 2022, arXiv 2210.17323): codes are chosen column by column, and the error of each is made good by the
 * columns that follow, so that the layer's output is least off rather than its weights. With H the second moments of the
 * layer's inputs and H^-1 = U^T U, U upper triangular, the error (w_j - q_j) / U_jj of column j takes
 * error * U_jk from each later column k. The sum of the squared errors is the squared error of the output.
 *
 * Here the scales are fixed before: LPBQ's, or one a channel.
 */

import { SPREAD_CHANNELS, SpreadKernel } from "./spread-kernel.js";

/** Part of the mean diagonal that is added to it, so that inputs that never vary do no harm. */
export const DAMPING = 0.01;

/**
 * U of H^-1 = U^T U for the damped second moments, by H = R R^T with R upper triangular and U = R^-1.
 *
 * @param moments [size, size], symmetric; becomes the result, row by row, zeros below the diagonal.
 * @returns false where the matrix is not positive definite, or not finite; its content is then of no use.
 */
export function factorOfInverse(moments: Float64Array, size: number, damping: number = DAMPING): boolean {
	let trace = 0;
	for (let i = 0; i < size; i++) trace += moments[i * size + i]!;
	// without any input every code is as good as another
	const added = trace === 0 ? 1 : (damping * trace) / size;
	for (let i = 0; i < size; i++) moments[i * size + i]! += added;
	return factorize(moments, size) && invert(moments, size);
}

/** Columns that are worked on together. */
const PANEL = SPREAD_CHANNELS;

/**
 * R of H = R R^T, upper triangular, sixteen columns at a time from the last to the first.
 *
 * @param matrix H; in its lower triangle, column k of R becomes row k.
 */
function factorize(matrix: Float64Array, size: number): boolean {
	const kernel = new SpreadKernel(size);
	const { columns, errors } = kernel;
	for (let end = size; end > 0; end -= PANEL) {
		const start = Math.max(0, end - PANEL);
		for (let c = 0; c < end - start; c++) {
			for (let i = 0; i <= start + c; i++) columns[i * PANEL + c] = matrix[(start + c) * size + i]!;
		}
		for (let k = end; k < size; k++) {
			errors.set(matrix.subarray(k * size + start, k * size + end));
			kernel.spread(matrix.subarray(k * size, k * size + end), 0);
		}
		for (let j = end - 1; j >= start; j--) {
			const pivot = columns[j * PANEL + j - start]!;
			if (!(pivot > 0 && pivot < Number.POSITIVE_INFINITY)) return false;
			const diagonal = Math.sqrt(pivot);
			for (let i = 0; i < j; i++) matrix[j * size + i] = columns[i * PANEL + j - start]! / diagonal;
			matrix[j * size + j] = diagonal;
			errors.fill(0).set(matrix.subarray(j * size + start, j * size + j));
			kernel.spread(matrix.subarray(j * size, j * size + j), 0);
		}
	}
	return true;
}

/**
 * The inverse of R, sixteen columns at a time, each from its last row up.
 *
 * @param matrix with R as {@link factorize} leaves it; becomes the inverse, zeros below the diagonal.
 */
function invert(matrix: Float64Array, size: number): boolean {
	const kernel = new SpreadKernel(size);
	const { columns, errors } = kernel;
	const diagonal = Float64Array.from({ length: size }, (_, i) => matrix[i * size + i]!);
	for (let start = 0; start < size; start += PANEL) {
		const end = Math.min(start + PANEL, size);
		columns.fill(0);
		for (let c = 0; c < end - start; c++) columns[(start + c) * PANEL + c] = 1;
		for (let k = end - 1; k >= 0; k--) {
			for (let c = 0; c < PANEL; c++) errors[c] = columns[k * PANEL + c]! / diagonal[k]!;
			const first = Math.max(k, start);
			matrix.set(errors.subarray(first - start, end - start), k * size + first);
			kernel.spread(matrix.subarray(k * size, k * size + k), 0);
		}
	}
	for (let i = 1; i < size; i++) matrix.fill(0, i * size, i * size + i);
	return true;
}

/**
 * The codes of some channels.
 *
 * @param weights [channelCount, depth]; left as they are.
 * @param scales of every weight's block, [channelCount, blocks]; above 0.
 * @param blockSize inputs that share a scale.
 * @param factor U of {@link factorOfInverse}, [depth, depth].
 * @param codes receives the codes, [channelCount, depth].
 * @returns the squared error of the outputs, summed over the channels, in the units of the second moments.
 */
export function gptqCodes(
	weights: Float32Array,
	scales: Float32Array,
	depth: number,
	blockSize: number,
	factor: Float64Array,
	codeMin: number,
	codeMax: number,
	codes: Int8Array,
): number {
	const channelCount = weights.length / depth;
	const blocks = Math.ceil(depth / blockSize);
	const kernel = new SpreadKernel(depth);
	const { columns: group, errors } = kernel;
	let loss = 0;
	for (let first = 0; first < channelCount; first += SPREAD_CHANNELS) {
		const count = Math.min(SPREAD_CHANNELS, channelCount - first);
		for (let c = 0; c < count; c++) {
			for (let j = 0; j < depth; j++) group[j * SPREAD_CHANNELS + c] = weights[(first + c) * depth + j]!;
		}
		for (let j = 0; j < depth; j++) {
			const row = j * depth;
			const block = Math.floor(j / blockSize);
			const inverse = 1 / factor[row + j]!;
			for (let c = 0; c < count; c++) {
				const value = group[j * SPREAD_CHANNELS + c]!;
				const scale = scales[(first + c) * blocks + block]!;
				const code = Math.min(Math.max(Math.floor(value / scale + 0.5), codeMin), codeMax);
				codes[(first + c) * depth + j] = code;
				const error = (value - code * scale) * inverse;
				errors[c] = error;
				loss += error * error;
			}
			kernel.spread(factor.subarray(row + j + 1, row + depth), j + 1);
		}
	}
	return loss;
}
