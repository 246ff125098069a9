import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Choice, solveKnapsack } from "../../src/recipe/knapsack.js";
import { randomSource } from "../support/random.js";

/** The least loss of all choices within the budget, by trying each. */
function bruteForce(units: readonly (readonly Choice[])[], budget: number): number | undefined {
	let best: number | undefined;
	const visit = (unit: number, cost: number, loss: number) => {
		if (cost > budget) return;
		if (unit === units.length) {
			if (best === undefined || loss < best) best = loss;
			return;
		}
		for (const candidate of units[unit]!) visit(unit + 1, cost + candidate.cost, loss + candidate.loss);
	};
	visit(0, 0, 0);
	return best;
}

const choice = fc.record({ cost: fc.integer({ min: 0, max: 40 }), loss: fc.integer({ min: 0, max: 60 }) });
const units = fc.array(fc.array(choice, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 6 });

describe("solveKnapsack", () => {
	it("equals brute force", () => {
		fc.assert(
			fc.property(units, fc.integer({ min: 0, max: 200 }), (units, budget) => {
				const solution = solveKnapsack(units, budget);
				const best = bruteForce(units, budget);
				expect(solution?.loss).toBe(best);
				if (solution === undefined) return;
				expect(solution.bound).toBe(best);
				expect(solution.cost).toBeLessThanOrEqual(budget);
				const sum = (key: "cost" | "loss") =>
					solution.chosen.reduce((total, at, unit) => total + units[unit]![at]![key], 0);
				expect([sum("cost"), sum("loss")]).toEqual([solution.cost, solution.loss]);
			}),
			{ numRuns: 2000 },
		);
	});

	it("proves the best of 300 units with nine candidates each", () => {
		const random = randomSource(5);
		const many = Array.from({ length: 300 }, () => {
			const [size, difficulty] = [2 ** Math.floor(8 + 6 * random()), 2 ** (8 * random())];
			return [4.125, 4.25, 4.5, 5, 6, 8, 8.1, 16, 32].map((bits) => ({
				cost: Math.round(size * bits),
				loss: difficulty * 4 ** -bits * (0.5 + random()),
			}));
		});
		const sizes = many.map((candidates) => candidates[0]!.cost / 4.125);
		const solution = solveKnapsack(many, 4.8 * sizes.reduce((a, b) => a + b, 0))!;
		expect(solution.bound).toBe(solution.loss);
	});
});
