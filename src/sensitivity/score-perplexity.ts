import { openLanguageModel } from "../language/language-model.js";
import { type PerplexityOptions, scoreTokens } from "../language/perplexity.js";
import { readTokens } from "../language/tokens.js";
import type { PerplexityEntry } from "./analysis.js";

/** A model that a recipe made. */
export interface RecipeModel {
	/** `base`, or the name of a suggested recipe. */
	readonly recipe: string;
	/** ONNX file. */
	readonly file: string;
}

/**
 * Perplexity of a float language model and of what recipes made of it, each of these against the float one, on the same
 * tokens. The float model is loaded once, the others one after the other.
 *
 * Rejects as `perplexity` does.
 */
export async function scorePerplexity(
	float: string,
	quantized: readonly RecipeModel[],
	options: Omit<PerplexityOptions, "reference">,
): Promise<PerplexityEntry[]> {
	const sequences = await readTokens(options);
	const models = [{ recipe: "float", file: float }, ...quantized];
	const reference = await openLanguageModel(float, options);
	const entries: PerplexityEntry[] = [];
	const onProgress = (done: number, total: number) =>
		options.onProgress?.(entries.length * total + done, models.length * total);
	try {
		const { perplexity, tokens } = await scoreTokens(reference, sequences, {
			...options,
			reference: undefined,
			onProgress,
		});
		entries.push({ recipe: "float", perplexity, tokens });
		for (const { recipe, file } of quantized) {
			const model = await openLanguageModel(file, { ...options, sibling: float });
			try {
				const scored = await scoreTokens(model, sequences, { ...options, reference, onProgress });
				const { klDivergence, topAgreement } = scored.comparison!;
				const { perplexity, tokens } = scored;
				entries.push({ recipe, perplexity, tokens, klDivergence: klDivergence.mean, topAgreement });
			} finally {
				await model.close();
			}
		}
	} finally {
		await reference.close();
	}
	return entries;
}
