import { type Perplexity, scoreTokens } from "../language/perplexity.js";
import { type ErrorSum, errorSum, sqnrDb } from "../quant/measure.js";
import type { SequencePipeline, SequenceStates } from "./sequence-pipeline.js";

/** How far quantized graphs are from the float ones, on sequences that they were not calibrated with. */
export interface LlmJudgement {
	readonly sequences: number;
	readonly tokens: number;
	/** Signal to noise of the states behind each layer, dB; null where they are equal, or could not be compared. */
	readonly layersDb: readonly (number | null)[];
	/** Of the logits. */
	readonly logitsDb: number | null;
	/** Share of the tokens with the same highest logit; null where there are none. */
	readonly topAgreement: number | null;
	/** Of the float graphs, and of the quantized ones. */
	readonly perplexity: { readonly before: number | null; readonly after: number | null };
	/** Mean Kullback-Leibler divergence from the float graphs' distribution, nats. */
	readonly klDivergence: number | null;
}

export interface JudgeOptions {
	/** Tokens that there are. */
	readonly vocabulary: number;
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Runs both pipelines over whole sequences; of the graphs in between, states of the same names are compared. */
export async function judgeQuantized(
	float: SequencePipeline,
	quantized: SequencePipeline,
	sequences: readonly (readonly number[])[],
	{ vocabulary, ...options }: JudgeOptions,
): Promise<LlmJudgement> {
	const sums = new Map<string, ErrorSum>();
	const add = (name: string, expected: Float32Array | undefined, found: Float32Array | undefined) => {
		if (expected?.length !== found?.length || expected === undefined) return;
		const { signal, error } = errorSum(expected, found!);
		const known = sums.get(name) ?? { signal: 0, error: 0 };
		sums.set(name, { signal: known.signal + signal, error: known.error + error });
	};
	let found: SequenceStates | undefined;
	const scores: Perplexity = await scoreTokens(
		{
			async logits(tokens) {
				found = await quantized.run(tokens);
				return found.logits;
			},
			...ANY_LENGTH,
		},
		sequences,
		{
			...options,
			length: Math.max(
				2,
				Math.min(Math.max(...sequences.map(({ length }) => length)), Math.floor(MAX_LOGITS / vocabulary)),
			),
			reference: {
				async logits(tokens) {
					const expected = await float.run(tokens);
					for (const [name, state] of expected.states) add(name, state, found!.states.get(name));
					add(LOGITS, expected.logits, found!.logits);
					return expected.logits;
				},
				...ANY_LENGTH,
			},
		},
	);
	const decibels = (name: string) => {
		const sum = sums.get(name);
		return sum === undefined || sum.error === 0 ? null : sqnrDb(sum.signal, sum.error);
	};
	return {
		sequences: sequences.length,
		tokens: sequences.reduce((sum, { length }) => sum + length, 0),
		layersDb: float.stateNames.slice(1).map(decibels),
		logitsDb: decibels(LOGITS),
		topAgreement: scores.comparison?.topAgreement ?? null,
		perplexity: { before: scores.comparison?.perplexity ?? null, after: scores.perplexity },
		klDivergence: scores.comparison?.klDivergence.mean ?? null,
	};
}

/** Stands for the logits among names. */
const LOGITS = "";

/** Logits in memory. */
const MAX_LOGITS = 2 ** 25;

/** Pipelines take any number of tokens, and are closed by who opened them. */
const ANY_LENGTH = { length: undefined, close: async () => undefined } as const;
