import { describe, expect, it } from "vitest";
import { factorOfInverse, gptqCodes } from "../../src/quant/gptq.js";
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
		expect(factorOfInverse(Float64Array.of(Number.NaN, 0, 0, 1), 2)).toBe(false);
	});
});

describe("gptqCodes", () => {
	const [depth, channels, blockSize] = [48, 21, 16] as const;
	const random = randomSource(3);
	const weights = Float32Array.from({ length: channels * depth }, () => random() - 0.5);
	const scales = Float32Array.from({ length: channels * 3 }, () => 0.06 + 0.02 * random());
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
		const loss = gptqCodes(weights, scales, depth, blockSize, factor, -8, 7, codes);
		expect(codes).toEqual(plain(factor));
		expect(loss / outputError(matrix, codes)).toBeCloseTo(1, 6);
		const rounded = Int8Array.from(weights, (value, i) => nearest(value, scaleAt(Math.floor(i / depth), i % depth)));
		expect(outputError(matrix, codes)).toBeLessThan(0.6 * outputError(matrix, rounded));
	});

	it("rounds where inputs have nothing to do with each other, and keeps to the codes allowed", () => {
		const factor = new Float64Array(depth * depth);
		for (let i = 0; i < depth; i++) factor[i * depth + i] = 1;
		const codes = new Int8Array(weights.length);
		gptqCodes(weights, scales, depth, blockSize, factor, -7, 7, codes);
		expect(codes).toEqual(
			Int8Array.from(weights, (value, i) => Math.max(-7, nearest(value, scaleAt(Math.floor(i / depth), i % depth)))),
		);
	});
});
