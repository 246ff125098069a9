import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { parseBudget } from "../../src/analysis/budget.js";
import { planPrecision } from "../../src/analysis/plan-precision.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { applyPrecisionRecipe } from "../../src/passes/apply-precision-recipe.js";
import { decide } from "../../src/recipe/decide.js";
import { findRecipe } from "../../src/recipe/find-recipe.js";
import { findUnits } from "../../src/recipe/find-units.js";
import { writeRecipe } from "../../src/recipe/write-recipe.js";
import { runPasses } from "../../src/run-passes.js";
import { modelOf } from "../support/build.js";
import { randomSource } from "../support/random.js";

/** Two layers of attention and a head; some weights have outliers that blocks must bear. */
function model(): Model {
	return modelOf((b) => {
		const random = randomSource(2);
		b.input("x", DataType.FLOAT, [2, 64]);
		let from = "x";
		const linear = (name: string, outliers: number) => {
			const values = Float32Array.from({ length: 64 * 64 }, (_, i) => {
				return (random() + random() - 1) * (i % 97 === 0 ? outliers : 1);
			});
			b.initializer(name, floatTensor([64, 64], values));
			b.node("MatMul", [from, name], [`${name}_y`], {}, `/${name}/MatMul`);
			return `${name}_y`;
		};
		for (let layer = 0; layer < 2; layer++) {
			const [q, k, v] = ["q_proj", "k_proj", "v_proj"].map((name) =>
				linear(`layers.${layer}.${name}.weight`, 1 + layer),
			);
			b.node("Add", [q!, k!], [`qk${layer}`]);
			b.node("Add", [`qk${layer}`, v!], [`h${layer}`]);
			from = `h${layer}`;
			from = linear(`layers.${layer}.down_proj.weight`, 8);
		}
		b.output(linear("lm_head.weight", 2));
	});
}

describe("planPrecision", () => {
	it.each([4.55, 4.7, 5.5, 8.2])(
		"keeps a budget of %d bits a weight, and its recipe gives what it says",
		async (bits) => {
			const plan = await planPrecision(model(), { budget: { bitsPerWeight: bits } });
			expect(plan.bitsPerWeight).toBeLessThanOrEqual(bits);
			expect(plan.boundDb).toBe(plan.sqnrDb);
			const folder = mkdtempSync(path.join(tmpdir(), "qgraph-plan-"));
			onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
			const file = path.join(folder, "plan.yaml");
			writeFileSync(file, writeRecipe(plan.recipe));
			const quantized = model();
			const report = await runPasses(quantized, [applyPrecisionRecipe({ recipe: file })]);
			for (const { weights, setting, sqnrDb } of plan.units) {
				for (const entry of report.weights.filter(({ weight }) => weights.includes(weight))) {
					expect(entry.precision).toBe(setting.precision);
					if (weights.length === 1) expect(entry.sqnrDb).toBeCloseTo(sqnrDb!, 9);
				}
			}
			const bytes = report.weights.reduce((sum, entry) => sum + entry.bytes!, 0);
			expect((8 * bytes) / (9 * 64 * 64)).toBeCloseTo(plan.bitsPerWeight, 9);
		},
	);

	it("gives the projections of an attention one setting, and the head more where it counts more", async () => {
		const plan = await planPrecision(model(), { budget: { bitsPerWeight: 5 }, headWeight: 50 });
		const { decisions } = decide(plan.recipe, findUnits(model()));
		for (const layer of [0, 1]) {
			const settings = decisions.filter(({ unit }) => unit.layer === layer && /^[qkv]_proj$/.test(unit.role ?? ""));
			expect(settings).toHaveLength(3);
			expect(new Set(settings.map(({ setting }) => JSON.stringify(setting))).size).toBe(1);
		}
		expect(decisions.find(({ unit }) => unit.role === "lm_head")?.setting.precision).toBe("16a8w");
	});

	it("reaches a signal to noise with the fewest bytes", async () => {
		const plan = await planPrecision(model(), { budget: { minSqnrDb: 24 } });
		expect(plan.sqnrDb).toBeGreaterThanOrEqual(24);
		const tighter = await planPrecision(model(), { budget: { bytes: plan.bytes - 1 } });
		expect(tighter.sqnrDb).toBeLessThan(24);
	});

	it("trades size for error along the Pareto table", async () => {
		const { pareto } = await planPrecision(model(), { budget: { bitsPerWeight: 32 }, fit: "max" });
		expect(pareto.length).toBeGreaterThan(4);
		for (let i = 1; i < pareto.length; i++) {
			expect(pareto[i]!.bytes).toBeGreaterThan(pareto[i - 1]!.bytes);
			expect(pareto[i]!.sqnrDb).toBeGreaterThan(pareto[i - 1]!.sqnrDb!);
		}
	});

	it("says what is possible where nothing keeps the budget", async () => {
		await expect(planPrecision(model(), { budget: { bitsPerWeight: 3 } })).rejects.toThrow(
			/no choice keeps the budget: the smallest candidates take 4\.\d\d bits a weight, 0\.0 MB/,
		);
		await expect(planPrecision(model(), { budget: { minSqnrDb: 90 } })).rejects.toMatchObject({
			code: "recipe/budget",
		});
		const candidates = [findRecipe("keep").default];
		await expect(planPrecision(model(), { budget: { bitsPerWeight: 8 }, candidates })).rejects.toThrow(
			"the model has no float weight that could be quantized",
		);
	});
});

describe("parseBudget", () => {
	it.each([
		["4.5bpw", { bitsPerWeight: 4.5 }],
		["900MB", { bytes: 9e8 }],
		["1.5 GiB", { bytes: 1.5 * 2 ** 30 }],
		["10 kb", { bytes: 1e4 }],
	])("%s", (text, budget) => expect(parseBudget(text)).toEqual(budget));

	it.each(["", "4.5", "bpw", "-3MB", "0MB", "4 bits"])("refuses '%s'", (text) => {
		expect(() => parseBudget(text)).toThrow(expect.objectContaining({ code: "recipe/budget" }));
	});
});
