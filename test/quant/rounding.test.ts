import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { roundHalfAway, roundHalfEven } from "../../src/quant/rounding.js";

describe("roundHalfEven", () => {
	it.each([
		[0.5, 0],
		[1.5, 2],
		[2.5, 2],
		[-0.5, 0],
		[-1.5, -2],
		[-2.5, -2],
		[2.4999999999999996, 2],
		[2.5000000000000004, 3],
		[-2.5000000000000004, -3],
		[0.49999999999999994, 0],
		[2 ** 52 + 1, 2 ** 52 + 1],
	])("%d -> %d", (value, rounded) => {
		expect(roundHalfEven(value) + 0).toBe(rounded);
	});

	it("agrees with adding and subtracting 1.5 * 2^52, which rounds to even", () => {
		const big = 1.5 * 2 ** 52;
		fc.assert(
			fc.property(fc.double({ min: -1e9, max: 1e9, noNaN: true }), fc.boolean(), (value, half) => {
				const at = half ? Math.round(value) + 0.5 : value;
				expect(roundHalfEven(at) + 0).toBe(at + big - big + 0);
			}),
		);
	});
});

describe("roundHalfAway", () => {
	it.each([
		[0.5, 1],
		[2.5, 3],
		[-0.5, -1],
		[-2.5, -3],
		[2.4999999999999996, 2],
		[-2.4999999999999996, -2],
		[0.49999999999999994, 0],
		[2 ** 52 + 1, 2 ** 52 + 1],
	])("%d -> %d", (value, rounded) => {
		expect(roundHalfAway(value)).toBe(rounded);
	});

	it("differs from half-even on exact halves only, and is odd", () => {
		fc.assert(
			fc.property(fc.double({ min: -1e9, max: 1e9, noNaN: true }), (value) => {
				expect(roundHalfAway(-value) + 0).toBe(0 - roundHalfAway(value));
				if (Math.abs(value % 1) !== 0.5) expect(roundHalfAway(value) + 0).toBe(roundHalfEven(value) + 0);
			}),
		);
	});
});
