import { describe, expect, it } from "vitest";
import { factorOfInverse, factorsOfInverses, gptqCodes, gptqCodesOfGroups } from "../../src/quant/gptq.js";
import { shrinkMoments } from "../../src/quant/second-moments.js";
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

/** d H d^T. */
function quadratic(matrix: Float64Array, d: readonly number[]): number {
	return d.reduce((sum, a, i) => sum + a * d.reduce((inner, b, j) => inner + b * matrix[i * d.length + j]!, 0), 0);
}

describe("factorOfInverse", () => {
	it.each([1, 2, 5, 33])("gives U with U^T U H = 1 for size %d", (size) => {
		const matrix = moments(size, 3 * size, 5);
		const factor = matrix.slice();
		expect(factorOfInverse(factor, size, 0)).toBe(true);
		for (let i = 0; i < size; i++) {
			for (let j = 0; j < size; j++) {
				if (j < i) expect(factor[i * size + j]).toBe(0);
				let product = 0;
				for (let k = 0; k < size; k++) {
					let inverse = 0;
					for (let m = 0; m <= Math.min(i, k); m++) inverse += factor[m * size + i]! * factor[m * size + k]!;
					product += inverse * matrix[k * size + j]!;
				}
				expect(product).toBeCloseTo(i === j ? 1 : 0, 8);
			}
		}
	});

	it("damps what never varies, and refuses what is not positive definite or not finite", () => {
		expect(factorOfInverse(moments(8, 2, 1), 8, 0.01)).toBe(true);
		expect(factorOfInverse(new Float64Array(9), 3, 0.01)).toBe(true);
		expect(factorOfInverse(Float64Array.of(1, 2, 2, 1), 2, 0)).toBe(false);
		expect(factorOfInverse(Float64Array.of(Number.NaN, 0, 0, 1), 2, 0)).toBe(false);
	});
});

describe("gptqCodes", () => {
	const [depth, channels, blockSize] = [48, 21, 16] as const;
	const random = randomSource(3);
	const weights = Float32Array.from({ length: channels * depth }, () => random() - 0.5);
	const scales = Float32Array.from({ length: channels * 3 }, () => 0.06 + 0.02 * random());
	const order = Uint32Array.from({ length: depth }, (_, i) => i);
	const problem = (factor: Float64Array, codeMin: number) => ({ depth, blockSize, factor, order, codeMin, codeMax: 7 });
	const scaleAt = (channel: number, j: number) => scales[channel * 3 + Math.floor(j / blockSize)]!;
	const nearest = (value: number, scale: number) => Math.min(Math.max(Math.floor(value / scale + 0.5), -8), 7);

	/** The same, channel by channel, with all columns updated at once: the definition. */
	function plain(factor: Float64Array): Int8Array {
		const codes = new Int8Array(weights.length);
		for (let channel = 0; channel < channels; channel++) {
			const w = Float64Array.from(weights.subarray(channel * depth, (channel + 1) * depth));
			for (let j = 0; j < depth; j++) {
				const code = nearest(w[j]!, scaleAt(channel, j));
				codes[channel * depth + j] = code;
				const error = (w[j]! - code * scaleAt(channel, j)) / factor[j * depth + j]!;
				for (let k = j + 1; k < depth; k++) w[k]! -= error * factor[j * depth + k]!;
			}
		}
		return codes;
	}

	function outputError(matrix: Float64Array, codes: Int8Array): number {
		let sum = 0;
		for (let channel = 0; channel < channels; channel++) {
			const off = Array.from({ length: depth }, (_, j) => {
				return weights[channel * depth + j]! - codes[channel * depth + j]! * scaleAt(channel, j);
			});
			sum += quadratic(matrix, off);
		}
		return sum;
	}

	it("is the definition, its sum the error of the outputs, which is far below that of rounding", () => {
		const matrix = moments(depth, 200, 7);
		const factor = matrix.slice();
		factorOfInverse(factor, depth, 0);
		const codes = new Int8Array(weights.length);
		const loss = gptqCodes(weights, scales, problem(factor, -8), codes);
		expect(codes).toEqual(plain(factor));
		expect(loss / outputError(matrix, codes)).toBeCloseTo(1, 6);
		const rounded = Int8Array.from(weights, (value, i) => nearest(value, scaleAt(Math.floor(i / depth), i % depth)));
		expect(outputError(matrix, codes)).toBeLessThan(0.6 * outputError(matrix, rounded));
	});

	it("rounds where inputs have nothing to do with each other, and keeps to the codes allowed", () => {
		const factor = new Float64Array(depth * depth);
		for (let i = 0; i < depth; i++) factor[i * depth + i] = 1;
		const codes = new Int8Array(weights.length);
		gptqCodes(weights, scales, problem(factor, -7), codes);
		expect(codes).toEqual(
			Int8Array.from(weights, (value, i) => Math.max(-7, nearest(value, scaleAt(Math.floor(i / depth), i % depth)))),
		);
	});

	it("takes large inputs first, each group in its own order", () => {
		const matrix = moments(depth, 200, 7).map((value) => value / 200);
		const groups = new Float64Array(2 * matrix.length);
		groups.set(matrix);
		for (let i = 0; i < depth; i++) groups[matrix.length + i * depth + i] = 1 + i;
		const order = new Uint32Array(2 * depth);
		expect(factorsOfInverses(groups, order, depth, undefined)).toBe(true);
		expect([...order.subarray(depth)]).toEqual(Array.from({ length: depth }, (_, i) => depth - 1 - i));
		const sizes = Array.from(order.subarray(0, depth), (input) => matrix[input * depth + input]!);
		expect(sizes).toEqual(sizes.toSorted((a, b) => b - a));
		const twice = Float32Array.from([...weights, ...weights]);
		const codes = new Int8Array(twice.length);
		const both = { depth, blockSize, factors: groups, order, codeMin: -8, codeMax: 7 };
		gptqCodesOfGroups(twice, Float32Array.from([...scales, ...scales]), both, codes);
		const rounded = Int8Array.from(weights, (value, i) => nearest(value, scaleAt(Math.floor(i / depth), i % depth)));
		expect(codes.subarray(weights.length)).toEqual(rounded);
		const inOrder = new Int8Array(weights.length);
		const factor = matrix.slice();
		factorOfInverse(factor, depth, 0.01);
		gptqCodes(weights, scales, problem(factor, -8), inOrder);
		expect(outputError(matrix, codes.subarray(0, weights.length))).toBeLessThan(outputError(matrix, inOrder));
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
		const factors = meansOf(rows, 2, row);
		const order = new Uint32Array(size);
		expect(factorsOfInverses(factors, order, size, known)).toBe(true);
		const codes = new Int8Array(weights.length);
		const own = { depth: size, blockSize: size, factors, order, codeMin: -8, codeMax: 7 };
		gptqCodesOfGroups(weights, scales, own, codes);
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
