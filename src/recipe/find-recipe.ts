import { readFileSync } from "node:fs";
import { QGraphError } from "../diagnostics.js";
import { BUILT_IN_RECIPES } from "./built-in.js";
import { readExecutorchRecipe } from "./executorch.js";
import { parseRecipe } from "./parse-recipe.js";
import { BLOCK_SIZES, PRECISION_FACTS, PRECISIONS } from "./precision.js";
import { type Recipe, settingOf } from "./recipe.js";
import { suggestion } from "./suggestion.js";

/**
 * The recipe that `text` names: a precision (`16a4w_block`, or with a block size `16a4w_block:32`), a built-in
 * recipe, or
 * a file, YAML, JSON, or the Python text of one of ExecuTorch's recipes.
 *
 * @throws QGraphError `recipe/unknown` for none of these, `recipe/invalid` for a file that is no recipe.
 */
export function findRecipe(text: string): Recipe {
	const [name = "", size, ...rest] = text.split(":");
	const precision = PRECISIONS.find((known) => known === name);
	const blockSize = BLOCK_SIZES.find((known) => String(known) === size);
	const isBlock = precision !== undefined && PRECISION_FACTS[precision].isBlock;
	if (precision !== undefined && rest.length === 0 && (size === undefined || (isBlock && blockSize !== undefined))) {
		const setting = settingOf(precision, blockSize === undefined ? {} : { blockSize });
		return { name: text, description: undefined, default: setting, rules: [] };
	}
	const builtIn = BUILT_IN_RECIPES.find(({ name }) => name === text);
	if (builtIn !== undefined) return builtIn;
	let content: string;
	try {
		content = readFileSync(text, "utf8");
	} catch (error) {
		const known = [...PRECISIONS, ...BUILT_IN_RECIPES.map(({ name }) => name)];
		const isMissing = error instanceof Error && "code" in error && error.code === "ENOENT";
		const reason = isMissing ? "there is no such file" : error instanceof Error ? error.message : String(error);
		const message = `cannot read recipe '${text}': ${reason}, and it is none of ${known.join(", ")}${suggestion(text, known)}`;
		throw new QGraphError("recipe/unknown", message, { file: text }, { cause: error });
	}
	return text.endsWith(".py") ? readExecutorchRecipe(content, text) : parseRecipe(content, text);
}
