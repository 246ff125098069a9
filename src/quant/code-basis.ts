/*
 * Vectors v (rows, moments C = mean of v^T v) whose elements become codes, all with as many codes for their range, are read by
 * a matrix (Gram matrix G of its rows). Instead of v, v R may become codes, and R^-1 be put in front of the matrix: what
 * comes out is the same but for the rounding. Its error is the sum over elements of (R^T C R)_ii (R^-1 G R^-T)_ii, times a
 * constant. With C = L L^T and L^T G L = U^T Lambda U (eigenvectors in rows), R = L^-T U^T Lambda^1/4 H makes both factors the diagonal of
 * H^T Lambda^1/2 H, and an orthogonal H whose elements are all alike makes all of them alike: n times the square of the mean root of
 * Lambda, which is the least (Cauchy and Schwarz), where v itself has the sum of C_ii G_ii at best Lambda's sum.
 */

import { symmetricEigen } from "./symmetric-eigen.js";

/** A change of basis and what takes it back, [size, size] each. */
export interface Basis {
	readonly forth: Float64Array;
	readonly back: Float64Array;
}

/** What is added to the moments' diagonal, in parts of its mean: directions nobody has seen must not become huge. */
const RIDGE = 0.2;

/**
 * The basis in which codes of vectors cost least behind a matrix; undefined where all of either is 0.
 *
 * @param moments means of products of elements, [size, size].
 * @param gram products of the rows of the matrix that reads them, [size, size].
 */
export function codeBasis(moments: Float64Array, gram: Float64Array, size: number): Basis | undefined {
	const [seen, read] = [withRidge(moments, size), withRidge(gram, size)];
	if (seen === undefined || read === undefined) return undefined;
	const lower = cholesky(seen, size);
	const inner = product(transposed(lower, size), product(read, lower, size), size);
	const { values, vectors } = symmetricEigen(inner, size);
	const floor = values.reduce((most, value) => Math.max(most, value), 0) * 1e-6;
	const even = evenRotation(size);
	const weighted = (power: number) => {
		const found = new Float64Array(size * size);
		for (let i = 0; i < size; i++) {
			const factor = Math.max(values[i]!, floor) ** power;
			for (let j = 0; j < size; j++) found[i * size + j] = factor * vectors[i * size + j]!;
		}
		return found;
	};
	const turned = product(transposed(weighted(0.25), size), even, size);
	const back = product(product(transposed(even, size), weighted(-0.25), size), transposed(lower, size), size);
	return { forth: solveTransposed(lower, turned, size), back };
}

function withRidge(matrix: Float64Array, size: number): Float64Array | undefined {
	let trace = 0;
	for (let i = 0; i < size; i++) trace += matrix[i * size + i]!;
	if (!(trace > 0)) return undefined;
	const found = matrix.slice();
	for (let i = 0; i < size; i++) found[i * size + i]! += (RIDGE * trace) / size;
	return found;
}

/** Orthogonal, with elements of about the same size: Hadamard's matrix for powers of 2, else Hartley's, whose rows are reordered. */
function evenRotation(size: number): Float64Array {
	const isPower = (size & (size - 1)) === 0;
	const scale = 1 / Math.sqrt(size);
	const found = new Float64Array(size * size);
	for (let i = 0; i < size; i++) {
		for (let j = 0; j < size; j++) {
			const angle = (2 * Math.PI * ((i * j) % size)) / size;
			found[i * size + j] = scale * (isPower ? 1 - 2 * (ones(i & j) % 2) : Math.cos(angle) + Math.sin(angle));
		}
	}
	return found;
}

function ones(bits: number): number {
	let count = 0;
	for (let rest = bits; rest > 0; rest &= rest - 1) count++;
	return count;
}

/** The lower triangle L of a positive matrix L L^T. */
function cholesky(matrix: Float64Array, size: number): Float64Array {
	const lower = new Float64Array(size * size);
	for (let i = 0; i < size; i++) {
		for (let j = 0; j <= i; j++) {
			let sum = matrix[i * size + j]!;
			for (let k = 0; k < j; k++) sum -= lower[i * size + k]! * lower[j * size + k]!;
			lower[i * size + j] = i === j ? Math.sqrt(Math.max(sum, Number.MIN_VALUE)) : sum / lower[j * size + j]!;
		}
	}
	return lower;
}

/** X of L^T X = B. */
function solveTransposed(lower: Float64Array, right: Float64Array, size: number): Float64Array {
	const found = right.slice();
	for (let i = size - 1; i >= 0; i--) {
		for (let k = i + 1; k < size; k++) {
			const factor = lower[k * size + i]!;
			for (let j = 0; j < size; j++) found[i * size + j]! -= factor * found[k * size + j]!;
		}
		for (let j = 0; j < size; j++) found[i * size + j]! /= lower[i * size + i]!;
	}
	return found;
}

function transposed(matrix: Float64Array, size: number): Float64Array {
	return matrix.map((_, at) => matrix[(at % size) * size + Math.floor(at / size)]!);
}

function product(left: Float64Array, right: Float64Array, size: number): Float64Array {
	const found = new Float64Array(size * size);
	for (let i = 0; i < size; i++) {
		for (let k = 0; k < size; k++) {
			const factor = left[i * size + k]!;
			for (let j = 0; j < size; j++) found[i * size + j]! += factor * right[k * size + j]!;
		}
	}
	return found;
}
