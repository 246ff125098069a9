import type { AnalysisMode, SqnrGroup } from "./analysis.js";
import { candidateName, type SensitivityUnit } from "./find-sensitivity-units.js";
import type { CandidateNoise } from "./isolated-noise.js";
import { localRatio } from "./prediction.js";
import { decibelsOf } from "./statistics.js";

/** Promotes what is below a threshold: all units of a sensitive group by one step, or each unit as far as it needs. */
export class ThresholdChoice {
	readonly #mode: Extract<AnalysisMode, { readonly kind: "threshold" }>;
	readonly #groups: readonly SqnrGroup[];

	/** @param groups none in data-free mode, where units count by themselves. */
	constructor(mode: Extract<AnalysisMode, { readonly kind: "threshold" }>, groups: readonly SqnrGroup[]) {
		this.#mode = mode;
		this.#groups = mode.grouping === "executorch" ? groups : [];
	}

	/** What a unit below the threshold becomes instead of `own`; undefined for one that is not. */
	promoted(
		unit: SensitivityUnit,
		own: CandidateNoise,
		candidates: readonly CandidateNoise[],
	): CandidateNoise | undefined {
		const better = candidates
			.filter((candidate) => localRatio(candidate) < localRatio(own))
			.sort((a, b) => a.bytes - b.bytes || localRatio(b) - localRatio(a));
		if (this.#groups.length > 0) {
			if (this.#groupOf(unit)?.isSensitive !== true) return undefined;
			return better.find(({ setting }) => setting.precision === "16a8w") ?? better.at(-1);
		}
		const isEnough = (candidate: CandidateNoise) => decibelsOf(localRatio(candidate)) >= this.#mode.thresholdDb;
		return isEnough(own) ? undefined : (better.find(isEnough) ?? better.at(-1));
	}

	reason(unit: SensitivityUnit, own: CandidateNoise, candidate: CandidateNoise): string {
		const { thresholdDb } = this.#mode;
		const group = this.#groupOf(unit);
		if (group !== undefined) {
			const { name, avgDb, medianDb, minDb } = group;
			const figures = `average ${avgDb.toFixed(1)}, median ${medianDb.toFixed(1)}, least ${minDb.toFixed(1)} dB`;
			return `group ${name}: ${figures}, below ${thresholdDb} dB`;
		}
		const figure = (one: CandidateNoise) =>
			`${candidateName(one.setting)} has ${decibelsOf(localRatio(one)).toFixed(1)} dB`;
		return `${figure(own)} by itself, below ${thresholdDb} dB; ${figure(candidate)}`;
	}

	/** The worst group that the unit is in. */
	#groupOf({ name }: SensitivityUnit): SqnrGroup | undefined {
		return this.#groups.find(({ units }) => units.includes(name));
	}
}
