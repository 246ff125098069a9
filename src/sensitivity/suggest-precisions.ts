import { writeFileSync } from "node:fs";
import path from "node:path";
import { parseBudget } from "../analysis/budget.js";
import { QGraphError } from "../diagnostics.js";
import { findRecipe } from "../recipe/find-recipe.js";
import { writeRecipe } from "../recipe/write-recipe.js";
import type { AnalysisMode, ParetoEntry, SqnrGroup, SuggestedRecipe } from "./analysis.js";
import type { AssembleOptions, Measured } from "./analyze-options.js";
import { budgetTooSmall, bytesBeside, bytesWithin } from "./budget-bytes.js";
import { type ChosenCandidates, PrecisionChoice } from "./choose-precisions.js";
import { candidateName, type SensitivityUnit } from "./find-sensitivity-units.js";
import type { CandidateNoise } from "./isolated-noise.js";
import type { SensitivityMeasure } from "./measure-sensitivity.js";
import type { OutputNoise } from "./output-noise.js";
import { type KnownUnit, localRatio, Prediction } from "./prediction.js";
import { type Plan, singlePlans, sizedPlans } from "./recipe-plans.js";
import { RecipeRuns } from "./recipe-runs.js";
import { searchPrecisions, startsWithin } from "./search-precisions.js";
import { decibelsOf } from "./statistics.js";
import { suggestedRecipe } from "./suggested-recipe.js";
import { ThresholdChoice } from "./threshold-choice.js";

/** What to make of every unit, and what that rests on. */
export interface Suggestion {
	readonly known: readonly KnownUnit[];
	/** Of noise over signal. */
	readonly prediction: Prediction;
	readonly loss: "noise" | "kl-divergence";
	readonly divergences: ReadonlyMap<string, number>;
	readonly units: ReadonlyMap<string, SuggestedUnit>;
	readonly points: readonly ParetoEntry[];
	readonly suggestions: readonly SuggestedRecipe[];
	readonly files: ReadonlyMap<string, string>;
}

export interface SuggestedUnit {
	readonly candidate: CandidateNoise;
	readonly change: "promoted" | "demoted" | "same";
	readonly reason: string;
}

type Loss = Pick<OutputNoise, "ratio" | "klDivergence">;

const DEFAULT_END_TO_END_UNITS = 128;

const RECIPE_FILE = "recipe.yaml";

/** Runs units and recipes end to end where there are samples, chooses, and says why. */
export async function suggestPrecisions(
	measure: SensitivityMeasure,
	measured: Measured,
	mode: AnalysisMode,
	groups: readonly SqnrGroup[],
	options: AssembleOptions,
): Promise<Suggestion> {
	return new Suggester(measure, measured, mode, groups, options).run();
}

