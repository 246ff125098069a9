import { describe, expect, it } from "vitest";
import { bytesData } from "../../../src/ir/data.js";
import { bytesOf } from "../../../src/ir/tensor.js";
import { type BlockWeight, partOf, taskRanges } from "../../../src/passes/support/block-weight.js";
import { measureKeptCodes } from "../../../src/passes/support/fit-error.js";
import { scanScales } from "../../../src/passes/support/scale-scan.js";
import { channelScalesOf } from "../../../src/passes/support/snap.js";
import { TaskPool } from "../../../src/passes/support/task-pool.js";
import { blockLayout, slabCountOf, slabStart } from "../../../src/quant/layout.js";
import { blockScaleIntOf, effectiveScale } from "../../../src/quant/lpbq.js";
import { packInt4 } from "../../../src/quant/packing.js";
import { eachBlockOf } from "../../quant/support.js";
import { randomCodes, randomScales } from "../../support/weights.js";

describe("the error of codes that stay", () => {
	it.each([
		{ shape: [64, 24], axes: [0, 1], blockSize: 16 },
		{ shape: [40, 64], axes: [1, 0], blockSize: 32 },
		{ shape: [3, 64, 8], axes: [1, 2], blockSize: 16 },
		{ shape: [2, 100, 6], axes: [1, 2], blockSize: 32 },
		{ shape: [8, 32, 3, 3], axes: [1, 0], blockSize: 16 },
		{ shape: [2048, 4], axes: [0, 1], blockSize: 1024 },
		{ shape: [601, 4097], axes: [0, 1], blockSize: 32 },
	] as const)("is the sum over all weights: $shape, blocks of $blockSize", async ({ shape, axes, blockSize }) => {
		const layout = blockLayout(shape, axes[0], axes[1], blockSize);
		const slabs = slabCountOf(layout);
		const codes = randomCodes(slabStart(layout, slabs), 1, -8, 7);
		// all positions of a kernel have one scale
		const scales = randomScales(slabs * layout.channels, 2);
		const stored = Float32Array.from({ length: scales.length * layout.spatial }, (_, i) => {
			return scales[Math.floor(i / layout.spatial)]!;
		});
		const weight: BlockWeight = {
			layout,
			codes: bytesData(packInt4(codes)),
			scales: bytesData(bytesOf(stored)),
			float: undefined,
		};
		const pool = new TaskPool();
		const { channelMax } = await scanScales(weight, pool);
		await pool.close();
		const channelScales = channelScalesOf(channelMax);
		const found = { signal: 0, error: 0 };
		for (const range of taskRanges(layout)) {
			const sum = measureKeptCodes(partOf(weight, range), channelScales);
			found.signal += sum.signal;
			found.error += sum.error;
		}
		const expected = { signal: 0, error: 0 };
		eachBlockOf(layout, (elements, slab, channel) => {
			const scale = scales[slab * layout.channels + channel]!;
			const channelScale = channelMax[Math.floor(slab / layout.blocks) * layout.channels + channel]! / 16;
			const snapped = effectiveScale(blockScaleIntOf(scale, channelScale), channelScale);
			for (const element of elements) {
				expected.signal += (codes[element]! * scale) ** 2;
				expected.error += (codes[element]! * (scale - snapped)) ** 2;
			}
		});
		expect(found.signal / expected.signal).toBeCloseTo(1, 9);
		expect(found.error / expected.error).toBeCloseTo(1, 9);
	});
});
