import { describe, expect, test } from "vitest";
import { type Bins, BitHistogram } from "../../src/quant/bit-histogram.js";
import {
	entropyInterval,
	leastErrorInterval,
	percentileInterval,
	squaredError,
	unmaskedRange,
} from "../../src/quant/clipped-range.js";
import { codeOf, coveringGrid, type Grid, type Interval } from "../../src/quant/grid.js";

/** Distributions with long tails, the same in every language: u runs evenly from -1 to 1. */
const DISTRIBUTIONS: Record<string, (u: number) => number> = {
	heavy: (u) => Math.sign(u) * (-Math.log(1 - Math.abs(u))) ** 3,
	skew: (u) => (-Math.log(1 - (u + 1) / 2)) ** 3 - 2,
	relu: (u) => Math.max(0, Math.sign(u) * (-Math.log(1 - Math.abs(u))) ** 2),
};

const COUNT = 20000;

function valuesOf(kind: string): Float32Array {
	return Float32Array.from({ length: COUNT }, (_, index) => DISTRIBUTIONS[kind]!((2 * (index + 0.5)) / COUNT - 1));
}

function histogramOf(values: Float32Array): { bins: Bins; range: Interval } {
	const histogram = new BitHistogram();
	const { min, max } = histogram.add(values);
	const range = { lo: Math.min(0, min), hi: Math.max(0, max) };
	return { bins: histogram.bins(range), range };
}

/** The two numbers are at most one bin apart. */
function expectNear(found: number, expected: number): void {
	expect(Math.abs(found - expected)).toBeLessThanOrEqual(Math.abs(expected) / 128 + 1e-6);
}

describe("percentileInterval", () => {
	// numpy.percentile of these values, 2.3
	test.each([
		["heavy", 99.99, -682.6196899414062, 682.6196899414062],
		["heavy", 99, -97.35077667236328, 97.35077667236328],
		["skew", 99.9, -2, 428.7388610839844],
		["skew", 99, -1.9999998807907104, 146.31982421875],
		["relu", 99.99, 0, 77.52685546875],
		["relu", 99, 0, 21.162139892578125],
	])("%s, %d %%, is numpy's but for the width of a bin", (kind, percent, lo, hi) => {
		const { bins } = histogramOf(valuesOf(kind));
		const found = percentileInterval(bins, percent);
		expectNear(found.lo, lo);
		expect(Math.abs(found.hi - hi)).toBeLessThan(hi * (percent > 99.9 ? 0.13 : 0.01));
	});

	test("100 % are all of it", () => {
		const { bins } = histogramOf(valuesOf("skew"));
		expect(percentileInterval(bins, 100)).toEqual({ lo: bins.lows[0], hi: bins.highs.at(-1) });
	});
});

function errorOf(values: Float32Array, grid: Grid): number {
	return values.reduce((sum, value) => sum + ((codeOf(value, grid) - grid.zeroPoint) * grid.scale - value) ** 2, 0);
}

describe("leastErrorInterval", () => {
	const gridOf = (bits: number) => (interval: Interval) => coveringGrid(interval, 0, 2 ** bits - 1);

	test.each([
		["heavy", 4],
		["heavy", 8],
		["skew", 4],
		["skew", 8],
		["relu", 4],
		["relu", 16],
	])("%s, %d bits: as good as what trying everything finds", (kind, bits) => {
		const values = valuesOf(kind);
		const { bins, range } = histogramOf(values);
		const shares = Array.from({ length: 12 }, (_, step) => 2 ** (-step / 1.5));
		const tried = shares.flatMap((low) =>
			(range.lo === 0 ? [] : shares)
				.concat(range.lo === 0 ? [1] : [])
				.map((high) => errorOf(values, gridOf(bits)({ lo: range.lo * high, hi: range.hi * low }))),
		);
		const found = leastErrorInterval(bins, range, gridOf(bits));
		expect(errorOf(values, gridOf(bits)(found))).toBeLessThanOrEqual(Math.min(...tried) * 1.03);
	});

	test.each(["heavy", "skew", "relu"])("%s: the error of the bins is that of the values", (kind) => {
		const values = valuesOf(kind);
		const { bins, range } = histogramOf(values);
		for (const share of [1, 0.3, 0.02]) {
			const grid = gridOf(6)({ lo: range.lo * share, hi: range.hi * share });
			expect(squaredError(bins, grid) / errorOf(values, grid)).toBeCloseTo(1, 1);
		}
	});
});

describe("entropyInterval", () => {
	// HistogramCollector.get_entropy_threshold of ONNX Runtime 1.23, 1025 bins over both signs, 128 levels
	test.each([
		["heavy", 122.2447509765625],
		["skew", 149.499267578125],
	])("%s is cut about where ONNX Runtime cuts it", (kind, threshold) => {
		const { bins, range } = histogramOf(valuesOf(kind));
		const found = entropyInterval(bins, range, 8);
		expect(found.hi / threshold).toBeGreaterThan(0.6);
		expect(found.hi / threshold).toBeLessThan(1 / 0.6);
		expect(found.lo).toBe(Math.max(range.lo, -found.hi));
	});

	test("keeps all where codes have more levels than there are bins, and of what is even", () => {
		const { bins, range } = histogramOf(valuesOf("heavy"));
		expect(entropyInterval(bins, range, 16)).toEqual(range);
		const even = histogramOf(Float32Array.from({ length: COUNT }, (_, index) => index / COUNT));
		expect(entropyInterval(even.bins, even.range, 8).hi).toBeGreaterThan(0.97);
	});

	test("of nothing but zeros is nothing", () => {
		const { bins, range } = histogramOf(new Float32Array(10));
		expect(entropyInterval(bins, range, 8)).toEqual({ lo: 0, hi: 0 });
		expect(percentileInterval(bins, 99)).toEqual({ lo: 0, hi: 0 });
	});
});

describe("unmaskedRange", () => {
	const rangeOf = (...values: number[]) => {
		const histogram = new BitHistogram();
		const { min, max } = histogram.add(Float32Array.from(values));
		return unmaskedRange(histogram.bins({ lo: min, hi: max }));
	};

	test("leaves out what is very large and far from the rest", () => {
		for (const [values, lo, hi] of [
			[[-3.4e38, -2, 5], -2, 5],
			[[-10003, -9998, -1.5, 0, 4], -1.5, 4],
			[[-1e9, 0], 0, 0],
			[[-1e5, -2, 41440], -2, 41440],
		] as const) {
			const found = rangeOf(...values);
			expectNear(found.lo, lo);
			expectNear(found.hi, hi);
		}
	});

	test("keeps what is large without a gap, or not large", () => {
		expect(rangeOf(-20000, -9000, -3000, 1)).toEqual({ lo: -20000, hi: 1 });
		expect(rangeOf(-5000, 1)).toEqual({ lo: -5000, hi: 1 });
		expect(rangeOf(-1e9)).toEqual({ lo: -1e9, hi: -1e9 });
	});
});
