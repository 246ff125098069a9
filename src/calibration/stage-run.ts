import type { Body } from "./body-values.js";
import type { Instruments, RowInput } from "./instruments.js";
import type { MomentInput } from "./moment-inputs.js";
import type { Observations } from "./observations.js";
import type { RunnerOpener } from "./open-runners.js";
import { enoughRows } from "./row-plan.js";
import { failing, type RunnerPool } from "./runner-pool.js";
import type { Feeds, SeenRange } from "./sample-runner.js";
import { divideRanges, type Stage } from "./stages.js";
import type { WatchedValue } from "./watched-values.js";

/** Batches at hand for each runner, so that it never waits for the next. */
const BATCHES_PER_RUNNER = 2;

/** A sample with its place among all. */
export interface Sample {
	readonly index: number;
	readonly origin: string;
	readonly feeds: Feeds;
}

/** Samples that were given to a runner. */
interface Running {
	readonly samples: readonly Sample[];
	readonly seen: Promise<readonly (readonly SeenRange[])[]>;
}

/** What came of a sample: it is done, values of it are still to be counted, or the model failed. */
type Outcome = "seen" | "to-count" | "failed";

/** A sample that has to be run again for some values, or for all where it failed. */
interface Late {
	readonly sample: Sample;
	readonly outcome: Outcome;
}

export interface StageRunOptions {
	readonly histograms: boolean;
	/** Bodies of control flow to look into. */
	readonly bodies: readonly Body[];
	/** How many samples there are in all. */
	readonly samples: number;
	readonly signal: AbortSignal | undefined;
	/** Called when the model has run with a sample. */
	readonly onAnswer: () => void;
}

/** One round over the samples: gives them to runners, takes in what these see, and changes instruments where need be. */
export class StageRun {
	readonly #stage: Stage;
	readonly #opener: RunnerOpener;
	readonly #seen: Observations;
	readonly #options: StageRunOptions;
	#pool: RunnerPool | undefined;
	#turn = 0;
	#waiting: Sample[] = [];
	readonly #running: Running[] = [];

	constructor(stage: Stage, opener: RunnerOpener, seen: Observations, options: StageRunOptions) {
		this.#stage = stage;
		this.#opener = opener;
		this.#seen = seen;
		this.#options = options;
	}

