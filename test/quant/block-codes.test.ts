import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeBlocks } from "../../src/quant/block-codes.js";
import { type CodeSum, codeColumns } from "../../src/quant/code-kernel.js";
import { dequantizeBlocks, quantizeBlocks } from "../../src/quant/codes.js";
import { blockLayout, slabCountOf } from "../../src/quant/layout.js";
import { effectiveScale, quantizeCode } from "../../src/quant/lpbq.js";
import { errorSum } from "../../src/quant/measure.js";
import { packInt4, unpackInt4 } from "../../src/quant/packing.js";
import { randomSource } from "../support/random.js";
import { randomWeight } from "./support.js";

describe("codeColumns", () => {
	const task = fc.record({
		slabs: fc.integer({ min: 1, max: 3 }),
		rows: fc.integer({ min: 1, max: 9 }),
		columns: fc.constantFrom(8, 16, 24),
		codeMin: fc.constantFrom(-8, -7),
		seed: fc.nat(),
	});
	const setUp = ({ slabs, rows, columns, seed }: { slabs: number; rows: number; columns: number; seed: number }) => {
		const random = randomSource(seed);
		const scales = Float32Array.from({ length: slabs * columns }, () => 10 ** (4 * random() - 2));
		const stored = scales.map((scale) => scale * (0.9 + 0.2 * random()));
		const values = Float32Array.from({ length: slabs * rows * columns }, (_, index) => {
			const scale = scales[Math.floor(index / (rows * columns)) * columns + (index % columns)]!;
			const codes = 24 * random() - 12;
			// exact halves, and what is next to them
			const special = Math.round(codes) + 0.5 - (random() < 0.5 ? 0 : 2 ** -24);
			return Math.fround((random() < 0.3 ? special : codes) * scale);
		});
		return { values, columns, scales, stored };
	};

	it("chooses the codes of quantizeCode", () => {
		fc.assert(
			fc.property(task, (shape) => {
				const { values, ...rest } = setUp(shape);
				const { packed } = codeColumns({ values, ...rest, codeMin: shape.codeMin }, []);
				const expected = values.map((value, index) => {
					const scale =
						rest.scales[Math.floor(index / (shape.rows * shape.columns)) * shape.columns + (index % shape.columns)]!;
					return Math.max(quantizeCode(value, scale), shape.codeMin);
				});
				expect([...unpackInt4(packed, 0, values.length)]).toEqual([...expected]);
			}),
		);
	});

	it("takes values just below a half down", () => {
		const values = new Float32Array(8).fill(0.49999997);
		values[1] = 0.5;
		values[2] = -7.5;
		values[3] = -0.50000006;
		const ones = new Float32Array(8).fill(1);
		const { packed } = codeColumns({ values, columns: 8, scales: ones, stored: ones, codeMin: -8 }, []);
		const codes = unpackInt4(packed, 0, 8);
		expect([...codes]).toEqual([...values].map((value) => quantizeCode(value, 1)));
	});

	it("adds up what is wanted, column by column", () => {
		fc.assert(
			fc.property(task, (shape) => {
				const { values, columns, scales, stored } = setUp(shape);
				const wanted: CodeSum[] = ["rests", "values", "products", "squares", "restSquares"];
				const { packed, sums } = codeColumns({ values, columns, scales, stored, codeMin: shape.codeMin }, wanted);
				const codes = unpackInt4(packed, 0, values.length);
				const expected = new Float64Array(sums.length);
				values.forEach((value, index) => {
					const slab = Math.floor(index / (shape.rows * columns));
					const column = index % columns;
					const rest = value - effectiveScale(codes[index]!, stored[slab * columns + column]!);
					[rest, value, value * rest, value * value, rest * rest].forEach((term, sum) => {
						expected[(slab * wanted.length + sum) * columns + column]! += term;
					});
				});
				const size = Math.max(...expected.map(Math.abs));
				sums.forEach((sum, index) => {
					expect(Math.abs(sum - expected[index]!)).toBeLessThan(1e-5 * size);
				});
			}),
		);
	});
});

describe("encodeBlocks", () => {
	const layouts = [
		blockLayout([80, 16], 0, 1, 32),
		blockLayout([2, 33, 8], 1, 2, 16),
		blockLayout([6, 80], 1, 0, 32),
		blockLayout([6, 16, 3, 3], 1, 0, 8),
		blockLayout([20, 4, 2, 1], 0, 1, 8),
		blockLayout([5, 33], 1, 0, 16),
		blockLayout([33, 6], 0, 1, 16),
		blockLayout([9, 3, 1, 3], 0, 1, 4),
	];

	it.each(layouts)("has the codes and errors of plain JavaScript: %o", (layout) => {
		const random = randomSource(3);
		const values = randomWeight(layout, 4);
		const slabCount = slabCountOf(layout);
		const scales = Float32Array.from({ length: slabCount * layout.channels }, () => 0.002 + 0.01 * random());
		const stored = scales.map((scale) => scale * 1.01);
		const repeated = (of: Float32Array) =>
			Float32Array.from([...of].flatMap((one) => new Array(layout.spatial).fill(one)));
		for (const codeMin of [-8, -7]) {
			const { packed, error } = encodeBlocks({ layout, firstSlab: 0, slabCount, values, scales, codeMin }, stored);
			const codes = quantizeBlocks(values, layout, 0, slabCount, repeated(scales), undefined, codeMin);
			expect(packed).toEqual(packInt4(codes));
			const expected = errorSum(values, dequantizeBlocks(codes, repeated(stored), layout, 0, slabCount));
			expect(error.signal / expected.signal).toBeCloseTo(1, 5);
			expect(error.error / expected.error).toBeCloseTo(1, 5);
		}
	});

	it("refuses arrays of other lengths", () => {
		const layout = blockLayout([4, 8], 0, 1, 4);
		const blocks = { layout, firstSlab: 0, slabCount: 1, values: new Float32Array(32), codeMin: -8 };
		expect(() => encodeBlocks({ ...blocks, scales: new Float32Array(7) }, new Float32Array(7))).toThrow("7 scales");
		expect(() => encodeBlocks({ ...blocks, scales: new Float32Array(8) }, new Float32Array(7))).toThrow("7 stored");
	});
});
