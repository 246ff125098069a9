import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { bytesFrom, bytesPerElement } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { QGraphError } from "../diagnostics.js";
import { type Dimension, elementCount } from "../ir/types.js";
import { readModel } from "../onnx/file.js";
import { reasonOf } from "../onnx/io-error.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";
import { type DimensionLengths, inputsOf, type ModelInput, missingLengths } from "../runtime/model-inputs.js";

/** Gives the scores of what may come next. */
export interface LanguageModel {
	/** Tokens that it computes at a time, and at most; undefined: any number, up to `longest`. */
	readonly length: number | undefined;
	/** Tokens that it was made for; undefined: not known. */
	readonly longest?: number | undefined;
	/** Logits behind each of `tokens`, which follow nothing: [tokens, vocabulary], row by row. */
	logits(tokens: readonly number[]): Promise<Float32Array>;
	close(): Promise<void>;
}

export interface LanguageModelOptions {
	/** Lengths of dimensions that nothing else tells, by their names or as `input:axis`. */
	readonly dimensions?: DimensionLengths | undefined;
	/** Another file of the same model, whose genai_config.json counts where there is none beside this one. */
	readonly sibling?: string | undefined;
	/** Threads of an operator; all cores when left out. */
	readonly threads?: number | undefined;
}

/** What an input is given. */
type Feed = (tokens: readonly number[]) => NumpyArray;

/**
 * Opens a causal language model: token ids go in, logits come out, and caches of what came before are empty. The sizes of
 * dynamic caches and the context are read from a genai_config.json beside the model where there is one.
 *
 * Rejects with `language/model` for what is no such model or does not run, `runtime/dimension` where the size of a cache is not known, and
 * `runtime/missing` where onnxruntime-node is not installed.
 */
export async function openLanguageModel(file: string, options: LanguageModelOptions = {}): Promise<LanguageModel> {
	const model = await readModel(file);
	const output = model.graph.outputs.find(({ name }) => name === "logits") ?? model.graph.outputs[0];
	if (output === undefined) throw modelError("the model has no output");
	const inputs = inputsOf(model);
	const ids = inputs.find(({ name }) => name === "input_ids") ?? inputs.find(isTokens);
	if (ids === undefined) throw modelError("the model has no input 'input_ids' of integers");
	const length = fixedLength(ids);
	const total = ids.shape === undefined || ids.shape.length < 2 ? 1 : ids.shape[0];
	if (typeof total === "number" && total !== 1) {
		throw modelError(`input '${ids.name}' takes ${total} texts at a time, expected one`);
	}
	const missing = new Set<string>();
	const files = options.sibling === undefined ? [file] : [file, options.sibling];
	const lengths = { headSize: configured(files, "head_size"), given: options.dimensions ?? {}, missing };
	const feeds = new Map(inputs.map((input) => [input.name, feedOf(input, ids, length, lengths)] as const));
	if (missing.size > 0) throw missingLengths(missing);
	const session = await translated("cannot load the model", LiveSession.open(file, { threads: options.threads }));
	return {
		length,
		longest: length ?? configured(files, "context_length"),
		async logits(tokens) {
			const arrays = new Map([...feeds].map(([name, feed]) => [name, feed(tokens)] as const));
			const results = await translated("cannot run the model", session.run(arrays, [output.name]));
			const found = results.get(output.name);
			const rows = length ?? tokens.length;
			if (found === undefined || found.shape.length < 2 || found.shape.at(-2) !== rows) {
				const shape = found === undefined ? "no tensor" : `[${found.shape.join(", ")}]`;
				throw modelError(`output '${output.name}' is ${shape}, expected logits of all ${rows} tokens`);
			}
			return floatsOf(found).subarray(0, tokens.length * found.shape.at(-1)!);
		},
		close: () => session.close(),
	};
}

interface KnownLengths {
	readonly headSize: number | undefined;
	readonly given: DimensionLengths;
	/** Collects the names of dimensions that nobody tells. */
	readonly missing: Set<string>;
}

function isTokens({ type, shape }: ModelInput): boolean {
	return /^u?int(32|64)$/.test(type) && (shape === undefined || shape.length <= 2);
}

function fixedLength({ shape }: ModelInput): number | undefined {
	const length = shape?.at(-1);
	return typeof length === "number" ? length : undefined;
}

