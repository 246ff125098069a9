import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import type { GenaiConfig } from "./genai-config.js";

/**
 * An id that no token has, for what fills prompts up: a token of that id in a prompt would be taken for that. The largest
 * one that the tokenizer leaves free, else the config's where it does not end sequences; undefined where there is none.
 */
export function freeToken(folder: string, { vocabularySize, padToken, endTokens }: GenaiConfig): number | undefined {
	const used = tokenIds(path.join(folder, "tokenizer.json"));
	if (used !== undefined) {
		for (let id = vocabularySize - 1; id >= 0; id--) if (!used.has(id)) return id;
	}
	const isOfItsOwn = padToken >= 0 && padToken < vocabularySize && !endTokens.includes(padToken);
	return isOfItsOwn ? padToken : undefined;
}

/** The ids of a Hugging Face tokenizer; undefined where there is no such file, or none that lists them. */
function tokenIds(file: string): Set<number> | undefined {
	if (!existsSync(file)) return undefined;
	const tokenizer = JSON.parse(readFileSync(file, "utf8")) as {
		readonly model?: { readonly vocab?: Readonly<Record<string, number>> | readonly unknown[] };
		readonly added_tokens?: readonly { readonly id: number }[];
	};
	const vocabulary = tokenizer.model?.vocab;
	if (vocabulary === undefined) return undefined;
	const ids = Array.isArray(vocabulary) ? vocabulary.keys() : Object.values(vocabulary as Record<string, number>);
	return new Set([...ids, ...(tokenizer.added_tokens ?? []).map(({ id }) => id)]);
}
