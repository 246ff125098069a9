import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { calibrateBlockScales } from "../../src/quant/calibrate.js";
import { dequantizeBlocks, quantizeCodes } from "../../src/quant/codes.js";
import {
	accumulate,
	chooseBlockScaleInts,
	chooseChannelScales,
	createAccumulator,
	type FitAccumulator,
	type FitChunk,
	type FitProblem,
	GRID_FACTORS,
	mergeAccumulators,
} from "../../src/quant/fit.js";
import { type BlockLayout, blockLayout, slabCountOf, slabStart } from "../../src/quant/layout.js";
import { decomposeScales, effectiveScales, SCALE_FLOOR } from "../../src/quant/lpbq.js";
import { randomSource } from "../support/random.js";
import { anyWeight, eachBlockOf, randomWeight, transpose, type Weight } from "./support.js";

type Options = Pick<FitProblem, "exponent" | "codeMin" | "gridFactors" | "importance">;

interface Setup {
	readonly problem: FitProblem;
	readonly maxBlockScaleInts: Uint8Array;
	readonly values: Float32Array;
}

const options = fc.record<Options>(
	{
		exponent: fc.constantFrom(2, 3, 4),
		codeMin: fc.constantFrom(-8, -7),
		gridFactors: fc.constantFrom([1], [0.9, 1, 1.07]),
	},
	{ requiredKeys: [] },
);

function setUp({ layout, values }: Omit<Weight, "shape">, more: Options = {}): Setup {
	const scales = calibrateBlockScales(values, layout, 0, slabCountOf(layout));
	const { channelScales, blockScaleInts } = decomposeScales(scales, layout);
	return { problem: { layout, maxChannelScales: channelScales, ...more }, maxBlockScaleInts: blockScaleInts, values };
}

/** The slabs from `firstSlab` up to `end`. */
function chunkOf({ problem, maxBlockScaleInts, values }: Setup, firstSlab: number, end: number): FitChunk {
	const { layout } = problem;
	return {
		firstSlab,
		slabCount: end - firstSlab,
		values: values.subarray(slabStart(layout, firstSlab), slabStart(layout, end)),
		keptCodes: new Int8Array(slabStart(layout, end) - slabStart(layout, firstSlab)).fill(2),
		maxBlockScaleInts: maxBlockScaleInts.subarray(firstSlab * layout.channels, end * layout.channels),
	};
}

function accumulateAll(setup: Setup): FitAccumulator {
	const accumulator = createAccumulator(setup.problem);
	accumulate(setup.problem, chunkOf(setup, 0, slabCountOf(setup.problem.layout)), accumulator);
	return accumulator;
}

/** Everything in one chunk. */
function fit(setup: Setup) {
	const { problem } = setup;
	const accumulator = accumulateAll(setup);
	const choice = chooseChannelScales(problem, accumulator);
	const { ints } = chooseBlockScaleInts(problem, chunkOf(setup, 0, slabCountOf(problem.layout)), choice);
	return { accumulator, choice, ints };
}

/** Sums of error^exponent of every channel, of the weights as a model stores them. */
function storedErrors(setup: Setup, channelScales: Float32Array, ints: Uint8Array, exponent: number): Float64Array {
	const { layout, codeMin = -8, importance } = setup.problem;
	const slabs = slabCountOf(layout);
	const codes = quantizeCodes(setup.values, layout, 0, slabs, channelScales, ints, undefined, codeMin);
	const stored = dequantizeBlocks(codes, effectiveScales(ints, channelScales, layout, 0, slabs), layout, 0, slabs);
	const sums = new Float64Array(layout.channelCount);
	eachBlockOf(layout, (elements, slab, channel) => {
		const row = (slab % layout.blocks) * layout.blockSize;
		elements.forEach((element, i) => {
			const weight = importance?.[row + Math.floor(i / layout.spatial)] ?? 1;
			const error = Math.abs(setup.values[element]! - stored[element]!);
			sums[Math.floor(slab / layout.blocks) * layout.channels + channel]! += weight * error ** exponent;
		});
	});
	return sums;
}

