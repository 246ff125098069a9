import type { Comparison, Disagreement, KernelCase } from "./compare.js";
import { hasGroups } from "./inputs.js";
import type { Kernel } from "./kernel.js";
import type { RoundingMode } from "./rounding.js";

interface Search {
	readonly count: number;
	readonly seed: number;
	readonly rounding: RoundingMode;
}

/** Tries random configs with exact data; of those that fail, the smallest that shrinking leads to. */
export async function findDisagreement(
	kernel: Kernel,
	compare: (tried: KernelCase) => Promise<Comparison>,
	{ count, seed, rounding }: Search,
): Promise<Disagreement | null> {
	const { asyncProperty, boolean, check, constant, constantFrom, integer, record } = await import("fast-check");
	const isGrouped = hasGroups(kernel.inputs);
	const hasBias = Object.values(kernel.inputs).some(({ isBias }) => isBias === true);
	const cases = record({
		rows: integer({ min: 1, max: 9 }),
		groups: integer({ min: 1, max: 5 }),
		groupSize: constantFrom(2, 4, 8, 16, 32),
		channels: integer({ min: 1, max: 20 }),
		activation: constantFrom(...kernel.activations.filter((type) => type !== "float16")),
		bias: hasBias ? boolean() : constant(false),
		seed: integer({ min: 0, max: 2 ** 31 - 1 }),
	}).map(
		({ groups, groupSize, seed: ownSeed, ...rest }): KernelCase => ({
			config: { ...rest, depth: groups * groupSize, groupSize: isGrouped ? groupSize : groups * groupSize, rounding },
			data: "exact",
			seed: ownSeed,
		}),
	);
	const agrees = asyncProperty(cases, async (tried) => (await compare(tried)).disagreement === null);
	const { counterexample } = await check(agrees, { numRuns: count, seed });
	return counterexample === null ? null : (await compare(counterexample[0])).disagreement;
}
