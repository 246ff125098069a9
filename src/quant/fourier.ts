/** Cosine and sine of `2 pi index / length`, exact to a rounding however large `index` is. */
export function rootOfUnity(index: number, length: number): readonly [cos: number, sin: number] {
	const angle = (2 * Math.PI * (index % length)) / length;
	return [Math.cos(angle), Math.sin(angle)];
}

/** How a discrete Fourier transform is to be computed. */
export interface FourierSpec {
	/** Of the transform, in samples: `X[k] = sum over n of x[n] exp(-2 pi i k n / length)`. */
	readonly length: number;
	/** How many samples there are: what is missing counts as 0, what is beyond `length` does not count. */
	readonly samples: number;
	/** How many `X[k]` are wanted, from 0 on. */
	readonly bins: number;
	/** Do samples have a real and an imaginary part, one behind the other? */
	readonly isComplex: boolean;
	/** The other way round: `+ i` in the exponent, divided by `length`. */
	readonly isInverse: boolean;
}

/**
 * The matrix that a row of samples is multiplied with: [samples or 2 * samples, 2 * bins], row after row, real and imaginary
 * part of each result beside each other.
 */
export function fourierMatrix({ length, samples, bins, isComplex, isInverse }: FourierSpec): Float32Array {
	const parts = isComplex ? 2 : 1;
	const columns = 2 * bins;
	const matrix = new Float32Array(samples * parts * columns);
	const [sign, factor] = isInverse ? [1, 1 / length] : [-1, 1];
	for (let sample = 0; sample < Math.min(samples, length); sample++) {
		for (let bin = 0; bin < bins; bin++) {
			const [cos, sin] = rootOfUnity(sample * bin, length);
			const [real, imaginary] = [cos * factor, sign * sin * factor];
			const at = sample * parts * columns + 2 * bin;
			matrix.set([real, imaginary], at);
			if (isComplex) matrix.set([-imaginary, real], at + columns);
		}
	}
	return matrix;
}

/**
 * Kernels of a convolution over a signal that computes the transforms of its frames: [2 * bins, 1, frame], real and imaginary
 * part of each result one behind the other.
 *
 * @param window what the samples of a frame are multiplied with, as many as a frame has.
 */
export function frameKernels(window: ArrayLike<number>, bins: number): Float32Array {
	const frame = window.length;
	const kernels = new Float32Array(2 * bins * frame);
	for (let bin = 0; bin < bins; bin++) {
		for (let sample = 0; sample < frame; sample++) {
			const [cos, sin] = rootOfUnity(sample * bin, frame);
			kernels[2 * bin * frame + sample] = cos * window[sample]!;
			kernels[(2 * bin + 1) * frame + sample] = -sin * window[sample]!;
		}
	}
	return kernels;
}
