/** Eigenvalues, and an eigenvector of length 1 for each, in rows. */
export interface SymmetricEigen {
	/** [size] */
	readonly values: Float64Array;
	/** [size, size] */
	readonly vectors: Float64Array;
}

/** More rounds than any matrix of finite numbers takes. */
const MOST_ROUNDS = 30;

/** Elements beside the diagonal, in parts of all of the matrix, that are as good as 0. */
const NEGLIGIBLE = 1e-9;

/**
 * Eigenvalues and eigenvectors of a symmetric matrix, by cyclic Jacobi rotations (Golub and Van Loan, Matrix Computations,
 * section 8.5), in no particular order.
 *
 * @param matrix [size, size]; left as it is.
 */
export function symmetricEigen(matrix: Float64Array, size: number): SymmetricEigen {
	const work = matrix.slice();
	const vectors = new Float64Array(size * size);
	for (let i = 0; i < size; i++) vectors[i * size + i] = 1;
	const negligible = NEGLIGIBLE ** 2 * work.reduce((sum, value) => sum + value * value, 0);
	for (let round = 0; round < MOST_ROUNDS; round++) {
		if (squaresBesideDiagonal(work, size) <= negligible) break;
		for (let p = 0; p < size; p++) {
			for (let q = p + 1; q < size; q++) {
				// all of those that stay are too little together
				if (work[p * size + q]! ** 2 * size * size > negligible) turnAway(work, vectors, size, p, q);
			}
		}
	}
	return { values: Float64Array.from({ length: size }, (_, i) => work[i * size + i]!), vectors };
}

function squaresBesideDiagonal(matrix: Float64Array, size: number): number {
	let sum = 0;
	for (let i = 0; i < size; i++) {
		for (let j = i + 1; j < size; j++) sum += 2 * matrix[i * size + j]! ** 2;
	}
	return sum;
}

/** The rotation of rows and columns p and q that makes element (p, q) 0. */
function turnAway(work: Float64Array, vectors: Float64Array, size: number, p: number, q: number): void {
	const beside = work[p * size + q]!;
	const ratio = (work[q * size + q]! - work[p * size + p]!) / (2 * beside);
	const tangent = (ratio < 0 ? -1 : 1) / (Math.abs(ratio) + Math.sqrt(ratio * ratio + 1));
	const cosine = 1 / Math.sqrt(tangent * tangent + 1);
	const sine = tangent * cosine;
	turnRows(work, size, p, q, cosine, sine);
	for (let k = 0, row = 0; k < size; k++, row += size) {
		const [a, b] = [work[row + p]!, work[row + q]!];
		work[row + p] = cosine * a - sine * b;
		work[row + q] = sine * a + cosine * b;
	}
	turnRows(vectors, size, p, q, cosine, sine);
}

function turnRows(matrix: Float64Array, size: number, p: number, q: number, cosine: number, sine: number): void {
	for (let k = 0, a = p * size, b = q * size; k < size; k++, a++, b++) {
		const [x, y] = [matrix[a]!, matrix[b]!];
		matrix[a] = cosine * x - sine * y;
		matrix[b] = sine * x + cosine * y;
	}
}