class Suggester {
	readonly #measure: SensitivityMeasure;
	readonly #measured: Measured;
	readonly #mode: AnalysisMode;
	readonly #threshold: ThresholdChoice | undefined;
	readonly #options: AssembleOptions;
	readonly #hasSamples: boolean;
	/** Units that the base recipe quantizes. */
	readonly #units: readonly {
		readonly unit: SensitivityUnit;
		readonly own: CandidateNoise;
		readonly all: readonly CandidateNoise[];
	}[];
	readonly #runs: RecipeRuns;
	#noises: Map<string, OutputNoise> = new Map();

	constructor(
		measure: SensitivityMeasure,
		measured: Measured,
		mode: AnalysisMode,
		groups: readonly SqnrGroup[],
		options: AssembleOptions,
	) {
		this.#measure = measure;
		this.#measured = measured;
		this.#mode = mode;
		this.#options = options;
		this.#threshold = mode.kind === "threshold" ? new ThresholdChoice(mode, groups) : undefined;
		this.#hasSamples = measure.samples !== undefined;
		this.#units = measure.units.flatMap((unit) => {
			const all = measured.isolated.get(unit.name)?.candidates ?? [];
			const own = all.find(({ setting }) => unit.base && candidateName(setting) === candidateName(unit.base));
			return own === undefined ? [] : [{ unit, own, all }];
		});
		const base = this.#units
			.filter(({ unit }) => this.#isChosen(unit))
			.map(({ unit, own }) => [unit.name, own] as const);
		this.#runs = new RecipeRuns(measure, options.recipe, new Map(base), (...step) => this.#progress(...step));
	}

	async run(): Promise<Suggestion> {
		await this.#runUnits();
		const isDivergence = [...this.#noises.values()].some(({ klDivergence }) => klDivergence !== null);
		const ratioOf = (noise: Loss) => noise.ratio;
		const lossOf = isDivergence ? (noise: Loss) => noise.klDivergence ?? 0 : ratioOf;
		const floor = await this.#runs.floor();
		const prediction = this.#prediction(ratioOf, floor);
		const weighed = isDivergence ? this.#prediction(lossOf, floor) : prediction;
		const choice = new PrecisionChoice(
			this.#knownBy(lossOf)
				.filter(({ unit }) => this.#isChosen(unit))
				.map((known) => ({ known, weight: known.unit.isAtTheEnds ? this.#options.headWeight : 1 })),
			weighed,
		);
		if (choice.units.length === 0) {
			throw new QGraphError(
				"recipe/budget",
				"the base recipe quantizes no weight that there is; name another with --recipe",
			);
		}
		const plans = singlePlans(choice, findRecipe(this.#options.recipe).name, (name) => this.#unitOf(name).own);
		await this.#runs.learn(plans, choice, prediction, ratioOf);
		if (weighed !== prediction) await this.#runs.learn(plans, choice, weighed, lossOf);
		const chosen = await this.#choose(choice, plans);
		const whole: Plan = { kind: "plan", label: "suggested", chosen };
		await this.#runs.learn([...plans, whole], choice, prediction, ratioOf);
		plans.push(...sizedPlans(choice, chosen));
		const units = new Map(this.#units.map(({ unit }) => [unit.name, this.#suggested(unit, chosen, choice)] as const));
		const { file, text, name, description } = this.#recipe(units);
		const points = await this.#runs.points(plans, choice, prediction, this.#otherBytes(choice));
		const point = points.find(({ isChosen }) => isChosen)!;
		const quantized = this.#hasSamples ? (await this.#measure.quantized(file, "suggested", text)).outputs : null;
		const count = (change: SuggestedUnit["change"]) =>
			[...units.values()].filter((unit) => unit.change === change).length;
		const suggestion: SuggestedRecipe = {
			name,
			file: RECIPE_FILE,
			description,
			bytes: point.bytes,
			bitsPerWeight: point.bitsPerWeight,
			predictedSqnrDb: point.predictedSqnrDb,
			measuredSqnrDb: quantized === null ? null : decibelsOf(quantized.ratio),
			chanceDb: quantized === null ? null : await this.#runs.chanceDb(chosen, quantized),
			promoted: count("promoted"),
			demoted: count("demoted"),
		};
		return {
			known: this.#knownBy(ratioOf),
			prediction,
			loss: isDivergence ? "kl-divergence" : "noise",
			divergences: new Map(
				[...this.#noises].flatMap(([unit, { klDivergence }]) =>
					klDivergence === null ? [] : [[unit, klDivergence] as const],
				),
			),
			units,
			points,
			suggestions: [suggestion],
			files: new Map([[RECIPE_FILE, text]]),
		};
	}

	/** Runs units by themselves, as the base recipe quantizes them: those that are near the decision. */
	async #runUnits(): Promise<void> {
		if (!this.#hasSamples) return;
		const most = this.#options.endToEndUnits ?? DEFAULT_END_TO_END_UNITS;
		const near = this.#nearDecision().slice(0, most);
		for (const [index, { unit, own }] of near.entries()) {
			const noise = await this.#measure.endToEnd(new Map([[unit.name, own]]), "measured");
			if (noise !== null) this.#noises.set(unit.name, noise);
			this.#progress("running units end to end", index + 1, near.length);
		}
	}

	/** Units by how close to the decision they are as far as their own noise tells. */
	#nearDecision() {
		const mode = this.#mode;
		if (mode.kind === "threshold") {
			const distance = (candidate: CandidateNoise) => Math.abs(decibelsOf(localRatio(candidate)) - mode.thresholdDb);
			return [...this.#units].sort((a, b) => distance(a.own) - distance(b.own));
		}
		const known = this.#units.map(({ unit, all }) => ({ unit, candidates: all, measured: undefined }));
		const weights = known.filter(({ unit }) => this.#isChosen(unit)).map((one) => ({ known: one, weight: 1 }));
		const choice = new PrecisionChoice(weights, new Prediction(known, 0));
		const first = choice.within(this.#budgetBytes(choice));
		const order = first === undefined ? [] : choice.nearest(first).map(({ unit }) => unit.name);
		const place = ({ name }: SensitivityUnit) => (order.indexOf(name) + order.length + 1) % (order.length + 1);
		return [...this.#units].sort((a, b) => place(a.unit) - place(b.unit));
	}

	/**
	 * Is there to choose what becomes of a unit? A budget of bits is one of weights; tables that no rule names belong to one of
	 * bytes only.
	 */
	#isChosen({ elements, isLikeActivations }: SensitivityUnit): boolean {
		if (!isLikeActivations) return elements > 0;
		return this.#mode.kind === "budget" && "bytes" in parseBudget(this.#mode.budget);
	}

	#knownBy(lossOf: (noise: OutputNoise) => number): KnownUnit[] {
		return this.#units.map(({ unit, own, all }) => {
			const noise = this.#noises.get(unit.name);
			const measured = noise === undefined ? undefined : { candidate: own, loss: lossOf(noise) };
			return { unit, candidates: all, measured };
		});
	}

	#prediction(lossOf: (noise: Loss) => number, floor: Loss | undefined): Prediction {
		return new Prediction(this.#knownBy(lossOf), floor === undefined ? 0 : lossOf(floor));
	}

	async #choose(choice: PrecisionChoice, singles: readonly Plan[]): Promise<ChosenCandidates> {
		if (this.#threshold !== undefined) return this.#aboveThreshold(choice, this.#threshold);
		const bytes = this.#budgetBytes(choice);
		const planned = choice.within(bytes);
		if (planned === undefined) throw budgetTooSmall(choice, this.#otherBytes(choice));
		if (!this.#hasSamples || this.#options.headWeight !== 1) return planned;
		const single = singles.map(({ chosen }) => chosen).filter((chosen) => choice.bytesOf(chosen) <= bytes);
		return searchPrecisions(choice, [planned, ...single, ...startsWithin(choice, bytes)], {
			bytes,
			run: (chosen) => this.#measure.endToEnd(chosen, "measured"),
			onProgress: (done, total) => this.#progress("trying recipes", done, total),
		});
	}

	/** The base recipe, with what is below the threshold promoted. */
	#aboveThreshold(choice: PrecisionChoice, threshold: ThresholdChoice): ChosenCandidates {
		return new Map(
			choice.units.map(({ known: { unit, candidates } }) => {
				const { own } = this.#unitOf(unit.name);
				return [unit.name, threshold.promoted(unit, own, candidates) ?? own] as const;
			}),
		);
	}

	#suggested(unit: SensitivityUnit, chosen: ChosenCandidates, choice: PrecisionChoice): SuggestedUnit {
		const { own, all } = this.#unitOf(unit.name);
		const candidate = chosen.get(unit.name) ?? this.#threshold?.promoted(unit, own, all) ?? own;
		if (candidate === own) return { candidate, change: "same", reason: "as the base recipe says" };
		const worth =
			this.#threshold?.reason(unit, own, candidate) ??
			choice.worth(unit.name, own, candidate, (name) => this.#unitOf(name).own);
		const causes = this.#measured.isolated.get(unit.name)?.causes ?? [];
		const change = localRatio(candidate) < localRatio(own) ? "promoted" : "demoted";
		return { candidate, change, reason: [worth, ...causes].join("; ") };
	}

	#unitOf(name: string) {
		return this.#units.find(({ unit }) => unit.name === name)!;
	}

	#recipe(units: ReadonlyMap<string, SuggestedUnit>) {
		const changes = this.#units.flatMap(({ unit }) => {
			const { candidate, change, reason } = units.get(unit.name)!;
			return change === "same" || unit.parts.length === 0 ? [] : [{ unit, setting: candidate.setting, reason }];
		});
		const { recipe, comments } = suggestedRecipe(findRecipe(this.#options.recipe), this.#mode, changes);
		const text = writeRecipe(recipe, comments);
		const file = path.join(this.#measure.folder, RECIPE_FILE);
		writeFileSync(file, text);
		return { file, text, name: recipe.name, description: recipe.description! };
	}

	/** Bytes of codes and scales that the budget leaves. */
	#budgetBytes(choice: PrecisionChoice): number {
		const { budget } = this.#mode as Extract<AnalysisMode, { kind: "budget" }>;
		return bytesWithin(budget, unitsOf(choice), this.#otherBytes(choice));
	}

	#otherBytes(choice: PrecisionChoice): number {
		return bytesBeside(unitsOf(choice), this.#measure, this.#measured, ({ name }) => this.#unitOf(name).own.bytes);
	}

	#progress(step: string, done: number, total: number): void {
		this.#options.onProgress?.(step, done, total);
	}
}

function unitsOf(choice: PrecisionChoice): SensitivityUnit[] {
	return choice.units.map(({ known }) => known.unit);
}
