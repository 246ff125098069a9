import { CholeskyDecomposition, Matrix } from "ml-matrix";
import { Random } from "../quant/random.js";
import type { ChoiceUnit, ChosenCandidates, LossOf, PrecisionChoice } from "./choose-precisions.js";
import type { CandidateNoise } from "./isolated-noise.js";
import { mean } from "./statistics.js";

/** Standard deviations of what predictions are off by, as parts of the loss. */
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

/**
 * What is thought of the samples before any was seen, and how many samples that thought is worth: losses that spread as much as
 * they are in the mean, alike for choices that have much in common.
 */
const [PRIOR_SAMPLES, PRIOR_SIMILARITY] = [3, 4];

/** Standard deviations by which a choice is to be better than a simple one. */
const DOUBT = 1;

/** So small a part of the largest variance is added to all, so that runs that say the same do not matter. */
const RIDGE = 1e-10;

interface Run {
	readonly chosen: ChosenCandidates;
	readonly samples: readonly number[];
	readonly measured: number;
	/** Of each unit. */
	readonly predicted: readonly number[];
	readonly sum: number;
}

/** What two runs have in common. */
interface Relation {
	/** Products of what is predicted of each unit, added up. */
	readonly units: number;
	/** Of those units of which both make the same. */
	readonly same: number;
	/** Part of the loss that is in units of which they make different things. */
	readonly distance: number;
	/** Covariance of their means over the samples. */
	readonly chance: number;
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
 * What choices of precisions lose, as far as runs tell: a Gaussian process. Before any run losses are those predicted, times
 * 1 + a common factor + one of the unit + one of the candidate; and noises of units need not merely add up, which choices that
 * have much in common share. A run is off by the chance of its samples; the covariance of choices over the samples says
 * how much of that two of them share. So a difference counts as much as samples agree on it, and predictions make up for
 * what few samples cannot say: the best of many runs looks better than it is.
 */
export class LossModel {
	readonly #choice: PrecisionChoice;
	readonly #random = new Random("losses of choices");
	readonly #runs: Run[] = [];
	/** Of each run with those before it, and with itself. */
	readonly #relations: Relation[][] = [];
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
		const predicted = this.#choice.units.map((unit) => this.#choice.predicted(unit, candidateIn(chosen, unit)));
		const sum = predicted.reduce((a, b) => a + b, 0);
		const run = { chosen, samples, measured: mean(samples), predicted, sum };
		this.#runs.push(run);
		this.#relations.push(this.#runs.map((other) => this.#relation(run, other)));
		this.#solved = undefined;
	}

	has(chosen: ChosenCandidates): boolean {
		return this.#runs.some((run) => run.chosen.size === chosen.size && this.#isSame(run.chosen, chosen));
	}

