/** Rows. */
export type Matrix = readonly Float64Array[];

/** So small a part of the largest entry is added to the diagonal, so that rows that say the same do not matter. */
const RIDGE = 1e-10;

/** The lower triangular root of a symmetric matrix without negative eigenvalues. */
export function cholesky(matrix: Matrix): Matrix {
	const ridge = RIDGE * matrix.reduce((most, row, at) => Math.max(most, row[at]!), Number.MIN_VALUE);
	const root = matrix.map(() => new Float64Array(matrix.length));
	for (const [row, entries] of matrix.entries()) {
		const own = root[row]!;
		for (let column = 0; column <= row; column++) {
			const other = root[column]!;
			let sum = entries[column]! + (row === column ? ridge : 0);
			for (let index = 0; index < column; index++) sum -= own[index]! * other[index]!;
			own[column] = row === column ? Math.sqrt(Math.max(sum, ridge)) : sum / other[column]!;
		}
	}
	return root;
}

/** Solves root * x = right. */
export function solveLower(root: Matrix, right: Float64Array): Float64Array {
	const solution = new Float64Array(right.length);
	for (const [row, own] of root.entries()) {
		let sum = right[row]!;
		for (let index = 0; index < row; index++) sum -= own[index]! * solution[index]!;
		solution[row] = sum / own[row]!;
	}
	return solution;
}

/** Solves transposed root * x = right. */
export function solveUpper(root: Matrix, right: Float64Array): Float64Array {
	const solution = Float64Array.from(right);
	for (let row = root.length - 1; row >= 0; row--) {
		solution[row]! /= root[row]![row]!;
		for (let index = 0; index < row; index++) solution[index]! -= root[row]![index]! * solution[row]!;
	}
	return solution;
}
