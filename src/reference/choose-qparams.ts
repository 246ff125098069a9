import { expectLength } from "../quant/layout.js";
import { roundHalfEven } from "../quant/rounding.js";

/** Scales below this are raised to it; a float32, as in ExecuTorch. */
export const SMALLEST_TOKEN_SCALE = Math.fround(6.1e-5);

/** The scale of a token that is all zero, or whose scale has no finite reciprocal in float32. */
const FALLBACK_SCALE = 0.1;

/** The affine parameters of every token: x ~ (code - zeroPoint) * scale. */
export interface TokenQparams {
	/** [rows]; float64, since the rules compute in it. Kernels read it as float32. */
	readonly scales: Float64Array;
	/** [rows], within quantMin..quantMax. */
	readonly zeroPoints: Int32Array;
}

/**
 * Scale and zero point for the dynamic quantization of every token (row), by the rules of ExecuTorch's `choose_qparams`
 * (kernels/quantized/cpu/op_choose_qparams.cpp), which are PyTorch's ChooseQuantizationParams:
 * 1. the range is forced through zero: min(x, 0), max(x, 0);
 * 2. scale = (max - min) / (quantMax - quantMin) in float64; 0.1 where that is 0 or its reciprocal infinite in float32;
 * 3. scales below 6.1e-5 become that, and the range is stretched: the other end where one is 0, else both in proportion;
 * 4. the zero point follows from the end of the range that gives the smaller error, rounded half to even and clamped.
 *
 * @param values finite float32 [rows, columns].
 * @throws RangeError when there are not rows * columns values, one of them is not finite, or quantMin >= quantMax.
 */
export function chooseQparamsPerToken(
	values: Float32Array,
	rows: number,
	columns: number,
	quantMin = -128,
	quantMax = 127,
): TokenQparams {
	expectLength("values", values.length, rows * columns);
	if (!(quantMin < quantMax)) throw new RangeError(`codes from ${quantMin} to ${quantMax}`);
	const scales = new Float64Array(rows);
	const zeroPoints = new Int32Array(rows);
	for (let row = 0; row < rows; row++) {
		let min = 0;
		let max = 0;
		for (let at = row * columns; at < (row + 1) * columns; at++) {
			const value = values[at]!;
			if (!Number.isFinite(value))
				throw new RangeError(`${value} at [${row}, ${at - row * columns}], expected finite numbers`);
			if (value < min) min = value;
			if (value > max) max = value;
		}
		const chosen = chooseQparams(min, max, quantMin, quantMax);
		scales[row] = chosen.scale;
		zeroPoints[row] = chosen.zeroPoint;
	}
	return { scales, zeroPoints };
}

/** For float32 min <= 0 <= max. */
function chooseQparams(
	min: number,
	max: number,
	quantMin: number,
	quantMax: number,
): { readonly scale: number; readonly zeroPoint: number } {
	const steps = quantMax - quantMin;
	let scale = (max - min) / steps;
	if (Math.fround(scale) === 0 || Math.fround(1 / Math.fround(scale)) === Number.POSITIVE_INFINITY)
		scale = FALLBACK_SCALE;
	let [low, high] = [min, max];
	if (scale < SMALLEST_TOKEN_SCALE) {
		const stretch = Math.fround(SMALLEST_TOKEN_SCALE / Math.fround(scale));
		if (min === 0) high = Math.fround(SMALLEST_TOKEN_SCALE * steps);
		else if (max === 0) low = -Math.fround(SMALLEST_TOKEN_SCALE * steps);
		else [low, high] = [Math.fround(min * stretch), Math.fround(max * stretch)];
		scale = SMALLEST_TOKEN_SCALE;
	}
	const errorOfMin = Math.abs(quantMin) - Math.abs(low / scale);
	const errorOfMax = Math.abs(quantMax) - Math.abs(high / scale);
	const exact = errorOfMin < errorOfMax ? quantMin - low / scale : quantMax - high / scale;
	return { scale, zeroPoint: Math.min(quantMax, Math.max(quantMin, roundHalfEven(exact))) };
}
