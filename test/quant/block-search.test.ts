import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BlockSearch } from "../../src/quant/block-search.js";
import { effectiveScale, quantizeCode } from "../../src/quant/lpbq.js";
import { randomSource } from "../support/random.js";

interface Block {
	readonly values: Float32Array;
	readonly weights: Float64Array;
}

/** Blocks of many characters: smooth, heavy-tailed, on a coarse grid, of one sign, with zeros. */
const anyBlock: fc.Arbitrary<Block> = fc
	.record({
		seed: fc.nat(),
		count: fc.integer({ min: 1, max: 70 }),
		kind: fc.nat(5),
		size: fc.integer({ min: -8, max: 3 }),
	})
	.map(({ seed, count, kind, size }) => {
		const random = randomSource(seed);
		const values = Float32Array.from({ length: count }, () => {
			const x = random() + random() + random() + random() - 2;
			switch (kind) {
				case 1:
					return 10 ** size * x ** 5;
				case 2:
					return 10 ** size * Math.round(6 * x);
				case 3:
					return 10 ** size * Math.abs(x);
				case 4:
					return random() < 0.8 ? 0 : 10 ** size * x;
				default:
					return 10 ** size * x;
			}
		});
		return { values, weights: Float64Array.from(values, () => (random() < 0.1 ? 0 : random() ** 3)) };
	});

/** Around the scale that makes the block's largest magnitude `reach` codes with integer 8. */
const reaches = fc.array(fc.double({ min: 0.5, max: 40, noNaN: true }), { minLength: 1, maxLength: 5 });

function channelScalesFor(values: Float32Array, list: readonly number[]): Float32Array {
	const magnitude = Math.max(...values.map(Math.abs)) || 1;
	return Float32Array.from(list, (reach) => magnitude / reach / 8);
}

/**
 * Sum of weight * |error|^exponent at a scale. Kernels work in float32, where an error is uncertain by 4e-7 scales, so
 * `uncertain` of -1 and 1 give bounds of what they may say.
 */
function errorAt(
	{ values, weights }: { readonly values: Float32Array; readonly weights: Float64Array },
	scale: number,
	exponent: number,
	codeMin: number,
	uncertain: -1 | 0 | 1,
): number {
	let sum = 0;
	values.forEach((value, i) => {
		const error = Math.abs(value - Math.max(quantizeCode(value, scale), codeMin) * scale);
		sum += weights[i]! * Math.max(error + uncertain * 4e-7 * scale, 0) ** exponent;
	});
	return sum * (1 + uncertain * 1e-5);
}

describe.each([
	{ exponent: 2, codeMin: -8, weighted: false },
	{ exponent: 3, codeMin: -8, weighted: false },
	{ exponent: 4, codeMin: -8, weighted: false },
	{ exponent: 4, codeMin: -7, weighted: false },
	{ exponent: 4, codeMin: -8, weighted: true },
	{ exponent: 5, codeMin: -7, weighted: true },
	{ exponent: 8, codeMin: -8, weighted: false },
])("exponent $exponent, codes from $codeMin, weighted $weighted", ({ exponent, codeMin, weighted }) => {
	const search = new BlockSearch(exponent, codeMin, weighted, 5, 70);

	function searchBlock({ values, weights }: Block, channelScales: Float32Array): void {
		search.loadImportance(weights, 0, values.length, 1);
		search.load(values, 0, values.length, 1, 1);
		search.search(channelScales, channelScales.length);
	}

	it("finds the same as evaluating all 16 integers, the smallest in a tie", () => {
		fc.assert(
			fc.property(anyBlock, reaches, (block, list) => {
				const channelScales = channelScalesFor(block.values, list);
				searchBlock(block, channelScales);
				const found = list.map((_, k) => [search.int(k), search.power(k), search.square(k)]);
				const best = Array.from(channelScales, (channelScale) => {
					const all = Array.from({ length: 16 }, (_, i) => {
						search.evaluate(channelScale, i + 1);
						return [i + 1, search.power(0), search.square(0)];
					});
					return all.reduce((least, one) => (one[1]! < least[1]! ? one : least));
				});
				expect(found).toEqual(best);
			}),
			{ numRuns: 500 },
		);
	});

	it("agrees with an evaluation in plain float64", () => {
		fc.assert(
			fc.property(anyBlock, reaches, (anyWeights, list) => {
				const block = weighted ? anyWeights : { ...anyWeights, weights: anyWeights.weights.map(() => 1) };
				const channelScales = channelScalesFor(block.values, list);
				searchBlock(block, channelScales);
				channelScales.forEach((channelScale, k) => {
					const scaleOf = (int: number) => effectiveScale(int, channelScale);
					const errorOf = (int: number, power: number, uncertain: -1 | 1) =>
						errorAt(block, scaleOf(int), power, codeMin, uncertain);
					const int = search.int(k);
					expect(search.power(k)).toBeGreaterThanOrEqual(errorOf(int, exponent, -1));
					expect(search.power(k)).toBeLessThanOrEqual(errorOf(int, exponent, 1));
					expect(search.square(k)).toBeGreaterThanOrEqual(errorOf(int, 2, -1));
					expect(search.square(k)).toBeLessThanOrEqual(errorOf(int, 2, 1));
					const least = Math.min(...Array.from({ length: 16 }, (_, i) => errorOf(i + 1, exponent, 1)));
					expect(errorOf(int, exponent, -1)).toBeLessThanOrEqual(least);
				});
			}),
			{ numRuns: 300 },
		);
	});

	it("takes 1 for a block of zeros", () => {
		searchBlock({ values: new Float32Array(6), weights: new Float64Array(6).fill(1) }, Float32Array.of(0.1, 3));
		expect([search.int(0), search.int(1), search.power(1), search.square(1)]).toEqual([1, 1, 0, 0]);
	});
});

it("gathers rows and spatial positions of a channel", () => {
	const search = new BlockSearch(4, -8, true, 1, 6);
	search.load(
		Float32Array.from({ length: 24 }, (_, i) => i),
		2,
		3,
		8,
		2,
	);
	search.loadImportance(Float64Array.of(5, 6, 7, 8), 1, 3, 2);
	expect(Array.from(search.values.subarray(0, search.count))).toEqual([2, 3, 10, 11, 18, 19]);
	expect(Array.from(search.weights!.subarray(0, 6))).toEqual([6, 6, 7, 7, 8, 8]);
});

it.each([1, 9, 2.5, Number.NaN])("refuses exponent %d", (exponent) => {
	expect(() => new BlockSearch(exponent, -8, false, 1, 4)).toThrow(RangeError);
});
