import { sameSetting } from "../analysis/candidates.js";
import { exactPattern } from "../analysis/plan-precision.js";
import type { Recipe, Rule, Setting } from "../recipe/recipe.js";
import type { AnalysisMode } from "./analysis.js";
import { candidateName, type SensitivityUnit } from "./find-sensitivity-units.js";

/** What a unit is to become, where that is not what the base recipe says. */
export interface SuggestedChange {
	readonly unit: SensitivityUnit;
	readonly setting: Setting;
	readonly reason: string;
}

/**
 * The base recipe with rules behind its own, one for each other setting, which name the weights and products that get it.
 *
 * @returns the recipe, and the reasons by the names of weights and products.
 */
export function suggestedRecipe(
	base: Recipe,
	mode: AnalysisMode,
	changes: readonly SuggestedChange[],
): { readonly recipe: Recipe; readonly comments: ReadonlyMap<string, string> } {
	const priority = Math.max(0, ...base.rules.map((rule) => rule.priority));
	const rules: { readonly setting: Setting; readonly key: "weight" | "node"; readonly names: string[] }[] = [];
	const comments = new Map<string, string>();
	for (const { unit, setting, reason } of changes) {
		for (const { constant, operators } of unit.parts) {
			const key = constant === undefined ? "node" : "weight";
			const pattern = exactPattern(constant?.value.name ?? operators[0]!.name);
			let rule = rules.find((other) => other.key === key && sameSetting(other.setting, setting));
			if (rule === undefined) {
				rule = { setting, key, names: [] };
				rules.push(rule);
			}
			rule.names.push(pattern);
			comments.set(pattern, reason);
		}
	}
	const added = rules.map(
		({ setting, key, names }): Rule => ({
			match: { [key]: names },
			setting,
			priority,
			reason: `${names.length === 1 ? "it is" : "they are"} better as ${candidateName(setting)}`,
			line: 0,
		}),
	);
	const [suffix, description] =
		mode.kind === "budget"
			? [mode.budget, `the least loss at the outputs within ${mode.budget}`]
			: [`${mode.thresholdDb}dB`, `what is below ${mode.thresholdDb} dB promoted`];
	const name = `${base.name.replace(/[^\w.]+/g, "-")}-${suffix}`;
	return { recipe: { name, description, default: base.default, rules: [...base.rules, ...added] }, comments };
}
