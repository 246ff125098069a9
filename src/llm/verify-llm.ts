import { errorSum, sqnrDb } from "../quant/measure.js";
import { Random } from "../quant/random.js";
import type { LiveHtpOptions } from "../runtime/live-htp.js";
import { type Target, targetName } from "../targets/target.js";
import type { LlmJob } from "./llm-job.js";
import type { PipelineGraph } from "./pipeline-graph.js";
import { type Generation, StaticDecoder } from "./static-decoder.js";

/** How a generation on a target's emulator compares with that on the CPU. */
export interface PromptVerification {
	/** Tokens of the prompt, and those that were generated. */
	readonly promptTokens: number;
	readonly tokens: number;
	/** Signal to noise of the logits up to the first token that differs, dB; null where they are equal. */
	readonly logitsDb: number | null;
	/** The first token that differs; null where none does. */
	readonly difference: TokenDifference | null;
}

export interface TokenDifference {
	readonly at: number;
	readonly onCpu: number;
	readonly onTarget: number;
	/** By how much the token of the CPU leads the other one there, in parts of the range of its logits. */
	readonly lead: number;
	/** Is it so little that either may come first? */
	readonly isNearTie: boolean;
}

export interface LlmVerification {
	readonly target: string;
	readonly prompts: readonly PromptVerification[];
}

export interface VerifyLlmOptions extends LiveHtpOptions {
	readonly onProgress?: ((step: string, done: number, total: number) => void) | undefined;
}

const TOKENS = 24;

/** In parts of the range of the logits. */
const NEAR_TIE = 0.005;

/**
 * Generates with the graphs in `folder` on the CPU and on the emulator of a target, from prompts below, at and above the window,
 * and compares token by token. Rejects with `runtime/missing` and `htp/...`.
 */
export async function verifyLlm(
	job: LlmJob,
	graphs: readonly PipelineGraph[],
	folder: string,
	target: Target,
	{ onProgress, ...options }: VerifyLlmOptions = {},
): Promise<LlmVerification> {
	const prompts = promptsFor(job);
	onProgress?.("loading on the emulator", 0, 1);
	const onTarget = await StaticDecoder.open(job, graphs, folder, target, options);
	try {
		const onCpu = await StaticDecoder.open(job, graphs, folder, undefined);
		try {
			const verified: PromptVerification[] = [];
			for (const [index, prompt] of prompts.entries()) {
				options.signal?.throwIfAborted();
				onProgress?.("generating on CPU and emulator", index, prompts.length);
				const count = Math.min(TOKENS, job.lengths.context - prompt.length);
				const [expected, actual] = [await onCpu.generate(prompt, count), await onTarget.generate(prompt, count)];
				verified.push({ promptTokens: prompt.length, tokens: count, ...compareGenerations(expected, actual) });
			}
			return { target: targetName(target), prompts: verified };
		} finally {
			await onCpu.close();
		}
	} finally {
		await onTarget.close();
	}
}

/** Random ids, for texts are not known here. */
function promptsFor({ config, lengths, padToken }: LlmJob): number[][] {
	const random = new Random("prompts");
	const { sequence, context } = lengths;
	const wanted = [Math.ceil(sequence / 2), sequence, sequence + Math.ceil(sequence / 3), 2 * sequence + 1];
	const forbidden = new Set([padToken, ...config.endTokens]);
	return wanted
		.filter((length) => length < context)
		.map((length) =>
			Array.from({ length }, () => {
				let id = padToken;
				while (forbidden.has(id)) id = Math.floor(random.uniform() * config.vocabularySize);
				return id;
			}),
		);
}

function compareGenerations(
	expected: Generation,
	actual: Generation,
): Pick<PromptVerification, "logitsDb" | "difference"> {
	const at = expected.tokens.findIndex((token, index) => token !== actual.tokens[index]);
	const steps = at < 0 ? expected.logits.length : at + 1;
	let [signal, error] = [0, 0];
	for (let step = 0; step < steps; step++) {
		const sum = errorSum(expected.logits[step]!, actual.logits[step]!);
		signal += sum.signal;
		error += sum.error;
	}
	const logitsDb = error === 0 ? null : sqnrDb(signal, error);
	if (at < 0) return { logitsDb, difference: null };
	const [logits, onCpu, onTarget] = [expected.logits[at]!, expected.tokens[at]!, actual.tokens[at]!];
	const lowest = logits.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
	const lead = (logits[onCpu]! - logits[onTarget]!) / (logits[onCpu]! - lowest);
	return { logitsDb, difference: { at, onCpu, onTarget, lead, isNearTie: lead < NEAR_TIE } };
}
