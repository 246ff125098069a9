import { describe, expect, it, test } from "vitest";
import { chooseScales, gptqCodes } from "../../src/quant/gptq.js";
import { damp, factorize, factorizeMoments, type GptqFactors } from "../../src/quant/moment-factor.js";
import { addMadeGood } from "../../src/quant/output-targets.js";
import { DAMPING, shrinkMoments } from "../../src/quant/second-moments.js";
import { randomSource } from "../support/random.js";

/** Second moments of correlated inputs, [size, size], row-major. */
function moments(size: number, samples: number, seed: number): Float64Array {
	const random = randomSource(seed);
	const matrix = new Float64Array(size * size);
	for (let sample = 0; sample < samples; sample++) {
		const common = random() - 0.5;
		const x = Float64Array.from({ length: size }, (_, i) => (random() - 0.5) * (1 + (i % 5)) + 4 * common);
		for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) matrix[i * size + j]! += x[i]! * x[j]!;
	}
	return matrix;
}

/** Room for the factors of groups of inputs, in the order in which they are. */
function roomFor(groups: number, depth: number): GptqFactors {
	return {
		factors: new Float32Array(groups * depth * depth),
		moments: new Float32Array(groups * depth * depth),
		order: Uint32Array.from({ length: groups * depth }, (_, i) => i % depth),
	};
}

/** By Gauss and Jordan. */
function inverseOf(matrix: Float64Array, size: number): Float64Array {
	const [left, right] = [matrix.slice(), new Float64Array(size * size)];
	for (let i = 0; i < size; i++) right[i * size + i] = 1;
	for (let pivot = 0; pivot < size; pivot++) {
		const by = left[pivot * size + pivot]!;
		for (const half of [left, right]) for (let k = 0; k < size; k++) half[pivot * size + k]! /= by;
		for (let row = 0; row < size; row++) {
			if (row === pivot) continue;
			const part = left[row * size + pivot]!;
			for (const half of [left, right]) {
				for (let k = 0; k < size; k++) half[row * size + k]! -= part * half[pivot * size + k]!;
			}
		}
	}
	return right;
}

/** d H d^T. */
function quadratic(matrix: Float64Array, d: readonly number[]): number {
	return d.reduce((sum, a, i) => sum + a * d.reduce((inner, b, j) => inner + b * matrix[i * d.length + j]!, 0), 0);
}

describe("factorize", () => {
	it.each([1, 2, 5, 16, 33, 50])("gives R with R R^T = H for size %d", (size) => {
		const matrix = moments(size, 3 * size, 5);
		const columns = matrix.slice();
		expect(factorize(columns, size)).toBe(true);
		for (let i = 0; i < size; i++) {
			for (let j = 0; j < size; j++) {
				let product = 0;
				for (let k = Math.max(i, j); k < size; k++) product += columns[k * size + i]! * columns[k * size + j]!;
				expect(product / matrix[i * size + j]!).toBeCloseTo(1, 8);
			}
		}
	});

	it("damps what never varies, and refuses what is not positive definite or not finite", () => {
		const damped = (matrix: Float64Array, size: number) => {
			damp(matrix, size, 0.01);
			return matrix;
		};
		expect(factorize(damped(moments(8, 2, 1), 8), 8)).toBe(true);
		expect(factorize(damped(new Float64Array(9), 3), 3)).toBe(true);
		expect(factorize(Float64Array.of(1, 2, 2, 1), 2)).toBe(false);
		expect(factorize(Float64Array.of(Number.NaN, 0, 0, 1), 2)).toBe(false);
	});
});

