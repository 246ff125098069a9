import { type ExecutorchClass, ROLE_PATTERNS, writeExecutorchRecipes } from "../recipe/executorch.js";
import { BLOCK_SIZES, type BlockSize } from "../recipe/precision.js";
import { type Recipe, type Rule, settingOf } from "../recipe/recipe.js";
import { roleFromNames } from "../recipe/role.js";
import type { SqnrGroup } from "./analysis.js";
import type { SensitivityUnit } from "./find-sensitivity-units.js";

/** Block sizes that ExecuTorch's analyzer tries where none fits all layers. */
const [LARGEST_BLOCK, FALLBACK] = [64, [16, 64] as const];

/**
 * The text of `{model}_suggest_recipe.py`: a class for each block size that divides the depth of all layers, its sensitive
 * groups promoted to 8 bits a channel, as ExecuTorch's analyzer suggests it; undefined where no group is sensitive. Only
 * groups of weights are: ExecuTorch has no scales a channel for products of two activations.
 */
export function executorchSuggestion(
	model: string,
	base: Recipe,
	groups: readonly SqnrGroup[],
	thresholdDb: number,
	units: readonly SensitivityUnit[],
): string | undefined {
	const byName = new Map(units.map((unit) => [unit.name, unit] as const));
	const isOfWeights = ({ units: names }: SqnrGroup) =>
		names.every((name) => ["weight", "fused"].includes(byName.get(name)!.kind));
	const sensitive = groups.filter((group) => group.isSensitive && isOfWeights(group));
	if (sensitive.length === 0) return undefined;
	const promoted = sensitive.map(
		(group): Rule => ({
			match: { scope: patternsOf(group).map((pattern) => `/${pattern}/`) },
			setting: settingOf("16a8w"),
			priority: 0,
			reason: `[SqnrAnalyzer]: ${belowOf(group, thresholdDb)} < threshold=${thresholdDb}`,
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
function belowOf({ avgDb, medianDb, minDb }: SqnrGroup, thresholdDb: number): string {
	return Object.entries({ avg_sqnr: avgDb, median_sqnr: medianDb, min_sqnr: minDb })
		.filter(([, figure]) => figure < thresholdDb)
		.map(([name, figure]) => `${name}=${figure.toFixed(2)}`)
		.join(", ");
}

/**
 * `layers.[0-3].feed_forward.w2_conv` -> expressions for module paths of these layers: by the names that the model has,
 * without that of an operator behind them, and by those that ExecuTorch's own models have for the role.
 */
function patternsOf({ name }: SqnrGroup): string[] {
	const [, first, last, rest] = /^layers\.\[(\d+)-(\d+)\]\.(.*)$/.exec(name) ?? [];
	const modulePath = (text: string) =>
		text.replace(/[./](?:MatMul|Gemm|Conv|ConvTranspose)(?:_\d+)?$/, "").replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
	const role = roleFromNames([rest ?? name], undefined);
	const known = role === undefined ? undefined : ROLE_PATTERNS[role];
	if (rest === undefined) return [modulePath(name), ...(known === undefined ? [] : [known])];
	const count = Number(last) - Number(first) + 1;
	const layers = Array.from({ length: count }, (_, index) => Number(first) + index).join("|");
	return [
		`(?:layers?|blocks?|blk|h)[._](?:${layers})[._]${modulePath(rest)}`,
		...(known === undefined ? [] : [String.raw`layers\.(?:${layers})\.${known}`]),
	];
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
