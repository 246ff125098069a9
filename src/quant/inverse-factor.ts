/*
 * U of H^-1 = U^T U, upper triangular, for the second moments H of a layer's inputs: what GPTQ (gptq.ts) spreads errors by.
 * By H = R R^T with R upper triangular, whose inverse U is; sixteen rows or columns at a time, in float64.
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

/**
 * The factor of the inverse.
 *
 * @param moments [size, size], symmetric; becomes the result, row by row, zeros below the diagonal.
 * @returns false where the matrix is not positive definite, or not finite; its content is then of no use.
 */
export function factorOfInverse(
	moments: Float64Array,
	size: number,
	kernel: SpreadKernel = SpreadKernel.float64(size),
): boolean {
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

/**
 * The inverse of R, sixteen columns at a time, each from its last row up.
 *
 * @param matrix with R as {@link factorize} leaves it; becomes the inverse, zeros below the diagonal.
 */
function invert(matrix: Float64Array, size: number, kernel: SpreadKernel): boolean {
	const { columns, errors, weights, stride } = kernel;
	const diagonal = Float64Array.from({ length: size }, (_, i) => matrix[i * size + i]!);
	for (let start = 0; start < size; start += PANEL) {
		const end = Math.min(start + PANEL, size);
		columns.fill(0, 0, end * PANEL);
		for (let c = 0; c < end - start; c++) columns[(start + c) * PANEL + c] = 1;
		for (let first = start; first >= 0; first -= SPREAD_ROWS) {
			const last = Math.min(first + SPREAD_ROWS, end);
			for (let k = last - 1; k >= first; k--) {
				const row = k - first;
				weights.set(matrix.subarray(k * size, k * size + k), row * stride);
				for (let c = 0; c < PANEL; c++) errors[row * PANEL + c] = columns[k * PANEL + c]! / diagonal[k]!;
				const from = Math.max(k, start);
				const found = errors.subarray(row * PANEL + from - start, row * PANEL + end - start);
				matrix.set(found, k * size + from);
				kernel.spread(row, 1, first, k);
			}
			kernel.spread(0, last - first, 0, first);
		}
	}
	for (let i = 1; i < size; i++) matrix.fill(0, i * size, i * size + i);
	return true;
}

/** What GPTQ makes of second moments before it looks at a weight; of some groups of inputs. */
export interface GptqFactors {
	/** U of {@link factorOfInverse}, [groups, depth, depth], for inputs in `order`. */
	readonly factors: Float32Array;
	/** The moments as U is of them, in that order, too, [groups, depth, depth]. */
	readonly moments: Float32Array;
	/** The input that comes at each place, [groups, depth]. */
	readonly order: Uint32Array;
}

/**
 * Of some groups of inputs the order in which they are best taken, and {@link factorOfInverse} in that order, after what few
 * rows ask for (second-moments.ts).
 *
 * @param moments means over `rows`, [groups, depth, depth]; lost.
 * @param into receives the result.
 * @param rows undefined where it is not known.
 * @returns false where one of them is not positive definite, or not finite.
 */
export function factorsOfInverses(
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
		if (!factorOfInverse(place, depth, kernel)) return false;
		into.factors.set(place, start);
	}
	return true;
}
