import type { SensitivityUnit } from "./find-sensitivity-units.js";
import type { CandidateNoise } from "./isolated-noise.js";
import { median } from "./statistics.js";

/** Noise over signal at a unit's output as a candidate; in its weights where outputs were not measured; 0: none. */
export function localRatio({ output, weights }: CandidateNoise): number {
	const sum = output ?? weights;
	return sum === null || sum.error === 0 ? 0 : sum.error / sum.signal;
}

/** What is known of a unit. */
export interface KnownUnit {
	readonly unit: SensitivityUnit;
	readonly candidates: readonly CandidateNoise[];
	/** Loss at the model's outputs as one of the candidates, the unit alone quantized; undefined where it was not run. */
	readonly measured: { readonly candidate: CandidateNoise; readonly loss: number } | undefined;
}

/**
 * Predicts what a choice of candidates loses at the outputs. Noise of one unit grows in proportion to that at its own
 * output (the factor was measured once, or is that of other units of its role); noises of units add up, times a factor
 * that whole recipes were measured for: errors of layers are not wholly independent.
 */
export class Prediction {
	readonly #gains: ReadonlyMap<string, number>;
	readonly #isEndToEnd: boolean;
	/** Loss with nothing but activations quantized. */
	readonly #floor: number;
	/** Sums of losses, and how many times that much was measured, by rising sum. */
	#factors: readonly { readonly sum: number; readonly factor: number }[] = [];

	constructor(units: readonly KnownUnit[], floor: number) {
		this.#floor = floor;
		this.#isEndToEnd = units.some(({ measured }) => measured !== undefined);
		this.#gains = gainsOf(units);
	}

	/** Are losses those at the model's outputs? Without measurements they are those of units by themselves. */
	get isEndToEnd(): boolean {
		return this.#isEndToEnd;
	}

	/** Loss at the outputs with the unit alone quantized. */
	alone({ unit, measured }: KnownUnit, candidate: CandidateNoise): number {
		if (measured?.candidate === candidate) return measured.loss;
		return localRatio(candidate) * this.#gains.get(unit.name)!;
	}

	/** Learns what whole recipes lose, without activations. */
	learn(recipes: readonly { readonly sum: number; readonly measured: number }[]): void {
		this.#factors = recipes
			.filter(({ sum, measured }) => sum > 0 && measured > 0)
			.map(({ sum, measured }) => ({ sum, factor: measured / sum }))
			.sort((a, b) => a.sum - b.sum);
	}

	/** @param sum of the losses of all units alone. */
	together(sum: number): number {
		return this.#floor + sum * this.#factorAt(sum);
	}

	/** Between the recipes that were measured, by their logarithms. */
	#factorAt(sum: number): number {
		const above = this.#factors.findIndex((point) => point.sum >= sum);
		const [first, last] = [this.#factors[0], this.#factors.at(-1)];
		if (first === undefined || last === undefined) return 1;
		if (above === 0 || sum === 0) return first.factor;
		if (above < 0) return last.factor;
		const [low, high] = [this.#factors[above - 1]!, this.#factors[above]!];
		const share = Math.log(sum / low.sum) / Math.log(high.sum / low.sum);
		return low.factor * (high.factor / low.factor) ** share;
	}
}

/** How many times the noise at a unit's output comes to the model's outputs. */
function gainsOf(units: readonly KnownUnit[]): Map<string, number> {
	const known = new Map<string, number>();
	for (const { unit, measured } of units) {
		const ratio = measured === undefined ? 0 : localRatio(measured.candidate);
		if (measured !== undefined && ratio > 0) known.set(unit.name, measured.loss / ratio);
	}
	const typical = (isLike: (other: SensitivityUnit) => boolean) => {
		const gains = units.filter(({ unit }) => isLike(unit)).flatMap(({ unit }) => known.get(unit.name) ?? []);
		return gains.length === 0 ? undefined : median(gains);
	};
	return new Map(
		units.map(({ unit }) => {
			const gain =
				known.get(unit.name) ??
				typical((other) => other.kind === unit.kind && other.role === unit.role) ??
				typical(() => true) ??
				1;
			return [unit.name, gain] as const;
		}),
	);
}