function feedOf(input: ModelInput, ids: ModelInput, length: number | undefined, known: KnownLengths): Feed {
	const { name, type, shape } = input;
	const row = (values: readonly number[], width: number): NumpyArray => ({
		type,
		shape: rankedShape(shape, width),
		bytes: bytesFrom(type, repeated(values, rankedShape(shape, width))),
	});
	const padded = (values: readonly number[]) => [
		...values,
		...Array<number>((length ?? values.length) - values.length).fill(0),
	];
	if (input === ids) return (tokens) => row(padded(tokens), length ?? tokens.length);
	if (/position_ids$/.test(name)) {
		return (tokens) => row([...padded(tokens).keys()], length ?? tokens.length);
	}
	if (/token_type_ids$/.test(name)) return (tokens) => row(padded(tokens).fill(0), length ?? tokens.length);
	if (/attention_mask$/.test(name) && (shape === undefined || shape.length <= 2)) {
		const whole = fixedLength(input);
		return (tokens) => {
			const mask = padded(tokens.map(() => 1));
			const past = Array<number>(Math.max(0, (whole ?? 0) - mask.length)).fill(0);
			return row([...past, ...mask], past.length + mask.length);
		};
	}
	if (type === "bool" && (shape ?? []).every((dimension) => typeof dimension !== "number" || dimension === 1)) {
		return () => ({ type, shape: (shape ?? []).map(() => 1), bytes: new Uint8Array(1) });
	}
	if (/^past|cache/.test(name) && shape !== undefined && shape.length > 2) {
		const sizes = cacheShape(input, known);
		const bytes = new Uint8Array(elementCount(sizes) * bytesPerElement(type));
		return () => ({ type, shape: sizes, bytes });
	}
	throw modelError(`input '${name}' is none that a language model is known to have`);
}

/** [1, ..., width], with the rank that an input has; three rows of positions stay three. */
function rankedShape(shape: readonly Dimension[] | undefined, width: number): number[] {
	if (shape === undefined) return [1, width];
	return shape.map((dimension, axis) =>
		axis === shape.length - 1 ? width : typeof dimension === "number" ? dimension : 1,
	);
}

function repeated(values: readonly number[], shape: readonly number[]): number[] {
	const rows = elementCount(shape) / Math.max(1, values.length);
	return Array.from({ length: rows }, () => values).flat();
}

/** Names of dimensions that count tokens. */
const COUNTS_TOKENS = /past|seq|total|context|length/i;

/** A batch of one, nothing in the past: an axis between those of the batch and of a head is that of the tokens. */
function cacheShape({ name, shape }: ModelInput, known: KnownLengths): number[] {
	const last = shape!.length - 1;
	return shape!.map((dimension, axis) => {
		if (typeof dimension === "number") return dimension;
		if (axis === 0) return 1;
		const given = known.given[`${name}:${axis}`] ?? (dimension === undefined ? undefined : known.given[dimension]);
		if (axis < last) return dimension === undefined || COUNTS_TOKENS.test(dimension) ? 0 : (given ?? 0);
		const size = given ?? known.headSize;
		if (size === undefined) known.missing.add(dimension ?? `${name}:${axis}`);
		return size ?? 0;
	});
}

/** A whole number of the genai_config.json beside the first of `files` that has one. */
function configured(files: readonly string[], field: string): number | undefined {
	const configs = files.map((file) => path.join(path.dirname(file), "genai_config.json"));
	const config = configs.find((place) => existsSync(place));
	if (config === undefined) return undefined;
	const [, value] = new RegExp(`"${field}"\\s*:\\s*(\\d+)`).exec(readFileSync(config, "utf8")) ?? [];
	return value === undefined ? undefined : Number(value);
}

/** What ONNX Runtime says of a model, with a code. */
async function translated<T>(what: string, work: Promise<T>): Promise<T> {
	try {
		return await work;
	} catch (error) {
		if (error instanceof QGraphError) throw error;
		throw new QGraphError("language/model", `${what}: ${reasonOf(error)}`, {}, { cause: error });
	}
}

function modelError(problem: string): QGraphError {
	return new QGraphError("language/model", `${problem}; perplexity is of models that give logits for token ids`);
}
