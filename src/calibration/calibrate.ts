import { mkdtemp, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import type { NumpyArray } from "../arrays/npz.js";
import { CODES, type Diagnostic, type DiagnosticCode, QGraphError } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import { elementCount } from "../ir/types.js";
import { allTensors } from "../ir/walk.js";
import { writeModel } from "../onnx/file.js";
import { inputsOf, type ModelInput } from "../runtime/model-inputs.js";
import { feedsOf } from "../runtime/sample-arrays.js";
import type { Calibration, SampleSource } from "./calibration.js";
import { type Instruments, instrument, type RowInput } from "./instrument.js";
import { type MomentInput, momentInputs } from "./moment-inputs.js";
import { Observations } from "./observations.js";
import { failing, RunnerPool } from "./runner-pool.js";
import type { SeenRange } from "./sample-runner.js";
import { divideRanges, planStages, type Stage } from "./stages.js";
import { CalibrationState } from "./state.js";
import { type WatchedValue, type WeightInput, watchedValues, weightInputs } from "./watched-values.js";

export interface CalibrateOptions {
	/** Histograms of all values, which observers other than `min-max` and `moving-average` need; default false. */
	readonly histograms?: boolean | undefined;
	/** Mean squares of the input channels of weights; default false. */
	readonly meanSquares?: boolean | undefined;
	/** A folder for second moments of the inputs of weights, as GPTQ needs them: one .npy file a weight. */
	readonly hessian?: string | undefined;
	/** Bytes that activations and sums may take; what needs more is done in several rounds. Default 4 GiB. */
	readonly memory?: number | undefined;
	/** A file that keeps what was found out when the work is interrupted. */
	readonly state?: string | undefined;
	/** Go on with what the state file has; default false. */
	readonly resume?: boolean | undefined;
	readonly signal?: AbortSignal | undefined;
	/** Called after every sample. */
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

const DEFAULT_MEMORY = 2 ** 32;

/** More sessions than this bring nothing. */
const MAX_RUNNERS = 8;

/** Samples at hand for each runner, so that it never waits for the next. */
const SAMPLES_PER_RUNNER = 2;

/** Second moments gain nothing by more rows, all samples taken together. */
const ROWS_PER_INPUT = 16;

/** Of one sample, where there are many. */
const LEAST_ROWS = 32;

/** The runtime makes copies of weights, which is faster, where they take no more of the memory than this part. */
const COPIED_PART = 1 / 32;

const STATE_INTERVAL_MS = 60_000;

/**
 * Runs a float model on samples and collects the range of every float value of the main graph: inputs, results of
 * operators, outputs, not constants; and on demand histograms and what there is to know of the inputs of weights. Memory
 * does not grow with the number of samples. The model is the same afterwards.
 *
 * Rejects with `runtime/missing` where onnxruntime-node is not installed, `runtime/inputs` for samples that do not fit the
 * model and where there are none, `calibrate/failed` where ONNX Runtime refuses the model, `calibrate/state` where the
 * state belongs to something else. When it is interrupted, the state is written first.
 */
export async function calibrate(
	model: Model,
	source: SampleSource,
	options: CalibrateOptions = {},
): Promise<Calibration> {
	const folder = await mkdtemp(path.join(tmpdir(), "qgraph-calibrate-"));
	try {
		return await new Calibrator(model, source, options, folder).run();
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
}

/** A sample that was given to a runner. */
interface Running {
	readonly index: number;
	readonly origin: string;
	readonly feeds: ReadonlyMap<string, NumpyArray>;
	readonly seen: Promise<readonly SeenRange[]>;
}

/** What came of a sample: it is done, values of it are still to be counted, or the model failed. */
type Outcome = "seen" | "to-count" | "failed";

class Calibrator {
	readonly #model: Model;
	readonly #source: SampleSource;
	readonly #options: CalibrateOptions;
	readonly #folder: string;
	readonly #inputs: readonly ModelInput[];
	readonly #values: readonly WatchedValue[];
	readonly #weights: readonly WeightInput[];
	readonly #matrices: readonly MomentInput[];
	readonly #state: CalibrationState | undefined;
	readonly #seen: Observations;
	readonly #diagnostics: Diagnostic[] = [];
	readonly #isLean: boolean;
	readonly #runners: number;
	#done = 0;
	#rounds = 1;
	#files = 0;

	constructor(model: Model, source: SampleSource, options: CalibrateOptions, folder: string) {
		this.#model = model;
		this.#source = source;
		this.#options = options;
		this.#folder = folder;
		this.#inputs = inputsOf(model);
		const { values, hidden } = watchedValues(model);
		this.#values = values;
		for (const graph of hidden)
			this.#report("calibrate/hidden", `values inside of '${graph}' are not observed`, { graph });
		const { meanSquares, hessian, state, memory = DEFAULT_MEMORY } = options;
		this.#weights = meanSquares === true ? weightInputs(model) : [];
		this.#matrices = hessian === undefined ? [] : momentInputs(model);
		this.#seen = new Observations(values, this.#weights);
		this.#state = state === undefined ? undefined : new CalibrationState(state, model, source.name, options);
		// as floats, for that is what the runtime makes of codes
		const weightBytes = [...allTensors(model)].reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0);
		const cores = Math.min(availableParallelism(), MAX_RUNNERS);
		this.#isLean = weightBytes > memory * COPIED_PART;
		this.#runners = Math.max(1, Math.min(cores, Math.floor(memory / Math.max(1, 2 * weightBytes))));
	}

	async run(): Promise<Calibration> {
		const { resume, histograms, meanSquares, memory = DEFAULT_MEMORY } = this.#options;
		const stored = resume === true ? this.#state?.read() : undefined;
		if (stored !== undefined) this.#seen.restore(stored);
		const stages = planStages({
			values: this.#values.filter(({ source }) => source === undefined),
			squares: this.#weights,
			moments: this.#matrices,
			histograms: histograms === true,
			memory,
			runners: this.#runners,
			isResumed: stored !== undefined,
		});
		this.#rounds = stages.length;
		this.#done = stored?.samples ?? 0;
		let samples = 0;
		for (const [round, stage] of stages.entries()) {
			const ran = await this.#runStage(stage, round === 0 ? (stored?.samples ?? 0) : 0);
			if (round === 0) samples = ran;
		}
		if (samples === 0) throw new QGraphError("runtime/inputs", "there are no samples to calibrate with");
		if (this.#source.isRandom) this.#report("calibrate/random", "ranges of random inputs are not those of real ones");
		this.#state?.remove();
		const { values, diagnostics } = this.#seen.results();
		return {
			samples,
			values,
			meanSquares: meanSquares === true ? this.#seen.channels.meanSquares() : new Map(),
			diagnostics: [...this.#diagnostics, ...diagnostics],
		};
	}

	/** Runs all samples from number `first` on; returns how many there are. */
	async #runStage(stage: Stage, first: number): Promise<number> {
		const { signal } = this.#options;
		let pool = await this.#open(stage);
		let index = first;
		let saved = performance.now();
		const running: Running[] = [];
		try {
			const settle = async (most: number) => {
				while (running.length > most) {
					const sample = running.shift()!;
					const outcome = await this.#settle(sample, stage, false);
					if (outcome === "seen") continue;
					const late: { sample: Running; outcome: Outcome }[] = [{ sample, outcome }];
					for (const other of running.splice(0)) {
						late.push({ sample: other, outcome: await this.#settle(other, stage, true) });
					}
					await this.#take(pool);
					await pool.close();
					pool = await this.#open(stage);
					await this.#runAgain(pool, late);
				}
			};
			for await (const sample of this.#source.samples(first)) {
				if (signal?.aborted === true) break;
				const feeds = feedsOf(this.#inputs, sample.arrays, sample.origin);
				const seen = pool.run(index, feeds);
				// it is awaited later; until then a failure must not count as unhandled
				seen.catch(() => undefined);
				running.push({ index, origin: sample.origin, feeds, seen });
				index++;
				await settle(pool.size * SAMPLES_PER_RUNNER - 1);
				if (this.#state === undefined || performance.now() - saved < STATE_INTERVAL_MS) continue;
				await settle(0);
				await this.#save(pool, stage, index);
				saved = performance.now();
			}
			await settle(0);
			if (signal?.aborted === true) await this.#save(pool, stage, index);
			signal?.throwIfAborted();
			await this.#take(pool);
			if (this.#options.hessian !== undefined) this.#seen.channels.writeMoments(stage.moments, this.#options.hessian);
		} finally {
			await pool.close();
		}
		if (stage.isFirst) await this.#save(undefined, stage, index);
		return index;
	}

	/** Makes the model with the instruments of a stage, and sessions of it. */
	async #open(stage: Stage): Promise<RunnerPool> {
		const isCounted = ({ value, dtype }: WatchedValue) => dtype === undefined || this.#seen.counted.has(value.name);
		const reduced = stage.values.filter((value) => !isCounted(value));
		const { ranges, derived } = divideRanges(reduced);
		const instruments: Instruments = {
			ranges,
			elements: stage.values.filter(isCounted),
			sampled: this.#options.histograms === true ? reduced : [],
			squares: stage.squares.flatMap(({ sources }) => sources),
			rows: stage.moments.flatMap((input) => input.sources.map((source) => this.#rowsOf(input, source))),
		};
		const { outputs, remove } = instrument(this.#model, instruments);
		const file = path.join(this.#folder, `model-${this.#files++}.onnx`);
		const { signal } = this.#options;
		try {
			const policy = this.#isLean ? { externalData: "one-file" as const } : {};
			await writeModel(this.#model, file, { ...policy, ...(signal === undefined ? {} : { signal }) });
		} finally {
			remove();
		}
		const job = { model: file, outputs, derived, isLean: this.#isLean };
		return RunnerPool.open(job, this.#runners, availableParallelism());
	}

	#rowsOf({ key, depth, groups }: MomentInput, source: MomentInput["sources"][number]): RowInput {
		const most = Math.max(LEAST_ROWS, Math.ceil((ROWS_PER_INPUT * depth) / Math.max(1, this.#source.count)));
		return { ...source, key, depth, groups, most };
	}

	/**
	 * Takes in what a sample showed. Elements that may be masks have to be counted one by one; and where the model fails that
	 * may be for its instruments, as nothing is the smallest of no elements: then all elements are handed out.
	 *
	 * @param isLate other instruments are being made already.
	 */
	async #settle(sample: Running, stage: Stage, isLate: boolean): Promise<Outcome> {
		try {
			return this.#seen.addSeen(sample.index, await this.#answer(sample.seen, sample.origin)) ? "seen" : "to-count";
		} catch (error) {
			const uncounted = stage.values.filter(({ value }) => !this.#seen.counted.has(value.name));
			if (uncounted.length === 0 && !isLate) throw error;
			for (const { value } of uncounted) this.#seen.counted.set(value.name, sample.index);
			return "failed";
		}
	}

	async #answer(seen: Running["seen"], origin: string): Promise<readonly SeenRange[]> {
		const found = await failing(seen, `'${origin}': ONNX Runtime does not run the model`);
		this.#done++;
		this.#options.onProgress?.(this.#done, this.#source.count * this.#rounds);
		return found;
	}

	/** Runs samples with new instruments: those that failed, and for values that turned out to need it while they ran. */
	async #runAgain(pool: RunnerPool, late: readonly { sample: Running; outcome: Outcome }[]): Promise<void> {
		const start = late[0]!.sample.index;
		for (const { sample, outcome } of late) {
			const { index, feeds, origin } = sample;
			const isNew = ([, from]: readonly [string, number]) => from >= start && from <= index;
			const names = [...this.#seen.counted].filter(isNew).map(([name]) => name);
			if (outcome === "failed") this.#seen.addSeen(index, await this.#answer(pool.run(index, feeds), origin));
			else this.#seen.addSeen(index, await pool.run(index, feeds, names));
		}
	}

	async #take(pool: RunnerPool): Promise<void> {
		for (const sums of await pool.take()) this.#seen.addSums(sums);
	}

	/** Writes the state after `samples` of the first round. */
	async #save(pool: RunnerPool | undefined, stage: Stage, samples: number): Promise<void> {
		if (this.#state === undefined || !stage.isFirst) return;
		if (pool !== undefined) await this.#take(pool);
		this.#state.write(this.#seen.store(samples));
	}

	#report(code: DiagnosticCode, message: string, at: Diagnostic["at"] = {}): void {
		this.#diagnostics.push({ code, severity: CODES[code].severity, message, at, notes: [] });
	}
}
