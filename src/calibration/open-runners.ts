import { availableParallelism } from "node:os";
import path from "node:path";
import type { Model } from "../ir/model.js";
import { elementCount } from "../ir/types.js";
import { allTensors } from "../ir/walk.js";
import { embedSmallTensors } from "../onnx/embed-small-tensors.js";
import { writeModel } from "../onnx/file.js";
import { type BatchPlan, batchSize, planBatch } from "./batch/plan-batch.js";
import { stackSamples } from "./batch/stack-samples.js";
import { instrument } from "./instrument.js";
import type { Batch, Instruments } from "./instruments.js";
import { RunnerPool } from "./runner-pool.js";
import type { DerivedValue } from "./sample-runner.js";

/** More sessions than this bring nothing. */
const MAX_RUNNERS = 8;

/** The runtime makes copies of weights, which is faster, where they take no more of the memory than this part. */
const COPIED_PART = 1 / 32;

/** Makes models with instruments, and sessions of them. */
export class RunnerOpener {
	/** How many sessions. */
	readonly runners: number;
	readonly #model: Model;
	readonly #folder: string;
	readonly #isLean: boolean;
	#plan: BatchPlan | undefined;
	#batch: number;
	#opensBodies: boolean;
	#files = 0;

	/**
	 * @param folder for models.
	 * @param memory bytes that there are.
	 * @param samples how many are to be run.
	 * @param hasBodies are there bodies of control flow to look into?
	 */
	constructor(model: Model, folder: string, memory: number, samples: number, hasBodies: boolean) {
		this.#model = model;
		this.#opensBodies = hasBodies;
		this.#folder = folder;
		// as floats, for that is what the runtime makes of codes
		const weightBytes = [...allTensors(model)].reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0);
		const cores = Math.min(availableParallelism(), MAX_RUNNERS);
		this.#isLean = weightBytes > memory * COPIED_PART;
		this.runners = Math.max(1, Math.min(cores, Math.floor(memory / Math.max(1, 2 * weightBytes))));
		this.#plan = planBatch(model);
		this.#batch = batchSize(this.#plan, samples / this.runners);
	}

	/** Samples that a session takes at once. */
	get batch(): number {
		return this.#batch;
	}

	/** Are bodies looked into? */
	get opensBodies(): boolean {
		return this.#opensBodies;
	}

	/**
	 * To be called where a model with instruments does not run: samples go one by one from now on, or where they do already
	 * bodies are left alone. Returns whether that is anything new.
	 */
	giveUp(): boolean {
		const [batch, opensBodies] = [this.#batch, this.#opensBodies];
		this.#opensBodies = batch > 1 && opensBodies;
		this.#batch = 1;
		return batch > 1 || opensBodies;
	}

	/** The model is the same afterwards. */
	async open(
		instruments: Instruments,
		derived: readonly DerivedValue[],
		signal: AbortSignal | undefined,
	): Promise<RunnerPool> {
		const unstack = this.#batch > 1 ? stackSamples(this.#model, this.#plan!, this.#batch) : undefined;
		if (unstack === undefined) this.#batch = 1;
		const batch: Batch | undefined = unstack && { ...this.#plan!, size: this.#batch };
		try {
			const { outputs, remove } = instrument(this.#model, instruments, batch);
			const model = path.join(this.#folder, `model-${this.#files++}.onnx`);
			try {
				embedSmallTensors(this.#model);
				const externalData = this.#isLean ? "one-file" : "keep";
				await writeModel(this.#model, model, { externalData, ...(signal === undefined ? {} : { signal }) });
			} finally {
				remove();
			}
			const inputAxes = new Map(
				[...(batch?.axes ?? [])].flatMap(([{ name, isGraphInput }, axis]) => {
					return isGraphInput ? [[name, axis] as const] : [];
				}),
			);
			const job = { model, outputs, derived, isLean: this.#isLean, batch: { size: this.#batch, inputAxes } };
			return await RunnerPool.open(job, this.runners, availableParallelism());
		} finally {
			unstack?.();
		}
	}
}
