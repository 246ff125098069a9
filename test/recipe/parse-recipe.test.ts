import { describe, expect, it } from "vitest";
import { BUILT_IN_RECIPES } from "../../src/recipe/built-in.js";
import { parseRecipe } from "../../src/recipe/parse-recipe.js";
import { settingOf } from "../../src/recipe/recipe.js";
import { writeRecipe } from "../../src/recipe/write-recipe.js";

const RECIPE = `name: mine
default: { precision: 16a4w_block, blockSize: 32 }
rules:
  - match: { role: lm_head }
    precision: 16a8w
    reason: the head
  - match: { weight: "*.down_proj.*", layers: 0-3 }
    precision: 16a4w_block
    blockScales: bq
    priority: 2
  - match: { op: [Conv, Gemm], shape: ["*", ">=64"], scope: /enc\\.\\d/ }
    precision: 8a8w
    granularity: per-tensor
`;

describe("parseRecipe", () => {
	it("reads rules, with the default's block size where they name none", () => {
		const recipe = parseRecipe(RECIPE, "mine.yaml");
		expect(recipe.default).toEqual(settingOf("16a4w_block", { blockSize: 32 }));
		expect(recipe.rules.map(({ match, setting, priority, line }) => [match, setting, priority, line])).toEqual([
			[{ role: ["lm_head"] }, settingOf("16a8w", { blockSize: 32 }), 0, 4],
			[
				{ weight: ["*.down_proj.*"], layers: "0-3" },
				settingOf("16a4w_block", { blockSize: 32, blockScales: "bq" }),
				2,
				7,
			],
			[
				{ op: ["Conv", "Gemm"], shape: ["*", ">=64"], scope: ["/enc\\.\\d/"] },
				settingOf("8a8w", { blockSize: 32, granularity: "per-tensor" }),
				0,
				11,
			],
		]);
	});

	it("reads JSON", () => {
		const json = JSON.stringify({
			default: { precision: "16a8w" },
			rules: [{ match: { op: "Conv" }, precision: "keep" }],
		});
		expect(parseRecipe(json, "folder/small.json")).toMatchObject({
			name: "small",
			default: { precision: "16a8w" },
			rules: [{ match: { op: ["Conv"] }, setting: { precision: "keep" }, line: 1 }],
		});
	});

	it.each<[reason: string, text: string, message: string]>([
		["no YAML", "default: [", "line 1: it is not YAML"],
		["no map", "- 1", "line 1: expected the keys name, description, default, rules"],
		["no default", "rules: []", "it has no 'default'"],
		[
			"an unknown key",
			"default: { precision: keep }\nrule: []",
			"line 2: a recipe has no key 'rule' (did you mean 'rules'?)",
		],
		[
			"an unknown precision",
			"default: { precision: 16a4w_blok }",
			"'precision' is '16a4w_blok' (did you mean '16a4w_block'?)",
		],
		["no precision", "default: { blockSize: 32 }", "there is no 'precision'"],
		[
			"an odd block size",
			"default: { precision: 16a4w_block, blockSize: 48 }",
			"'blockSize' is 48; expected one of 16, 32, 64, 128",
		],
		[
			"a block size without blocks",
			"default: { precision: 16a8w, blockSize: 32 }",
			"'blockSize' goes with 16a4w_block, not with 16a8w",
		],
		[
			"a granularity of blocks",
			"default: { precision: 16a4w_block, granularity: per-tensor }",
			"'granularity' does not go with 16a4w_block",
		],
		[
			"a rule without match",
			"default: { precision: keep }\nrules:\n  - precision: keep",
			"line 3: a rule needs a 'match'",
		],
		["an empty match", "default: { precision: keep }\nrules:\n  - { match: {}, precision: keep }", "'match' is empty"],
		[
			"an unknown condition",
			"default: { precision: keep }\nrules:\n  - { match: { layer: 3 }, precision: keep }",
			"line 3: 'match' has no key 'layer' (did you mean 'layers'?)",
		],
		[
			"an unknown role",
			"default: { precision: keep }\nrules:\n  - { match: { role: lmhead }, precision: keep }",
			"'role' is 'lmhead' (did you mean 'lm_head'?)",
		],
		[
			"layers backwards",
			"default: { precision: keep }\nrules:\n  - { match: { layers: 3-1 }, precision: keep }",
			"'layers' is '3-1'; expected such as 0-3, 7, last or -2",
		],
		[
			"a broken expression",
			"default: { precision: keep }\nrules:\n  - { match: { node: /(/ }, precision: keep }",
			"'/(/' is no regular expression",
		],
		[
			"a broken length",
			"default: { precision: keep }\nrules:\n  - { match: { shape: [big] }, precision: keep }",
			"a length in 'shape' is 'big'",
		],
		[
			"a broken priority",
			"default: { precision: keep }\nrules:\n  - { match: { op: Conv }, precision: keep, priority: 1.5 }",
			"'priority' is 1.5, not a whole number",
		],
	])("refuses %s", (_reason, text, message) => {
		const parse = () => parseRecipe(text, "r.yaml");
		expect(parse).toThrow(expect.objectContaining({ code: "recipe/invalid" }));
		expect(parse).toThrow(message);
	});

	it("reads what writeRecipe writes: built-in recipes and all conditions", () => {
		const strip = (recipe: ReturnType<typeof parseRecipe>) =>
			JSON.parse(JSON.stringify(recipe, (key, value) => (key === "line" || key === "reason" ? undefined : value)));
		for (const recipe of [...BUILT_IN_RECIPES, parseRecipe(RECIPE, "mine.yaml")]) {
			const again = parseRecipe(writeRecipe(recipe), `${recipe.name}.yaml`);
			const rules = recipe.rules.map((rule) => ({
				...rule,
				setting: { ...rule.setting, blockSize: again.default.blockSize },
			}));
			expect(strip(again)).toEqual(strip({ ...recipe, rules }));
		}
	});
});
