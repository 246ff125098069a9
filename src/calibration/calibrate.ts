import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { CODES, type Diagnostic, type DiagnosticCode, QGraphError } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import { inputsOf, type ModelInput } from "../runtime/model-inputs.js";
import { feedsOf } from "../runtime/sample-arrays.js";
import { type Body, bodiesOf, reasonOf } from "./body-values.js";
import type { Calibration, SampleSource } from "./calibration.js";
import { type MomentInput, momentInputs } from "./moment-inputs.js";
import { Observations } from "./observations.js";
import { RunnerOpener } from "./open-runners.js";
import { StageRun } from "./stage-run.js";
import { planStages, type Stage } from "./stages.js";
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

class Calibrator {
	readonly #source: SampleSource;
	readonly #options: CalibrateOptions;
	readonly #opener: RunnerOpener;
	readonly #inputs: readonly ModelInput[];
	readonly #values: readonly WatchedValue[];
	readonly #bodies: readonly Body[];
	readonly #weights: readonly WeightInput[];
	readonly #matrices: readonly MomentInput[];
	readonly #state: CalibrationState | undefined;
	readonly #seen: Observations;
	readonly #diagnostics: Diagnostic[] = [];
	#done = 0;
	#rounds = 1;

	constructor(model: Model, source: SampleSource, options: CalibrateOptions, folder: string) {
		this.#source = source;
		this.#options = options;
		this.#inputs = inputsOf(model);
		this.#values = watchedValues(model, source.count);
		this.#bodies = bodiesOf(model);
		const { meanSquares, hessian, state, memory = DEFAULT_MEMORY } = options;
		this.#weights = meanSquares === true ? weightInputs(model) : [];
		this.#matrices = hessian === undefined ? [] : momentInputs(model);
		const inner = this.#bodies.flatMap(({ values }) =>
			values.map(({ value }) => ({ value, source: undefined, isInside: true })),
		);
		this.#seen = new Observations([...this.#values, ...inner], this.#weights);
		this.#state = state === undefined ? undefined : new CalibrationState(state, model, source.name, options);
		this.#opener = new RunnerOpener(model, folder, memory, source.count, inner.length > 0);
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
			runners: this.#opener.runners,
			batch: this.#opener.batch,
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
		for (const body of this.#bodies) this.#reportHidden(body, new Set(values.keys()));
		return {
			samples,
			values,
			meanSquares: meanSquares === true ? this.#seen.channels.meanSquares() : new Map(),
			diagnostics: [...(this.#source.remarks ?? []), ...this.#diagnostics, ...diagnostics],
		};
	}

	/** Runs all samples from number `first` on; returns how many there are. */
	async #runStage(stage: Stage, first: number): Promise<number> {
		const { histograms = false, hessian, signal, onProgress } = this.#options;
		const count = this.#source.count;
		const run = new StageRun(stage, this.#opener, this.#seen, {
			histograms,
			bodies: this.#bodies,
			samples: count,
			signal,
			onAnswer: () => onProgress?.(++this.#done, count * this.#rounds),
		});
		let index = first;
		let saved = performance.now();
		try {
			for await (const sample of this.#source.samples(first)) {
				if (signal?.aborted === true) break;
				const feeds = feedsOf(this.#inputs, sample.arrays, sample.origin);
				await run.add({ index: index++, origin: sample.origin, feeds });
				if (this.#state === undefined || performance.now() - saved < STATE_INTERVAL_MS) continue;
				await this.#save(run, stage, index);
				saved = performance.now();
			}
			if (signal?.aborted === true) await this.#save(run, stage, index);
			signal?.throwIfAborted();
			await run.finish();
			if (hessian !== undefined) this.#seen.channels.writeMoments(stage.moments, hessian);
		} finally {
			await run.close();
		}
		if (stage.isFirst && this.#rounds > 1) await this.#save(undefined, stage, index);
		return index;
	}

	/** Writes the state after `samples` of the first round. */
	async #save(run: StageRun | undefined, stage: Stage, samples: number): Promise<void> {
		if (this.#state === undefined || !stage.isFirst) return;
		await run?.finish();
		this.#state.write(this.#seen.store(samples));
	}

	/** Says of which values in a body there are no ranges. */
	#reportHidden(body: Body, seen: ReadonlySet<string>): void {
		const { path: graph, values, hidden } = body;
		const isRun = this.#opener.opensBodies;
		const missing = values.map(({ value }) => value.name).filter((name) => !seen.has(name));
		const report = (names: readonly string[], what: string) => {
			if (names.length === 0) return;
			const which = names.length === 1 ? `value ${listed(names)}` : `${names.length} values (${listed(names)})`;
			this.#report("calibrate/hidden", `${which} inside of '${graph}' ${what}`, { graph });
		};
		report(hidden, `not observed: ${reasonOf(body, false)}`);
		report(missing, `not observed: ${reasonOf(body, isRun)}`);
		if (this.#options.histograms !== true) return;
		const found = values.map(({ value }) => value.name).filter((name) => seen.has(name));
		report(found, "have ranges and no histograms, so that every observer but moving-average is min-max there");
	}

	#report(code: DiagnosticCode, message: string, at: Diagnostic["at"] = {}): void {
		this.#diagnostics.push({ code, severity: CODES[code].severity, message, at, notes: [] });
	}
}

/** The first names, and how many more there are. */
function listed(names: readonly string[]): string {
	const shown = names.slice(0, 3).map((name) => `'${name}'`);
	return [...shown, ...(names.length > 3 ? [`${names.length - 3} more`] : [])].join(", ");
}
