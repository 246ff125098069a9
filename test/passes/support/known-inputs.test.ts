import { afterAll, describe, expect, test } from "vitest";
import { knownInputs } from "../../../src/passes/support/input-factors.js";
import { TaskPool } from "../../../src/passes/support/task-pool.js";

const pool = new TaskPool();
afterAll(() => pool.close());

/** Two inputs that mostly go together, and one of its own. */
const matrices = Float64Array.of(4, 1.9, 0, 1.9, 1, 0, 0, 0, 2);
const moments = { matrices, depth: 3, groups: 1, rows: undefined };
const toMeanOne = (numbers: readonly number[]) => {
	const mean = numbers.reduce((a, b) => a + b) / numbers.length;
	return numbers.map((number) => number / mean);
};

describe("knownInputs", () => {
	test("an input counts for as much as later, smaller ones do not make good", async () => {
		const { factors, importance } = await knownInputs({ moments, importance: undefined }, 3, pool);
		expect([...factors!.order]).toEqual([0, 2, 1]);
		const damping = (0.01 * 7) / 3;
		const expected = toMeanOne([4 + damping - 1.9 ** 2 / (1 + damping), 1 + damping, 2 + damping]);
		for (const [input, value] of expected.entries()) expect(importance![input]).toBeCloseTo(value, 5);
	});

	test("positions of a kernel and groups are added up", async () => {
		const groups = { ...moments, matrices: Float64Array.of(...diagonal(1, 2, 3, 4), ...diagonal(5, 6, 7, 8)) };
		const known = await knownInputs({ moments: { ...groups, depth: 4, groups: 2 }, importance: undefined }, 2, pool);
		expect(known.importance![1]! / known.importance![0]!).toBeCloseTo(22.18 / 14.18, 5);
	});

	test("importance that was given counts; where GPTQ cannot be, mean squares do", async () => {
		const importance = Float64Array.of(1, 2, 0);
		expect((await knownInputs({ moments, importance }, 3, pool)).importance).toBe(importance);
		expect(await knownInputs({ moments: undefined, importance }, 3, pool)).toEqual({ factors: undefined, importance });
		const impossible = { ...moments, matrices: Float64Array.of(1, 9, 0, 9, 1, 0, 0, 0, 4) };
		const known = await knownInputs({ moments: impossible, importance: undefined }, 3, pool);
		expect(known).toEqual({ factors: undefined, importance: Float64Array.of(0.5, 0.5, 2) });
	});
});

function diagonal(...squares: readonly number[]): number[] {
	return squares.flatMap((square, row) => squares.map((_, column) => (row === column ? square : 0)));
}
