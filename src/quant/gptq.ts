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

/** R of H = R R^T, in place of the upper triangle; rows are read from the diagonal on, which is how they lie in memory. */
function factorize(matrix: Float64Array, size: number): boolean {
	for (let j = size - 1; j >= 0; j--) {
		const rowJ = j * size;
		const pivot = matrix[rowJ + j]! - dot(matrix, rowJ + j + 1, rowJ + j + 1, size - j - 1);
		if (!(pivot > 0 && pivot < Number.POSITIVE_INFINITY)) return false;
		const diagonal = Math.sqrt(pivot);
		matrix[rowJ + j] = diagonal;
		for (let i = 0; i < j; i++) {
			const rowI = i * size;
			const rest = matrix[rowI + j]! - dot(matrix, rowI + j + 1, rowJ + j + 1, size - j - 1);
			matrix[rowI + j] = rest / diagonal;
		}
	}
	return true;
}

function dot(matrix: Float64Array, a: number, b: number, count: number): number {
	let even = 0;
	let odd = 0;
	let i = 0;
	for (; i + 1 < count; i += 2) {
		even += matrix[a + i]! * matrix[b + i]!;
		odd += matrix[a + i + 1]! * matrix[b + i + 1]!;
	}
	return i < count ? even + odd + matrix[a + i]! * matrix[b + i]! : even + odd;
}

/** The inverse of an upper triangular matrix in its place, from the last row up. */
function invert(matrix: Float64Array, size: number): boolean {
	const row = new Float64Array(size);
	for (let i = size - 1; i >= 0; i--) {
		const start = i * size;
		const inverse = 1 / matrix[start + i]!;
		row.fill(0, i);
		for (let k = i + 1; k < size; k++) {
			const factor = matrix[start + k]!;
			if (factor === 0) continue;
			const from = k * size;
			for (let j = k; j < size; j++) row[j]! += factor * matrix[from + j]!;
		}
		matrix.fill(0, start, start + i);
		matrix[start + i] = inverse;
		for (let j = i + 1; j < size; j++) matrix[start + j] = -inverse * row[j]!;
	}
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
