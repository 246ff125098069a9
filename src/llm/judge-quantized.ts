import type { Model } from "../ir/model.js";
import { type Perplexity, scoreTokens } from "../language/perplexity.js";
import type { Grid } from "../quant/grid.js";
import { type ErrorSum, errorSum, sqnrDb } from "../quant/measure.js";
import { floatsOf } from "../runtime/live-session.js";
import { NAMES } from "./layer-graph.js";
import { type LayerStages, openLean, runLayers } from "./sequence-stages.js";
import type { SequenceStore } from "./sequence-store.js";

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
	/** Name of the logits. */
	readonly logits: string;
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** A pipeline of whole sequences, float or quantized, in the parts in which it is run. */
export interface JudgedPipeline {
	readonly layers: LayerStages;
	/** The graph of the head, of any number of tokens. */
	readonly head: () => Promise<Model>;
	/** Of outputs of the layers: the state in front of each, and that in front of the head. */
	readonly stateNames: readonly string[];
	/** What comes out of the front. */
	readonly store: SequenceStore;
	/** What the codes of the state in front of the head stand for; undefined: it is float. */
	readonly hidden?: Grid | undefined;
}

/** Sequences as they are judged: cut where their logits would be too many. */
export function judgedSequences(sequences: readonly (readonly number[])[], vocabulary: number): readonly number[][] {
	const length = Math.max(2, Math.floor(MAX_LOGITS / vocabulary));
	return sequences
		.flatMap((sequence) =>
			Array.from({ length: Math.ceil(sequence.length / length) }, (_, piece) =>
				sequence.slice(piece * length, (piece + 1) * length),
			),
		)
		.filter((piece) => piece.length > 1);
}

/**
 * Runs both pipelines over the sequences of their stores; of the graphs in between, states of the same names are compared.
 * One part of one of them is in memory at a time.
 */
export async function judgeQuantized(
	float: JudgedPipeline,
	quantized: JudgedPipeline,
	{ logits: logitsName, ...options }: JudgeOptions,
): Promise<LlmJudgement> {
	const { sequences } = float.store;
	const sums = new Map<string, ErrorSum>();
	const add = (name: string, expected: Float32Array | undefined, found: Float32Array | undefined) => {
		if (expected?.length !== found?.length || expected === undefined) return;
		const { signal, error } = errorSum(expected, found!);
		const known = sums.get(name) ?? { signal: 0, error: 0 };
		sums.set(name, { signal: known.signal + signal, error: known.error + error });
	};
	for (const { layers, store, stateNames } of [float, quantized]) {
		for await (const _ of runLayers(layers, store, [...new Set([...stateNames, NAMES.hidden])], options.signal));
	}
	for (const index of sequences.keys()) {
		for (const name of float.stateNames) add(name, stateOf(float, index, name), stateOf(quantized, index, name));
	}
	let at = 0;
	let found: Float32Array = new Float32Array();
	const scores: Perplexity = await scoreTokens(
		{
			async logits() {
				found = await logitsOf(quantized, at, logitsName);
				return found;
			},
			...ANY_LENGTH,
		},
		sequences,
		{
			...options,
			length: Math.max(...sequences.map(({ length }) => length)),
			reference: {
				async logits() {
					const expected = await logitsOf(float, at++, logitsName);
					add(LOGITS, expected, found);
					return expected;
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

/** A state as real numbers. */
function stateOf({ store, hidden }: JudgedPipeline, sequence: number, name: string): Float32Array | undefined {
	const array = store.get(sequence, name);
	if (array === undefined) return undefined;
	const values = floatsOf(array);
	if (name !== NAMES.hidden || hidden === undefined) return values;
	return values.map((code) => (code - hidden.zeroPoint) * hidden.scale);
}

/** [sequence, vocabulary]. The head is in memory as long as it runs. */
async function logitsOf({ head, store }: JudgedPipeline, sequence: number, name: string): Promise<Float32Array> {
	const session = await openLean(await head());
	try {
		const found = await session.run(new Map([[NAMES.hidden, store.get(sequence, NAMES.hidden)!]]), [name]);
		return floatsOf(found.get(name)!);
	} finally {
		await session.close();
	}
}

/** Stands for the logits among names. */
const LOGITS = "";

/** Logits in memory. */
const MAX_LOGITS = 2 ** 25;

/** Pipelines take any number of tokens, and are closed by who opened them. */
const ANY_LENGTH = { length: undefined, close: async () => undefined } as const;
