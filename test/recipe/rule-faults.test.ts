import { expect, test } from "vitest";
import { decide } from "../../src/recipe/decide.js";
import { parseRecipe } from "../../src/recipe/parse-recipe.js";
import { ruleFaults } from "../../src/recipe/rule-faults.js";
import type { Unit } from "../../src/recipe/unit.js";

const UNITS: readonly Unit[] = ["q_proj", "down_proj", "down_proj"].map((role, layer) => ({
	kind: "weight",
	node: `/layers.${layer}/${role}/MatMul`,
	op: "MatMul",
	graph: "main",
	scope: `layers.${layer}.${role}`,
	weight: `layers.${layer}.${role}.weight`,
	shape: [64, 32],
	role: role as "q_proj" | "down_proj",
	layer,
}));

function faultsOf(...rules: readonly string[]): string[] {
	const lines = rules.map((rule) => `  - { match: ${rule}, precision: 16a8w }`).join("\n");
	const recipe = parseRecipe(`default: { precision: 16a4w_block }\nrules:\n${lines}\n`, "r.yaml");
	const { decisions } = decide(recipe, UNITS);
	return ruleFaults(recipe, decisions).map(({ code, message, remedy }) => `${code}: ${message}; ${remedy}`);
}

test.each([
	["{ weight: layers.0.q_prj.weight }", "no weight has such a name; the nearest is 'layers.0.q_proj.weight'"],
	["{ scope: layers.9 }", "no scope has such a name; the nearest is 'layers.0.q_proj'"],
	["{ op: Conv }", "operators with weights are MatMul"],
	["{ role: lm_head }", "roles that were recognised are q_proj, down_proj; others can be matched by name"],
	["{ op: MatMul, layers: 3-4 }", "layers that were recognised are 0 to 2"],
	['{ shape: [64, ">32"] }', "no weight has such a shape"],
	["{ role: q_proj, layers: last }", "each of its conditions holds somewhere, but never all of them together"],
])("says why %s matches nothing", (match, remedy) => {
	const [fault, ...others] = faultsOf(match);
	expect(others).toEqual([]);
	expect(fault).toMatch(/^recipe\/unmatched: the rule in line 3 of the recipe matches nothing: \{/);
	expect(fault?.endsWith(`; ${remedy}`)).toBe(true);
});

test("names rules that others overrule, wholly or in part", () => {
	expect(faultsOf("{ role: q_proj }", "{ role: down_proj }", '{ layers: "0-1" }')).toEqual([
		"recipe/overruled: the rule in line 3 of the recipe decides nothing: all that it matches, the rule in line 5 decides; put it behind, or give it a higher 'priority'",
		"recipe/overlap: the rule in line 4 of the recipe decides 1 of the 2 operators that it matches, the rule in line 5 the others; later rules win, or those of a higher 'priority'",
	]);
});

test("has nothing to say of rules that decide all that they match", () => {
	expect(faultsOf("{ role: q_proj }", "{ role: down_proj }")).toEqual([]);
});