function importanceFor(layout: BlockLayout, seed: number): Float64Array {
	const random = randomSource(seed);
	return Float64Array.from({ length: layout.depth }, () => (random() < 0.1 ? 0 : 100 * random() ** 4));
}

function closeTo(actual: Float64Array, expected: Float64Array, relative: number, absolute = 0): void {
	const off = Array.from(actual, (value, i) => [value, expected[i]!] as const).filter(
		([value, other]) => !(Math.abs(value - other) <= relative * Math.abs(other) + absolute),
	);
	expect(off).toEqual([]);
}

describe("the solution", () => {
	it("is on no channel worse than max, neither in squared error nor in the sum that it minimizes", () => {
		fc.assert(
			fc.property(anyWeight, options, fc.option(fc.nat()), (weight, more, seed) => {
				const importance = seed === null ? {} : { importance: importanceFor(weight.layout, seed) };
				const setup = setUp(weight, { ...more, ...importance });
				const { choice, ints } = fit(setup);
				const maxScales = Float32Array.from(setup.problem.maxChannelScales);
				for (const exponent of [2, more.exponent ?? 4]) {
					const errors = storedErrors(setup, choice.channelScales, ints, exponent);
					const maxErrors = storedErrors(setup, maxScales, setup.maxBlockScaleInts, exponent);
					const worse = Array.from(errors).filter((error, channel) => error > maxErrors[channel]! * (1 + 1e-5));
					expect(worse).toEqual([]);
				}
			}),
			{ numRuns: 200 },
		);
	});

	it("has the errors that were measured", () => {
		fc.assert(
			fc.property(anyWeight, options, (weight, more) => {
				const setup = setUp(weight, more);
				const { accumulator, choice, ints } = fit(setup);
				const size = (more.gridFactors ?? GRID_FACTORS).length;
				const measured = choice.channelScales.map((_, channel) => {
					const point = choice.gridPoints[channel]!;
					return point < 0 ? accumulator.maxSquares[channel]! : accumulator.gridSquares[channel * size + point]!;
				});
				const floor = 1e-12 * accumulator.signals.reduce((a, b) => a + b);
				closeTo(storedErrors(setup, choice.channelScales, ints, 2), Float64Array.from(measured), 1e-4, floor);
			}),
		);
	});

	it("takes the grid point of the least sum that is not above max in squared error", () => {
		const layout = blockLayout([6, 64], 1, 0, 16);
		const setup = setUp({ layout, values: randomWeight(layout, 5) });
		const { accumulator, choice } = fit(setup);
		const size = GRID_FACTORS.length;
		for (let channel = 0; channel < 6; channel++) {
			const point = choice.gridPoints[channel]!;
			const powers = accumulator.gridPowers.subarray(channel * size, (channel + 1) * size);
			const squares = accumulator.gridSquares.subarray(channel * size, (channel + 1) * size);
			const allowed = powers.filter((_, k) => squares[k]! < accumulator.maxSquares[channel]!);
			expect(powers[point]).toBe(Math.min(...allowed));
			const channelScale = setup.problem.maxChannelScales[channel]! * GRID_FACTORS[point]!;
			expect(choice.channelScales[channel]).toBe(Math.fround(channelScale));
		}
		expect(new Set(choice.gridPoints).size).toBeGreaterThan(1);
	});

	it("falls back to max where the least sum would cost squared error", () => {
		const layout = blockLayout([1, 4], 1, 0, 4);
		const setup = setUp({ layout, values: Float32Array.of(1, 0.2, -0.3, 0.4) });
		const accumulator = accumulateAll(setup);
		accumulator.maxSquares.fill(Math.min(...accumulator.gridSquares));
		const choice = chooseChannelScales(setup.problem, accumulator);
		expect(Array.from(choice.gridPoints)).toEqual([-1]);
		expect(choice.channelScales).toEqual(Float32Array.from(setup.problem.maxChannelScales));
		const chunk = chunkOf(setup, 0, 1);
		expect(chooseBlockScaleInts(setup.problem, chunk, choice).ints).toEqual(chunk.maxBlockScaleInts);
	});

	it("lowers the sum of fourth powers of normally distributed weights by a tenth and more", () => {
		const layout = blockLayout([8, 1024], 1, 0, 32);
		const random = randomSource(3);
		const values = Float32Array.from({ length: 8192 }, () => {
			return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
		});
		const { accumulator, choice } = fit(setUp({ layout, values }));
		const best = choice.gridPoints.reduce((sum, k, channel) => {
			return sum + accumulator.gridPowers[channel * GRID_FACTORS.length + k]!;
		}, 0);
		expect(best / accumulator.maxPowers.reduce((a, b) => a + b)).toBeLessThan(0.9);
	});

	it("is sane for channels and blocks of zeros", () => {
		const layout = blockLayout([3, 8], 1, 0, 4);
		const values = Float32Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2.3, 3, -4, 0, 0, 0, 0, 0, 0, 0, 0);
		const setup = setUp({ layout, values });
		const { accumulator, choice, ints } = fit(setup);
		expect([choice.gridPoints[0], choice.gridPoints[2]]).toEqual([-1, -1]);
		expect(choice.channelScales[0]).toBe(SCALE_FLOOR / 16);
		expect(Array.from(ints.subarray(0, 3))).toEqual([16, 16, 1]);
		const codes = quantizeCodes(values, layout, 0, 6, choice.channelScales, ints);
		expect(Array.from(codes.filter((_, i) => values[i] === 0)).every((code) => code === 0)).toBe(true);
		for (const sums of Object.values(accumulator)) {
			if (sums instanceof Float64Array) expect(sums.every(Number.isFinite)).toBe(true);
		}
	});

	it("leaves weights alone that are LPBQ already", () => {
		const layout = blockLayout([4, 64], 1, 0, 16);
		const random = randomSource(9);
		const ints = Uint8Array.from({ length: 16 }, (_, i) => (i % 4 === 0 ? 16 : 1 + Math.floor(16 * random())));
		const channelScales = Float64Array.from({ length: 4 }, () => Math.fround(random()));
		const codes = Int8Array.from({ length: 256 }, (_, i) => (i % 16 === 0 ? 7 : Math.floor(16 * random()) - 8));
		const values = dequantizeBlocks(codes, effectiveScales(ints, channelScales, layout, 0, 16), layout, 0, 16);
		const setup = { problem: { layout, maxChannelScales: channelScales }, maxBlockScaleInts: ints, values };
		const result = fit(setup);
		const errors = storedErrors(setup, result.choice.channelScales, result.ints, 2);
		closeTo(errors, new Float64Array(4), 0, 1e-10);
	});
});

