import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type BlockLayout, blockLayout, slabCountOf, slabStart } from "../../src/quant/layout.js";
import { errorSum, sqnrDb, sumOfSquaredCodesPerBlock } from "../../src/quant/measure.js";
import { packInt4 } from "../../src/quant/packing.js";
import { randomSource } from "../support/random.js";
import { anyWeight, eachBlockOf } from "./support.js";

function randomCodesFor(layout: BlockLayout, seed: number): Int8Array {
	const random = randomSource(seed);
	return Int8Array.from({ length: slabStart(layout, slabCountOf(layout)) }, () => Math.floor(16 * random()) - 8);
}

function expectedSums(codes: Int8Array, layout: BlockLayout): Float64Array {
	const sums = new Float64Array(slabCountOf(layout) * layout.channels);
	eachBlockOf(layout, (elements, slab, channel) => {
		for (const element of elements) sums[slab * layout.channels + channel]! += codes[element]! ** 2;
	});
	return sums;
}

describe("sumOfSquaredCodesPerBlock", () => {
	it("adds the squares of every block, whatever the layout", () => {
		fc.assert(
			fc.property(anyWeight, fc.nat(), ({ layout }, seed) => {
				const codes = randomCodesFor(layout, seed);
				const sums = sumOfSquaredCodesPerBlock(packInt4(codes), layout, 0, slabCountOf(layout));
				expect(sums).toEqual(expectedSums(codes, layout));
			}),
			{ numRuns: 300 },
		);
	});

	it("adds up any even number of channels, into a given array whatever it held", () => {
		const rows = fc.integer({ min: 1, max: 30 });
		fc.assert(
			fc.property(rows, fc.integer({ min: 1, max: 90 }), rows, fc.nat(), (depth, pairs, blockSize, seed) => {
				const layout = blockLayout([depth, 2 * pairs], 0, 1, blockSize);
				const codes = randomCodesFor(layout, seed);
				const sums = new Float64Array(slabCountOf(layout) * layout.channels).fill(7);
				expect(sumOfSquaredCodesPerBlock(packInt4(codes), layout, 0, slabCountOf(layout), sums)).toBe(sums);
				expect(sums).toEqual(expectedSums(codes, layout));
			}),
		);
	});

	it("does not mind blocks of very different size in turn", () => {
		for (const channels of [2, 20_000, 4]) {
			const layout = blockLayout([16, channels], 0, 1, 16);
			const codes = randomCodesFor(layout, channels);
			const sums = sumOfSquaredCodesPerBlock(packInt4(codes), layout, 0, 1);
			expect(sums).toEqual(expectedSums(codes, layout));
		}
	});

	it("takes a range of slabs, in bytes at any address", () => {
		const layout = blockLayout([30, 6], 0, 1, 8);
		const codes = randomCodesFor(layout, 1);
		const all = expectedSums(codes, layout);
		const part = packInt4(codes.subarray(slabStart(layout, 1)));
		const moved = new Uint8Array(part.length + 1).subarray(1);
		moved.set(part);
		expect(sumOfSquaredCodesPerBlock(moved, layout, 1, 3)).toEqual(all.subarray(6));
	});

	it.each([1023, 1024])("does not overflow in blocks of %d times -8", (rows) => {
		const layout = blockLayout([rows, 4], 0, 1, rows);
		const packed = packInt4(new Int8Array(rows * 4).fill(-8));
		expect(sumOfSquaredCodesPerBlock(packed, layout, 0, 1)).toEqual(new Float64Array(4).fill(rows * 64));
	});

	it("refuses bytes that are not these slabs", () => {
		const layout = blockLayout([4, 3], 0, 1, 1);
		expect(() => sumOfSquaredCodesPerBlock(new Uint8Array(3), layout, 0, 1)).toThrow("3 bytes of codes, expected 2");
	});
});

describe("errors", () => {
	it("adds squares of weights and differences", () => {
		expect(errorSum(Float32Array.of(3, -4), Float32Array.of(2, -4))).toEqual({ signal: 25, error: 1 });
		expect(() => errorSum(new Float32Array(2), new Float32Array(3))).toThrow(RangeError);
	});

	it("gives decibels, infinite ones where nothing is off", () => {
		expect(sqnrDb(1000, 1)).toBeCloseTo(30, 12);
		expect(sqnrDb(1, 1)).toBe(0);
		expect(sqnrDb(5, 0)).toBe(Infinity);
		expect(sqnrDb(0, 0)).toBe(Infinity);
		expect(sqnrDb(0, 1)).toBe(-Infinity);
		expect(sqnrDb(1e300, 1e-300)).toBeCloseTo(6000, 9);
	});
});
