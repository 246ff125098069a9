import { describe, expect, test } from "vitest";
import { checkLinear, type KernelFunction, LINEAR_KERNELS } from "../../src/reference/reference.js";
import { MISTAKES, type Mistake, naive, possibleMistakes } from "./naive.js";

const implementation =
	(mistake?: Mistake): KernelFunction =>
	({ kernel, config, inputs }) =>
		naive(kernel.name, config, inputs, mistake);

/** The same kernel with one published config, or none. */
function only<K extends (typeof LINEAR_KERNELS)[number]>(kernel: K, ...published: K["published"]): K {
	return { ...kernel, published };
}

describe.each(LINEAR_KERNELS.map((kernel) => [kernel.name, kernel] as const))("%s", (name, kernel) => {
	test("an independent implementation passes, on every published config and 100 random ones", async () => {
		const check = await checkLinear(name, { run: implementation() });
		expect(check.disagreement).toBeNull();
		expect(check).toMatchObject({ kernel: name, passed: true, random: 100 });
		expect(check.published).toBe(kernel.published.filter(({ performance }) => !performance).length);
		console.log(
			`${name}: ${check.published} published configs, largest difference ${check.largestDifference.toPrecision(3)}`,
		);
	});

	const configs = kernel.published.filter(({ performance }) => !performance);
	test.each(MISTAKES)("%s: caught in every published config, and at random", async (mistake) => {
		const possible = configs.filter((config) => possibleMistakes(name, config).includes(mistake));
		let byTypicalData = 0;
		for (const config of possible) {
			const check = await checkLinear(only(kernel, config), { run: implementation(mistake), random: 0 });
			expect({ config, passed: check.passed }).toEqual({ config, passed: false });
			if (check.disagreement!.data === "typical") byTypicalData++;
		}
		if (possible.length === 0) return;
		console.log(`${name}, ${mistake}: ${byTypicalData} of ${possible.length} at the published tolerance`);
		const atRandom = await checkLinear(only(kernel), { run: implementation(mistake) });
		expect(atRandom.disagreement?.value).toBeTruthy();
	});
});
