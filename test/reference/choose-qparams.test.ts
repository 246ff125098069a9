import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
	checkLinear,
	chooseQparamsPerToken,
	type KernelFunction,
	SMALLEST_TOKEN_SCALE,
} from "../../src/reference/reference.js";
import vectors from "../vectors/choose-qparams.json" with { type: "json" };

/** What ExecuTorch's own function gave: smallest and largest value, codes from and to, scale, zero point. */
const EXECUTORCH = vectors as unknown as [number, number, number, number, number, number][];

describe("chooseQparamsPerToken", () => {
	it("gives ExecuTorch's scales and zero points, bit for bit", () => {
		for (const [min, max, quantMin, quantMax, scale, zeroPoint] of EXECUTORCH) {
			const { scales, zeroPoints } = chooseQparamsPerToken(Float32Array.of(min, max), 1, 2, quantMin, quantMax);
			expect([min, max, quantMin, quantMax, scales[0], zeroPoints[0]]).toEqual([
				min,
				max,
				quantMin,
				quantMax,
				scale,
				zeroPoint,
			]);
		}
	});

	it("has vectors for every rule", () => {
		const scales = EXECUTORCH.map(([, , , , scale]) => scale);
		expect(scales.filter((scale) => scale === 0.1).length).toBeGreaterThan(4);
		expect(scales.filter((scale) => scale === SMALLEST_TOKEN_SCALE).length).toBeGreaterThan(10);
		const halves = EXECUTORCH.filter(([min, , , , scale]) => Math.abs((min / scale) % 1) === 0.5);
		expect(halves.length).toBeGreaterThan(30);
	});

	it("represents zero, and no value is further from its code than half a step and a rounding", () => {
		const rows = fc.array(fc.float({ noNaN: true, min: -1e4, max: 1e4 }), { minLength: 1, maxLength: 20 });
		fc.assert(
			fc.property(rows, (row) => {
				const values = Float32Array.from(row);
				const { scales, zeroPoints } = chooseQparamsPerToken(values, 1, values.length);
				const [scale, zeroPoint] = [scales[0]!, zeroPoints[0]!];
				for (const value of values) {
					const code = Math.max(-128, Math.min(127, Math.round(value / scale) + zeroPoint));
					expect(Math.abs((code - zeroPoint) * scale - value)).toBeLessThanOrEqual(scale * 1.001);
				}
			}),
		);
	});

	it("does every row for itself", () => {
		const { scales, zeroPoints } = chooseQparamsPerToken(Float32Array.of(-1, 1, 0, 255), 2, 2);
		expect([...scales]).toEqual([2 / 255, 1]);
		expect([...zeroPoints]).toEqual([0, -128]);
	});

	it("refuses what has no parameters", () => {
		expect(() => chooseQparamsPerToken(Float32Array.of(1, Number.NaN), 1, 2)).toThrow(/NaN at \[0, 1\]/);
		expect(() => chooseQparamsPerToken(Float32Array.of(1), 1, 2)).toThrow(RangeError);
		expect(() => chooseQparamsPerToken(Float32Array.of(1), 1, 1, 5, 5)).toThrow(/codes from 5 to 5/);
	});
});

describe("choose_qparams_per_token", () => {
	const implementation =
		(choose: typeof chooseQparamsPerToken, round: (value: number) => number): KernelFunction =>
		({ config, inputs }) => {
			const { scales, zeroPoints } = choose(inputs.input as Float32Array, config.rows, config.depth);
			return { scale: Float32Array.from(scales), zero_point: Int8Array.from(zeroPoints, round) };
		};

	it("has all published shapes, which a right implementation passes", async () => {
		const check = await checkLinear("choose_qparams_per_token", {
			run: implementation(chooseQparamsPerToken, (zero) => zero),
			performance: true,
		});
		expect(check).toMatchObject({ passed: true, published: 11, random: 100 });
	});

	it("does not let a range through that leaves zero out, or halves rounded away", async () => {
		const naive = (values: Float32Array, rows: number, columns: number, halfUp: boolean) => {
			const scales = new Float64Array(rows);
			const zeroPoints = new Int32Array(rows);
			for (let row = 0; row < rows; row++) {
				const part = values.subarray(row * columns, (row + 1) * columns);
				const [min, max] = [Math.min(...part), Math.max(...part)];
				scales[row] = ((halfUp ? Math.max(0, max) : max) - (halfUp ? Math.min(0, min) : min)) / 255;
				zeroPoints[row] = Math.round(-128 - min / scales[row]!);
			}
			return { scales, zeroPoints };
		};
		for (const halfUp of [true, false]) {
			const run = implementation(
				(...args) => naive(args[0], args[1], args[2], halfUp),
				(zero) => zero,
			);
			const check = await checkLinear("choose_qparams_per_token", { run });
			expect(check.passed).toBe(false);
		}
	});
});
