import { CholeskyDecomposition, Matrix } from "ml-matrix";
import { Random } from "../quant/random.js";
import type { ChoiceUnit, ChosenCandidates, LossOf, PrecisionChoice } from "./choose-precisions.js";
import type { CandidateNoise } from "./isolated-noise.js";
import { mean } from "./statistics.js";

/** Standard deviations of the logarithms of what predictions are off by. */
interface Spread {
	/** Of all candidates of a unit together. */
	readonly unit: number;
	/** Of each candidate. */
	readonly candidate: number;
	/** Of choices, whose units' noises do not merely add up. */
	readonly choice: number;
}

/** Of which the one is taken that makes the runs most likely. */
const SPREADS: readonly Spread[] = [0.1, 0.3, 0.8].flatMap((unit) =>
	[0.05, 0.2, 0.6].flatMap((candidate) => [0.02, 0.08, 0.3].map((choice) => ({ unit, candidate, choice }))),
);

/** So many runs later spreads are looked for anew. */
const RUNS_TO_LEARN = 8;

/** Of the factor that all predictions are off by. */
const FACTOR_SPREAD = 0.2;

/** Of each choice by itself: what units that hardly matter as far as predicted may change. */
const OWN_SPREAD = 0.01;

/**
 * Of two choices samples are thought to agree the more the more the choices have in common, and that thought is worth so many
 * samples.
 */
const [PRIOR_SAMPLES, PRIOR_SIMILARITY] = [3, 4];

/** Standard deviations by which a choice is to be better than a simple one. */
const DOUBT = 2;

/** Losses below are not told apart: of units, and as a part of what is predicted. */
const SMALLEST = 1e-12;

/** So small a part of the largest variance is added to all, so that runs that say the same do not matter. */
const RIDGE = 1e-10;

interface Run {
	readonly chosen: ChosenCandidates;
	readonly samples: readonly number[];
	readonly measured: number;
	readonly predicted: number;
	/** Of each unit in what is predicted. */
	readonly parts: readonly number[];
}

/** What two runs have in common. */
interface Relation {
	/** Is it a run with itself? */
	readonly isOne: boolean;
	/** Products of the parts that each unit has in what is predicted, added up. */
	readonly units: number;
	/** Of those units of which both make the same. */
	readonly same: number;
	/** Part of the loss that is in units of which they make different things. */
	readonly distance: number;
	/** Products of how far each sample is from the mean, as parts of the means, added up over `count` samples. */
	readonly deviations: number;
	readonly count: number;
}

interface Solved {
	readonly spread: Spread;
	/** What losses have in common, of the choices themselves: without the chance of the samples. */
	readonly losses: Matrix;
	/** Of runs: losses and the chance of samples. */
	readonly whole: CholeskyDecomposition;
	/** Of runs, where losses of units are known. */
	readonly rest: CholeskyDecomposition;
}

/**
 * What choices of precisions lose, as far as runs tell: a Gaussian process over the logarithms of losses. Before any run a loss
 * is the one predicted, off by a common factor, one of each unit and one of each candidate, these last in proportion to the
 * unit's part in the loss; and noises of units need not merely add up, which choices that have much in common share. A run is
 * off by the chance of its samples; the covariance of choices over the samples says how much of that two of them share. So a
 * difference counts as much as samples agree on it, and predictions make up for what few samples cannot say: the best of many
 * runs looks better than it is. Logarithms, since the chance of a loss is in proportion to it: taken so from what was measured,
 * runs that lost little by chance would count as certain, and all estimates come out below what was measured.
 */
export class LossModel {
	readonly #choice: PrecisionChoice;
	readonly #random = new Random("losses of choices");
	readonly #runs: Run[] = [];
	/** Of each run with those before it, and with itself. */
	readonly #relations: Relation[][] = [];
	/** Of single samples, as a part of the squared mean, in the mean over all runs. */
	#variance = 0;
	#spread: Spread | undefined;
	/** Of each unit, its part in the loss of a mean choice. */
	readonly #shares: readonly number[];
	#solved: Solved | undefined;

	constructor(choice: PrecisionChoice) {
		this.#choice = choice;
		const means = choice.units.map((unit) => mean(unit.known.candidates.map((one) => choice.predicted(unit, one))));
		const sum = means.reduce((a, b) => a + b, 0);
		this.#shares = means.map((one) => (sum === 0 ? 0 : one / sum));
	}

