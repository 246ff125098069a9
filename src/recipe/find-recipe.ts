import { readFileSync } from "node:fs";
import { QGraphError } from "../diagnostics.js";
import { BUILT_IN_RECIPES } from "./built-in.js";
import { readExecutorchRecipe } from "./executorch.js";
import { parseRecipe } from "./parse-recipe.js";
import { PRECISIONS } from "./precision.js";
import { type Recipe, settingOf } from "./recipe.js";

/**
 * The recipe that `text` names: a precision, a built-in recipe, or
 * a file, YAML, JSON, or the Python text of one of ExecuTorch's recipes.
 *
 * @throws QGraphError `recipe/unknown` for none of these, `recipe/invalid` for a file that is no recipe.
 */
export function findRecipe(text: string): Recipe {
	const precision = PRECISIONS.find((name) => name === text);
	if (precision !== undefined) {
		return { name: text, description: undefined, default: settingOf(precision), rules: [] };
	}
	const builtIn = BUILT_IN_RECIPES.find(({ name }) => name === text);
	if (builtIn !== undefined) return builtIn;
	let content: string;
	try {
		content = readFileSync(text, "utf8");
	} catch (error) {
		const reason = error instanceof Error ? error.message : String(error);
		const names = [...PRECISIONS, ...BUILT_IN_RECIPES.map(({ name }) => name)].join(", ");
		const message = `'${text}' is neither a file (${reason}) nor one of ${names}`;
		throw new QGraphError("recipe/unknown", message, { file: text }, { cause: error });
	}
	return text.endsWith(".py") ? readExecutorchRecipe(content, text) : parseRecipe(content, text);
}
