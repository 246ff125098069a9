import { QGraphError } from "../diagnostics.js";
import { type LanguageModel, type LanguageModelOptions, openLanguageModel } from "./language-model.js";
import { readTokens, type TokenOptions, type TokenSequences } from "./tokens.js";

export interface ScoreOptions {
	/** What the model is compared with. */
	readonly reference?: LanguageModel | undefined;
	/** Tokens of a window; those that a model of fixed length takes, else 512, or the context where that is shorter. */
	readonly length?: number | undefined;
	/** Tokens from one window to the next; the length when left out. With less, what windows share is context only. */
	readonly stride?: number | undefined;
	/** No more than so many tokens of the data are looked at. */
	readonly limit?: number | undefined;
	readonly signal?: AbortSignal | undefined;
	/** Called with the tokens done and their number. */
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** How well a model predicts a text. Figures are null where not one token could be scored. */
export interface Perplexity {
	/** exp of the mean negative log-likelihood of the tokens that were predicted. */
	readonly perplexity: number | null;
	/** Standard error of `perplexity`, of the spread of the tokens' likelihoods. */
	readonly standardError: number | null;
	/** Share of the tokens that the model gave the highest logit. */
	readonly accuracy: number | null;
	/** Tokens that were predicted. */
	readonly tokens: number;
	/** Tokens left out because logits were infinite or no numbers. */
	readonly notFinite: number;
	/** Against the reference, on the same tokens. */
	readonly comparison?: PerplexityComparison;
}

export interface PerplexityComparison {
	/** Of the reference. */
	readonly perplexity: number | null;
	/** Kullback-Leibler divergence from the reference's distribution over the vocabulary to the model's, in nats. */
	readonly klDivergence: {
		readonly mean: number | null;
		readonly median: number | null;
		/** 99 % of the tokens have no more. */
		readonly percentile99: number | null;
		readonly max: number | null;
	};
	/** Share of the tokens where both have the same highest logit. */
	readonly topAgreement: number | null;
}

export interface PerplexityOptions extends Omit<ScoreOptions, "reference">, TokenOptions, LanguageModelOptions {
	/** The model to compare with: a file, or one that is open. */
	readonly reference?: string | LanguageModel | undefined;
}

const DEFAULT_LENGTH = 512;

/**
 * Runs a causal language model over token data in windows without a past, and computes its perplexity; with a reference, how
 * far the two distributions are apart, too.
 *
 * Rejects as `readTokens` and `openLanguageModel` do.
 */
export async function perplexity(model: string, options: PerplexityOptions): Promise<Perplexity> {
	const sequences = await readTokens(options);
	const { reference } = options;
	const sibling = typeof reference === "string" ? reference : undefined;
	const opened = await openLanguageModel(model, { sibling, ...options });
	try {
		if (typeof reference !== "string") return await scoreTokens(opened, sequences, { ...options, reference });
		const other = await openLanguageModel(reference, { sibling: model, ...options });
		try {
			return await scoreTokens(opened, sequences, { ...options, reference: other });
		} finally {
			await other.close();
		}
	} finally {
		await opened.close();
	}
}

/** The same with a model that is open and tokens that are read. */
export async function scoreTokens(
	model: LanguageModel,
	sequences: TokenSequences,
	options: ScoreOptions = {},
): Promise<Perplexity> {
	const { reference } = options;
	const longest = Math.min(model.longest ?? Number.POSITIVE_INFINITY, reference?.longest ?? Number.POSITIVE_INFINITY);
	const length = options.length ?? model.length ?? reference?.length ?? Math.min(DEFAULT_LENGTH, longest);
	const stride = options.stride ?? length;
	if (length > longest) {
		throw new QGraphError("language/tokens", `windows have ${length} tokens, but the model takes ${longest} at most`);
	}
	if (
		!(Number.isSafeInteger(length) && length >= 2) ||
		!(Number.isSafeInteger(stride) && stride >= 1) ||
		stride > length
	) {
		throw new QGraphError(
			"language/tokens",
			`windows have ${length} tokens and a stride of ${stride}, expected at least 2 tokens and a stride up to that`,
		);
	}
	const windows = [...windowsOf(limited(sequences, options.limit ?? Number.POSITIVE_INFINITY), length, stride)];
	const total = windows.reduce((sum, { tokens, first }) => sum + tokens.length - first, 0);
	if (total === 0) throw new QGraphError("language/tokens", "there are fewer than two tokens, so none to predict");
	const scores = new Scores();
	let done = 0;
	for (const { tokens, first } of windows) {
		options.signal?.throwIfAborted();
		const logits = await model.logits(tokens);
		const others = reference === undefined ? undefined : await reference.logits(tokens);
		scores.add(tokens, first, logits, others);
		done += tokens.length - first;
		options.onProgress?.(done, total);
	}
	return scores.result();
}

interface Window {
	readonly tokens: readonly number[];
	/** The tokens from this one on are predicted. */
	readonly first: number;
}

/** Windows that predict every token but the first of each stretch once. */
function* windowsOf(sequences: TokenSequences, length: number, stride: number): Generator<Window> {
	for (const sequence of sequences) {
		let predicted = 0;
		for (let start = 0; predicted < sequence.length; start += stride) {
			const tokens = sequence.slice(start, start + length);
			const first = Math.max(1, predicted - start);
			predicted = start + tokens.length;
			if (first < tokens.length) yield { tokens, first };
		}
	}
}

function* limitedSequences(sequences: TokenSequences, limit: number): Generator<readonly number[]> {
	let left = limit;
	for (const sequence of sequences) {
		if (left <= 0) return;
		yield sequence.length > left ? sequence.slice(0, left) : sequence;
		left -= sequence.length;
	}
}

function limited(sequences: TokenSequences, limit: number): TokenSequences {
	return [...limitedSequences(sequences, limit)];
}

/** Adds up what the predictions of tokens are worth. */
class Scores {
	/** Of each token, in nats. */
	readonly #losses: number[] = [];
	readonly #referenceLosses: number[] = [];
	readonly #divergences: number[] = [];
	#hits = 0;
	#agreements = 0;
	#notFinite = 0;
	#isCompared = false;

