import { describe, expect, it } from "vitest";
import {
	type BalanceSums,
	createBalanceSums,
	FlipPlan,
	flipCodes,
	mergeBalance,
	unitGains,
} from "../../src/quant/balance.js";
import { addToBalance, encodeBlocks, type ScaledBlocks } from "../../src/quant/block-codes.js";
import { dequantizeBlocks, quantizeBlocks } from "../../src/quant/codes.js";
import {
	type BlockLayout,
	blockLayout,
	slabCountOf,
	slabElements,
	slabFirstChannel,
	slabStart,
} from "../../src/quant/layout.js";
import { packInt4, unpackInt4 } from "../../src/quant/packing.js";
import { randomSource } from "../support/random.js";
import { eachBlockOf } from "./support.js";

const LAYOUTS: readonly (readonly [string, BlockLayout])[] = [
	["MatMul", blockLayout([80, 6], 0, 1, 32)],
	["Gemm", blockLayout([6, 80], 1, 0, 32)],
	["Conv", blockLayout([6, 48, 3, 3], 1, 0, 16)],
	["batched MatMul", blockLayout([2, 64, 3], 1, 2, 16)],
	["MatMul for the kernel", blockLayout([80, 16], 0, 1, 32)],
	["ConvTranspose for the kernel", blockLayout([40, 4, 2, 3], 0, 1, 16)],
];

/** Weights with more above 0 than below, under scales that cut the largest off. */
function setUp(layout: BlockLayout) {
	const random = randomSource(7);
	const count = slabCountOf(layout);
	const values = Float32Array.from(
		{ length: slabElements(layout, 0, count) },
		() => random() + random() + random() - 1.3,
	);
	const scales = new Float32Array(count * layout.channels * layout.spatial);
	for (let block = 0; block < count * layout.channels; block++) {
		scales.fill(0.14 + 0.02 * random(), block * layout.spatial, (block + 1) * layout.spatial);
	}
	const codes = quantizeBlocks(values, layout, 0, count, scales);
	return { values, scales, codes, count };
}

function sumsOf(layout: BlockLayout, values: Float32Array, codes: Int8Array, scales: Float32Array): BalanceSums {
	const sums = createBalanceSums(0, layout.channelCount);
	const decoded = dequantizeBlocks(codes, scales, layout, 0, slabCountOf(layout));
	eachBlockOf(layout, (elements, slab, inRow) => {
		const channel = slabFirstChannel(layout, slab) + inRow;
		for (const element of elements) {
			sums.values[channel]! += values[element]!;
			sums.squares[channel]! += values[element]! ** 2;
			sums.decoded[channel]! += decoded[element]!;
			sums.products[channel]! += values[element]! * decoded[element]!;
		}
	});
	return sums;
}

describe.each(LAYOUTS)("%s", (_, layout) => {
	const { values, scales, codes, count } = setUp(layout);
	const sums = sumsOf(layout, values, codes, scales);

	const blocksOf = (firstSlab: number, end: number): ScaledBlocks => {
		const [from, to] = [slabStart(layout, firstSlab), slabStart(layout, end)];
		const columns = layout.channels * layout.spatial;
		return {
			layout,
			firstSlab,
			slabCount: end - firstSlab,
			values: values.subarray(from, to),
			scales: scales.subarray(firstSlab * columns, end * columns).filter((_, index) => index % layout.spatial === 0),
			codeMin: -8,
		};
	};

	it("adds up blocks, in parts", () => {
		const merged = createBalanceSums(0, layout.channelCount);
		for (let slab = 0; slab < count; slab++) {
			const part = createBalanceSums(slabFirstChannel(layout, slab), layout.channels);
			addToBalance(part, blocksOf(slab, slab + 1));
			mergeBalance(merged, part);
		}
		for (const key of ["values", "squares", "decoded", "products"] as const) {
			merged[key].forEach((value, channel) => {
				expect(value).toBeCloseTo(sums[key][channel]!, 4);
			});
		}
	});

	it("gives channels back the gain that codes took", () => {
		const gains = unitGains(sums);
		expect(gains.reduce((sum, gain) => sum + gain) / gains.length).toBeGreaterThan(1);
		gains.forEach((gain, channel) => {
			expect(gain * sums.products[channel]!).toBeCloseTo(sums.squares[channel]!, 9);
		});
	});

	it("makes the errors of a channel add up to less than a step, for little", () => {
		const missing = sums.values.map((value, channel) => value - sums.decoded[channel]!);
		const plan = new FlipPlan(layout, missing);
		const half = Math.floor(count / 2) * layout.channels;
		const flips = Int8Array.of(
			...plan.next(0, half / layout.channels, scales.subarray(0, half * layout.spatial)),
			...plan.next(half / layout.channels, count - half / layout.channels, scales.subarray(half * layout.spatial)),
		);
		const packed = packInt4(codes);
		const growth = flipCodes(blocksOf(0, count), packed, blocksOf(0, count).scales, flips);
		const balanced = unpackInt4(packed, 0, codes.length);
		expect(encodeBlocks(blocksOf(0, count), blocksOf(0, count).scales, flips).packed).toEqual(packed);
		const after = sumsOf(layout, values, balanced, scales);
		const before = missing.reduce((sum, value) => sum + Math.abs(value), 0);
		expect(before).toBeGreaterThan(layout.channelCount * 0.3);
		after.values.forEach((value, channel) => {
			expect(Math.abs(value - after.decoded[channel]!)).toBeLessThan(0.1);
		});
		const error = (of: typeof sums) => squaredError(values, of === sums ? codes : balanced, layout, scales);
		expect(error(after)).toBeLessThan(1.1 * error(sums));
		expect(error(after) - error(sums)).toBeCloseTo(growth, 6);
		expect(balanced.every((code, i) => Math.abs(code - codes[i]!) <= 1)).toBe(true);
	});
});

function squaredError(values: Float32Array, codes: Int8Array, layout: BlockLayout, scales: Float32Array): number {
	const decoded = dequantizeBlocks(codes, scales, layout, 0, slabCountOf(layout));
	return values.reduce((sum, value, i) => sum + (value - decoded[i]!) ** 2, 0);
}

describe("flipCodes", () => {
	const layout = blockLayout([4, 1], 0, 1, 4);
	const scales = Float32Array.of(1);
	const flip = (values: readonly number[], codes: readonly number[], flips: number, codeMin = -8) => {
		const packed = packInt4(Int8Array.from(codes));
		const blocks = { layout, firstSlab: 0, slabCount: 1, values: Float32Array.from(values), scales, codeMin };
		flipCodes(blocks, packed, scales, Int8Array.of(flips));
		return [...unpackInt4(packed, 0, codes.length)];
	};

	it("takes the codes that are nearest to their other neighbour", () => {
		expect(flip([1.4, 2.1, -0.7, 0.35], [1, 2, -1, 0], 2)).toEqual([2, 2, -1, 1]);
		expect(flip([1.4, 2.1, -0.7, 0.6], [1, 2, -1, 1], -1)).toEqual([1, 2, -1, 0]);
	});

	it("stops where no weight lies on that side, and at the ends of the codes", () => {
		expect(flip([1, 2, 3.2, 9], [1, 2, 3, 7], 3)).toEqual([1, 2, 4, 7]);
		expect(flip([-9, 1, 1, 1], [-7, 1, 1, 1], -1, -7)).toEqual([-7, 1, 1, 1]);
	});
});

it("has no gain for channels of zeros", () => {
	expect([...unitGains(createBalanceSums(0, 2))]).toEqual([1, 1]);
});
