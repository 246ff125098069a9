import { expect, test } from "vitest";
import { codeBasis } from "../../src/llm/code-basis.js";
import { Random } from "../../src/quant/random.js";

/** B^T B of random rows whose columns have sizes of their own: symmetric and positive. */
function moments(seed: string, size: number): Float64Array {
	const random = new Random(seed);
	const rows = Array.from({ length: 3 * size }, () =>
		Array.from({ length: size }, (_, column) => (random.uniform() - 0.5) * (1 + (7 * column) / size)),
	);
	return Float64Array.from({ length: size * size }, (_, at) =>
		rows.reduce((sum, row) => sum + row[Math.floor(at / size)]! * row[at % size]!, 0),
	);
}

function times(left: Float64Array, right: Float64Array, size: number): Float64Array {
	return Float64Array.from({ length: size * size }, (_, at) => {
		let sum = 0;
		for (let k = 0; k < size; k++) sum += left[Math.floor(at / size) * size + k]! * right[k * size + (at % size)]!;
		return sum;
	});
}

const turned = (matrix: Float64Array, size: number) =>
	matrix.map((_, at) => matrix[(at % size) * size + Math.floor(at / size)]!);

const largestDifference = (left: Float64Array, right: Float64Array) =>
	left.reduce((most, value, at) => Math.max(most, Math.abs(value - right[at]!)), 0);

const diagonal = (matrix: Float64Array, size: number) =>
	Array.from({ length: size }, (_, index) => matrix[index * (size + 1)]!);

// 24 is no power of 2
test.each([8, 24, 64])("a basis of %i elements is taken back, and codes in it lose less", (size) => {
	const [seen, read] = [moments("seen", size), moments("read", size)];
	const { forth, back } = codeBasis(seen, read, size)!;
	const identity = seen.map((_, at) => (at % (size + 1) === 0 ? 1 : 0));
	expect(largestDifference(times(forth, back, size), identity)).toBeLessThan(1e-9);
	const spread = diagonal(times(times(turned(forth, size), seen, size), forth, size), size);
	const weight = diagonal(times(times(back, read, size), turned(back, size), size), size);
	const before = diagonal(seen, size).reduce((sum, value, index) => sum + value * diagonal(read, size)[index]!, 0);
	const after = spread.reduce((sum, value, index) => sum + value * weight[index]!, 0);
	expect(after).toBeLessThan(0.8 * before);
});

test("where nothing is seen or read, there is no basis", () => {
	expect(codeBasis(new Float64Array(16), moments("read", 4), 4)).toBeUndefined();
	expect(codeBasis(moments("seen", 4), new Float64Array(16), 4)).toBeUndefined();
});