	add(tokens: readonly number[], first: number, logits: Float32Array, others: Float32Array | undefined): void {
		const vocabulary = logits.length / tokens.length;
		if (others !== undefined && others.length !== logits.length) {
			const size = others.length / tokens.length;
			throw new QGraphError(
				"language/model",
				`the model has a vocabulary of ${vocabulary} tokens, but the reference one of ${size}`,
			);
		}
		const outside = tokens.find((token) => token >= vocabulary);
		if (outside !== undefined) {
			throw new QGraphError(
				"language/tokens",
				`there is a token ${outside}, but the model has a vocabulary of ${vocabulary} only; is this its tokenizer?`,
			);
		}
		this.#isCompared = others !== undefined;
		for (let at = first; at < tokens.length; at++) {
			const row = logits.subarray((at - 1) * vocabulary, at * vocabulary);
			this.#addToken(tokens[at]!, row, others?.subarray((at - 1) * vocabulary, at * vocabulary));
		}
	}

	#addToken(token: number, row: Float32Array, other: Float32Array | undefined): void {
		const own = normalizerOf(row);
		const reference = other && normalizerOf(other);
		if (!Number.isFinite(own.log) || (reference !== undefined && !Number.isFinite(reference.log))) {
			this.#notFinite++;
			return;
		}
		this.#losses.push(own.log - row[token]!);
		if (own.top === token) this.#hits++;
		if (other === undefined || reference === undefined) return;
		this.#referenceLosses.push(reference.log - other[token]!);
		if (own.top === reference.top) this.#agreements++;
		const shift = own.log - reference.log;
		let divergence = 0;
		for (let id = 0; id < row.length; id++) {
			const probability = Math.exp(other[id]! - reference.log);
			if (probability > 0) divergence += probability * (other[id]! - row[id]! + shift);
		}
		this.#divergences.push(Math.max(0, divergence));
	}

	result(): Perplexity {
		const tokens = this.#losses.length;
		const own = perplexityOf(this.#losses);
		const share = (count: number) => (tokens === 0 ? null : count / tokens);
		const figures = {
			...own,
			accuracy: share(this.#hits),
			tokens,
			notFinite: this.#notFinite,
		};
		if (!this.#isCompared) return figures;
		const sorted = this.#divergences.sort((a, b) => a - b);
		const quantile = (part: number) => sorted[Math.min(tokens - 1, Math.floor(part * tokens))] ?? null;
		return {
			...figures,
			comparison: {
				perplexity: perplexityOf(this.#referenceLosses).perplexity,
				klDivergence: {
					mean: tokens === 0 ? null : meanOf(sorted),
					median: quantile(0.5),
					percentile99: quantile(0.99),
					max: quantile(1),
				},
				topAgreement: share(this.#agreements),
			},
		};
	}
}

/** The logarithm of the sum of exponentials, and the first of the largest. Not finite where one logit is NaN or infinite. */
function normalizerOf(row: Float32Array): { readonly log: number; readonly top: number } {
	let top = 0;
	for (let id = 1; id < row.length; id++) if (row[id]! > row[top]!) top = id;
	const max = row[top]!;
	let sum = 0;
	for (let id = 0; id < row.length; id++) sum += Math.exp(row[id]! - max);
	return { log: max + Math.log(sum), top };
}

function meanOf(values: readonly number[]): number {
	return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function perplexityOf(losses: readonly number[]): Pick<Perplexity, "perplexity" | "standardError"> {
	if (losses.length === 0) return { perplexity: null, standardError: null };
	const mean = meanOf(losses);
	const perplexity = Math.exp(mean);
	if (losses.length === 1) return { perplexity, standardError: null };
	const variance = losses.reduce((sum, loss) => sum + (loss - mean) ** 2, 0) / (losses.length - 1);
	return { perplexity, standardError: perplexity * Math.sqrt(variance / losses.length) };
}
