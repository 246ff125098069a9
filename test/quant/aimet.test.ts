import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { calibrateBlockScales } from "../../src/quant/calibrate.js";
import { dequantizeBlocks, quantizeCodes } from "../../src/quant/codes.js";
import { type BlockLayout, blockLayout, slabCountOf } from "../../src/quant/layout.js";
import { decomposeScales, effectiveScales, quantizeCode } from "../../src/quant/lpbq.js";
import { type AimetCase, committedCases, sharedAimet, sharedCases } from "../support/aimet.js";
import { readNpy } from "../support/npy.js";

describe("bit for bit as AIMET: committed vectors", () => {
	const cases = committedCases();

	it("has all of them", () => {
		expect(cases.map(({ name }) => name)).toEqual([
			"conv1x1_24x64_b16",
			"convtranspose_32x16_b16",
			"gemm_transB0_128x24_b32",
			"gemm_transB1_24x128_b32",
			"matmul_128x32_b32",
			"matmul_edge_128x16_b32",
			"matmul_ties_128x32_b32",
		]);
	});

	describe.each(cases)("$name", compareWithAimet);
});

describe.skipIf(!existsSync(sharedAimet))(
	"bit for bit as AIMET: all vectors, if ../shared is beside the checkout",
	() => {
		const cases = existsSync(sharedAimet) ? sharedCases() : [];

		it("has 18 weights of 17 models", () => {
			expect(cases.length).toBe(18);
		});

		describe.each(cases)("$name", compareWithAimet);

		it.each(["f64", "f32"])("decomposes 65536 random scales and near ties given as %s", (type) => {
			const folder = `${sharedAimet}_fuzz_scales/`;
			const { shape, data } =
				type === "f64"
					? readNpy(`${folder}scales_f64.npy`, Float64Array)
					: readNpy(`${folder}scales_f32.npy`, Float32Array);
			const ints = type === "f64" ? "int_scale_from_f64" : "int_scale_from_f32_promoted_to_f64";
			const scales = decomposeScales(data, blockLayout(shape, 1, 0, 1));
			expect(scales.blockScaleInts).toEqual(readNpy(`${folder}${ints}.npy`, Uint8Array).data);
			if (type === "f64") {
				expect(scales.channelScales).toEqual(readNpy(`${folder}channel_scale_from_f64.npy`, Float64Array).data);
			}
		});
	},
);

function compareWithAimet(aimet: AimetCase): void {
	const { layout, bits, weight } = aimet;
	const slabs = slabCountOf(layout);
	const perBatch = aimet.blockScales.length;
	const batches = (slabs * layout.channels) / perBatch;
	const blockScales = largestOverBatches(calibrateBlockScales(weight, layout, 0, slabs, bits), batches);

	it("calibrates the block scales", () => {
		expect(blockScales).toEqual(aimet.blockScales);
	});

	it("quantizes to the values", () => {
		const scales = repeat(Float32Array.from(aimet.snappedScales), batches);
		const codes = Int8Array.from(weight, (value, i) => quantizeCode(value, scales[scaleOf(layout, i)]!, bits));
		const spatial = Float32Array.from({ length: scales.length * layout.spatial }, (_, i) => {
			return scales[Math.floor(i / layout.spatial)]!;
		});
		expect(dequantizeBlocks(codes, spatial, layout, 0, slabs)).toEqual(aimet.dequantized);
	});

	if (aimet.blockScaleInts === undefined) return;
	const aimetInts = aimet.blockScaleInts;

	it("snaps the scales to integers and channel scales", () => {
		const scales = decomposeScales(repeat(blockScales, batches), layout);
		expect(scales.blockScaleInts).toEqual(repeat(aimetInts, batches));
		expect(scales.channelScales).toEqual(repeat(aimet.channelScales, batches));
	});

	if (bits !== 4) return;

	it("quantizes to the codes", () => {
		const channelScales = repeat(aimet.channelScales, batches);
		const ints = repeat(aimetInts, batches);
		const codes = quantizeCodes(weight, layout, 0, slabs, channelScales, ints);
		const scales = effectiveScales(ints, channelScales, layout, 0, slabs);
		if (aimet.codes) expect(codes).toEqual(aimet.codes);
		expect(dequantizeBlocks(codes, scales, layout, 0, slabs)).toEqual(aimet.dequantized);
	});
}

/** AIMET gives all batches of a weight the same scales, those of the extremes of all. */
function largestOverBatches(scales: Float64Array, batches: number): Float64Array {
	const perBatch = scales.length / batches;
	return Float64Array.from({ length: perBatch }, (_, i) => {
		return Math.max(...Array.from({ length: batches }, (_, batch) => scales[batch * perBatch + i]!));
	});
}

function repeat<T extends Float32Array | Float64Array | Uint8Array>(values: T, times: number): T {
	const Type = values.constructor as new (length: number) => T;
	const out = new Type(values.length * times);
	for (let i = 0; i < times; i++) out.set(values, i * values.length);
	return out;
}

/** Index in scales [outer, blocks, channels] for an element of the weight. */
function scaleOf({ depth, channels, spatial, blockSize, blocks }: BlockLayout, element: number): number {
	const run = Math.floor(element / spatial);
	const row = Math.floor(run / channels);
	const block = Math.floor(row / depth) * blocks + Math.floor((row % depth) / blockSize);
	return block * channels + (run % channels);
}
