import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SEARCH_COLUMNS } from "../../src/quant/column-kernel.js";
import { ColumnSearch } from "../../src/quant/column-search.js";
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
	const ROWS = 70;
	const search = new ColumnSearch(exponent, codeMin, weighted, {
		strips: 2,
		records: 16,
		rows: ROWS,
		source: ROWS * SEARCH_COLUMNS,
	});

	/** Makes blocks columns, short ones padded with zeros, of every strip. */
	function load(blocks: readonly Block[]): void {
		search.source.fill(0);
		search.weights?.fill(1);
		blocks.forEach(({ values, weights }, column) => {
			values.forEach((value, row) => {
				search.source[row * SEARCH_COLUMNS + column] = value;
				if (search.weights) search.weights[row * SEARCH_COLUMNS + column] = weights[row]!;
			});
		});
	}

	function run(strip: number, records: number): void {
		search.forget(strip, records);
		search.run(strip, 0, SEARCH_COLUMNS, ROWS, records);
	}

	const someBlocks = fc.array(fc.tuple(anyBlock, reaches), { minLength: 1, maxLength: SEARCH_COLUMNS });

	it("finds the same as evaluating all 16 integers, the smallest in a tie", () => {
		fc.assert(
			fc.property(someBlocks, (blocks) => {
				load(blocks.map(([block]) => block));
				blocks.forEach(([{ values }, list], column) => {
					channelScalesFor(values, list).forEach((scale, k) => {
						search.ask(0, k, column, scale);
					});
				});
				run(0, 5);
				blocks.forEach(([{ values }, list], column) => {
					channelScalesFor(values, list).forEach((scale, k) => {
						for (let int = 1; int <= 16; int++) search.ask(1, int - 1, column, scale, int, int);
						run(1, 16);
						const all = Array.from({ length: 16 }, (_, i) => [
							search.int(1, i, column),
							search.power(1, i, column),
							search.square(1, i, column),
						]);
						const best = all.reduce((least, one) => (one[1]! < least[1]! ? one : least));
						expect([search.int(0, k, column), search.power(0, k, column), search.square(0, k, column)]).toEqual(best);
					});
				});
			}),
			{ numRuns: 60 },
		);
	});

	it("keeps to the integers that are allowed, and adds up", () => {
		fc.assert(
			fc.property(anyBlock, fc.integer({ min: 1, max: 16 }), (block, first) => {
				load([block]);
				const [scale] = channelScalesFor(block.values, [8]);
				search.ask(0, 0, 0, scale!);
				search.allow(0, 0, 0, first);
				run(0, 1);
				const once = [search.power(0, 0, 0), search.square(0, 0, 0), search.signal(0, 0)];
				expect(search.int(0, 0, 0)).toBeGreaterThanOrEqual(first);
				search.run(0, 0, SEARCH_COLUMNS, ROWS, 1);
				expect([search.power(0, 0, 0), search.square(0, 0, 0), search.signal(0, 0)]).toEqual(
					once.map((sum) => 2 * sum),
				);
				const { values, weights } = block;
				const signal = values.reduce((sum, value, i) => sum + (weighted ? weights[i]! : 1) * value * value, 0);
				expect(Math.abs(once[2]! - signal)).toBeLessThanOrEqual(1e-5 * signal);
			}),
		);
	});

	it("agrees with an evaluation in plain float64", () => {
		fc.assert(
			fc.property(anyBlock, reaches, (anyWeights, list) => {
				const block = weighted ? anyWeights : { ...anyWeights, weights: anyWeights.weights.map(() => 1) };
				const channelScales = channelScalesFor(block.values, list);
				load([block]);
				channelScales.forEach((scale, k) => {
					search.ask(0, k, 0, scale);
				});
				run(0, channelScales.length);
				channelScales.forEach((channelScale, k) => {
					const scaleOf = (int: number) => effectiveScale(int, channelScale);
					const errorOf = (int: number, power: number, uncertain: -1 | 1) =>
						errorAt(block, scaleOf(int), power, codeMin, uncertain);
					const int = search.int(0, k, 0);
					expect(search.power(0, k, 0)).toBeGreaterThanOrEqual(errorOf(int, exponent, -1));
					expect(search.power(0, k, 0)).toBeLessThanOrEqual(errorOf(int, exponent, 1));
					expect(search.square(0, k, 0)).toBeGreaterThanOrEqual(errorOf(int, 2, -1));
					expect(search.square(0, k, 0)).toBeLessThanOrEqual(errorOf(int, 2, 1));
					const least = Math.min(...Array.from({ length: 16 }, (_, i) => errorOf(i + 1, exponent, 1)));
					expect(errorOf(int, exponent, -1)).toBeLessThanOrEqual(least);
				});
			}),
			{ numRuns: 300 },
		);
	});

	it("takes the smallest integer for blocks of zeros", () => {
		load([]);
		for (let column = 0; column < SEARCH_COLUMNS; column++) search.ask(0, 0, column, 0.1 + column, 1 + column);
		run(0, 1);
		for (let column = 0; column < SEARCH_COLUMNS; column++) {
			const found = [search.int(0, 0, column), search.power(0, 0, column), search.square(0, 0, column)];
			expect(found).toEqual([1 + column, 0, 0]);
		}
	});
});

it.each([1, 9, 2.5, Number.NaN])("refuses exponent %d", (exponent) => {
	const capacity = { strips: 1, records: 1, rows: 8, source: 128 };
	expect(() => new ColumnSearch(exponent, -8, false, capacity)).toThrow(RangeError);
});
