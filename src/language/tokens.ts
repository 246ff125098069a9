import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import type { Tokenizer } from "@huggingface/tokenizers";
import { isFloat, numbersOf } from "../arrays/element-type.js";
import { type NumpyArray, readNpy, readNpz } from "../arrays/npz.js";
import { QGraphError } from "../diagnostics.js";
import { reasonOf } from "../onnx/io-error.js";
import { loadOptional } from "../runtime/load-optional.js";

/** Token ids of one text after the other; what stands in one is no context of what stands in the next. */
export type TokenSequences = readonly (readonly number[])[];

export interface TokenOptions {
	/** A text in UTF-8, which becomes one sequence as it is. */
	readonly text?: string | undefined;
	/** A tokenizer.json of Hugging Face, or the folder that it lies in. */
	readonly tokenizer?: string | undefined;
	/** Instead of a text: token ids in a file, .npy, .npz or .json; of an array of two axes, each row is a sequence. */
	readonly tokens?: string | undefined;
}

/**
 * Reads token data. Special tokens are those that the tokenizer puts around a text.
 *
 * Rejects with `language/tokens` for files that hold none, `language/tokenizer` for tokenizers that cannot be read, and
 * `runtime/missing` where a text is given but the package `@huggingface/tokenizers` is not installed.
 */
export async function readTokens({ text, tokenizer, tokens }: TokenOptions): Promise<TokenSequences> {
	if (tokens !== undefined) return readTokenIds(tokens);
	if (text === undefined || tokenizer === undefined) {
		throw new QGraphError("language/tokens", "name a text and its tokenizer, or a file of token ids");
	}
	const content = readFile(text);
	const encoder = await openTokenizer(tokenizer);
	return [encoder.encode(content).ids];
}

function readTokenIds(file: string): TokenSequences {
	if (file.endsWith(".npy")) return rowsOf(readNpy(file), file);
	if (file.endsWith(".npz")) {
		const arrays = readNpz(file);
		const array = arrays.get("input_ids") ?? (arrays.size === 1 ? [...arrays.values()][0] : undefined);
		if (array !== undefined) return rowsOf(array, file);
		throw tokensError(file, `it has ${arrays.size} arrays, expected one, or one 'input_ids'`);
	}
	if (file.endsWith(".json")) return listsOf(parseJson(file, "language/tokens"), file);
	throw tokensError(file, "it is of no kind that token ids are read from; expected .npy, .npz or .json");
}

function rowsOf({ type, shape, bytes }: NumpyArray, file: string): TokenSequences {
	if (isFloat(type) || type === "bool") throw tokensError(file, `its elements are ${type}, expected integers`);
	const ids = Array.from(numbersOf(type, new Uint8Array(bytes).buffer));
	const length = shape.length > 1 ? shape.at(-1)! : ids.length;
	const rows: number[][] = [];
	for (let at = 0; at < ids.length; at += length) rows.push(checked(ids.slice(at, at + length), file));
	return rows;
}

function listsOf(value: unknown, file: string): TokenSequences {
	const found = isRecord(value) ? value.input_ids : value;
	if (Array.isArray(found)) {
		const lists: readonly unknown[] = found.every((item) => Array.isArray(item)) ? found : [found];
		return lists.map((list) => checked(list as readonly unknown[], file));
	}
	throw tokensError(file, "it holds no list of token ids, nor an object with one as 'input_ids'");
}

function checked(list: readonly unknown[], file: string): number[] {
	return list.map((id) => {
		if (typeof id === "number" && Number.isSafeInteger(id) && id >= 0) return id;
		throw tokensError(file, `${JSON.stringify(id)} is no token id, expected integers from 0 on`);
	});
}

async function openTokenizer(place: string): Promise<Tokenizer> {
	const isFolder = statSync(place, { throwIfNoEntry: false })?.isDirectory() === true;
	const file = isFolder ? path.join(place, "tokenizer.json") : place;
	const config = path.join(path.dirname(file), "tokenizer_config.json");
	const content = parseJson(file, "language/tokenizer");
	const settings = existsSync(config) ? parseJson(config, "language/tokenizer") : {};
	const found = await loadOptional("@huggingface/tokenizers", process.cwd());
	if (found === undefined) {
		throw new QGraphError(
			"runtime/missing",
			"the package '@huggingface/tokenizers', which makes tokens of texts, is not installed; run 'npm install @huggingface/tokenizers', or give token ids in a file",
		);
	}
	try {
		const { Tokenizer: Encoder } = found as { readonly Tokenizer: typeof Tokenizer };
		return new Encoder(content as object, settings as object);
	} catch (error) {
		throw new QGraphError("language/tokenizer", `cannot use '${file}': ${reasonOf(error)}`, { file }, { cause: error });
	}
}

function parseJson(file: string, code: "language/tokens" | "language/tokenizer"): unknown {
	try {
		return JSON.parse(readFileSync(file, "utf8"));
	} catch (error) {
		throw new QGraphError(code, `cannot read '${file}': ${reasonOf(error)}`, { file }, { cause: error });
	}
}

function readFile(file: string): string {
	try {
		return readFileSync(file, "utf8");
	} catch (error) {
		throw tokensError(file, reasonOf(error), error);
	}
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
	return typeof value === "object" && value !== null && !Array.isArray(value);
}

function tokensError(file: string, problem: string, cause?: unknown): QGraphError {
	const options = cause === undefined ? undefined : { cause };
	return new QGraphError("language/tokens", `cannot read '${file}': ${problem}`, { file }, options);
}
