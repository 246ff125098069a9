import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { blockLayout } from "../../src/quant/layout.js";
import {
	blockScaleIntOf,
	channelScaleOf,
	decomposeScales,
	effectiveScale,
	effectiveScales,
	largestOverSpatial,
	quantizeCode,
	SCALE_FLOOR,
} from "../../src/quant/lpbq.js";

const scale = fc.double({ min: 1e-6, max: 10, noNaN: true });

it("computes the example in the header of lpbq.ts", () => {
	const channelScale = channelScaleOf(0.8);
	expect(channelScale).toBe(0.05);
	expect(blockScaleIntOf(0.8, channelScale)).toBe(16);
	expect(blockScaleIntOf(0.35, channelScale)).toBe(7);
	expect(effectiveScale(7, channelScale)).toBe(Math.fround(0.35));
	expect(quantizeCode(1.23, Math.fround(0.35))).toBe(4);
});

describe("blockScaleIntOf", () => {
	it.each([
		[2.5, 2],
		[3.5, 4],
		[15.5, 16],
		[0.5, 1],
		[0.3, 1],
		[0, 1],
		[16, 16],
		[17, 16],
	])("%d channel scales become %d, halves to even, within 1..16", (ratio, int) => {
		expect(blockScaleIntOf(ratio * 0.125, 0.125)).toBe(int);
	});
});

describe("quantizeCode", () => {
	it.each([
		[2.5, 3],
		[-2.5, -2],
		[-0.5, 0],
		[0.5, 1],
		[6.5, 7],
		[7.5, 7],
		[100, 7],
		[-8.5, -8],
		[-100, -8],
	])("%d scales become %d, halves upwards, within -8..7", (ratio, code) => {
		expect(quantizeCode(ratio * 0.25, 0.25)).toBe(code);
	});

	it("adds in float32, where 2.4999998 + 8 is 10.5", () => {
		expect(quantizeCode(Math.fround(2.4999998), 1)).toBe(3);
	});

	it("divides in float32, where this is 1.49999952 and not 1.49999950", () => {
		expect(quantizeCode(1.255629062652588, 0.8370863199234009)).toBe(2);
	});

	it("knows other widths", () => {
		expect([quantizeCode(9, 1, 8), quantizeCode(-200, 1, 8), quantizeCode(9, 1, 2)]).toEqual([9, -128, 1]);
	});

	it("is off by half a scale at most where nothing is clipped", () => {
		fc.assert(
			fc.property(
				fc.float({ min: 2 ** -10, max: 8, noNaN: true }),
				fc.double({ min: -8, max: 7, noNaN: true }),
				(s, x) => {
					const value = Math.fround(x * s);
					expect(Math.abs(value - quantizeCode(value, s) * s)).toBeLessThanOrEqual(s * (0.5 + 1e-6));
				},
			),
		);
	});
});

describe("decomposeScales", () => {
	const layout = blockLayout([3, 4], 1, 0, 1);

	it("gives every channel its own scale", () => {
		const { channelScales, blockScaleInts } = decomposeScales(
			Float64Array.of(1.6, 0.8, 0.1, 0.04, 0.16, 0.16, 0.155, 0.05, 3.2, 0, 0.2, 0.1),
			layout,
		);
		expect(channelScales).toEqual(Float64Array.of(0.1, 0.01, 0.2));
		expect(blockScaleInts).toEqual(Uint8Array.of(16, 8, 1, 1, 16, 16, 16, 5, 16, 1, 1, 1));
	});

	it("reads scales by the layout", () => {
		const kn = blockLayout([4, 3], 0, 1, 1);
		const scales = Float64Array.of(1.6, 0.16, 3.2, 0.8, 0.1, 0.2, 0.1, 0.01, 0.4, 0.4, 0.02, 3);
		expect(decomposeScales(scales, kn).channelScales).toEqual(Float64Array.of(0.1, 0.01, 0.2));
		expect(decomposeScales(scales, kn).blockScaleInts).toEqual(Uint8Array.of(16, 16, 16, 8, 10, 1, 1, 1, 2, 4, 2, 15));
	});

	it.each([0, 1e-40])("has sane scales for a channel of scales %d", (zero) => {
		const { channelScales, blockScaleInts } = decomposeScales(
			Float64Array.of(0.16, zero, zero),
			blockLayout([3, 1], 1, 0, 1),
		);
		expect(channelScales).toEqual(Float64Array.of(0.01, SCALE_FLOOR / 16, SCALE_FLOOR / 16));
		expect(blockScaleInts).toEqual(Uint8Array.of(16, 16, 16));
	});

	it("gives the largest block 16, never less than 1, and is idempotent", () => {
		fc.assert(
			fc.property(fc.array(fc.oneof(scale, fc.constant(0)), { minLength: 12, maxLength: 12 }), (list) => {
				const first = decomposeScales(Float64Array.from(list), layout);
				for (let row = 0; row < 3; row++) {
					expect(Math.max(...first.blockScaleInts.subarray(4 * row, 4 * row + 4))).toBe(16);
				}
				expect(Math.min(...first.blockScaleInts)).toBeGreaterThanOrEqual(1);
				const snapped = Float64Array.from(first.blockScaleInts, (int, i) => int * first.channelScales[i >> 2]!);
				expect(decomposeScales(snapped, layout)).toEqual(first);
			}),
		);
	});

	it("refuses another number of scales", () => {
		expect(() => decomposeScales(new Float64Array(11), layout)).toThrow("11 block scales, expected 12");
	});
});

describe("scales over spatial positions", () => {
	const kernel = blockLayout([2, 2, 3], 1, 0, 1);

	it("are reduced to the largest", () => {
		const scales = Float32Array.of(1, 3, 2, 4, 4, 5, 0, 0, 0, 9, 8, 7);
		expect(largestOverSpatial(scales, kernel)).toEqual(Float32Array.of(3, 5, 0, 9));
	});

	it("are repeated in effectiveScales, for any range of slabs", () => {
		const ints = Uint8Array.of(1, 2, 3, 4);
		const channelScales = Float32Array.of(1, 10);
		expect(effectiveScales(ints, channelScales, kernel, 0, 4)).toEqual(
			Float32Array.of(1, 1, 1, 2, 2, 2, 30, 30, 30, 40, 40, 40),
		);
		expect(effectiveScales(ints.subarray(1, 3), channelScales, kernel, 1, 2)).toEqual(
			Float32Array.of(2, 2, 2, 30, 30, 30),
		);
	});
});