	/** @param samples what each sample loses with the choice. */
	add(chosen: ChosenCandidates, samples: readonly number[]): void {
		const ofUnits = this.#choice.units.map((unit) =>
			Math.max(SMALLEST, this.#choice.predicted(unit, candidateIn(chosen, unit))),
		);
		const predicted = ofUnits.reduce((a, b) => a + b, 0);
		const parts = ofUnits.map((one) => one / predicted);
		const run = { chosen, samples, measured: Math.max(mean(samples), SMALLEST * predicted), predicted, parts };
		this.#runs.push(run);
		this.#relations.push(this.#runs.map((other) => this.#relation(run, other)));
		this.#variance = mean(this.#relations.map((row) => varianceIn(row.at(-1)!)));
		this.#solved = undefined;
	}

	has(chosen: ChosenCandidates): boolean {
		return this.#runs.some((run) => run.chosen.size === chosen.size && this.#isSame(run.chosen, chosen));
	}

	/**
	 * Of the choices that were run the one to take: the one of `simple` ones that is expected to lose least as far as all runs
	 * tell, or another that is better beyond doubt twice: as far as all runs tell, and in its own runs. Which of the simple ones
	 * it is their own runs do not decide: between choices that differ little that would be the chance of few samples.
	 */
	best(simple: readonly ChosenCandidates[]): ChosenCandidates {
		const { whole, losses } = this.#solve();
		const isSimple = this.#runs.map(({ chosen }) => simple.some((one) => this.#isSame(one, chosen)));
		const more = losses.mmul(whole.solve(this.#surprises()));
		const expected = this.#runs.map(({ predicted }, row) => Math.log(predicted) + more.get(row, 0));
		const start = leastAt(
			expected.map((loss, row) => (isSimple[row] || !isSimple.includes(true) ? loss : Number.POSITIVE_INFINITY)),
		);
		const open = Matrix.sub(losses, losses.mmul(whole.solve(losses)));
		const chance = this.#square((relation) => this.#chance(relation));
		const differences = expected.map((loss, row) => {
			if (row === start) return 0;
			const own = Math.log(this.#runs[row]!.measured / this.#runs[start]!.measured);
			if (own + DOUBT * deviationBetween(chance, row, start) >= 0) return Number.POSITIVE_INFINITY;
			return loss - expected[start]! + DOUBT * deviationBetween(open, row, start);
		});
		return this.#runs[leastAt(differences)]!.chosen;
	}

	/** Losses of units as they are most likely to be. */
	expected(): LossOf {
		return this.#lossesFrom(this.#surprises(), () => 0);
	}

	/** Losses of units as they may be as well: a draw from what runs leave open. */
	draw(): LossOf {
		const { rest, spread } = this.#solve();
		const factor = FACTOR_SPREAD * this.#random.normal();
		const deviations = new Map<CandidateNoise, number>();
		for (const { known } of this.#choice.units) {
			const unit = spread.unit * this.#random.normal();
			for (const candidate of known.candidates) {
				deviations.set(candidate, factor + unit + spread.candidate * this.#random.normal());
			}
		}
		const drawnOf = ({ chosen, parts }: Run) =>
			this.#choice.units.reduce(
				(sum, unit, index) => sum + parts[index]! * deviations.get(candidateIn(chosen, unit))!,
				0,
			);
		const normal = Matrix.columnVector(this.#runs.map(() => this.#random.normal()));
		const drawn = rest.lowerTriangularMatrix.mmul(normal).add(Matrix.columnVector(this.#runs.map(drawnOf)));
		return this.#lossesFrom(this.#surprises().sub(drawn), (candidate) => deviations.get(candidate)!);
	}

	/** [runs, 1]: the logarithm of measured over predicted, beside that of the run that was predicted best. */
	#surprises(): Matrix {
		const surprises = this.#runs.map(({ measured, predicted }) => Math.log(measured / predicted));
		return Matrix.columnVector(surprises.map((surprise) => surprise - surprises[0]!));
	}

	/** Losses given what runs found more than was expected, on top of deviations. */
	#lossesFrom(surprises: Matrix, deviationOf: (candidate: CandidateNoise) => number): LossOf {
		const { whole, spread } = this.#solve();
		const weights = whole.solve(surprises).to1DArray();
		const common = FACTOR_SPREAD ** 2 * weights.reduce((a, b) => a + b, 0);
		const ofUnits = new Map(
			this.#choice.units.map((unit, index) => {
				const shared = weights.reduce((sum, weight, row) => sum + weight * this.#runs[row]!.parts[index]!, 0);
				return [unit, common + spread.unit ** 2 * shared] as const;
			}),
		);
		const ofCandidates = new Map<CandidateNoise, number>();
		for (const [row, { chosen, parts }] of this.#runs.entries()) {
			for (const [index, unit] of this.#choice.units.entries()) {
				const own = candidateIn(chosen, unit);
				const more = spread.candidate ** 2 * weights[row]! * parts[index]!;
				ofCandidates.set(own, (ofCandidates.get(own) ?? 0) + more);
			}
		}
		return (unit, candidate) => {
			const more = deviationOf(candidate) + ofUnits.get(unit)! + (ofCandidates.get(candidate) ?? 0);
			return this.#choice.predicted(unit, candidate) * Math.exp(more);
		};
	}

	#solve(): Solved {
		if (this.#solved !== undefined) return this.#solved;
		if (this.#spread === undefined || this.#runs.length % RUNS_TO_LEARN === 0) {
			const all = SPREADS.map((spread) => ({ spread, likelihood: this.#likelihood(spread) }));
			this.#spread = all.reduce((best, one) => (one.likelihood > best.likelihood ? one : best)).spread;
		}
		const spread = this.#spread;
		this.#solved = {
			spread,
			losses: this.#square((relation) => common(relation, spread)),
			whole: this.#whole(spread),
			rest: decompose(this.#square((relation) => notAdditive(relation, spread) + this.#chance(relation))),
		};
		return this.#solved;
	}

	#likelihood(spread: Spread): number {
		const whole = this.#whole(spread);
		const surprises = this.#surprises();
		const roots = whole.lowerTriangularMatrix.diagonal();
		return -surprises.dot(whole.solve(surprises)) / 2 - roots.reduce((sum, root) => sum + Math.log(root), 0);
	}

	#whole(spread: Spread): CholeskyDecomposition {
		return decompose(this.#square((relation) => common(relation, spread) + this.#chance(relation)));
	}

	/** Covariance of what two runs found over the samples. */
	#chance({ distance, deviations, count }: Relation): number {
		const prior = PRIOR_SAMPLES * this.#variance * Math.exp(-distance / PRIOR_SIMILARITY);
		return (deviations + prior) / (count - 1 + PRIOR_SAMPLES) / count;
	}

	#square(entry: (relation: Relation) => number): Matrix {
		const square = Matrix.zeros(this.#runs.length, this.#runs.length);
		for (const [row, relations] of this.#relations.entries()) {
			for (const [column, relation] of relations.entries()) {
				const value = entry(relation);
				square.set(row, column, value).set(column, row, value);
			}
		}
		return square;
	}

	#relation(a: Run, b: Run): Relation {
		let [units, same, distance] = [0, 0, 0];
		for (const [index, unit] of this.#choice.units.entries()) {
			const product = a.parts[index]! * b.parts[index]!;
			units += product;
			if (candidateIn(a.chosen, unit) === candidateIn(b.chosen, unit)) same += product;
			else distance += this.#shares[index]!;
		}
		const count = Math.min(a.samples.length, b.samples.length);
		const sum = a.samples
			.slice(0, count)
			.reduce((total, sample, index) => total + (sample - a.measured) * (b.samples[index]! - b.measured), 0);
		const deviations = sum === 0 ? 0 : sum / (a.measured * b.measured);
		return { isOne: a === b, units, same, distance, deviations, count };
	}

	#isSame(a: ChosenCandidates, b: ChosenCandidates): boolean {
		return this.#choice.units.every((unit) => candidateIn(a, unit) === candidateIn(b, unit));
	}
}

function candidateIn(chosen: ChosenCandidates, { known }: ChoiceUnit): CandidateNoise {
	return chosen.get(known.unit.name)!;
}

/** Covariance of the losses of two choices. */
function common(relation: Relation, spread: Spread): number {
	const additive = FACTOR_SPREAD ** 2 + spread.unit ** 2 * relation.units + spread.candidate ** 2 * relation.same;
	return additive + notAdditive(relation, spread);
}

function notAdditive({ distance, isOne }: Relation, { choice }: Spread): number {
	return choice ** 2 * Math.exp(-distance) + (isOne ? OWN_SPREAD ** 2 : 0);
}

/** Of a run's samples; of one sample nothing is known: as much as the loss. */
function varianceIn({ deviations, count }: Relation): number {
	return count < 2 ? 1 : deviations / (count - 1);
}

/** The standard deviation of the difference of two that have a covariance. */
function deviationBetween(covariance: Matrix, a: number, b: number): number {
	return Math.sqrt(Math.max(0, covariance.get(a, a) + covariance.get(b, b) - 2 * covariance.get(a, b)));
}

function leastAt(figures: readonly number[]): number {
	return figures.indexOf(Math.min(...figures));
}

/** Of a covariance; where rounding made it none, as much is added to variances as makes it one. */
function decompose(covariance: Matrix): CholeskyDecomposition {
	const largest = Math.max(...covariance.diagonal(), Number.MIN_VALUE);
	for (let ridge = RIDGE; ; ridge *= 10) {
		const found = new CholeskyDecomposition(
			Matrix.add(covariance, Matrix.eye(covariance.rows, covariance.rows, ridge * largest)),
		);
		if (found.isPositiveDefinite() || ridge > 1) return found;
	}
}
