import { expect, test } from "vitest";
import { BIT_BINS, BitHistogram } from "../../src/quant/bit-histogram.js";
import { Random } from "../../src/quant/random.js";

const floats = (...values: number[]) => Float32Array.from(values);

test("says what is among the elements, those that are not finite aside", () => {
	const histogram = new BitHistogram();
	expect(histogram.add(floats(1, -2, 0.5))).toEqual({ min: -2, max: 1, finite: 3, notFinite: 0 });
	expect(histogram.add(floats(Number.NaN, 3, Number.NEGATIVE_INFINITY))).toEqual({
		min: 3,
		max: 3,
		finite: 1,
		notFinite: 2,
	});
	expect(histogram.add(floats())).toMatchObject({ finite: 0, notFinite: 0 });
});

test("every element lies in one bin, bins are ascending and narrow", () => {
	const random = new Random("bins");
	const values = Float32Array.from({ length: 5000 }, () => random.normal() * 10 ** (6 * random.uniform() - 3));
	const histogram = new BitHistogram();
	histogram.add(values);
	const [min, max] = [Math.min(...values), Math.max(...values)];
	const { lows, highs, counts } = histogram.bins({ lo: min, hi: max });
	expect([lows[0], highs.at(-1)]).toEqual([min, max]);
	expect(counts.reduce((sum, count) => sum + count, 0)).toBe(5000);
	const sorted = Float64Array.from(values).sort();
	let at = 0;
	for (const [bin, low] of lows.entries()) {
		const high = highs[bin]!;
		expect(high - low).toBeLessThanOrEqual(Math.max(Math.abs(low), Math.abs(high)) / 128);
		if (bin > 0) expect(low).toBeGreaterThanOrEqual(highs[bin - 1]!);
		const inside = sorted.subarray(at, at + counts[bin]!);
		expect(inside[0]).toBeGreaterThanOrEqual(low);
		expect(inside.at(-1)).toBeLessThanOrEqual(high);
		at += counts[bin]!;
	}
});

test("zeros of both signs, subnormal numbers and the largest ones have their bins", () => {
	const histogram = new BitHistogram();
	const largest = 3.4028234663852886e38;
	histogram.add(floats(0, -0, 1e-45, largest, -largest));
	const { lows, counts } = histogram.bins({ lo: -largest, hi: largest });
	expect(counts).toEqual(Float64Array.of(1, 1, 2, 1));
	expect(lows[0]).toBe(-largest);
});

test("counts beyond 32 bits are kept, and counts of others can be added", () => {
	const histogram = new BitHistogram();
	histogram.add(floats(1, 1, 2));
	histogram.addCounts([0x3f80], [2 ** 33]);
	histogram.count(floats(1));
	expect(histogram.filled()).toEqual({ bins: Uint16Array.of(0x3f80, 0x4000), counts: Float64Array.of(2 ** 33 + 3, 1) });
	expect(BIT_BINS).toBe(65536);
});
