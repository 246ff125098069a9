import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { accumulatorRange, fitsBits, linearRange, rangeOfBits } from "../../src/quant/range.js";

const int4 = rangeOfBits(4);
const uint8 = rangeOfBits(8, false);
const uint16 = rangeOfBits(16, false);

describe("linearRange", () => {
	it("says that codes times 16 fit eight bits, and times 17 not", () => {
		const spec = { depth: 1, activation: uint8, weight: int4 };
		expect(linearRange({ ...spec, largestBlockScale: 16 })).toMatchObject({
			weight: { min: -128, max: 112 },
			weightFitsInt8: true,
		});
		expect(linearRange({ ...spec, largestBlockScale: 17 })).toMatchObject({
			weight: { min: -136, max: 119 },
			weightFitsInt8: false,
		});
		expect(linearRange({ ...spec, weight: { min: -7, max: 7 }, largestBlockScale: 18 }).weightFitsInt8).toBe(true);
	});

	it("says at which depth 32 bits are too few", () => {
		const spec = { activation: uint8, zeroPoint: 128, weight: int4, largestBlockScale: 16 };
		// -128 * -128 at every place: 2^14 each
		expect(linearRange({ ...spec, depth: 131071 }).accumulatorFitsInt32).toBe(true);
		expect(linearRange({ ...spec, depth: 131072 })).toMatchObject({ accumulatorFitsInt32: false, accumulatorBits: 33 });
		expect(linearRange({ ...spec, activation: uint16, zeroPoint: 0, depth: 256 }).accumulatorFitsInt32).toBe(true);
		expect(linearRange({ ...spec, activation: uint16, zeroPoint: 0, depth: 257 }).accumulatorFitsInt32).toBe(false);
	});

	it("gives the steps of the output", () => {
		const spec = { depth: 2, activation: uint8, weight: int4, outputFactor: 1 / 16 };
		expect(linearRange(spec).accumulator).toEqual({ min: -4080, max: 3570 });
		expect(linearRange(spec).output).toEqual({ min: -255, max: 223 });
	});

	it("holds every sum that codes can make, and is reached", () => {
		const ends = fc.tuple(
			fc.integer({ min: 1, max: 6 }),
			fc.integer({ min: 1, max: 16 }),
			fc.integer({ min: 0, max: 255 }),
		);
		fc.assert(
			fc.property(ends, fc.array(fc.nat(), { minLength: 6, maxLength: 6 }), ([depth, scale, zeroPoint], picks) => {
				const { accumulator } = linearRange({
					depth,
					activation: uint8,
					zeroPoint,
					weight: int4,
					largestBlockScale: scale,
				});
				const terms = picks.slice(0, depth).map((pick) => ((pick % 256) - zeroPoint) * ((pick % 16) - 8) * scale);
				const sum = terms.reduce((a, b) => a + b, 0);
				expect(sum).toBeGreaterThanOrEqual(accumulator.min);
				expect(sum).toBeLessThanOrEqual(accumulator.max);
				const all = [0, 255].flatMap((x) => [-8, 7].map((q) => (x - zeroPoint) * q * scale * depth));
				expect([Math.min(0, ...all), Math.max(0, ...all)]).toEqual([accumulator.min, accumulator.max]);
			}),
		);
	});
});

describe("accumulatorRange", () => {
	it("is that of the worst activation", () => {
		// weights 3, -2, 5 and activations -1..4
		expect(accumulatorRange({ min: -1, max: 4 }, 8, -2)).toEqual({ min: -16, max: 34 });
	});
});

it("fitsBits is two's complement", () => {
	expect([
		fitsBits({ min: -128, max: 127 }, 8),
		fitsBits({ min: -128, max: 128 }, 8),
		fitsBits({ min: -129, max: 0 }, 8),
	]).toEqual([true, false, false]);
});
