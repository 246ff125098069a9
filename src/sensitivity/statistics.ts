import { NO_NOISE_DB } from "./analysis.js";

export function mean(figures: readonly number[]): number {
	return figures.reduce((sum, figure) => sum + figure, 0) / figures.length;
}

/** Of one figure or more. */
export function median(figures: readonly number[]): number {
	const sorted = [...figures].sort((a, b) => a - b);
	const middle = sorted.length >> 1;
	return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** dB of a ratio of noise to signal. */
export function decibelsOf(ratio: number): number {
	if (ratio === 0) return NO_NOISE_DB;
	return Math.max(-NO_NOISE_DB, Math.min(NO_NOISE_DB, -10 * Math.log10(ratio)));
}
