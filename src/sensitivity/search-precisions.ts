import { type ChosenCandidates, GREEDY_ORDERS, type PrecisionChoice } from "./choose-precisions.js";
import type { OutputNoise } from "./output-noise.js";
import { localRatio } from "./prediction.js";

/** Whole recipes that are run besides those that a search starts from. */
const MOST_TRIALS = 64;

/** So many draws without a choice that was not run yet end a search: runs leave nothing open that matters. */
const MOST_DRAWS = 8;

export interface SearchOptions {
	/** Of codes and scales. */
	readonly bytes: number;
	/** What the outputs lose with the weights of a choice. */
	readonly run: (chosen: ChosenCandidates) => Promise<OutputNoise | null>;
	readonly onProgress: (done: number, total: number) => void;
}

/**
 * Finds a choice of little loss by runs: the starts, then again and again what is the best choice within the bytes as far as
 * runs tell, or may be so as well (Thompson sampling). What comes out is the best of the starts and of greedy walks within the
 * same bytes, or what is better than those beyond doubt.
 *
 * @param starts choices that fit: what is predicted best, then simple ones that are to be beaten.
 */
export async function searchPrecisions(
	choice: PrecisionChoice,
	starts: readonly ChosenCandidates[],
	{ bytes, run, onProgress }: SearchOptions,
): Promise<ChosenCandidates> {
	const { LossModel } = await import("./loss-model.js");
	const model = new LossModel(choice);
	const total = starts.length + MOST_TRIALS;
	const runAll = async (choices: readonly ChosenCandidates[]) => {
		for (const chosen of choices) {
			if (model.has(chosen)) continue;
			const noise = await run(chosen);
			if (noise !== null) model.add(chosen, noise.samples);
		}
	};
	for (const [index, start] of starts.entries()) {
		await runAll([start]);
		onProgress(index + 1, total);
	}
	if (!model.has(starts[0]!)) return starts[0]!;
	const next = () => {
		for (let draw = 0; draw <= MOST_DRAWS; draw++) {
			const chosen = choice.within(bytes, draw === 0 ? model.expected() : model.draw());
			if (chosen !== undefined && !model.has(chosen)) return chosen;
		}
		return undefined;
	};
	for (let trial = 0; trial < MOST_TRIALS; trial++) {
		const chosen = next();
		if (chosen === undefined) break;
		await runAll([chosen]);
		onProgress(starts.length + trial + 1, total);
	}
	const found = model.best(starts.slice(1));
	const ofItsSize = startsWithin(choice, choice.bytesOf(found));
	await runAll(ofItsSize);
	onProgress(total, total);
	return model.best([...starts.slice(1), ...ofItsSize]);
}

/** Choices that are worth a run besides what is predicted best: by noise at the units' outputs, and what greedy walks make. */
export function startsWithin(choice: PrecisionChoice, bytes: number): ChosenCandidates[] {
	const local = choice.within(bytes, (_, candidate) => localRatio(candidate));
	const greedy = Object.values(GREEDY_ORDERS).map((order) => choice.greedy(bytes, order));
	return [...(local === undefined ? [] : [local]), ...greedy];
}