describe("gptqCodes", () => {
	// no multiples of what is worked on together
	const [depth, channels, blockSize] = [45, 21, 16] as const;
	const random = randomSource(3);
	const weights = Float32Array.from({ length: channels * depth }, () => random() - 0.5);
	const scales = Float32Array.from({ length: channels * 3 }, () => 0.06 + 0.02 * random());
	const problem = { depth, blockSize, codeMin: -8, codeMax: 7, sweeps: 0 };
	const scaleAt = (channel: number, j: number) => scales[channel * 3 + Math.floor(j / blockSize)]!;
	const nearest = (value: number, scale: number) => Math.min(Math.max(Math.floor(value / scale + 0.5), -8), 7);
	const rounded = Int8Array.from(weights, (value, i) => nearest(value, scaleAt(Math.floor(i / depth), i % depth)));
	const matrix = moments(depth, 200, 7);

	/** With inputs as they are. */
	function factorsOf(matrix: Float64Array): GptqFactors {
		const columns = matrix.slice();
		factorize(columns, depth);
		const found = roomFor(1, depth);
		found.moments.set(matrix);
		found.factors.set(columns);
		for (let i = 0; i < depth; i++) {
			found.factors[i * depth + i] = columns[i * depth + i]! ** 2;
			for (let k = i + 1; k < depth; k++)
				found.factors[i * depth + k] = columns[k * depth + i]! / columns[k * depth + k]!;
		}
		return found;
	}

	function codesOf(sweeps: number): Int8Array {
		const codes = new Int8Array(weights.length);
		gptqCodes(weights, scales, { ...problem, ...factorsOf(matrix), sweeps }, codes);
		return codes;
	}

	/** The mean squared error of the output of each channel. */
	function errorsOf(codes: Int8Array, of: Float32Array): number[] {
		return Array.from({ length: channels }, (_, channel) => {
			const error = Float64Array.from({ length: depth }, (_, j) => {
				const at = channel * depth + j;
				return weights[at]! - codes[at]! * of[channel * 3 + Math.floor(j / blockSize)]!;
			});
			let sum = 0;
			for (let i = 0; i < depth; i++)
				for (let j = 0; j < depth; j++) sum += error[i]! * matrix[i * depth + j]! * error[j]!;
			return sum;
		});
	}

	test("the errors that it tells are those of the codes", () => {
		const codes = new Int8Array(weights.length);
		const told = gptqCodes(weights, scales, { ...problem, ...factorsOf(matrix) }, codes);
		const wanted = errorsOf(codes, scales);
		for (const [channel, error] of wanted.entries()) expect(told[channel]! / error).toBeCloseTo(1, 3);
	});

	test("of scales those are chosen, channel by channel, that leave the least error", () => {
		const found = { ...problem, ...factorsOf(matrix) };
		const factors = [0.9, 1, 1.1, 1.2];
		const tried = factors.map((factor) => {
			const scaled = scales.map((scale) => scale * factor);
			const codes = new Int8Array(weights.length);
			gptqCodes(weights, scaled, found, codes);
			return errorsOf(codes, scaled);
		});
		const chosen = scales.slice();
		chooseScales(weights, chosen, found, factors);
		const codes = new Int8Array(weights.length);
		gptqCodes(weights, chosen, found, codes);
		for (const [channel, error] of errorsOf(codes, chosen).entries()) {
			expect(error).toBeCloseTo(Math.min(...tried.map((errors) => errors[channel]!)), 6);
		}
		const used = new Set(chosen.map((scale, index) => Math.round((10 * scale) / scales[index]!)));
		expect(used.size).toBeGreaterThan(1);
	});

	/** The paper's way, channel by channel: the factor U of the inverse U^T U. */
	function plain(matrix: Float64Array): Int8Array {
		const inverse = inverseOf(matrix, depth);
		// U^T U from the first row on
		const u = new Float64Array(depth * depth);
		for (let i = 0; i < depth; i++) {
			for (let k = i; k < depth; k++) {
				let rest = inverse[i * depth + k]!;
				for (let m = 0; m < i; m++) rest -= u[m * depth + i]! * u[m * depth + k]!;
				u[i * depth + k] = k === i ? Math.sqrt(rest) : rest / u[i * depth + i]!;
			}
		}
		const codes = new Int8Array(weights.length);
		for (let channel = 0; channel < channels; channel++) {
			const w = Float64Array.from(weights.subarray(channel * depth, (channel + 1) * depth));
			for (let j = 0; j < depth; j++) {
				const code = nearest(w[j]!, scaleAt(channel, j));
				codes[channel * depth + j] = code;
				const error = (w[j]! - code * scaleAt(channel, j)) / u[j * depth + j]!;
				for (let k = j + 1; k < depth; k++) w[k]! -= error * u[j * depth + k]!;
			}
		}
		return codes;
	}

	function errorOf(matrix: Float64Array, codes: Int8Array, channel: number): number {
		const off = Array.from({ length: depth }, (_, j) => {
			return weights[channel * depth + j]! - codes[channel * depth + j]! * scaleAt(channel, j);
		});
		return quadratic(matrix, off);
	}

	function outputError(matrix: Float64Array, codes: Int8Array): number {
		return Array.from({ length: channels }, (_, channel) => errorOf(matrix, codes, channel)).reduce((a, b) => a + b);
	}

	it("is the definition, the error of the outputs far below that of rounding", () => {
		const codes = codesOf(0);
		expect(codes).toEqual(plain(matrix));
		expect(outputError(matrix, codes)).toBeLessThan(0.6 * outputError(matrix, rounded));
	});

	it("goes through codes again until none alone can be better", () => {
		const [once, often] = [codesOf(1), codesOf(100)];
		expect(outputError(matrix, once)).toBeLessThan(0.99 * outputError(matrix, codesOf(0)));
		expect(outputError(matrix, often)).toBeLessThanOrEqual(outputError(matrix, once));
		for (let at = 0; at < often.length; at++) {
			const channel = Math.floor(at / depth);
			const best = errorOf(matrix, often, channel);
			for (const code of [often[at]! - 1, often[at]! + 1]) {
				if (code < -8 || code > 7) continue;
				expect(errorOf(matrix, often.with(at, code), channel)).toBeGreaterThan(best * (1 - 1e-6));
			}
		}
	});

	it.each([0, 2])(
		"rounds where inputs have nothing to do with each other, and keeps to the codes allowed",
		(sweeps) => {
			const unit = roomFor(1, depth);
			for (let i = 0; i < depth; i++) unit.factors[i * depth + i] = unit.moments[i * depth + i] = 1;
			const codes = new Int8Array(weights.length);
			gptqCodes(weights, scales, { ...problem, ...unit, codeMin: -7, sweeps }, codes);
			expect(codes).toEqual(rounded.map((code) => Math.max(-7, code)));
		},
	);

	it("takes large inputs first, each group in its own order", () => {
		const groups = new Float64Array(2 * matrix.length);
		const means = matrix.map((value) => value / 200);
		groups.set(means);
		for (let i = 0; i < depth; i++) groups[matrix.length + i * depth + i] = 1 + i;
		const found = roomFor(2, depth);
		expect(factorizeMoments(groups, found, depth, undefined)).toBe(true);
		expect([...found.order.subarray(depth)]).toEqual(Array.from({ length: depth }, (_, i) => depth - 1 - i));
		const sizes = Array.from(found.order.subarray(0, depth), (input) => means[input * depth + input]!);
		expect(sizes).toEqual(sizes.toSorted((a, b) => b - a));
		const twice = Float32Array.from([...weights, ...weights]);
		const codes = new Int8Array(twice.length);
		gptqCodes(twice, Float32Array.from([...scales, ...scales]), { ...problem, ...found }, codes);
		expect(codes.subarray(weights.length)).toEqual(rounded);
		expect(outputError(means, codes.subarray(0, weights.length))).toBeLessThan(outputError(means, codesOf(0)));
	});
});

