/*
 * R of H = R R^T, upper triangular, for the second moments H of a layer's inputs: what GPTQ (gptq.ts) spreads errors by.
 * Cholesky's way, but from the last column to the first; sixteen columns at a time, in float64.
 */

import { dampingFor, orderOfInputs, reordered, shrinkMoments } from "./second-moments.js";
import { SPREAD_CHANNELS, SPREAD_ROWS, SpreadKernel } from "./spread-kernel.js";

/** Adds what GPTQ adds to the diagonal: a part of its mean. */
export function damp(moments: Float64Array, size: number, damping: number): void {
	let trace = 0;
	for (let i = 0; i < size; i++) trace += moments[i * size + i]!;
	// without any input every code is as good as another
	const added = trace === 0 ? 1 : (damping * trace) / size;
	for (let i = 0; i < size; i++) moments[i * size + i]! += added;
}

/** Columns that are worked on together. */
const PANEL = SPREAD_CHANNELS;

/**
 * R of H = R R^T, upper triangular.
 *
 * @param matrix H, [size, size], symmetric; in its lower triangle, column k of R becomes row k.
 * @returns false where the matrix is not positive definite, or not finite; its content is then of no use.
 */
export function factorize(
	matrix: Float64Array,
	size: number,
	kernel: SpreadKernel = SpreadKernel.float64(size),
): boolean {
	const { columns, errors, weights, stride } = kernel;
	for (let end = size; end > 0; end -= PANEL) {
		const start = Math.max(0, end - PANEL);
		for (let c = 0; c < end - start; c++) {
			for (let i = 0; i <= start + c; i++) columns[i * PANEL + c] = matrix[(start + c) * size + i]!;
		}
		for (let first = end; first < size; first += SPREAD_ROWS) {
			const rows = Math.min(SPREAD_ROWS, size - first);
			for (let row = 0; row < rows; row++) {
				const from = (first + row) * size;
				errors.set(matrix.subarray(from + start, from + end), row * PANEL);
				weights.set(matrix.subarray(from, from + end), row * stride);
			}
			kernel.spread(0, rows, 0, end);
		}
		for (let j = end - 1; j >= start; j--) {
			const pivot = columns[j * PANEL + j - start]!;
			if (!(pivot > 0 && pivot < Number.POSITIVE_INFINITY)) return false;
			const diagonal = Math.sqrt(pivot);
			for (let i = 0; i < j; i++) matrix[j * size + i] = columns[i * PANEL + j - start]! / diagonal;
			matrix[j * size + j] = diagonal;
			errors.fill(0, 0, PANEL).set(matrix.subarray(j * size + start, j * size + j));
			weights.set(matrix.subarray(j * size, j * size + j));
			kernel.spread(0, 1, 0, j);
		}
	}
	return true;
}

/** What GPTQ makes of second moments before it looks at a weight; of some groups of inputs. */
export interface GptqFactors {
	/**
	 * For inputs in `order`, [groups, depth, depth]: what part of the error of input i input k makes good at [i, k], i < k,
	 * which is R_ik / R_kk; at [k, i] R_ik itself; on the diagonal what of the mean square of an input those behind it do not
	 * make good, R_ii^2.
	 */
	readonly factors: Float32Array;
	/** The moments as the factors are of them, in that order, too, [groups, depth, depth]. */
	readonly moments: Float32Array;
	/** The input that comes at each place, [groups, depth]. */
	readonly order: Uint32Array;
}

/**
 * Of some groups of inputs the order in which they are best taken, and the factors in that order, after what few rows ask for
 * (second-moments.ts).
 *
 * @param moments means over `rows`, [groups, depth, depth]; lost.
 * @param into receives the result.
 * @param rows undefined where it is not known.
 * @returns false where one of them is not positive definite, or not finite.
 */
export function factorizeMoments(
	moments: Float64Array,
	into: GptqFactors,
	depth: number,
	rows: number | undefined,
): boolean {
	const kernel = SpreadKernel.float64(depth);
	for (let group = 0; group * depth < into.order.length; group++) {
		const [start, end] = [group * depth * depth, (group + 1) * depth * depth];
		const place = moments.subarray(start, end);
		if (rows !== undefined) shrinkMoments(place, depth, rows);
		const inputs = orderOfInputs(place, depth);
		into.order.set(inputs, group * depth);
		place.set(reordered(place, inputs));
		damp(place, depth, dampingFor(depth, rows));
		into.moments.set(place, start);
		if (!factorize(place, depth, kernel)) return false;
		fillFactors(place, depth, into.factors.subarray(start, end));
	}
	return true;
}

/** @param columns of R, a row each, as {@link factorize} leaves them. */
function fillFactors(columns: Float64Array, size: number, factors: Float32Array): void {
	factors.set(columns);
	// so few rows at a time that a cache holds a line of each
	for (let start = 0; start < size; start += PANEL) {
		const end = Math.min(start + PANEL, size);
		for (let k = start; k < size; k++) {
			const last = columns[k * size + k]!;
			for (let i = start; i < Math.min(k, end); i++) factors[i * size + k] = columns[k * size + i]! / last;
			if (k < end) factors[k * size + k] = last * last;
		}
	}
}
