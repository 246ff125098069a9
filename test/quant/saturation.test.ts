import { describe, expect, test } from "vitest";
import { geluInverse, sigmoidInverse, siluInverse, tanhInverse } from "../../src/quant/saturation.js";

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const silu = (x: number) => x * sigmoid(x);
/** By numeric integration of the normal density, on a grid much finer than the steps below. */
function gelu(x: number): number {
	let sum = 0;
	const step = (x + 12) / 20_000;
	for (let index = 0; index < 20_000; index++) sum += Math.exp(-0.5 * (-12 + (index + 0.5) * step) ** 2);
	return (x * sum * step) / Math.sqrt(2 * Math.PI);
}

const CASES = [
	["sigmoid", sigmoid, sigmoidInverse, { lo: 0, hi: 1 }, 2 ** -16],
	["sigmoid of which only a part is kept", sigmoid, sigmoidInverse, { lo: 0.2, hi: 0.7 }, 2 ** -8],
	["tanh", Math.tanh, tanhInverse, { lo: -1, hi: 1 }, 2 ** -15],
	["gelu", gelu, geluInverse, { lo: -0.17, hi: 8 }, 2 ** -13],
	["gelu of nothing large", gelu, geluInverse, { lo: -0.17, hi: 0.1 }, 2 ** -18],
	["gelu in steps larger than its dip", gelu, geluInverse, { lo: -1, hi: 100 }, 0.4],
	["silu", silu, siluInverse, { lo: -0.28, hi: 6 }, 2 ** -12],
] as const;

describe("what is needed of the argument", () => {
	test.each(CASES)(
		"%s: no result beyond differs from one within by more than half a step",
		(_name, f, inverse, kept, step) => {
			const needed = inverse(kept, step);
			const clamp = (x: number, { lo, hi }: { lo: number; hi: number }) => Math.max(lo, Math.min(hi, x));
			for (let x = -60; x <= 160; x += 0.37) {
				const whole = clamp(f(x), { lo: f === gelu || f === silu ? -1 : kept.lo, hi: kept.hi });
				const clamped = f(clamp(x, needed));
				expect(Math.abs(whole - clamped), `at ${x}`).toBeLessThanOrEqual(step * 0.51);
			}
		},
	);

	test("and no more than that", () => {
		expect(sigmoidInverse({ lo: 0, hi: 1 }, 2 ** -16).hi).toBeCloseTo(Math.log(2 ** 17 - 1), 6);
		expect(tanhInverse({ lo: -1, hi: 1 }, 2 ** -15).lo).toBeCloseTo(-Math.atanh(1 - 2 ** -16), 6);
		expect(geluInverse({ lo: -0.17, hi: 8 }, 2 ** -13).lo).toBeGreaterThan(-5);
		expect(geluInverse({ lo: -1, hi: 100 }, 0.4).lo).toBe(0);
		expect(siluInverse({ lo: -0.28, hi: 6 }, 2 ** -12).hi).toBeLessThan(6.1);
	});
});