describe("few rows", () => {
	const size = 64;
	/** Means of products of rows, each made by `row`. */
	function meansOf(rows: number, seed: number, row: (normal: () => number) => Float64Array): Float64Array {
		const random = randomSource(seed);
		const normal = () => random() + random() + random() + random() - 2;
		const matrix = new Float64Array(size * size);
		for (let n = 0; n < rows; n++) {
			const x = row(normal);
			for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) matrix[i * size + j]! += (x[i]! * x[j]!) / rows;
		}
		return matrix;
	}
	const noise = (normal: () => number) => Float64Array.from({ length: size }, () => normal());
	const few = (normal: () => number) => {
		const factors = [normal(), normal(), normal()];
		return Float64Array.from({ length: size }, (_, i) => factors[i % 3]! * (1 + i) + 0.2 * normal());
	};
	const random = randomSource(1);
	const channels = 32;
	const weights = Float32Array.from({ length: channels * size }, () => random() + random() + random() - 1.5);
	const scales = new Float32Array(channels).fill(0.2);

	/** Squared error of outputs of unseen rows, over that of rounding. */
	function lossOf(rows: number, row: (normal: () => number) => Float64Array, known: number | undefined): number {
		const found = roomFor(1, size);
		expect(factorizeMoments(meansOf(rows, 2, row), found, size, known)).toBe(true);
		const codes = new Int8Array(weights.length);
		gptqCodes(weights, scales, { ...found, depth: size, blockSize: size, codeMin: -8, codeMax: 7, sweeps: 0 }, codes);
		const unseen = meansOf(4000, 3, row);
		const error = (of: (value: number, index: number) => number) => {
			let sum = 0;
			for (let channel = 0; channel < channels; channel++) {
				const off = Array.from({ length: size }, (_, i) => {
					const index = channel * size + i;
					return weights[index]! - of(weights[index]!, index) * 0.2;
				});
				sum += quadratic(unseen, off);
			}
			return sum;
		};
		return (
			error((_, index) => codes[index]!) / error((value) => Math.max(-8, Math.min(7, Math.floor(value / 0.2 + 0.5))))
		);
	}

	it("of noise are worse than rounding, unless it is known how few they are", () => {
		expect(lossOf(108, noise, undefined)).toBeGreaterThan(1.2);
		expect(lossOf(108, noise, 108)).toBeLessThan(1.03);
	});

	it("of what goes together tell enough", () => {
		expect(lossOf(108, few, 108)).toBeLessThan(0.2);
	});

	it("leave mean squares and the first direction, and shrink the rest", () => {
		const matrix = meansOf(108, 4, (normal) => noise(normal).map((value, i) => value + 3 + (i % 4)));
		const shrunk = matrix.slice();
		expect(shrinkMoments(shrunk, size, 108)).toBeGreaterThan(0.6);
		for (let i = 0; i < size; i++) expect(shrunk[i * size + i]).toBe(matrix[i * size + i]);
		expect(shrunk[1]! / matrix[1]!).toBeCloseTo(1, 1);
		const many = meansOf(20_000, 5, few);
		const before = many.slice();
		expect(shrinkMoments(many, size, 20_000)).toBeLessThan(0.01);
		expect(many[3]! / before[3]!).toBeCloseTo(1, 2);
		expect(shrinkMoments(Float64Array.of(4), 1, 3)).toBe(0);
	});
});

