import { type ExecutorchClass, writeExecutorchRecipes } from "../recipe/executorch.js";
import { BLOCK_SIZES, type BlockSize } from "../recipe/precision.js";
import { type Recipe, type Rule, settingOf } from "../recipe/recipe.js";
import type { SqnrGroup } from "./analysis.js";
import type { SensitivityUnit } from "./find-sensitivity-units.js";

/** Block sizes that ExecuTorch's analyzer tries where none fits all layers. */
const [LARGEST_BLOCK, FALLBACK] = [64, [16, 64] as const];

/**
 * The text of `{model}_suggest_recipe.py`: a class for each block size that divides the depth of all layers, its sensitive
 * groups promoted to 8 bits a channel, as ExecuTorch's analyzer suggests it; undefined where no group is sensitive.
 */
export function executorchSuggestion(
	model: string,
	base: Recipe,
	groups: readonly SqnrGroup[],
	thresholdDb: number,
	units: readonly SensitivityUnit[],
): string | undefined {
	const sensitive = groups.filter(({ isSensitive }) => isSensitive);
	if (sensitive.length === 0) return undefined;
	const promoted = sensitive.map(
		({ name, avgDb, medianDb, minDb }): Rule => ({
			match: { scope: [`/${groupPattern(name)}/`] },
			setting: settingOf("16a8w"),
			priority: 0,
			reason: `[SqnrAnalyzer]: ${belowOf({ avgDb, medianDb, minDb }, thresholdDb)} < threshold=${thresholdDb}`,
			line: 0,
		}),
	);
	const classes = blockSizesOf(units).map(
		(blockSize): ExecutorchClass => ({
			className: `${model.replace(/\W+|^(?=\d)/g, "_")}_BlockSize${blockSize}QuantRecipe`,
			recipe: {
				...base,
				default: settingOf("16a4w_block", { blockSize }),
				rules: [...base.rules, ...promoted],
			},
			tagOf: (rule) => (promoted.includes(rule) ? "[Added by SqnrAnalyzer]" : "[Original recipe]"),
		}),
	);
	return `${writeExecutorchRecipes(classes)}${howTo(classes.map(({ className }) => className))}`;
}

/** Which figures are below. */
function belowOf(figures: Readonly<Record<"avgDb" | "medianDb" | "minDb", number>>, thresholdDb: number): string {
	const names = { avgDb: "avg_sqnr", medianDb: "median_sqnr", minDb: "min_sqnr" } as const;
	return Object.entries(figures)
		.filter(([, figure]) => figure < thresholdDb)
		.map(([name, figure]) => `${names[name as keyof typeof names]}=${figure.toFixed(2)}`)
		.join(", ");
}

/** `layers.[0-3].feed_forward.w2_conv` -> an expression for module paths of these layers. */
function groupPattern(name: string): string {
	const [, first, last, rest] = /^layers\.\[(\d+)-(\d+)\]\.(.*)$/.exec(name) ?? [];
	const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
	if (rest === undefined) return escaped(name);
	const layers = Array.from({ length: Number(last) - Number(first) + 1 }, (_, index) => Number(first) + index);
	return `layers[._](?:${layers.join("|")})[._]${escaped(rest)}`;
}

/** Block sizes up to 64 that divide the depth of all layers. */
function blockSizesOf(units: readonly SensitivityUnit[]): readonly BlockSize[] {
	const depths = units.flatMap(({ parts }) =>
		parts.flatMap(({ units: found }) =>
			found.flatMap((unit) => (unit.kind === "weight" ? (unit.shape?.[unit.site.axes?.blockAxis ?? 0] ?? []) : [])),
		),
	);
	const fitting = BLOCK_SIZES.filter((size) => size <= LARGEST_BLOCK && depths.every((depth) => depth % size === 0));
	return fitting.length === 0 ? FALLBACK : fitting;
}

function howTo(classes: readonly string[]): string {
	return [
		"",
		"",
		"# HOW TO USE THESE RECIPES",
		"# 1. Put one of these classes into static_llm_quant_recipe.py of ExecuTorch's examples:",
		...classes.map((name) => `#    ${name}`),
		"# 2. Name it as the quant_recipe of the model in the examples' __init__.py.",
		"# 3. Calibrate again, and compare the perplexity with that of the recipe before.",
		"",
	].join("\n");
}
