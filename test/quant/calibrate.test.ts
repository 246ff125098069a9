import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { calibrateBlockScales, symmetricScale } from "../../src/quant/calibrate.js";
import { blockLayout, slabCountOf, slabStart } from "../../src/quant/layout.js";
import { anyWeight, eachBlockOf, transpose } from "./support.js";

describe("symmetricScale", () => {
	it("uses 7 codes above 0 and 8 below", () => {
		expect(symmetricScale(-0.1, 7)).toBe(1);
		expect(symmetricScale(-8, 0.1)).toBe(1);
		expect(symmetricScale(-7, 7)).toBe(1);
		expect(symmetricScale(-8, 8)).toBe(8 / 7);
	});

	it("takes a group of one sign to reach to 0", () => {
		expect(symmetricScale(3, 7)).toBe(1);
		expect(symmetricScale(-8, -3)).toBe(1);
	});

	it("never goes below 2^-23", () => {
		expect(symmetricScale(0, 0)).toBe(2 ** -23);
		expect(symmetricScale(-1e-9, 1e-9)).toBe(2 ** -23);
	});

	it("knows other widths, of which 2 bits have 2 steps both ways", () => {
		expect(symmetricScale(-1, 127, 8)).toBe(1);
		expect(symmetricScale(-128, 1, 8)).toBe(1);
		expect(symmetricScale(-1, 2, 2)).toBe(1);
		expect(symmetricScale(-2, 1, 2)).toBe(1);
	});
});

describe("calibrateBlockScales", () => {
	it("takes the extremes of every block, over rows and spatial positions", () => {
		fc.assert(
			fc.property(anyWeight, ({ layout, values }) => {
				const scales = calibrateBlockScales(values, layout, 0, slabCountOf(layout));
				eachBlockOf(layout, (elements, slab, channel) => {
					const block = elements.map((element) => values[element]!);
					const expected = symmetricScale(Math.min(...block), Math.max(...block));
					expect(scales[slab * layout.channels + channel]).toBe(expected);
				});
			}),
		);
	});

	it("gives for parts what it gives for the whole", () => {
		fc.assert(
			fc.property(anyWeight, fc.nat(100), ({ layout, values }, cut) => {
				const slabs = slabCountOf(layout);
				const first = cut % (slabs + 1);
				const at = slabStart(layout, first);
				expect([
					...calibrateBlockScales(values.subarray(0, at), layout, 0, first),
					...calibrateBlockScales(values.subarray(at), layout, first, slabs - first),
				]).toEqual([...calibrateBlockScales(values, layout, 0, slabs)]);
			}),
		);
	});

	it("gives a transposed weight transposed scales", () => {
		const values = Float32Array.from({ length: 24 * 10 }, (_, i) => Math.sin(i * i));
		const kn = calibrateBlockScales(values, blockLayout([24, 10], 0, 1, 8), 0, 3);
		const nk = calibrateBlockScales(transpose(values, 24, 10), blockLayout([10, 24], 1, 0, 8), 0, 30);
		expect(nk).toEqual(transpose(kn, 3, 10));
	});

	it("ignores NaN", () => {
		const scales = calibrateBlockScales(Float32Array.of(Number.NaN, 7, -1), blockLayout([3, 1], 0, 1, 3), 0, 1);
		expect(scales).toEqual(Float64Array.of(1));
	});

	it("refuses values that are not these slabs", () => {
		const layout = blockLayout([4, 2], 0, 1, 2);
		expect(() => calibrateBlockScales(new Float32Array(8), layout, 0, 1)).toThrow("8 values, expected 4");
	});
});
