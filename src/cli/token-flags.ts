import { existsSync } from "node:fs";
import path from "node:path";
import type { Argv } from "yargs";
import type { Arguments } from "./command.js";
import { lengths } from "./key-values.js";

/** Flags that name the tokens that a language model is to predict. */
export function tokenFlags(builder: Argv): Argv {
	return builder
		.option("text", { type: "string", requiresArg: true, describe: "Text in UTF-8, such as wikitext's wiki.test.raw" })
		.option("tokenizer", {
			type: "string",
			requiresArg: true,
			describe: "tokenizer.json for the text [default: the one beside the model]",
		})
		.option("tokens", {
			type: "string",
			requiresArg: true,
			describe: "Instead of a text: token ids, .npy, .npz or .json",
		})
		.conflicts("text", "tokens");
}

/** Why the flags cannot be used; undefined where they can, or none is there. */
export function tokenProblem({ text, tokenizer, model }: Arguments): string | undefined {
	if (text === undefined || tokenizer !== undefined || tokenizerBeside(model as string) !== undefined) return undefined;
	return "there is no tokenizer.json beside the model; name it with --tokenizer";
}

/** What the flags say; undefined where they name no tokens. */
export function tokenData({ text, tokens, tokenizer, model, dim }: Arguments) {
	if (text === undefined && tokens === undefined) return undefined;
	return {
		text: text as string | undefined,
		tokens: tokens as string | undefined,
		tokenizer: (tokenizer as string | undefined) ?? tokenizerBeside(model as string),
		dimensions: lengths("dim", dim),
	};
}

function tokenizerBeside(model: string): string | undefined {
	const file = path.join(path.dirname(model), "tokenizer.json");
	return existsSync(file) ? file : undefined;
}
