import { describe, expect, it } from "vitest";
import { BUILT_IN_RECIPES } from "../../src/recipe/built-in.js";
import { readExecutorchRecipe, writeExecutorchRecipe } from "../../src/recipe/executorch.js";
import { parseRecipe } from "../../src/recipe/parse-recipe.js";
import { settingOf } from "../../src/recipe/recipe.js";

const CLASS = `
class Qwen_BlockSize32QuantRecipe(StaticLLMQuantRecipe):
    default_quant_dtype = QuantDtype.use_16a4w

    def __init__(self, verbose: bool = False):
        super().__init__()
        self.recipe = (
            QuantRecipe(self.default_quant_dtype, False, act_observer=MinMaxObserver,
                        granularity=QuantGranularity.PER_TENSOR, verbose=verbose)
            .add_node_target(
                {torch.ops.aten.conv2d.default},
                QuantDtype.use_16a4w_block, # the base
                False,
                granularity=QuantGranularity.PER_BLOCK,
                extra_kwargs={"block_size": (1, 32, 1, 1)},
            )
            .add_regex(
                {r"layers\\.[0-3]\\.feed_forward\\..*w2_conv", r"output\\.conv"},
                QuantDtype.use_16a8w,
                False,
                granularity=QuantGranularity.PER_CHANNEL,
                note="[SqnrAnalyzer]: - avg_sqnr=9.1, < threshold=10.0",
                priority=2,
            )
        )
`;

describe("readExecutorchRecipe", () => {
	it("reads base, rules, notes and priorities", () => {
		const recipe = readExecutorchRecipe(CLASS.replace("self.default_quant_dtype", "QuantDtype.use_16a4w"), "r.py");
		expect(recipe).toMatchObject({
			name: "Qwen_BlockSize32QuantRecipe",
			default: settingOf("16a4w_block", { blockSize: 32 }),
			rules: [
				{
					match: { scope: ["/layers\\.[0-3]\\.feed_forward\\..*w2_conv/", "/output\\.conv/"] },
					setting: settingOf("16a8w"),
					priority: 2,
					reason: "[SqnrAnalyzer]: - avg_sqnr=9.1, < threshold=10.0",
					line: 17,
				},
			],
		});
	});

	it("follows a data type that the class gives a name", () => {
		expect(readExecutorchRecipe(CLASS, "r.py").default.precision).toBe("16a4w_block");
	});

	it.each([
		["class A: pass", "has no QuantRecipe(...)"],
		["QuantRecipe(QuantDtype.use_16a2w, False)", "data type 'use_16a2w' is none of use_16a16w"],
	])("refuses '%s'", (text, message) => {
		expect(() => readExecutorchRecipe(text, "r.py")).toThrow(message);
	});
});

describe("writeExecutorchRecipe", () => {
	it.each(BUILT_IN_RECIPES)("writes $name so that it can be read again", (recipe) => {
		const text = writeExecutorchRecipe(recipe);
		const again = readExecutorchRecipe(text, "r.py");
		expect(again.default.precision).toBe(recipe.default.precision);
		const told = recipe.rules.filter(({ match }) => !match.role?.some((role) => /attention|kv/.test(role)));
		expect(again.rules.map(({ setting }) => setting.precision)).toEqual(told.map(({ setting }) => setting.precision));
		expect(text).toContain("QuantRecipe(StaticLLMQuantRecipe):");
	});

	it("spells layers out and says what it has no words for", () => {
		const recipe = parseRecipe(
			"default: { precision: 16a8w }\nrules:\n  - { match: { role: down_proj, layers: '1-3' }, precision: 8a8w }\n  - { match: { shape: [1] }, precision: 8a8w }",
			"my-recipe.yaml",
		);
		const text = writeExecutorchRecipe(recipe);
		expect(text).toContain(String.raw`r"layers\.(?:1|2|3)\.feed_forward\..*w2_conv"`);
		expect(text).toContain('# no equal in ExecuTorch: {"shape":[1]} -> 8a8w');
		expect(text).toContain("class MyRecipeQuantRecipe(");
	});
});