	/**
	 * Of the choices that were run the one to take: the one of `simple` ones that lost least, or another that is better beyond
	 * doubt twice: in its own runs by more than the chance of the samples, and as far as all runs tell.
	 */
	best(simple: readonly ChosenCandidates[]): ChosenCandidates {
		const { whole, losses } = this.#solve();
		const isSimple = this.#runs.map(({ chosen }) => simple.some((one) => this.#isSame(one, chosen)));
		const start = leastAt(
			this.#runs.map(({ measured }, row) =>
				isSimple[row] || !isSimple.includes(true) ? measured : Number.POSITIVE_INFINITY,
			),
		);
		const more = losses.mmul(whole.solve(this.#surprises()));
		const expected = this.#runs.map(({ sum }, row) => this.#factor * sum + more.get(row, 0));
		const open = Matrix.sub(losses, losses.mmul(whole.solve(losses)));
		const differences = this.#runs.map(({ measured }, row) => {
			if (row === start) return 0;
			const chance =
				this.#chanceBetween(row, row) + this.#chanceBetween(start, start) - 2 * this.#chanceBetween(row, start);
			const difference = measured - this.#runs[start]!.measured;
			if (difference + DOUBT * Math.sqrt(Math.max(0, chance)) >= 0) return Number.POSITIVE_INFINITY;
			const variance = open.get(row, row) + open.get(start, start) - 2 * open.get(row, start);
			return expected[row]! - expected[start]! + DOUBT * Math.sqrt(Math.max(0, variance));
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
		const drawnOf = ({ chosen, predicted }: Run) =>
			this.#choice.units.reduce(
				(sum, unit, index) => sum + this.#factor * predicted[index]! * deviations.get(candidateIn(chosen, unit))!,
				0,
			);
		const normal = Matrix.columnVector(this.#runs.map(() => this.#random.normal()));
		const drawn = rest.lowerTriangularMatrix.mmul(normal).add(Matrix.columnVector(this.#runs.map(drawnOf)));
		return this.#lossesFrom(this.#surprises().sub(drawn), (candidate) => deviations.get(candidate)!);
	}

	/** Measured over predicted, in the run that was predicted best. */
	get #factor(): number {
		const [first] = this.#runs;
		return first === undefined || first.sum === 0 ? 1 : first.measured / first.sum;
	}

	/** [runs, 1] */
	#surprises(): Matrix {
		return Matrix.columnVector(this.#runs.map(({ measured, sum }) => measured - this.#factor * sum));
	}

	/** Losses given what runs found more than was expected, on top of deviations. */
	#lossesFrom(surprises: Matrix, deviationOf: (candidate: CandidateNoise) => number): LossOf {
		const { whole, spread } = this.#solve();
		const factor = this.#factor;
		const weights = whole.solve(surprises).to1DArray();
		const common =
			FACTOR_SPREAD ** 2 * factor * weights.reduce((sum, weight, row) => sum + weight * this.#runs[row]!.sum, 0);
		const ofUnits = new Map(
			this.#choice.units.map((unit, index) => {
				const shared = weights.reduce((sum, weight, row) => sum + weight * this.#runs[row]!.predicted[index]!, 0);
				return [unit, common + spread.unit ** 2 * factor * shared] as const;
			}),
		);
		const ofCandidates = new Map<CandidateNoise, number>();
		for (const [row, { chosen, predicted }] of this.#runs.entries()) {
			for (const [index, unit] of this.#choice.units.entries()) {
				const own = candidateIn(chosen, unit);
				const more = spread.candidate ** 2 * factor * weights[row]! * predicted[index]!;
				ofCandidates.set(own, (ofCandidates.get(own) ?? 0) + more);
			}
		}
		return (unit, candidate) => {
			const more = deviationOf(candidate) + ofUnits.get(unit)! + (ofCandidates.get(candidate) ?? 0);
			return Math.max(0, this.#choice.predicted(unit, candidate) * (1 + more));
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
			losses: this.#square((relation, sums) => this.#common(relation, sums, spread)),
			whole: this.#whole(spread),
			rest: decompose(this.#square((relation, sums) => this.#notAdditive(relation, sums, spread) + relation.chance)),
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
		return decompose(this.#square((relation, sums) => this.#common(relation, sums, spread) + relation.chance));
	}

	/** Covariance of the losses of two choices; `sums` is the product of what is predicted of them. */
	#common(relation: Relation, sums: number, spread: Spread): number {
		const { units, same } = relation;
		const additive = FACTOR_SPREAD ** 2 * sums + spread.unit ** 2 * units + spread.candidate ** 2 * same;
		return this.#factor ** 2 * additive + this.#notAdditive(relation, sums, spread);
	}

	#notAdditive({ distance }: Relation, sums: number, spread: Spread): number {
		return (this.#factor * spread.choice) ** 2 * sums * Math.exp(-distance);
	}

	#chanceBetween(a: number, b: number): number {
		return this.#relations[Math.max(a, b)]![Math.min(a, b)]!.chance;
	}

	#square(entry: (relation: Relation, sums: number) => number): Matrix {
		const square = Matrix.zeros(this.#runs.length, this.#runs.length);
		for (const [row, relations] of this.#relations.entries()) {
			for (const [column, relation] of relations.entries()) {
				const value = entry(relation, this.#runs[row]!.sum * this.#runs[column]!.sum);
				square.set(row, column, value).set(column, row, value);
			}
		}
		return square;
	}

	#relation(a: Run, b: Run): Relation {
		let [units, same, distance] = [0, 0, 0];
		for (const [index, unit] of this.#choice.units.entries()) {
			const product = a.predicted[index]! * b.predicted[index]!;
			units += product;
			if (candidateIn(a.chosen, unit) === candidateIn(b.chosen, unit)) same += product;
			else distance += this.#shares[index]!;
		}
		const count = Math.min(a.samples.length, b.samples.length);
		const sum = a.samples
			.slice(0, count)
			.reduce((total, sample, index) => total + (sample - a.measured) * (b.samples[index]! - b.measured), 0);
		const prior = PRIOR_SAMPLES * a.measured * b.measured * Math.exp(-distance / PRIOR_SIMILARITY);
		return { units, same, distance, chance: (sum + prior) / (count - 1 + PRIOR_SAMPLES) / count };
	}

	#isSame(a: ChosenCandidates, b: ChosenCandidates): boolean {
		return this.#choice.units.every((unit) => candidateIn(a, unit) === candidateIn(b, unit));
	}
}

function candidateIn(chosen: ChosenCandidates, { known }: ChoiceUnit): CandidateNoise {
	return chosen.get(known.unit.name)!;
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
