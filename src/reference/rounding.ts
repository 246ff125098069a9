import { roundHalfAway, roundHalfEven } from "../quant/rounding.js";

/**
 * What becomes of an exact half. `half-away`: 2.5 -> 3, -2.5 -> -3, as C's `round` and ET-VK's quantizing shaders do.
 * `half-even`: 2.5 -> 2, 3.5 -> 4, as C's `nearbyint` and ONNX's QuantizeLinear do.
 */
export type RoundingMode = "half-away" | "half-even";

export const ROUNDING_MODES: readonly RoundingMode[] = ["half-away", "half-even"];

export function rounder(mode: RoundingMode): (value: number) => number {
	return mode === "half-away" ? roundHalfAway : roundHalfEven;
}

/** `clamp(round(value / scale) + zeroPoint, min, max)`, the quotient in float32. */
export function quantize(
	value: number,
	scale: number,
	zeroPoint: number,
	{ min, max }: { readonly min: number; readonly max: number },
	round: (value: number) => number,
): number {
	return Math.min(max, Math.max(min, round(Math.fround(value / scale)) + zeroPoint));
}
