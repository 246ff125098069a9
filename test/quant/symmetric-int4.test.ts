import { describe, expect, test } from "vitest";
import { dequantizeBlocks } from "../../src/quant/codes.js";
import { type BlockLayout, blockLayout, slabCountOf } from "../../src/quant/layout.js";
import { SCALE_FLOOR } from "../../src/quant/lpbq.js";
import { errorSum, sqnrDb } from "../../src/quant/measure.js";
import { fitSymmetricScales, quantizeSymmetric } from "../../src/quant/symmetric-int4.js";
import { randomSource } from "../support/random.js";

const LAYOUTS: readonly (readonly [string, BlockLayout])[] = [
	["MatMul [40, 6] in blocks of 16", blockLayout([40, 6], 0, 1, 16)],
	["Gemm [6, 40] in blocks of 16", blockLayout([6, 40], 1, 0, 16)],
	["Conv [4, 16, 3, 3] in blocks of 8", blockLayout([4, 16, 3, 3], 1, 0, 8)],
];

function fit(values: Float32Array, layout: BlockLayout, given?: Float32Array) {
	const count = slabCountOf(layout);
	const none = new Float32Array(count * layout.channels * layout.spatial);
	const scales = fitSymmetricScales(values, layout, 0, count, given ?? none);
	const codes = quantizeSymmetric(values, layout, 0, count, scales);
	return { scales, codes, approximation: dequantizeBlocks(codes, scales, layout, 0, count) };
}

function elements({ outer, depth, channels, spatial }: BlockLayout): number {
	return outer * depth * channels * spatial;
}

describe.each(LAYOUTS)("%s", (_, layout) => {
	const places = slabCountOf(layout) * layout.channels * layout.spatial;

	test("int4 multiples of the given scales lose nothing", () => {
		const random = randomSource(1);
		const given = Float32Array.from({ length: places }, () => (random() - 0.5) * 0.1);
		const codes = Int8Array.from({ length: elements(layout) }, () => -7 + Math.floor(random() * 15));
		const values = dequantizeBlocks(codes, given, layout, 0, slabCountOf(layout));
		const { scales, approximation } = fit(values, layout, given);
		expect(errorSum(values, approximation).error).toBe(0);
		expect(scales).toEqual(given.map(Math.abs));
	});

	test("no scale near the chosen one is much better", () => {
		const random = randomSource(2);
		const values = Float32Array.from({ length: elements(layout) }, () => random() + random() + random() - 1.4);
		const { scales, approximation } = fit(values, layout);
		const { signal, error } = errorSum(values, approximation);
		expect(sqnrDb(signal, error)).toBeGreaterThan(18);
		for (let factor = 0.6; factor < 1.4; factor += 0.02) {
			const other = scales.map((scale) => scale * factor);
			const codes = quantizeSymmetric(values, layout, 0, slabCountOf(layout), other);
			const made = dequantizeBlocks(codes, other, layout, 0, slabCountOf(layout));
			expect(errorSum(values, made).error).toBeGreaterThan(0.98 * error);
		}
	});
});

describe("odd blocks", () => {
	const layout = blockLayout([4, 3], 0, 1, 4);

	test("zeros get the floor, whatever scale is given; values that are not finite get NaN", () => {
		const values = Float32Array.from({ length: 12 }, (_, i) => (i % 3 === 0 ? 0 : i % 3 === 1 ? i : Number.NaN));
		const { scales } = fit(values, layout, Float32Array.of(1, 1, 1));
		expect(scales[0]).toBe(SCALE_FLOOR);
		expect(scales[1]).toBeGreaterThan(1);
		expect(scales[2]).toBeNaN();
	});

	test("denormal values keep a scale that is a normal float32", () => {
		const values = Float32Array.from({ length: 12 }, () => 2 ** -140);
		const { scales, codes } = fit(values, layout);
		expect(scales).toEqual(Float32Array.of(2 ** -126, 2 ** -126, 2 ** -126));
		expect(codes.every((code) => code === 0)).toBe(true);
	});

	test("a block of the smallest code uses it", () => {
		const { scales, codes } = fit(
			Float32Array.from({ length: 12 }, () => -0.8),
			layout,
		);
		expect(codes.every((code) => code === -8)).toBe(true);
		expect(scales[0]).toBeCloseTo(0.1, 6);
	});

	test("arrays of other lengths are refused", () => {
		expect(() => fitSymmetricScales(new Float32Array(11), layout, 0, 1, new Float32Array(3))).toThrow(RangeError);
		expect(() => quantizeSymmetric(new Float32Array(12), layout, 0, 1, new Float32Array(2))).toThrow(RangeError);
	});
});
