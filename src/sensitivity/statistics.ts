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

/**
 * By how many dB two means of noise differ by the chance of their samples, as a standard error; null where a side has fewer
 * than two samples, or no noise.
 */
export function chanceDb(a: readonly number[], b: readonly number[]): number | null {
	const errors = [a, b].map((samples) => {
		const middle = mean(samples);
		const variance = samples.reduce((sum, sample) => sum + (sample - middle) ** 2, 0) / (samples.length - 1);
		return Math.sqrt(variance / samples.length) / middle;
	});
	const error = (10 / Math.LN10) * Math.hypot(...errors);
	return Number.isFinite(error) ? error : null;
}

/** dB of a ratio of noise to signal. */
export function decibelsOf(ratio: number): number {
	if (ratio === 0) return NO_NOISE_DB;
	return Math.max(-NO_NOISE_DB, Math.min(NO_NOISE_DB, -10 * Math.log10(ratio)));
}