describe("chunks", () => {
	it("give the same merged in order, added up in one accumulator, and all at once", () => {
		fc.assert(
			fc.property(anyWeight, (weight) => {
				const setup = setUp(weight);
				const { problem } = setup;
				const slabs = slabCountOf(problem.layout);
				const merged = createAccumulator(problem);
				const oneByOne = createAccumulator(problem);
				for (let slab = 0; slab < slabs; slab++) {
					const own = createAccumulator(problem, slab, 1);
					accumulate(problem, chunkOf(setup, slab, slab + 1), own);
					mergeAccumulators(merged, own);
					accumulate(problem, chunkOf(setup, slab, slab + 1), oneByOne);
				}
				expect(merged).toEqual(oneByOne);
				expect(merged.keptPowers).not.toEqual(merged.keptSquares);
				expect(accumulateAll(setup)).toEqual(oneByOne);
			}),
		);
	});

	it("merge to nearly the same when cut elsewhere", () => {
		fc.assert(
			fc.property(anyWeight, fc.nat(50), fc.nat(50), (weight, a, b) => {
				const setup = setUp(weight);
				const { problem } = setup;
				const slabs = slabCountOf(problem.layout);
				const cuts = [0, a % slabs, b % slabs, slabs].sort((x, y) => x - y);
				const merged = createAccumulator(problem);
				for (let i = 0; i < 3; i++) {
					const [first, end] = [cuts[i]!, cuts[i + 1]!];
					if (first === end) continue;
					const own = createAccumulator(problem, first, end - first);
					accumulate(problem, chunkOf(setup, first, end), own);
					mergeAccumulators(merged, own);
				}
				const whole = accumulateAll(setup);
				closeTo(merged.gridPowers, whole.gridPowers, 1e-12);
				closeTo(merged.gridSquares, whole.gridSquares, 1e-12);
				closeTo(merged.maxPowers, whole.maxPowers, 1e-12);
				closeTo(merged.maxSquares, whole.maxSquares, 1e-12);
				closeTo(merged.signals, whole.signals, 1e-12);
			}),
		);
	});

	it("get the integers that the whole weight gets", () => {
		fc.assert(
			fc.property(anyWeight, fc.nat(50), (weight, cut) => {
				const setup = setUp(weight);
				const { problem } = setup;
				const { choice, ints } = fit(setup);
				const slabs = slabCountOf(problem.layout);
				const at = cut % slabs;
				const parts = [
					[0, at],
					[at, slabs],
				].map(([first, end]) => chooseBlockScaleInts(problem, chunkOf(setup, first!, end!), choice).ints);
				expect([...parts[0]!, ...parts[1]!]).toEqual([...ints]);
			}),
		);
	});

	it("of whole channels can be fitted on their own", () => {
		const layout = blockLayout([5, 40], 1, 0, 10);
		const setup = setUp({ layout, values: randomWeight(layout, 8) });
		const whole = fit(setup);
		const chunk = chunkOf(setup, 8, 16);
		const accumulator = createAccumulator(setup.problem, 8, 8);
		accumulate(setup.problem, chunk, accumulator);
		const choice = chooseChannelScales(setup.problem, accumulator);
		expect(choice.firstChannel).toBe(2);
		expect(choice.channelScales).toEqual(whole.choice.channelScales.subarray(2, 4));
		expect(chooseBlockScaleInts(setup.problem, chunk, choice).ints).toEqual(whole.ints.subarray(8, 16));
	});
});

