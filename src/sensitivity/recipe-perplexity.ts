import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { openLanguageModel } from "../language/language-model.js";
import type { PerplexityOptions } from "../language/perplexity.js";
import { readTokens } from "../language/tokens.js";
import { readModel, writeModel } from "../onnx/file.js";
import { applyPrecisionRecipe } from "../passes/apply-precision-recipe.js";
import { insertActivationQdq } from "../passes/insert-activation-qdq.js";
import { passesAround } from "../quantize/passes-around.js";
import { runPasses } from "../run-passes.js";
import type { PerplexityEntry } from "./analysis.js";
import { type RecipeModel, scorePerplexity } from "./score-perplexity.js";

/** Token data, and how much of it is looked at. */
export type TokenData = Pick<PerplexityOptions, "text" | "tokenizer" | "tokens" | "length" | "limit" | "dimensions">;

export interface RecipePerplexityOptions {
	/** A folder for models, with what was measured. */
	readonly folder: string;
	/** Ranges of activations, as an encodings file; where there is none only weights are quantized. */
	readonly encodings: string;
	/** Folder of the second moments of inputs; where there is none GPTQ is not used. */
	readonly moments: string;
	readonly fit: "max" | "search";
	readonly products: "auto" | "16x16" | "16x8";
	readonly signal: AbortSignal | undefined;
	readonly onProgress: (step: string, done: number, total: number) => void;
}

/** A recipe and what it is called: a name or file as passes take it, or the text of a file. */
export type NamedRecipe = { readonly name: string } & ({ readonly recipe: string } | { readonly text: string });

/** Rejects as `perplexity` does where the model or the data are not such: better before the work than behind it. */
export async function checkTokenData(float: string, data: TokenData): Promise<void> {
	await readTokens(data);
	const model = await openLanguageModel(float, data);
	await model.close();
}

/**
 * Perplexity of a float language model and of what recipes make of it: weights and activations quantized, on the CPU, all
 * lengths left open as tokens need them. What a target would change of it is not in the figures.
 */
export async function recipePerplexity(
	float: string,
	recipes: readonly NamedRecipe[],
	data: TokenData,
	options: RecipePerplexityOptions,
): Promise<PerplexityEntry[]> {
	const { folder, signal, onProgress } = options;
	mkdirSync(folder, { recursive: true });
	const models: RecipeModel[] = [];
	for (const [index, named] of recipes.entries()) {
		onProgress("quantizing for perplexity", index, recipes.length);
		const file = path.join(folder, `perplexity-${index}.onnx`);
		await quantize(float, recipeFile(named, path.join(folder, `perplexity-${index}.yaml`)), file, options);
		models.push({ recipe: named.name, file });
	}
	const progress = (done: number, total: number) => onProgress("perplexity", done, total);
	return scorePerplexity(float, models, { ...data, signal, onProgress: progress });
}

function recipeFile(named: NamedRecipe, file: string): string {
	if ("recipe" in named) return named.recipe;
	writeFileSync(file, named.text);
	return file;
}

async function quantize(
	float: string,
	recipe: string,
	file: string,
	{ encodings, moments, fit, products, signal }: RecipePerplexityOptions,
): Promise<void> {
	const model = await readModel(float);
	const [before, after] = passesAround(undefined);
	const passes = [
		...before.map((pass) => pass()),
		applyPrecisionRecipe({ recipe, fit, hessian: existsSync(moments) ? moments : "" }),
		...(existsSync(encodings) ? [insertActivationQdq({ recipe, encodings, products })] : []),
		...after.map((pass) => pass()),
	];
	await runPasses(model, passes, signal === undefined ? {} : { signal });
	await writeModel(model, file, { overwrite: true });
}
