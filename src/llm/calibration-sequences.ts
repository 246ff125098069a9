import { QGraphError } from "../diagnostics.js";
import { readTokens } from "../language/tokens.js";
import { Random } from "../quant/random.js";
import { DynamicDecoder } from "./dynamic-decoder.js";
import type { LlmJob } from "./llm-job.js";

export interface SequenceOptions {
	/** Files with token ids, or with text for the tokenizer beside the model; without them, prompts are made up. */
	readonly data?: readonly string[] | undefined;
	/** Files of the same kinds that the result is judged by; without them a tenth of the sequences is held back. */
	readonly evaluation?: readonly string[] | undefined;
	/** Tokens that the model adds to every prompt; default 64. */
	readonly generate?: number | undefined;
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What a model is calibrated with, and what the result is judged by: sequences of token ids. */
export interface Sequences {
	readonly calibration: readonly (readonly number[])[];
	readonly evaluation: readonly (readonly number[])[];
	/** Were the prompts made up? */
	readonly isRandom: boolean;
}

/** No sequence is longer: what later positions show, earlier ones have shown. */
const MAX_LENGTH = 512;

const DEFAULT_GENERATED = 64;

/** Made-up prompts: so many, so long. */
const [RANDOM_PROMPTS, RANDOM_LENGTH] = [16, 48];

const [HELD_OUT_SHARE, MOST_HELD_OUT] = [0.1, 8];

/**
 * The sequences to calibrate with: prompts, and what the model goes on with, for a cache is filled with what it said itself.
 * Long texts are cut. Held back are the last ones, without what the model added.
 */
export async function calibrationSequences(job: LlmJob, options: SequenceOptions): Promise<Sequences> {
	const { config, lengths } = job;
	const { data, evaluation, generate = DEFAULT_GENERATED } = options;
	const most = Math.min(MAX_LENGTH, lengths.context);
	const prompts = cut(data === undefined ? randomPrompts(job) : await readPrompts(job, data), most);
	const share = Math.max(1, Math.min(MOST_HELD_OUT, Math.floor(prompts.length * HELD_OUT_SHARE)));
	const heldOut = evaluation === undefined && prompts.length > 1 ? share : 0;
	const kept = prompts.slice(0, prompts.length - heldOut);
	const judged =
		evaluation === undefined
			? prompts.slice(prompts.length - Math.max(1, heldOut))
			: cut(await readPrompts(job, evaluation), most);
	const decoder = await DynamicDecoder.open(config);
	try {
		const lengthOf = ({ length }: readonly number[]) => Math.min(length + generate, most);
		const calibration = await decoder.continue(kept, lengthOf, (done) => {
			options.signal?.throwIfAborted();
			options.onProgress?.(done, kept.length);
		});
		return { calibration, evaluation: judged, isRandom: data === undefined };
	} finally {
		await decoder.close();
	}
}

/** Token ids of files: arrays and lists of ids, anything else is text. Rejects with `language/...`. */
export async function readPrompts(
	{ folder, config }: Pick<LlmJob, "folder" | "config">,
	files: readonly string[],
): Promise<(readonly number[])[]> {
	const sequences: (readonly number[])[] = [];
	for (const file of files) {
		const isIds = /\.(npy|npz|json)$/.test(file);
		const found = await readTokens(isIds ? { tokens: file } : { text: file, tokenizer: folder });
		for (const id of found.flat()) {
			if (id < config.vocabularySize) continue;
			const message = `'${file}' has the token ${id}, but the model only ${config.vocabularySize}; is this its tokenizer?`;
			throw new QGraphError("language/tokens", message, { file });
		}
		sequences.push(...found.filter(({ length }) => length > 0));
	}
	return sequences;
}

/** Pieces of at most `most` tokens. */
function cut(sequences: readonly (readonly number[])[], most: number): (readonly number[])[] {
	return sequences.flatMap((sequence) =>
		Array.from({ length: Math.ceil(sequence.length / most) }, (_, piece) =>
			sequence.slice(piece * most, (piece + 1) * most),
		),
	);
}

function randomPrompts({ config, lengths, padToken }: LlmJob): number[][] {
	const random = new Random("prompts");
	const excluded = new Set([padToken, ...config.endTokens]);
	const token = (): number => {
		const id = Math.floor(random.uniform() * config.vocabularySize);
		return excluded.has(id) ? token() : id;
	};
	const length = Math.max(2, Math.min(RANDOM_LENGTH, Math.floor(lengths.context / 2)));
	return Array.from({ length: RANDOM_PROMPTS }, () => Array.from({ length }, token));
}