it("fits a transposed weight to transposed scales", () => {
	const kn = blockLayout([48, 10], 0, 1, 12);
	const values = randomWeight(kn, 4);
	const a = fit(setUp({ layout: kn, values }));
	const b = fit(setUp({ layout: blockLayout([10, 48], 1, 0, 12), values: transpose(values, 48, 10) }));
	expect(b.accumulator).toEqual(a.accumulator);
	expect(b.choice).toEqual(a.choice);
	expect(b.ints).toEqual(transpose(a.ints, 4, 10));
});

describe("options", () => {
	it("weigh errors by input channel", () => {
		fc.assert(
			fc.property(anyWeight, fc.nat(), (weight, seed) => {
				const importance = importanceFor(weight.layout, seed);
				const setup = setUp(weight, { importance });
				const { accumulator } = fit(setup);
				const maxScales = Float32Array.from(setup.problem.maxChannelScales);
				const floor = 1e-9 * accumulator.signals.reduce((a, b) => a + b);
				const expected = storedErrors(setup, maxScales, setup.maxBlockScaleInts, 2);
				closeTo(accumulator.maxSquares, expected, 1e-4, floor);
			}),
		);
	});

	it("do not change anything with an importance of 1", () => {
		const layout = blockLayout([33, 4], 0, 1, 8);
		const values = randomWeight(layout, 6);
		const plain = fit(setUp({ layout, values }));
		expect(fit(setUp({ layout, values }, { importance: new Float64Array(33).fill(1) }))).toEqual(plain);
	});

	it("give the rows that matter the better scales", () => {
		const layout = blockLayout([1, 32], 1, 0, 32);
		const values = Float32Array.from({ length: 32 }, (_, i) => (i === 0 ? 1 : 0.13 * Math.sin(i)));
		const importance = new Float64Array(32).fill(1);
		importance[0] = 0;
		const { choice, ints } = fit(setUp({ layout, values }, { importance }));
		expect(ints[0]! * choice.channelScales[0]!).toBeLessThan(0.025);
		const plain = fit(setUp({ layout, values }));
		expect(plain.ints[0]! * plain.choice.channelScales[0]!).toBeGreaterThan(0.1);
	});

	it("measure codes that are kept", () => {
		fc.assert(
			fc.property(anyWeight, fc.nat(), (weight, seed) => {
				const setup = setUp(weight);
				const { layout, maxChannelScales } = setup.problem;
				const slabs = slabCountOf(layout);
				const random = randomSource(seed);
				const keptCodes = Int8Array.from(weight.values, () => Math.floor(16 * random()) - 8);
				const accumulator = createAccumulator(setup.problem);
				accumulate(setup.problem, { ...chunkOf(setup, 0, slabs), keptCodes }, accumulator);
				const channelScales = Float32Array.from(maxChannelScales);
				const scales = effectiveScales(setup.maxBlockScaleInts, channelScales, layout, 0, slabs);
				const stored = dequantizeBlocks(keptCodes, scales, layout, 0, slabs);
				const squares = new Float64Array(layout.channelCount);
				const powers = new Float64Array(layout.channelCount);
				eachBlockOf(layout, (elements, slab, channel) => {
					for (const element of elements) {
						const error = weight.values[element]! - stored[element]!;
						squares[Math.floor(slab / layout.blocks) * layout.channels + channel]! += error ** 2;
						powers[Math.floor(slab / layout.blocks) * layout.channels + channel]! += error ** 4;
					}
				});
				closeTo(accumulator.keptSquares, squares, 1e-12);
				closeTo(accumulator.keptPowers, powers, 1e-12);
			}),
		);
	});
});

