/*
 * GPTQ (Frantar et al. 2022, arXiv 2210.17323): codes are chosen column by column, and the error of each is made good by the
 * columns that follow, so that the layer's output is least off rather than its weights. With H the second moments of the
 * layer's inputs and H^-1 = U^T U, U upper triangular, the error (w_j - q_j) / U_jj of column j takes
 * error * U_jk from each later column k. The sum of the squared errors is the squared error of the output.
 *
 * Here the scales are fixed before: LPBQ's, or one a channel. So columns may come in any order: those of large inputs first,
 * for their errors are the largest and leave most columns to make them good.
 */

import { dampingFor, orderOfInputs, reordered, shrinkMoments } from "./second-moments.js";
import { SPREAD_CHANNELS, SpreadKernel } from "./spread-kernel.js";

/**
 * U of H^-1 = U^T U for the damped second moments, by H = R R^T with R upper triangular and U = R^-1.
 *
 * @param moments [size, size], symmetric; becomes the result, row by row, zeros below the diagonal.
 * @returns false where the matrix is not positive definite, or not finite; its content is then of no use.
 */
export function factorOfInverse(
	moments: Float64Array,
	size: number,
	damping: number,
	kernel: SpreadKernel = new SpreadKernel(size),
): boolean {
	let trace = 0;
	for (let i = 0; i < size; i++) trace += moments[i * size + i]!;
	// without any input every code is as good as another
	const added = trace === 0 ? 1 : (damping * trace) / size;
	for (let i = 0; i < size; i++) moments[i * size + i]! += added;
	return factorize(moments, size, kernel) && invert(moments, size, kernel);
}

/** Columns that are worked on together. */
const PANEL = SPREAD_CHANNELS;

/**
 * R of H = R R^T, upper triangular, sixteen columns at a time from the last to the first.
 *
 * @param matrix H; in its lower triangle, column k of R becomes row k.
 */
function factorize(matrix: Float64Array, size: number, kernel: SpreadKernel): boolean {
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
function invert(matrix: Float64Array, size: number, kernel: SpreadKernel): boolean {
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
 * Of some groups of inputs the order in which they are best taken, and {@link factorOfInverse} in that order, after what few
 * rows ask for (second-moments.ts).
 *
 * @param moments means over `rows`, [groups, depth, depth]; become the factors.
 * @param order receives the orders, [groups, depth].
 * @param rows undefined where it is not known.
 * @returns false where one of them is not positive definite, or not finite.
 */
export function factorsOfInverses(
	moments: Float64Array,
	order: Uint32Array,
	depth: number,
	rows: number | undefined,
): boolean {
	const kernel = new SpreadKernel(depth);
	for (let group = 0; group * depth < order.length; group++) {
		const place = moments.subarray(group * depth * depth, (group + 1) * depth * depth);
		if (rows !== undefined) shrinkMoments(place, depth, rows);
		const inputs = orderOfInputs(place, depth);
		order.set(inputs, group * depth);
		place.set(reordered(place, inputs));
		if (!factorOfInverse(place, depth, dampingFor(depth, rows), kernel)) return false;
	}
	return true;
}

/** How the codes of channels are chosen. */
export interface GptqProblem {
	readonly depth: number;
	/** Inputs that share a scale. */
	readonly blockSize: number;
	/** U of {@link factorOfInverse}, [depth, depth], for inputs in `order`. */
	readonly factor: Float64Array;
	/** The input that comes at each place, [depth]. */
	readonly order: Uint32Array;
	readonly codeMin: number;
	readonly codeMax: number;
}

/**
 * The codes of some channels.
 *
 * @param weights [channelCount, depth]; left as they are.
 * @param scales of every weight's block, [channelCount, blocks]; above 0.
 * @param codes receives the codes, [channelCount, depth].
 * @returns the squared error of the outputs, summed over the channels, in the units of the second moments.
 */
export function gptqCodes(
	weights: Float32Array,
	scales: Float32Array,
	{ depth, blockSize, factor, order, codeMin, codeMax }: GptqProblem,
	codes: Int8Array,
	kernel: SpreadKernel = new SpreadKernel(depth),
): number {
	const channelCount = weights.length / depth;
	const blocks = Math.ceil(depth / blockSize);
	const { columns: group, errors } = kernel;
	let loss = 0;
	for (let first = 0; first < channelCount; first += SPREAD_CHANNELS) {
		const count = Math.min(SPREAD_CHANNELS, channelCount - first);
		for (let c = 0; c < count; c++) {
			for (let j = 0; j < depth; j++) group[j * SPREAD_CHANNELS + c] = weights[(first + c) * depth + order[j]!]!;
		}
		for (let j = 0; j < depth; j++) {
			const row = j * depth;
			const input = order[j]!;
			const block = Math.floor(input / blockSize);
			const inverse = 1 / factor[row + j]!;
			for (let c = 0; c < count; c++) {
				const value = group[j * SPREAD_CHANNELS + c]!;
				const scale = scales[(first + c) * blocks + block]!;
				const code = Math.min(Math.max(Math.floor(value / scale + 0.5), codeMin), codeMax);
				codes[(first + c) * depth + input] = code;
				const error = (value - code * scale) * inverse;
				errors[c] = error;
				loss += error * error;
			}
			kernel.spread(factor.subarray(row + j + 1, row + depth), j + 1);
		}
	}
	return loss;
}

/** The same of groups with as many channels each, one after the other, every one with a factor and an order of its own. */
export function gptqCodesOfGroups(
	weights: Float32Array,
	scales: Float32Array,
	{ factors, ...problem }: Omit<GptqProblem, "factor"> & { readonly factors: Float64Array },
	codes: Int8Array,
): number {
	const { depth, order } = problem;
	const groups = order.length / depth;
	const kernel = new SpreadKernel(depth);
	let loss = 0;
	for (let group = 0; group < groups; group++) {
		const of = <T extends Float32Array | Float64Array | Int8Array | Uint32Array>(array: T): T =>
			array.subarray((group * array.length) / groups, ((group + 1) * array.length) / groups) as T;
		const own = { ...problem, factor: of(factors), order: of(order) };
		loss += gptqCodes(of(weights), of(scales), own, of(codes), kernel);
	}
	return loss;
}
