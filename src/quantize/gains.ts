import { writeFileSync } from "node:fs";
import path from "node:path";
import { findRecipe } from "../recipe/find-recipe.js";
import type { Setting } from "../recipe/recipe.js";
import { writeRecipe } from "../recipe/write-recipe.js";
import type { Verification } from "../runtime/verification.js";

/**
 * What something gained at the outputs, against the same model without it: without GPTQ, with scales and codes of least
 * error; without blocks, with a scale a channel; without both; with codes rounded to the nearest on min-max scales.
 */
export interface Gain {
	readonly onCpu: OutputGain | null;
	readonly onTarget: OutputGain | null;
}

export interface OutputGain {
	/** The worst output without it, dB. */
	readonly withoutDb: number;
	/** By how much the worst output with it is better. */
	readonly gainDb: number;
}

/** How a model came out. */
interface Judged {
	readonly onCpu: Verification | null;
	readonly onTarget: Verification | null;
}

/** The recipe with a scale a channel where it has blocks, as a file in `folder`. */
export function writeChannelRecipe(recipe: string, folder: string): string {
	const { rules, default: standard, ...rest } = findRecipe(recipe);
	const ofChannels = (setting: Setting): Setting =>
		setting.precision === "16a4w_block" ? { ...setting, precision: "16a4w" } : setting;
	const others = rules.map((rule) => ({ ...rule, setting: ofChannels(rule.setting) }));
	const file = path.join(folder, "per-channel.yaml");
	writeFileSync(file, writeRecipe({ ...rest, default: ofChannels(standard), rules: others }));
	return file;
}

/** What `judgement` has over `without`. */
export function gainsOf(judgement: Judged, without: Judged): Gain {
	return {
		onCpu: gainOf(judgement.onCpu, without.onCpu),
		onTarget: gainOf(judgement.onTarget, without.onTarget),
	};
}

function gainOf(judged: Verification | null, without: Verification | null): OutputGain | null {
	const [better, worse] = [judged?.worstSqnrDb ?? null, without?.worstSqnrDb ?? null];
	return better === null || worse === null ? null : { withoutDb: worse, gainDb: better - worse };
}