describe("addMadeGood", () => {
	test.each([
		[1, 5, 3],
		[1, 37, 21],
		[3, 16, 2],
		[1, 64, 16],
	])("solves for what makes good the errors: %i groups of %i inputs, %i channels", (groups, size, channels) => {
		const random = randomSource(8);
		const all = Array.from({ length: groups }, (_, group) => moments(size, 4 * size, 20 + group));
		const room = roomFor(groups, size);
		expect(factorizeMoments(Float64Array.from(all.flatMap((matrix) => [...matrix])), room, size, undefined)).toBe(true);
		const errors = Float32Array.from({ length: groups * channels * size }, () => random() - 0.5);
		const weights = Float32Array.from(errors, () => random());
		const before = weights.slice();
		addMadeGood(weights, errors, room, size, 0.25);
		for (const [group, matrix] of all.entries()) {
			damp(matrix, size, DAMPING);
			for (let channel = group * channels; channel < (group + 1) * channels; channel++) {
				for (let j = 0; j < size; j++) {
					let product = 0;
					for (let i = 0; i < size; i++) {
						const at = channel * size + i;
						product += (weights[at]! - before[at]!) * matrix[i * size + j]!;
					}
					expect(product).toBeCloseTo(0.25 * errors[channel * size + j]!, 3);
				}
			}
		}
	});
});
