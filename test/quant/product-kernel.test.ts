import { describe, expect, it } from "vitest";
import { packInt4 } from "../../src/quant/packing.js";
import { addProducts, fitsProductKernel } from "../../src/quant/product-kernel.js";
import { Random } from "../../src/quant/random.js";

const random = new Random("products");
const floats = (count: number) => Float32Array.from({ length: count }, () => random.uniform() - 0.5);

function plainly(left: Float32Array, depth: number, matrix: ArrayLike<number>, columns: number): number[] {
	const products: number[] = [];
	for (let row = 0; row < left.length / depth; row++) {
		for (let column = 0; column < columns; column++) {
			let sum = 0;
			for (let at = 0; at < depth; at++) sum += left[row * depth + at]! * matrix[at * columns + column]!;
			products.push(sum);
		}
	}
	return products;
}

function multiplied(left: Float32Array, depth: number, matrix: Float32Array | Uint8Array, columns: number) {
	const totals = new Float32Array((left.length / depth) * columns);
	addProducts(totals, left, depth, matrix, columns);
	return totals;
}

function expectClose(found: Float32Array, wanted: readonly number[]): void {
	expect(found.length).toBe(wanted.length);
	for (const [index, value] of wanted.entries()) expect(found[index]).toBeCloseTo(value, 4);
}

describe("addProducts", () => {
	const shapes = [
		[1, 1, 4],
		[3, 5, 12],
		[4, 64, 36],
		[9, 30, 40],
	] as const;

	it.each(shapes)("multiplies %d rows of %d with %d columns", (count, depth, columns) => {
		const [left, matrix] = [floats(count * depth), floats(depth * columns)];
		expectClose(multiplied(left, depth, matrix, columns), plainly(left, depth, matrix, columns));
	});

	it.each(shapes)("multiplies %d rows of %d with %d columns of codes", (count, depth, columns) => {
		const left = floats(count * depth);
		const codes = Int8Array.from({ length: depth * columns }, () => Math.floor(random.uniform() * 16) - 8);
		expectClose(multiplied(left, depth, packInt4(codes), columns), plainly(left, depth, codes, columns));
	});

	it("adds to totals, each column by its scale", () => {
		const [left, matrix, scales, before] = [floats(6 * 10), floats(10 * 8), floats(8), floats(6 * 8)];
		const totals = before.slice();
		addProducts(totals, left, 10, matrix, 8, scales);
		const wanted = plainly(left, 10, matrix, 8).map((sum, index) => before[index]! + sum * scales[index % 8]!);
		expectClose(totals, wanted);
		expect(() => addProducts(totals, left.subarray(10), 10, matrix, 8)).toThrow("48 totals, expected 40");
	});

	it("forgets what earlier calls left in its memory", () => {
		const large = floats(7 * 16);
		multiplied(floats(16 * 7), 7, large, 16);
		const [left, matrix] = [floats(2 * 5), floats(5 * 8)];
		expectClose(multiplied(left, 5, matrix, 8), plainly(left, 5, matrix, 8));
	});

	it("refuses a matrix of another depth", () => {
		expect(() => multiplied(floats(8), 4, floats(20), 4)).toThrow(RangeError);
		expect([4, 6].map(fitsProductKernel)).toEqual([true, false]);
	});
});
