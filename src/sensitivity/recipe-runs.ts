import { findRecipe } from "../recipe/find-recipe.js";
import { PRECISION_FACTS } from "../recipe/precision.js";
import type { ParetoEntry } from "./analysis.js";
import type { ChosenCandidates, PrecisionChoice } from "./choose-precisions.js";
import type { SensitivityMeasure } from "./measure-sensitivity.js";
import type { OutputNoise } from "./output-noise.js";
import type { Prediction } from "./prediction.js";
import type { Plan } from "./recipe-plans.js";
import { chanceDb, decibelsOf } from "./statistics.js";

/** Runs whole recipes: for what predictions learn from them, and for the points of the trade between size and noise. */
export class RecipeRuns {
	readonly #measure: SensitivityMeasure;
	/** The base recipe, and what it makes of the weights. */
	readonly #recipe: string;
	readonly #base: ChosenCandidates;
	readonly #onProgress: (step: string, done: number, total: number) => void;

	constructor(
		measure: SensitivityMeasure,
		recipe: string,
		base: ChosenCandidates,
		onProgress: (step: string, done: number, total: number) => void,
	) {
		this.#measure = measure;
		this.#recipe = recipe;
		this.#base = base;
		this.#onProgress = onProgress;
	}

	get #hasSamples(): boolean {
		return this.#measure.samples !== undefined;
	}

	/**
	 * What quantized activations alone lose. With 16 bits: next to nothing is lost with weights of 16 bits, too. With 8 bits: what
	 * the base recipe's model loses more than its weights alone.
	 */
	async floor(): Promise<Pick<OutputNoise, "ratio" | "klDivergence"> | undefined> {
		const { activationBits } = PRECISION_FACTS[findRecipe(this.#recipe).default.precision];
		if (!this.#hasSamples || activationBits === undefined) return undefined;
		if (activationBits === 16) return (await this.#measure.quantized("16a16w", "activations")).outputs ?? undefined;
		const { outputs } = await this.#measure.quantized(this.#recipe, "base");
		const weights = await this.#measure.endToEnd(this.#base, "held-out");
		if (outputs === null || weights === null) return undefined;
		const isDivergence = outputs.klDivergence !== null && weights.klDivergence !== null;
		return {
			ratio: Math.max(0, outputs.ratio - weights.ratio),
			klDivergence: isDivergence ? Math.max(0, outputs.klDivergence! - weights.klDivergence!) : null,
		};
	}

	/** Runs recipes, for the factor by which noises of units add up. */
	async learn(
		plans: readonly Plan[],
		choice: PrecisionChoice,
		prediction: Prediction,
		lossOf: (noise: OutputNoise) => number,
	): Promise<void> {
		if (!this.#hasSamples) return;
		const learned: { sum: number; measured: number }[] = [];
		for (const [index, { chosen }] of plans.entries()) {
			const noise = await this.#measure.endToEnd(chosen, "measured");
			const known = choice.units.map(({ known: one }) => one);
			const sum = known.reduce((total, one) => total + prediction.alone(one, chosen.get(one.unit.name)!), 0);
			if (noise !== null) learned.push({ sum, measured: lossOf(noise) });
			this.#onProgress("running whole recipes", index + 1, plans.length);
		}
		prediction.learn(learned);
	}

	/**
	 * What plans take and lose, the last of which is the chosen one.
	 *
	 * @param otherBytes of the model that no choice changes.
	 */
	async points(
		plans: readonly Plan[],
		choice: PrecisionChoice,
		prediction: Prediction,
		otherBytes: number,
	): Promise<ParetoEntry[]> {
		const elements = choice.elements;
		const points: ParetoEntry[] = [];
		const floor = await this.floor();
		for (const [index, { kind, label, chosen }] of plans.entries()) {
			const bytes = choice.bytesOf(chosen);
			const sum = choice.units.reduce(
				(total, { known }) => total + prediction.alone(known, chosen.get(known.unit.name)!),
				0,
			);
			const noise = this.#hasSamples ? await this.#measure.endToEnd(chosen, "held-out") : null;
			points.push({
				kind,
				label,
				bytes: bytes + otherBytes,
				bitsPerWeight: (8 * bytes) / elements,
				predictedSqnrDb: decibelsOf(this.#hasSamples ? prediction.together(sum) : sum / choice.units.length),
				measuredSqnrDb: noise === null ? null : decibelsOf(noise.ratio + (floor?.ratio ?? 0)),
				chanceDb: noise === null ? null : await this.chanceDb(chosen, noise),
				isChosen: index === plans.length - 1,
			});
			this.#onProgress("running recipes on held-out samples", index + 1, plans.length);
		}
		return points.sort((a, b) => a.bytes - b.bytes || (a.predictedSqnrDb ?? 0) - (b.predictedSqnrDb ?? 0));
	}

	/** How far apart what a choice loses on the samples to measure with and on the held-out ones may be by chance. */
	async chanceDb(chosen: ChosenCandidates, heldOut: OutputNoise): Promise<number | null> {
		const measured = await this.#measure.endToEnd(chosen, "measured");
		return measured === null ? null : chanceDb(measured.samples, heldOut.samples);
	}
}
