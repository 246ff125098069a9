import { describe, expect, test } from "vitest";
import { Random } from "../../src/quant/random.js";
import { chanceDb, decibelsOf, mean } from "../../src/sensitivity/statistics.js";

describe("chanceDb", () => {
	test("is how far means of samples of the same kind are apart, on average", () => {
		const random = new Random("chance");
		const samples = (count: number) => Array.from({ length: count }, () => random.uniform() ** 2);
		const pairs = Array.from({ length: 400 }, () => [samples(12), samples(20)] as const);
		const apart = pairs.map(([a, b]) => (decibelsOf(mean(a)) - decibelsOf(mean(b))) ** 2);
		const told = pairs.map(([a, b]) => chanceDb(a, b)! ** 2);
		expect(Math.sqrt(mean(told)) / Math.sqrt(mean(apart))).toBeCloseTo(1, 0.7);
	});

	test("is not known of one sample, nor of no noise", () => {
		expect(chanceDb([0.1], [0.1, 0.2])).toBeNull();
		expect(chanceDb([], [0.1, 0.2])).toBeNull();
		expect(chanceDb([0, 0], [0.1, 0.2])).toBeNull();
		expect(chanceDb([0.1, 0.1], [0.2, 0.2])).toBe(0);
	});
});
