import { closest } from "fastest-levenshtein";
import { type Decision, testOf } from "./decide.js";
import type { Match, Recipe, Rule } from "./recipe.js";
import type { Unit } from "./unit.js";

/** What is odd about a rule, in a model. */
export interface RuleFault {
	readonly rule: Rule;
	readonly code: "recipe/unmatched" | "recipe/overruled" | "recipe/overlap";
	readonly message: string;
	/** What to do, or where to look. */
	readonly remedy: string;
}

/** Rules that match nothing, that lose all that they match to other rules, or some of it, in the order of the recipe. */
export function ruleFaults({ rules }: Recipe, decisions: readonly Decision[]): RuleFault[] {
	return rules.flatMap((rule): RuleFault[] => {
		const lost = decisions.filter(({ overruled }) => overruled.includes(rule));
		const won = decisions.filter((decision) => decision.rule === rule).length;
		if (lost.length === 0 && won === 0) {
			const units = decisions.map(({ unit }) => unit);
			const message = `${ruleName(rule)} of the recipe matches nothing: ${JSON.stringify(rule.match)}`;
			return [{ rule, code: "recipe/unmatched", message, remedy: remedyFor(rule.match, units) }];
		}
		if (lost.length === 0) return [];
		const winners = [...new Set(lost.map((decision) => ruleName(decision.rule!)))].join(", ");
		if (won > 0) {
			const message = `${ruleName(rule)} of the recipe decides ${won} of the ${won + lost.length} operators that it matches, ${winners} the others`;
			return [{ rule, code: "recipe/overlap", message, remedy: "later rules win, or those of a higher 'priority'" }];
		}
		const message = `${ruleName(rule)} of the recipe decides nothing: all that it matches, ${winners} decides`;
		return [{ rule, code: "recipe/overruled", message, remedy: "put it behind, or give it a higher 'priority'" }];
	});
}

/** The rule by its line, or where there is none, by what it matches. */
export function ruleName({ line, match }: Rule): string {
	return line === 0 ? `the rule for ${JSON.stringify(match)}` : `the rule in line ${line}`;
}

/** Says what the model has, of the first condition that nothing in it fulfils. */
function remedyFor(match: Match, units: readonly Unit[]): string {
	const conditions = Object.entries(match) as [keyof Match, unknown][];
	const failing = conditions.find(([key, value]) => !units.some(testOf({ [key]: value }, layerCountOf(units))));
	if (failing === undefined) return "each of its conditions holds somewhere, but never all of them together";
	const [key, value] = failing;
	const list = (values: readonly (string | undefined)[]): string =>
		[...new Set(values.filter((one) => one !== undefined))].join(", ") || "none";
	switch (key) {
		case "node":
		case "weight":
		case "scope": {
			const names = units.flatMap((unit) => unit[key] ?? []);
			const nearest = names.length === 0 ? undefined : closest(String([value].flat()[0]), names);
			return `no ${key} has such a name${nearest === undefined ? "" : `; the nearest is '${nearest}'`}`;
		}
		case "op":
			return `operators with weights are ${list(units.map(({ op }) => op))}`;
		case "role":
			return `roles that were recognised are ${list(units.map(({ role }) => role))}; others can be matched by name`;
		case "layers":
			return `layers that were recognised are ${layerCountOf(units) === 0 ? "none" : `0 to ${layerCountOf(units) - 1}`}`;
		case "shape":
			return "no weight has such a shape";
	}
}

function layerCountOf(units: readonly Unit[]): number {
	return 1 + Math.max(-1, ...units.map(({ layer }) => layer ?? -1));
}
