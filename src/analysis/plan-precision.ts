import { QGraphError } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import { DEFAULT_EXPONENT, type WeightFitOptions } from "../passes/support/quantized-weight.js";
import { Spool } from "../passes/support/spool.js";
import { TaskPool } from "../passes/support/task-pool.js";
import { solveKnapsack } from "../recipe/knapsack.js";
import { type Recipe, type Rule, type Setting, settingOf } from "../recipe/recipe.js";
import { summarizeModel } from "../report/summary.js";
import type { Budget } from "./budget.js";
import { type Candidate, DEFAULT_CANDIDATES, measureCandidates, type PlanUnit, sameSetting } from "./candidates.js";

export interface PlanOptions {
	readonly budget: Budget;
	/** What weights may become; blocks of 16 to 128, int4 and int8 a channel where left out. */
	readonly candidates?: readonly Setting[];
	/** How much the noise of the head and of embeddings counts against that of other weights; 4 when left out. */
	readonly headWeight?: number;
	readonly fit?: "max" | "search";
	readonly signal?: AbortSignal;
	readonly onProgress?: (done: number, total: number) => void;
}

/** What one unit became in a plan. */
export interface PlannedUnit {
	readonly weights: readonly string[];
	readonly setting: Setting;
	readonly bytes: number;
	/** Signal to noise of its weights, dB; null where nothing is lost. */
	readonly sqnrDb: number | null;
}

/** A point of the trade between size and error. */
export interface ParetoPoint {
	readonly bitsPerWeight: number;
	/** Of the whole model. */
	readonly bytes: number;
	/** Of the mean noise over the units, dB. */
	readonly sqnrDb: number | null;
}

export interface PrecisionPlan extends ParetoPoint {
	readonly recipe: Recipe;
	readonly units: readonly PlannedUnit[];
	/** No plan within the budget has a higher figure than this, dB; equal to `sqnrDb` where the plan is proved best. */
	readonly boundDb: number | null;
	readonly pareto: readonly ParetoPoint[];
}

/**
 * Chooses the precision of every float weight so that a budget is kept and the mean of the units' noise-to-signal ratios,
 * weighted, is least: an exact multiple-choice knapsack over measured candidates. Query, key and value projections of a
 * layer get one setting; a weight of several operators is one unit.
 *
 * Rejects with `recipe/budget` where no choice keeps the budget, or there is nothing to choose.
 */
export async function planPrecision(model: Model, options: PlanOptions): Promise<PrecisionPlan> {
	const { candidates = DEFAULT_CANDIDATES, headWeight = 4, fit = "search", signal } = options;
	const fitOptions: WeightFitOptions = {
		fit,
		exponent: DEFAULT_EXPONENT,
		codeMin: -8,
		importance: undefined,
		moments: undefined,
	};
	const pool = new TaskPool();
	try {
		const tools = { pool, spool: new Spool() };
		const progress = options.onProgress ?? (() => undefined);
		const units = await measureCandidates(model, candidates, fitOptions, tools, progress, signal);
		return solve(new Plans(model, units, headWeight), options.budget);
	} finally {
		await pool.close();
	}
}

/** What all plans of a model have in common. */
class Plans {
	readonly units: readonly PlanUnit[];
	readonly weights: readonly number[];
	readonly elements: number;
	/** Bytes that no plan changes. */
	readonly otherBytes: number;

	constructor(model: Model, units: readonly PlanUnit[], headWeight: number) {
		if (units.length === 0) {
			throw new QGraphError("recipe/budget", "the model has no float weight that could be quantized");
		}
		const total = units.map(({ role }) => (role === "lm_head" || role === "embedding" ? headWeight : 1));
		const sum = total.reduce((a, b) => a + b, 0);
		this.units = units;
		this.weights = total.map((weight) => weight / sum);
		this.elements = units.reduce((count, unit) => count + unit.elements, 0);
		this.otherBytes = summarizeModel(model).bytes - units.reduce((sum, unit) => sum + unit.floatBytes, 0);
	}

	noiseOf(unit: number, { noise }: Candidate): number {
		return this.weights[unit]! * noise;
	}

	/** Size and error of a choice of candidates. */
	point(chosen: readonly number[]): ParetoPoint & { readonly noise: number } {
		const picked = this.units.map(({ candidates }, unit) => candidates[chosen[unit]!]!);
		const bytes = picked.reduce((sum, candidate) => sum + candidate.bytes, 0);
		const noise = picked.reduce((sum, candidate, unit) => sum + this.noiseOf(unit, candidate), 0);
		return {
			bitsPerWeight: (8 * bytes) / this.elements,
			bytes: bytes + this.otherBytes,
			noise,
			sqnrDb: decibelsOf(noise),
		};
	}

	/** The choice of least noise within so many bytes of codes and scales. */
	within(bytes: number) {
		const choices = this.units.map(({ candidates }, unit) =>
			candidates.map((candidate) => ({ cost: candidate.bytes, loss: this.noiseOf(unit, candidate) })),
		);
		return solveKnapsack(choices, bytes);
	}

