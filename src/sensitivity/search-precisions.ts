import {
	type ChoiceStep,
	type ChosenCandidates,
	GREEDY_ORDERS,
	type PrecisionChoice,
	stepped,
} from "./choose-precisions.js";
import type { OutputNoise } from "./output-noise.js";
import { localRatio } from "./prediction.js";
import { mean } from "./statistics.js";

/** Whole recipes that are run to find one that is better than the best of those that it starts from. */
const MOST_TRIALS = 64;

/** A step that was in so many trials without any gain is not tried again. */
const MOST_FAILURES = 3;

export interface SearchOptions {
	/** Of codes and scales. */
	readonly bytes: number;
	/** What the outputs lose with the weights of a choice. */
	readonly run: (chosen: ChosenCandidates) => Promise<OutputNoise | null>;
	readonly onProgress: (done: number, total: number) => void;
}

/**
 * Finds a choice of little measured loss: what is predicted best, or another of some that fit into the bytes where that is
 * better beyond chance, then what is so in one unit or two, as long as there is something.
 *
 * @param starts choices that fit, what is predicted best first.
 */
export async function searchPrecisions(
	choice: PrecisionChoice,
	starts: readonly ChosenCandidates[],
	{ bytes, run, onProgress }: SearchOptions,
): Promise<ChosenCandidates> {
	const total = starts.length + MOST_TRIALS;
	let [best, least] = [starts[0]!, await run(starts[0]!)];
	const takeBest = async (choices: readonly ChosenCandidates[], onRun: (index: number) => void) => {
		for (const [index, chosen] of choices.entries()) {
			const noise = await run(chosen);
			if (noise !== null && least !== null && isLess(noise, least, 0)) [best, least] = [chosen, noise];
			onRun(index);
		}
	};
	await takeBest(starts, (index) => onProgress(index + 1, total));
	const failures = new Map<string, number>();
	const nameOf = ({ unit, to }: ChoiceStep) => `${unit} ${to.bytes} ${localRatio(to)}`;
	const countOf = (step: ChoiceStep) => failures.get(nameOf(step)) ?? 0;
	let moves = choice.neighbours(best, bytes);
	for (let trial = 0; trial < MOST_TRIALS && least !== null; trial++) {
		const move = moves.find((steps) => steps.every((step) => countOf(step) < MOST_FAILURES));
		if (move === undefined) break;
		moves = moves.filter((other) => other !== move);
		const chosen = stepped(best, move);
		const noise = await run(chosen);
		onProgress(starts.length + trial + 1, total);
		if (noise !== null && isLess(noise, least, 1)) {
			[best, least] = [chosen, noise];
			moves = choice.neighbours(best, bytes);
		} else for (const step of move) failures.set(nameOf(step), countOf(step) + 1);
	}
	// what takes as few bytes as that in other ways is better now and then
	await takeBest(startsWithin(choice, choice.bytesOf(best)), () => onProgress(total, total));
	return best;
}

/** Choices that are worth a run besides what is predicted best: by noise at the units' outputs, and what greedy walks make. */
export function startsWithin(choice: PrecisionChoice, bytes: number): ChosenCandidates[] {
	const local = choice.within(bytes, (_, candidate) => localRatio(candidate));
	const greedy = Object.values(GREEDY_ORDERS).map((order) => choice.greedy(bytes, order));
	return [...(local === undefined ? [] : [local]), ...greedy];
}

/**
 * Is the mean of the samples less, by more than so many standard errors of the difference? Where one sample or two make most of
 * a mean that says little: ratios, sample by sample, are to be less as well then, which are much the same for all samples. The
 * fewer samples there are the more is asked for: among many trials some look better by chance.
 */
function isLess({ samples }: OutputNoise, other: OutputNoise, errors: number): boolean {
	const count = samples.length;
	const isUneven = mean(other.samples) ** 2 * count < FEW_SAMPLES * mean(other.samples.map((sample) => sample ** 2));
	const differences = samples.map((sample, index) => {
		const before = other.samples[index]!;
		return isUneven ? Math.log((sample + NO_NOISE) / (before + NO_NOISE)) : sample - before;
	});
	const middle = mean(differences);
	const error = Math.sqrt(mean(differences.map((difference) => (difference - middle) ** 2)) / count);
	const more = FEW_SAMPLES / count;
	const margin = isUneven ? errors + more : errors * (1 + more);
	return mean(samples) < mean(other.samples) && middle < -margin * error;
}

/** Less than float32 can tell. */
const NO_NOISE = 1e-15;

/** With so many samples a standard error more is asked for; means that rest on fewer, as their squares tell, are uneven. */
const FEW_SAMPLES = 6;
