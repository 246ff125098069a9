import { solveKnapsack } from "../recipe/knapsack.js";
import { candidateName } from "./find-sensitivity-units.js";
import type { CandidateNoise } from "./isolated-noise.js";
import { type KnownUnit, localRatio, type Prediction } from "./prediction.js";

/** What becomes of each unit, by its name. */
export type ChosenCandidates = ReadonlyMap<string, CandidateNoise>;

/** A unit among whose candidates there is to choose. */
export interface ChoiceUnit {
	readonly known: KnownUnit;
	/** Factor of its loss. */
	readonly weight: number;
}

/** Chooses a candidate for every unit, by size and predicted loss. */
export class PrecisionChoice {
	readonly units: readonly ChoiceUnit[];
	readonly #prediction: Prediction;

	constructor(units: readonly ChoiceUnit[], prediction: Prediction) {
		this.units = units;
		this.#prediction = prediction;
	}

	/** Weights in all units. */
	get elements(): number {
		return this.units.reduce((sum, { known }) => sum + known.unit.elements, 0);
	}

	/** Of codes and scales. */
	bytesOf(chosen: ChosenCandidates): number {
		return this.units.reduce((sum, { known }) => sum + chosen.get(known.unit.name)!.bytes, 0);
	}

	/** The sum of what the units lose alone, without weights. */
	sumOf(chosen: ChosenCandidates): number {
		return this.units.reduce((sum, { known }) => sum + this.#prediction.alone(known, chosen.get(known.unit.name)!), 0);
	}

	/** The choice of least loss within so many bytes; undefined where none fits. */
	within(bytes: number, lossOf: LossOf = this.predicted): ChosenCandidates | undefined {
		const choices = this.units.map((unit) =>
			unit.known.candidates.map((candidate) => ({ cost: candidate.bytes, loss: lossOf(unit, candidate) })),
		);
		const solution = solveKnapsack(choices, bytes + 0.5);
		return solution && this.#pick((_, index) => solution.chosen[index]!);
	}

	smallest(): ChosenCandidates {
		return this.#pick(({ known }) => leastOf(known.candidates, ({ bytes }) => bytes));
	}

	mostExact(): ChosenCandidates {
		return this.#pick((unit) => leastOf(unit.known.candidates, (candidate) => this.predicted(unit, candidate)));
	}

	/** All units at one candidate, those that do not have it at the one that comes closest in bits above it. */
	single(isCandidate: (candidate: CandidateNoise) => boolean): ChosenCandidates {
		return this.#pick(({ known }) => {
			const index = known.candidates.findIndex(isCandidate);
			return index >= 0 ? index : leastOf(known.candidates, localRatio);
		});
	}

	/** From the smallest candidates on, the step that `order` puts first of those that fit, until none fits any more. */
	greedy(bytes: number, order: GreedyOrder): ChosenCandidates {
		const chosen = new Map(this.smallest());
		let size = this.bytesOf(chosen);
		for (;;) {
			let best: GreedyStep | undefined;
			for (const [place, unit] of this.units.entries()) {
				const from = chosen.get(unit.known.unit.name)!;
				for (const to of unit.known.candidates) {
					const gain = this.predicted(unit, from) - this.predicted(unit, to);
					const cost = to.bytes - from.bytes;
					if (!(gain > 0 && cost > 0 && size + cost <= bytes)) continue;
					const step = { unit: unit.known.unit.name, to, gain, cost, loss: this.predicted(unit, from), from, place };
					if (best === undefined || order(step) > order(best)) best = step;
				}
			}
			if (best === undefined) return chosen;
			chosen.set(best.unit, best.to);
			size += best.cost;
		}
	}

	/**
	 * Units by how little it takes for another candidate to be the better one at the price that a byte has in `chosen`: what is
	 * near the decision comes first.
	 */
	nearest(chosen: ChosenCandidates): KnownUnit[] {
		const price = this.#priceIn(chosen);
		const margins = this.units.map((unit) => {
			const own = chosen.get(unit.known.unit.name)!;
			const value = (candidate: CandidateNoise) => this.predicted(unit, candidate) + price * candidate.bytes;
			const others = unit.known.candidates.filter((candidate) => candidate !== own).map(value);
			return { known: unit.known, margin: Math.min(...others) - value(own) };
		});
		return margins.sort((a, b) => a.margin - b.margin).map(({ known }) => known);
	}

	/** What it brings to make `candidate` of a unit instead of `own`, in words. */
	worth(name: string, own: CandidateNoise, candidate: CandidateNoise, ownOf: (name: string) => CandidateNoise): string {
		const unit = this.units.find(({ known }) => known.unit.name === name);
		if (unit === undefined) return `${candidateName(candidate.setting)} instead of ${candidateName(own.setting)}`;
		const whole = this.units.reduce((sum, one) => sum + this.predicted(one, ownOf(one.known.unit.name)), 0);
		const share = (one: CandidateNoise) =>
			`${((100 * this.predicted(unit, one)) / whole).toPrecision(2)} % of the noise as ${candidateName(one.setting)}`;
		const kilobytes = (candidate.bytes - own.bytes) / 1000;
		return `${share(own)}, ${share(candidate)}; ${Math.abs(kilobytes).toFixed(1)} kB ${kilobytes > 0 ? "more" : "less"}`;
	}

	/** What a unit loses, weighted. */
	readonly predicted: LossOf = ({ known, weight }, candidate) => weight * this.#prediction.alone(known, candidate);

	/** Loss that another byte would save. */
	#priceIn(chosen: ChosenCandidates): number {
		const bytes = this.bytesOf(chosen);
		const more = this.within(bytes * 1.02);
		if (more === undefined || this.bytesOf(more) <= bytes) return 0;
		const lossOf = (of: ChosenCandidates) =>
			this.units.reduce((sum, unit) => sum + this.predicted(unit, of.get(unit.known.unit.name)!), 0);
		return Math.max(0, lossOf(chosen) - lossOf(more)) / (this.bytesOf(more) - bytes);
	}

	#pick(indexOf: (unit: ChoiceUnit, index: number) => number): ChosenCandidates {
		return new Map(
			this.units.map((unit, index) => [unit.known.unit.name, unit.known.candidates[indexOf(unit, index)]!] as const),
		);
	}
}

export type LossOf = (unit: ChoiceUnit, candidate: CandidateNoise) => number;

interface GreedyStep {
	readonly unit: string;
	readonly from: CandidateNoise;
	readonly to: CandidateNoise;
	readonly gain: number;
	readonly cost: number;
	/** Before the step. */
	readonly loss: number;
	/** Of the unit in the graph. */
	readonly place: number;
}

export type GreedyOrder = (step: GreedyStep) => number;

/** What a greedy walk takes next: the step with the highest number. */
export const GREEDY_ORDERS: Readonly<Record<string, GreedyOrder>> = {
	"gain a byte": ({ gain, cost }) => gain / cost,
	gain: ({ gain }) => gain,
	"noisiest first": ({ loss }) => loss,
	"worst layer first": ({ from }) => localRatio(from),
	"smallest first": ({ from }) => -from.bytes,
	"first to last": ({ place }) => -place,
	"last to first": ({ place }) => place,
};

function leastOf(candidates: readonly CandidateNoise[], figure: (candidate: CandidateNoise) => number): number {
	const figures = candidates.map(figure);
	return figures.indexOf(Math.min(...figures));
}
