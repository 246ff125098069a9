import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { blockScaleIntOf, effectiveScale } from "../../src/quant/lpbq.js";
import { raiseMaxima, snapError, snapRows } from "../../src/quant/scale-kernel.js";
import { randomSource } from "../support/random.js";

/** Block scales [rows, channels] with what belongs to them. */
function randomRows(rows: number, channels: number, seed: number) {
	const random = randomSource(seed);
	const scales = Float32Array.from({ length: rows * channels }, () => 2 ** (20 * random() - 10));
	const maxima = new Float64Array(channels);
	scales.forEach((scale, index) => {
		maxima[index % channels] = Math.max(maxima[index % channels]!, scale);
	});
	return { scales, maxima, channelScales: maxima.map((max) => max / 16), random };
}

const rows = fc.integer({ min: 1, max: 9 });
const channels = fc.integer({ min: 1, max: 12 }).map((quarter) => quarter * 4);

describe("raiseMaxima", () => {
	it("finds the largest scale of every channel", () => {
		fc.assert(
			fc.property(rows, channels, fc.nat(), (rows, channels, seed) => {
				const { scales, maxima } = randomRows(rows, channels, seed);
				const found = new Float64Array(channels);
				expect(raiseMaxima(scales, found)).toBe(true);
				expect(found).toEqual(maxima);
			}),
		);
	});

	it("keeps what is larger already", () => {
		const maxima = Float64Array.of(9, 0, 9, 0);
		expect(raiseMaxima(Float32Array.of(1, 2, 3, 4), maxima)).toBe(true);
		expect(maxima).toEqual(Float64Array.of(9, 2, 9, 4));
	});

	it.each([0, -1, NaN, Infinity, -Infinity, 2 ** -123])("says that %d is not regular", (odd) => {
		for (const at of [0, 5, 7]) {
			const scales = new Float32Array(8).fill(1);
			scales[at] = odd;
			const maxima = Float64Array.of(0, 0, 0, 0);
			expect(raiseMaxima(scales, maxima)).toBe(false);
			expect(maxima).toEqual(new Float64Array(4));
		}
	});
});

describe("snapRows", () => {
	it("gives the integers of blockScaleIntOf, halves included", () => {
		fc.assert(
			fc.property(rows, channels, fc.nat(), (rows, channels, seed) => {
				const { scales, channelScales, random } = randomRows(rows, channels, seed);
				for (let i = 0; i < scales.length; i += 3) {
					scales[i] = channelScales[i % channels]! * (Math.floor(16 * random()) + 0.5);
				}
				const ints = new Uint8Array(scales.length);
				snapRows(scales, channelScales, ints);
				expect(ints).toEqual(ints.map((_, i) => blockScaleIntOf(scales[i]!, channelScales[i % channels]!)));
			}),
		);
	});
});

describe("snapError", () => {
	it("adds up what snapping changes", () => {
		fc.assert(
			fc.property(rows, channels, fc.nat(), (rows, channels, seed) => {
				const { scales, channelScales, random } = randomRows(rows, channels, seed);
				const squares = Uint16Array.from(scales, () => 65536 * random());
				const expected = { signal: 0, error: 0 };
				scales.forEach((scale, i) => {
					const channelScale = channelScales[i % channels]!;
					const snapped = effectiveScale(blockScaleIntOf(scale, channelScale), channelScale);
					expected.signal += scale ** 2 * squares[i]!;
					expected.error += (scale - snapped) ** 2 * squares[i]!;
				});
				const { signal, error } = snapError(scales, channelScales, squares);
				expect(signal / expected.signal).toBeCloseTo(1, 12);
				if (expected.error === 0) expect(error).toBe(0);
				else expect(error / expected.error).toBeCloseTo(1, 12);
			}),
		);
	});
});
