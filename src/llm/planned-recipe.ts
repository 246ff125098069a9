import { writeFileSync } from "node:fs";
import path from "node:path";
import type { Budget } from "../analysis/budget.js";
import { planPrecision } from "../analysis/plan-precision.js";
import { readModel } from "../onnx/file.js";
import { lowerMatmulNbits } from "../passes/lower-matmul-nbits.js";
import { writeRecipe } from "../recipe/write-recipe.js";
import { runPasses } from "../run-passes.js";

/** Writes a recipe with the precisions that a budget allows for the weights of a model into `folder`; returns the file. */
export async function plannedRecipe(
	modelFile: string,
	budget: Budget,
	folder: string,
	{
		signal,
		onProgress,
	}: {
		readonly signal?: AbortSignal | undefined;
		readonly onProgress: (done: number, total: number) => void;
	},
): Promise<string> {
	const model = await readModel(modelFile);
	await runPasses(model, [lowerMatmulNbits()]);
	const plan = await planPrecision(model, { budget, ...(signal && { signal }), onProgress });
	const file = path.join(folder, "plan.yaml");
	writeFileSync(file, writeRecipe(plan.recipe));
	return file;
}
