import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { QGraphError } from "../../diagnostics.js";
import { type FitResult, type FitTask, runFitTask } from "./fit-tasks.js";
import { mapAhead } from "./map-ahead.js";

/** Threads beyond this bring nothing: the disk is then the limit. */
const MAX_WORKERS = 16;

/** Tasks at hand for each thread, so that it never waits for the next. */
const TASKS_PER_WORKER = 2;

interface Job {
	readonly task: FitTask;
	readonly resolve: (result: FitResult) => void;
	readonly reject: (error: unknown) => void;
}

/**
 * Runs fit tasks on all cores. Threads start with the first task and end with `close`. Where the compiled worker is not
 * there (the sources run without a build), tasks run on the caller's thread, with the same results.
 */
export class TaskPool {
	readonly #script: URL | undefined = workerScript();
	readonly #size = Math.min(MAX_WORKERS, availableParallelism());
	readonly #jobs: Map<Worker, Job[]> = new Map();

	/**
	 * Runs one task for each of `items`, made when a thread has room for it; `visit` gets the results in order.
	 *
	 * @param spared cores that are left to the caller's thread, which has something else to do meanwhile.
	 */
	async each<I, T extends FitTask>(
		items: readonly I[],
		taskOf: (item: I) => T,
		visit: (result: FitResult<T>, item: I) => void,
		spared = 0,
	): Promise<void> {
		const threads = Math.max(1, this.#size - spared);
		const ahead = this.#script === undefined ? 1 : threads * TASKS_PER_WORKER;
		for await (const [item, result] of mapAhead(items, ahead, (item) => this.#run(taskOf(item), threads))) {
			visit(result as FitResult<T>, item);
		}
	}

	async close(): Promise<void> {
		await Promise.all([...this.#jobs.keys()].map((worker) => worker.terminate()));
		this.#jobs.clear();
	}

	async #run(task: FitTask, threads: number): Promise<FitResult> {
		if (this.#script === undefined) return runFitTask(task);
		const worker = this.#leastBusy(this.#script, threads);
		return new Promise((resolve, reject) => {
			this.#jobs.get(worker)!.push({ task, resolve, reject });
			worker.postMessage(task);
		});
	}

	/** A thread answers in the order in which it was asked. */
	#leastBusy(script: URL, threads: number): Worker {
		let best: Worker | undefined;
		for (const [worker, jobs] of this.#jobs) {
			if (best === undefined || jobs.length < this.#jobs.get(best)!.length) best = worker;
		}
		if (best !== undefined && (this.#jobs.get(best)!.length === 0 || this.#jobs.size >= threads)) return best;
		return this.#start(script);
	}

	#start(script: URL): Worker {
		const worker = new Worker(script);
		const jobs: Job[] = [];
		this.#jobs.set(worker, jobs);
		worker.on("message", (answer: { result: FitResult } | { error: unknown }) => {
			const job = jobs.shift();
			if ("error" in answer) job?.reject(errorOf(answer.error));
			else job?.resolve(answer.result);
		});
		worker.on("error", (error) => {
			for (const job of jobs.splice(0)) job.reject(error);
		});
		return worker;
	}
}

/** Makes a QGraphError of what a thread sends of one. */
function errorOf(sent: unknown): unknown {
	if (sent instanceof Error || typeof sent !== "object" || sent === null || !("code" in sent)) return sent;
	const { code, message, at } = sent as QGraphError;
	return new QGraphError(code, message, at);
}

function workerScript(): URL | undefined {
	const script = new URL("./fit-worker.js", import.meta.url);
	return existsSync(fileURLToPath(script)) ? script : undefined;
}
