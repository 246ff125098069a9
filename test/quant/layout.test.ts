import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
	blockLayout,
	slabCountOf,
	slabElements,
	slabFirstChannel,
	slabRows,
	slabStart,
} from "../../src/quant/layout.js";

describe("blockLayout", () => {
	it.each([
		["MatMul [K, N]", [64, 10], 0, 1, { outer: 1, depth: 64, channels: 10, spatial: 1, channelCount: 10 }],
		["Gemm transB=1 [N, K]", [10, 64], 1, 0, { outer: 10, depth: 64, channels: 1, spatial: 1, channelCount: 10 }],
		["3-D MatMul [B, K, N]", [3, 64, 10], 1, 2, { outer: 3, depth: 64, channels: 10, spatial: 1, channelCount: 30 }],
		["Conv [O, I, kh, kw]", [5, 64, 3, 2], 1, 0, { outer: 5, depth: 64, channels: 1, spatial: 6, channelCount: 5 }],
		["ConvTranspose", [64, 5, 3, 2], 0, 1, { outer: 1, depth: 64, channels: 5, spatial: 6, channelCount: 5 }],
		[
			"channel axis far behind",
			[64, 2, 5, 3],
			0,
			2,
			{ outer: 1, depth: 64, channels: 10, spatial: 3, channelCount: 10 },
		],
	])("%s", (_, shape, blockAxis, channelAxis, expected) => {
		expect(blockLayout(shape, blockAxis, channelAxis, 32)).toEqual({ ...expected, blockSize: 32, blocks: 2 });
	});

	it("has a shorter last block when the block size does not divide the depth", () => {
		const layout = blockLayout([2, 100], 1, 0, 32);
		expect(layout.blocks).toBe(4);
		expect([0, 1, 2, 3, 4, 7].map((slab) => slabRows(layout, slab))).toEqual([32, 32, 32, 4, 32, 4]);
		expect([0, 1, 4, 7, 8].map((slab) => slabStart(layout, slab))).toEqual([0, 32, 100, 196, 200]);
		expect([0, 3, 4, 7].map((slab) => slabFirstChannel(layout, slab))).toEqual([0, 0, 1, 1]);
	});

	it.each([
		[[4, 4], 0, 0, 2],
		[[4, 4], 2, 0, 2],
		[[4, 4], 0, -1, 2],
		[[4, 4], 0.5, 1, 2],
		[[4, 4], 0, 1, 0],
		[[4, 4], 0, 1, 1.5],
		[[4, 0], 0, 1, 2],
	])("refuses shape %j, block axis %d, channel axis %d, block size %d", (shape, block, channel, size) => {
		expect(() => blockLayout(shape, block, channel, size)).toThrow(RangeError);
	});
});

it("cuts a weight into slabs without gaps, each with the rows of one block", () => {
	const size = fc.integer({ min: 1, max: 7 });
	fc.assert(
		fc.property(fc.tuple(size, size, size, size), fc.nat(3), fc.nat(3), size, (shape, a, b, blockSize) => {
			fc.pre(a !== b);
			const layout = blockLayout(shape, a, b, blockSize);
			const slabs = slabCountOf(layout);
			let start = 0;
			for (let slab = 0; slab < slabs; slab++) {
				expect(slabStart(layout, slab)).toBe(start);
				expect(slabElements(layout, slab, 1)).toBe(slabRows(layout, slab) * layout.channels * layout.spatial);
				start += slabElements(layout, slab, 1);
			}
			expect(start).toBe(shape.reduce((x, y) => x * y, 1));
			expect(slabElements(layout, 0, slabs)).toBe(start);
			expect(slabFirstChannel(layout, slabs - 1) + layout.channels).toBe(layout.channelCount);
		}),
	);
});