	/** To be called with all samples in their order. */
	async add(sample: Sample): Promise<void> {
		this.#waiting.push(sample);
		this.#pool ??= await this.#open();
		if (this.#waiting.length < this.#pool.batch) return;
		this.#start(this.#pool);
		await this.#settleAll(this.#pool.size * BATCHES_PER_RUNNER - 1);
	}

	/** Waits until all samples that were added are done, and takes in what they summed up to. */
	async finish(): Promise<void> {
		if (this.#pool === undefined) return;
		this.#start(this.#pool);
		await this.#settleAll(0);
		await this.#take();
	}

	async close(): Promise<void> {
		await this.#pool?.close();
	}

	/** Gives what waits to a runner. */
	#start(pool: RunnerPool): void {
		for (const samples of chunks(this.#waiting.splice(0), pool.batch)) {
			const feeds = samples.map((sample) => sample.feeds);
			const seen = pool.run(this.#turn++, feeds);
			// it is awaited later; until then a failure must not count as unhandled
			seen.catch(() => undefined);
			this.#running.push({ samples, seen });
		}
	}

	/** Takes in what runners see until no more than `most` batches are on their way. */
	async #settleAll(most: number): Promise<void> {
		while (this.#running.length > most) {
			const late = await this.#settle(this.#running.shift()!, []);
			if (late.length === 0) continue;
			for (const other of this.#running.splice(0)) late.push(...(await this.#settle(other, late)));
			await this.#take();
			await this.#pool!.close();
			this.#pool = await this.#open();
			await this.#runAgain(this.#pool, late);
		}
	}

	/** Makes the model with the instruments of a stage, and sessions of it. */
	async #open(): Promise<RunnerPool> {
		const stage = this.#stage;
		const { histograms, signal } = this.#options;
		const isCounted = ({ value, dtype }: WatchedValue) => dtype === undefined || this.#seen.counted.has(value.name);
		const reduced = stage.values.filter((value) => !isCounted(value));
		const { ranges, derived } = divideRanges(reduced);
		const instruments: Instruments = {
			ranges,
			elements: stage.values.filter(isCounted),
			sampled: histograms ? reduced : [],
			squares: stage.squares.flatMap(({ sources }) => sources),
			bodies: stage.isFirst && this.#opener.opensBodies ? this.#options.bodies : [],
			rows: stage.moments.flatMap((input) => input.sources.map((source) => this.#rowsOf(input, source))),
		};
		try {
			return await this.#opener.open(instruments, derived, signal);
		} catch (error) {
			if (!this.#opener.giveUp()) throw error;
			return this.#open();
		}
	}

	#rowsOf({ key, depth, groups }: MomentInput, source: MomentInput["sources"][number]): RowInput {
		return { ...source, key, depth, groups, most: enoughRows(depth, this.#options.samples) };
	}

	/**
	 * Takes in what samples showed. Elements that may be masks have to be counted one by one; and where the model fails that
	 * may be for its instruments, as nothing is the smallest of no elements: then all elements are handed out. Where several
	 * samples at once fail, they are run one by one first.
	 *
	 * @param late what has to be run again so far: other instruments are made for it.
	 * @returns these samples, when they or some before them have to be run again.
	 */
	async #settle({ samples, seen }: Running, late: readonly Late[]): Promise<Late[]> {
		try {
			const found = await this.#answer(seen, samples);
			const own = samples.map((sample, at): Late => {
				return { sample, outcome: this.#seen.addSeen(sample.index, found[at]!) ? "seen" : "to-count" };
			});
			const first = late.length > 0 ? 0 : own.findIndex(({ outcome }) => outcome !== "seen");
			return first === -1 ? [] : own.slice(first);
		} catch (error) {
			if (!this.#opener.giveUp() && samples.length === 1) {
				const uncounted = this.#stage.values.filter(({ value }) => !this.#seen.counted.has(value.name));
				if (uncounted.length === 0 && late.length === 0) throw error;
				for (const { value } of uncounted) this.#seen.counted.set(value.name, samples[0]!.index);
			}
			return samples.map((sample) => ({ sample, outcome: "failed" }));
		}
	}

	async #answer(seen: Running["seen"], samples: readonly Sample[]): Promise<readonly (readonly SeenRange[])[]> {
		const found = await failing(seen, `'${samples[0]!.origin}': ONNX Runtime does not run the model`);
		for (const _ of samples) this.#options.onAnswer();
		return found;
	}

	/** Runs samples with new instruments: those that failed, and for values that turned out to need it while they ran. */
	async #runAgain(pool: RunnerPool, late: readonly Late[]): Promise<void> {
		const start = late[0]!.sample.index;
		const namesOf = ({ sample: { index } }: Late) => {
			const isNew = ([, from]: readonly [string, number]) => from >= start && from <= index;
			return [...this.#seen.counted].filter(isNew).map(([name]) => name);
		};
		const isLike = (a: Late, b: Late) =>
			(a.outcome === "failed") === (b.outcome === "failed") && namesOf(a).length === namesOf(b).length;
		for (const group of groupsOf(late, isLike).flatMap((like) => chunks(like, pool.batch))) {
			const samples = group.map(({ sample }) => sample);
			const feeds = samples.map((sample) => sample.feeds);
			const [first] = group;
			const found =
				first!.outcome === "failed"
					? await this.#answer(pool.run(first!.sample.index, feeds), samples)
					: await pool.run(first!.sample.index, feeds, namesOf(first!));
			for (const [at, { index }] of samples.entries()) this.#seen.addSeen(index, found[at]!);
		}
	}

	async #take(): Promise<void> {
		for (const sums of await this.#pool!.take()) this.#seen.addSums(sums);
	}
}

function chunks<T>(items: readonly T[], size: number): T[][] {
	return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
		items.slice(index * size, (index + 1) * size),
	);
}

/** Neighbours that are alike, together. */
function groupsOf<T>(items: readonly T[], isLike: (a: T, b: T) => boolean): T[][] {
	const groups: T[][] = [];
	for (const item of items) {
		const last = groups.at(-1);
		if (last !== undefined && isLike(last[0]!, item)) last.push(item);
		else groups.push([item]);
	}
	return groups;
}
