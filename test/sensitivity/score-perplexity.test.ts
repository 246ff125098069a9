import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { perplexity } from "../../src/language/perplexity.js";
import { readModel, writeModel } from "../../src/onnx/file.js";
import { applyPrecisionRecipe } from "../../src/passes/apply-precision-recipe.js";
import { runPasses } from "../../src/run-passes.js";
import { scorePerplexity } from "../../src/sensitivity/score-perplexity.js";
import { SIZES, writeGenaiDirectory } from "../llm/genai-directory.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-score-"));
const float = path.join(folder, "model.onnx");
const tokens = path.join(folder, "ids.json");

beforeAll(async () => {
	writeGenaiDirectory(folder);
	writeFileSync(
		tokens,
		JSON.stringify(Array.from({ length: 90 }, (_, index) => (index * index * 7 + 3) % SIZES.vocabulary)),
	);
	for (const recipe of ["16a8w", "16a4w"]) {
		const model = await readModel(float);
		await runPasses(model, [applyPrecisionRecipe({ recipe })]);
		await writeModel(model, path.join(folder, `${recipe}.onnx`));
	}
});
afterAll(() => rmSync(folder, { recursive: true }));

test("the float model first, then each recipe against it, coarser ones further away", async () => {
	const made = (recipe: string) => ({ recipe, file: path.join(folder, `${recipe}.onnx`) });
	const progress: number[] = [];
	const entries = await scorePerplexity(float, [made("16a8w"), made("16a4w")], {
		tokens,
		onProgress: (done, total) => progress.push(done / total),
	});
	expect(entries.map(({ recipe }) => recipe)).toEqual(["float", "16a8w", "16a4w"]);
	expect(entries.map((entry) => entry.tokens)).toEqual([88, 88, 88]);
	const [first, fine, coarse] = entries;
	expect(first!.klDivergence).toBeUndefined();
	expect(fine!.klDivergence).toBeGreaterThan(0);
	expect(coarse!.klDivergence!).toBeGreaterThan(20 * fine!.klDivergence!);
	expect(coarse!.topAgreement!).toBeLessThanOrEqual(fine!.topAgreement!);
	const alone = await perplexity(made("16a4w").file, { tokens, reference: float });
	expect(coarse).toMatchObject({ perplexity: alone.perplexity, klDivergence: alone.comparison!.klDivergence.mean });
	expect(first!.perplexity).toBe(alone.comparison!.perplexity);
	expect(progress.at(-1)).toBe(1);
	expect(progress).toEqual([...progress].sort((a, b) => a - b));
});
