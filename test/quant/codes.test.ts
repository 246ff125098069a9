import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { calibrateBlockScales } from "../../src/quant/calibrate.js";
import { dequantizeBlocks, quantizeCodes } from "../../src/quant/codes.js";
import { blockLayout, slabCountOf, slabStart } from "../../src/quant/layout.js";
import { decomposeScales, effectiveScales, quantizeCode } from "../../src/quant/lpbq.js";
import { anyWeight, eachBlockOf, transpose, type Weight } from "./support.js";

function lpbqOf({ layout, values }: Weight) {
	return decomposeScales(calibrateBlockScales(values, layout, 0, slabCountOf(layout)), layout);
}

describe("quantizeCodes", () => {
	it.each([-8, -7])("is quantizeCode for every weight, not below %d", (codeMin) => {
		fc.assert(
			fc.property(anyWeight, (weight) => {
				const { layout, values } = weight;
				const slabs = slabCountOf(layout);
				const { channelScales, blockScaleInts } = lpbqOf(weight);
				const codes = quantizeCodes(values, layout, 0, slabs, channelScales, blockScaleInts, undefined, codeMin);
				const scales = effectiveScales(blockScaleInts, channelScales, layout, 0, slabs);
				eachBlockOf(layout, (elements, slab, channel) => {
					const scale = scales[(slab * layout.channels + channel) * layout.spatial]!;
					for (const element of elements) {
						expect(codes[element]).toBe(Math.max(quantizeCode(values[element]!, scale), codeMin));
					}
				});
			}),
		);
	});

	it("does any range of slabs into a given array", () => {
		fc.assert(
			fc.property(anyWeight, fc.nat(100), (weight, cut) => {
				const { layout, values } = weight;
				const { channelScales, blockScaleInts } = lpbqOf(weight);
				const slabs = slabCountOf(layout);
				const first = cut % slabs;
				const at = slabStart(layout, first);
				const all = quantizeCodes(values, layout, 0, slabs, channelScales, blockScaleInts);
				const ints = blockScaleInts.subarray(first * layout.channels);
				const out = new Int8Array(values.length - at);
				const part = quantizeCodes(values.subarray(at), layout, first, slabs - first, channelScales, ints, out);
				expect(part).toBe(out);
				expect(part).toEqual(all.subarray(at));
			}),
		);
	});

	it("gives a transposed weight transposed codes", () => {
		const values = Float32Array.from({ length: 24 * 10 }, (_, i) => Math.sin(i * i) ** 3);
		const kn = { shape: [24, 10], layout: blockLayout([24, 10], 0, 1, 5), values };
		const nk = { shape: [10, 24], layout: blockLayout([10, 24], 1, 0, 5), values: transpose(values, 24, 10) };
		const [codes, transposed] = [kn, nk].map((weight) => {
			const { channelScales, blockScaleInts } = lpbqOf(weight);
			const slabs = slabCountOf(weight.layout);
			return quantizeCodes(weight.values, weight.layout, 0, slabs, channelScales, blockScaleInts);
		});
		expect(transposed).toEqual(transpose(codes!, 24, 10));
		expect(new Set(codes).size).toBe(16);
	});

	it("refuses arrays that do not fit the slabs", () => {
		const layout = blockLayout([4, 2], 0, 1, 2);
		const [values, scales, ints] = [new Float32Array(8), new Float32Array(2).fill(1), new Uint8Array(4).fill(1)];
		expect(() => quantizeCodes(values, layout, 0, 1, scales, ints)).toThrow("8 values, expected 4");
		expect(() => quantizeCodes(values, layout, 0, 2, scales, ints.subarray(1))).toThrow("3 block scale integers");
		expect(() => quantizeCodes(values, layout, 0, 2, scales, ints, new Int8Array(9))).toThrow("9 codes, expected 8");
	});
});

describe("dequantizeBlocks", () => {
	it("multiplies in float32, with a scale for every spatial position", () => {
		const layout = blockLayout([1, 4, 2], 1, 0, 2);
		const scales = Float32Array.of(0.1, 10, 0.7, 1000);
		const codes = Int8Array.of(3, 4, -8, 7, 7, 1, 0, -1);
		const [tenth, seven] = [Math.fround(0.1), Math.fround(0.7)];
		expect(dequantizeBlocks(codes, scales, layout, 0, 2)).toEqual(
			Float32Array.of(3 * tenth, 40, -8 * tenth, 70, 7 * seven, 1000, 0, -1000),
		);
	});

	it("comes within half a scale of all weights that codes reach", () => {
		fc.assert(
			fc.property(anyWeight, (weight) => {
				const { layout, values } = weight;
				const slabs = slabCountOf(layout);
				const { channelScales, blockScaleInts } = lpbqOf(weight);
				const scales = effectiveScales(blockScaleInts, channelScales, layout, 0, slabs);
				const codes = quantizeCodes(values, layout, 0, slabs, channelScales, blockScaleInts);
				const result = dequantizeBlocks(codes, scales, layout, 0, slabs);
				eachBlockOf(layout, (elements, slab, channel) => {
					const scale = scales[(slab * layout.channels + channel) * layout.spatial]!;
					for (const element of elements) {
						const value = values[element]!;
						if (value > 7.5 * scale || value < -8.5 * scale) continue;
						expect(Math.abs(value - result[element]!)).toBeLessThanOrEqual(scale * (0.5 + 1e-6));
					}
				});
			}),
		);
	});

	it("refuses arrays that do not fit the slabs", () => {
		const layout = blockLayout([4, 2], 0, 1, 2);
		expect(() => dequantizeBlocks(new Int8Array(7), new Float32Array(4), layout, 0, 2)).toThrow("7 codes, expected 8");
		expect(() => dequantizeBlocks(new Int8Array(8), new Float32Array(3), layout, 0, 2)).toThrow("3 scales, expected 4");
	});
});
