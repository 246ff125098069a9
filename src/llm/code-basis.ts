/*
 * Vectors v (rows, moments C = mean of v^T v) whose elements become codes, all with as many codes for their range, are read by
 * a matrix (Gram matrix G of its rows). Instead of v, v R may become codes, and R^-1 be put in front of the matrix: what
 * comes out is the same but for the rounding. Its error is the sum over elements of (R^T C R)_ii (R^-1 G R^-T)_ii, times a
 * constant. With C = L L^T and L^T G L = U Lambda U^T (eigenvectors in columns), R = L^-T U Lambda^1/4 H makes both factors the diagonal of
 * H^T Lambda^1/2 H, and an orthogonal H whose elements are all alike makes all of them alike: n times the square of the mean root of
 * Lambda, which is the least (Cauchy and Schwarz), where v itself has the sum of C_ii G_ii at best Lambda's sum.
 */

import { CholeskyDecomposition, EigenvalueDecomposition, Matrix, solve } from "ml-matrix";

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
	const lower = new CholeskyDecomposition(seen).lowerTriangularMatrix;
	const inner = lower.transpose().mmul(read).mmul(lower);
	const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(inner, { assumeSymmetric: true });
	const floor = Math.max(...realEigenvalues) * 1e-6;
	const weights = realEigenvalues.map((value) => Math.max(value, floor) ** 0.25);
	const even = evenRotation(size);
	const turned = eigenvectorMatrix.clone().mulRowVector(weights).mmul(even);
	const back = eigenvectorMatrix.clone().divRowVector(weights).mmul(even).transpose().mmul(lower.transpose());
	return { forth: numbersIn(solve(lower.transpose(), turned)), back: numbersIn(back) };
}

function withRidge(numbers: Float64Array, size: number): Matrix | undefined {
	const matrix = Matrix.from1DArray(size, size, numbers);
	const trace = matrix.trace();
	return trace > 0 ? matrix.add(Matrix.eye(size, size, (RIDGE * trace) / size)) : undefined;
}

function numbersIn(matrix: Matrix): Float64Array {
	return Float64Array.from(matrix.to1DArray());
}

/** Orthogonal, with elements of about the same size: Hadamard's matrix for powers of 2, else Hartley's, whose rows are reordered. */
function evenRotation(size: number): Matrix {
	const isPower = (size & (size - 1)) === 0;
	const scale = 1 / Math.sqrt(size);
	const found = new Matrix(size, size);
	for (let i = 0; i < size; i++) {
		for (let j = 0; j < size; j++) {
			const angle = (2 * Math.PI * ((i * j) % size)) / size;
			found.set(i, j, scale * (isPower ? 1 - 2 * (ones(i & j) % 2) : Math.cos(angle) + Math.sin(angle)));
		}
	}
	return found;
}

function ones(bits: number): number {
	let count = 0;
	for (let rest = bits; rest > 0; rest &= rest - 1) count++;
	return count;
}