describe("refuses", () => {
	const layout = blockLayout([4, 6], 0, 1, 2);
	const setup = setUp({ layout, values: randomWeight(layout, 1) });
	const chunk = chunkOf(setup, 0, 2);
	const run = (problem: Partial<FitProblem>, part: Partial<FitChunk>) => () => {
		const all = { ...setup.problem, ...problem };
		accumulate(all, { ...chunk, ...part }, createAccumulator(all));
	};

	it("arrays of the wrong length", () => {
		expect(run({}, {})).not.toThrow();
		expect(run({}, { slabCount: 1 })).toThrow("24 values, expected 12");
		expect(run({}, { maxBlockScaleInts: new Uint8Array(11) })).toThrow("11 block scale integers, expected 12");
		expect(run({}, { keptCodes: new Int8Array(23) })).toThrow("23 codes, expected 24");
		expect(run({ importance: new Float64Array(5) }, {})).toThrow("5 importance factors, expected 4");
		expect(run({ maxChannelScales: new Float64Array(5) }, {})).toThrow("5 channel scales, expected 6");
		expect(run({ exponent: 1 }, {})).toThrow(RangeError);
	});

	it("to merge what does not fit", () => {
		const rows = { ...setUp({ layout: blockLayout([4, 6], 1, 0, 2), values: setup.values }).problem };
		const whole = createAccumulator(rows);
		const part = createAccumulator(rows, 3, 3);
		expect(part.firstChannel).toBe(1);
		expect(() => mergeAccumulators(part, whole)).toThrow("4 channels from 0 on");
		expect(() => mergeAccumulators(whole, createAccumulator({ ...rows, gridFactors: [1] }))).toThrow("grid sums");
		expect(() => mergeAccumulators(whole, part)).not.toThrow();
	});
});