	/** The choice of least bytes within so much noise. */
	above(noise: number) {
		const choices = this.units.map(({ candidates }, unit) =>
			candidates.map((candidate) => ({ cost: this.noiseOf(unit, candidate), loss: candidate.bytes })),
		);
		return solveKnapsack(choices, noise);
	}
}

/** Points of the Pareto table. */
const PARETO_POINTS = 9;

function solve(plans: Plans, budget: Budget): PrecisionPlan {
	const { units, elements, otherBytes } = plans;
	const bytes =
		"bitsPerWeight" in budget
			? (budget.bitsPerWeight * elements) / 8
			: "bytes" in budget
				? budget.bytes - otherBytes
				: 0;
	const solution = "minSqnrDb" in budget ? plans.above(10 ** (-budget.minSqnrDb / 10)) : plans.within(bytes);
	const ends = [leastBytes, leastNoise].map((end) => plans.point(units.map(end)));
	if (solution === undefined) {
		const [smallest, best] = ends;
		const found =
			"minSqnrDb" in budget
				? `the most exact candidates have ${show(best!.sqnrDb)}, less than ${budget.minSqnrDb} dB`
				: `the smallest candidates take ${smallest!.bitsPerWeight.toFixed(2)} bits a weight, ${(smallest!.bytes / 1e6).toFixed(1)} MB with the rest of the model`;
		throw new QGraphError("recipe/budget", `no choice keeps the budget: ${found}`);
	}
	const { noise: _, ...point } = plans.point(solution.chosen);
	const isProved = "minSqnrDb" in budget || solution.bound === solution.loss;
	const boundDb = isProved ? point.sqnrDb : decibelsOf(solution.bound);
	return {
		...point,
		boundDb,
		recipe: recipeOf(units, solution.chosen),
		units: units.map(({ weights, candidates }, unit) => {
			const { setting, bytes, noise } = candidates[solution.chosen[unit]!]!;
			return { weights, setting, bytes, sqnrDb: decibelsOf(noise) };
		}),
		pareto: paretoOf(plans, ends[0]!, ends[1]!),
	};
}

function leastBytes({ candidates }: PlanUnit): number {
	return candidates.reduce((best, { bytes }, index) => (bytes < candidates[best]!.bytes ? index : best), 0);
}

function leastNoise({ candidates }: PlanUnit): number {
	return candidates.reduce((best, { noise }, index) => (noise < candidates[best]!.noise ? index : best), 0);
}

function paretoOf(plans: Plans, smallest: ParetoPoint, largest: ParetoPoint): ParetoPoint[] {
	const points: ParetoPoint[] = [];
	for (let index = 0; index < PARETO_POINTS; index++) {
		const share = index / (PARETO_POINTS - 1);
		const bytes = smallest.bytes + share * (largest.bytes - smallest.bytes) - plans.otherBytes;
		const solution = plans.within(bytes + 0.5);
		if (solution === undefined) continue;
		const { noise: _, ...point } = plans.point(solution.chosen);
		if (points.at(-1)?.bytes !== point.bytes) points.push(point);
	}
	return points;
}

/** The commonest setting as default, and a rule for each other one that names its weights. */
function recipeOf(units: readonly PlanUnit[], chosen: readonly number[]): Recipe {
	const bySetting: { setting: Setting; elements: number; weights: string[]; tables: boolean }[] = [];
	units.forEach(({ candidates, weights, elements, role }, unit) => {
		const { setting } = candidates[chosen[unit]!]!;
		const tables = role === "embedding";
		let entry = bySetting.find((other) => sameSetting(other.setting, setting) && other.tables === tables);
		if (entry === undefined) {
			entry = { setting, elements: 0, weights: [], tables };
			bySetting.push(entry);
		}
		entry.elements += elements;
		entry.weights.push(...weights);
	});
	const ranked = bySetting.sort((a, b) => Number(a.tables) - Number(b.tables) || b.elements - a.elements);
	const standard = ranked[0]!.tables ? undefined : ranked[0];
	const rules = ranked
		.filter((entry) => entry !== standard)
		.map(({ setting, weights }): Rule => {
			return { match: { weight: weights.map(exactPattern) }, setting, priority: 0, reason: undefined, line: 0 };
		});
	return {
		name: "plan",
		description: "chosen within a budget by the noise of the weights",
		default: standard?.setting ?? settingOf("keep"),
		rules,
	};
}

/** A pattern of recipes that only `name` matches. */
export function exactPattern(name: string): string {
	if (!/[*?]|^\/.*\/$/s.test(name)) return name;
	return `/^${name.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&")}$/`;
}

function decibelsOf(noise: number): number | null {
	return noise === 0 ? null : -10 * Math.log10(noise);
}

function show(sqnrDb: number | null): string {
	return sqnrDb === null ? "no error" : `${sqnrDb.toFixed(1)} dB`;
}
