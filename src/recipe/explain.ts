import type { Model } from "../ir/model.js";
import { type Decisions, decide } from "./decide.js";
import { findUnits } from "./find-units.js";
import type { Recipe } from "./recipe.js";
import { type RuleFault, ruleFaults } from "./rule-faults.js";
import type { Unit } from "./unit.js";

/** What a recipe decides, and what is odd about its rules. */
export interface Explanation extends Decisions {
	readonly faults: readonly RuleFault[];
}

/** What a recipe decides for every weight, table, attention product and cache of a model, and by which rule. */
export function explainRecipe(model: Model, recipe: Recipe): Explanation {
	const { decisions, unmatched } = decide<Unit>(recipe, findUnits(model));
	const plain = decisions.map(({ unit, ...rest }) => {
		const { kind, node, op, graph, scope, weight, shape, role, layer } = unit;
		return { unit: { kind, node, op, graph, scope, weight, shape, role, layer }, ...rest };
	});
	return { decisions: plain, unmatched, faults: ruleFaults(recipe, decisions) };
}
