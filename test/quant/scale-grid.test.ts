import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { eachScaleRun, quantizeOnGrid, type ScaleGrid } from "../../src/quant/scale-grid.js";

/** The scale of an element by its coordinates. */
function scaleOf({ shape, scaleShape, blockAxis, blockSize }: ScaleGrid, element: number): number {
	let rest = element;
	let stride = 1;
	let scale = 0;
	for (let axis = shape.length - 1; axis >= 0; axis--) {
		const index = rest % shape[axis]!;
		rest = (rest - index) / shape[axis]!;
		const length = scaleShape[axis] ?? 1;
		scale += (length === 1 ? 0 : axis === blockAxis ? Math.floor(index / blockSize) : index) * stride;
		stride *= length;
	}
	return scale;
}

const grids: fc.Arbitrary<ScaleGrid> = fc
	.array(fc.record({ length: fc.integer({ min: 1, max: 5 }), varies: fc.boolean() }), { maxLength: 4 })
	.chain((axes) =>
		fc.record({
			axes: fc.constant(axes),
			block: fc.integer({ min: -1, max: axes.length - 1 }),
			blockSize: fc.integer({ min: 1, max: 4 }),
		}),
	)
	.map(({ axes, block, blockSize }) => ({
		shape: axes.map(({ length }) => length),
		scaleShape: axes.map(({ length, varies }, axis) =>
			axis === block ? Math.ceil(length / blockSize) : varies ? length : 1,
		),
		blockAxis: block < 0 ? undefined : block,
		blockSize: block < 0 ? 0 : blockSize,
	}));

describe("scale grids", () => {
	it("gives every element of any range its scale", () => {
		fc.assert(
			fc.property(grids, fc.nat(), fc.nat(), (grid, a, b) => {
				const total = grid.shape.reduce((product, dim) => product * dim, 1);
				const first = a % total;
				const count = 1 + (b % (total - first));
				const found: number[] = [];
				eachScaleRun(grid, first, count, (start, end, scale, step) => {
					expect(start).toBe(found.length);
					for (let at = start; at < end; at++) found.push(scale + (at - start) * step);
				});
				expect(found).toEqual(Array.from({ length: count }, (_, index) => scaleOf(grid, first + index)));
			}),
		);
	});

	it("rounds exact halves up, clamps, and adds zero points", () => {
		const grid: ScaleGrid = { shape: [2, 5], scaleShape: [2, 1], blockAxis: undefined, blockSize: 0 };
		const values = Float32Array.from([0.5, 1.5, -2.5, 99, -99, 0.5, 1.5, -2.5, 99, -99]);
		const codes = { signed: true, bits: 4, scaleAt: () => 1, zeroPoints: Float64Array.of(0, 2) };
		expect([...quantizeOnGrid(values, 0, grid, codes)]).toEqual([1, 2, -2, 7, -8, 3, 4, 0, 7, -8]);
		const unsigned = { ...codes, signed: false, zeroPoints: Float64Array.of(8, 8) };
		expect([...quantizeOnGrid(values.subarray(0, 5), 0, grid, unsigned)]).toEqual([9, 10, 6, 15, 0]);
	});

	it("rounds 32-bit codes to even, without losing bits", () => {
		const grid: ScaleGrid = { shape: [4], scaleShape: [], blockAxis: undefined, blockSize: 0 };
		const codes = { signed: true, bits: 32, scaleAt: () => 1, zeroPoints: undefined };
		const values = Float32Array.from([0.5, 2.5, 16777215, -3e9]);
		expect([...quantizeOnGrid(values, 0, grid, codes)]).toEqual([0, 2, 16777215, -(2 ** 31)]);
	});
});
