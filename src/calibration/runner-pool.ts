import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { type DiagnosticCode, QGraphError } from "../diagnostics.js";
import { disableTelemetry } from "../runtime/onnx-runtime.js";
import {
	type Feeds,
	type RunnerJob,
	type RunnerSums,
	rangeNames,
	SampleRunner,
	type SeenRange,
	type SeenSample,
} from "./sample-runner.js";

/** What a thread is asked. */
export type RunnerRequest =
	| {
			readonly kind: "run";
			readonly samples: readonly Feeds[];
			readonly only: readonly string[] | undefined;
	  }
	| { readonly kind: "take" }
	| { readonly kind: "close" };

/** What a thread answers. */
export type RunnerReply =
	| { readonly ready: true }
	| { readonly seen: readonly SeenSample[] }
	| { readonly sums: RunnerSums }
	| { readonly failed: { readonly code: DiagnosticCode | undefined; readonly message: string } };

interface Runner {
	run(samples: readonly Feeds[], only: readonly string[] | undefined): Promise<readonly SeenSample[]>;
	take(): Promise<RunnerSums>;
	close(): Promise<void>;
}

/**
 * Runs samples on threads with a session each: several samples at a time cost less than one sample on all cores. Where the
 * compiled script is not there (the sources run without a build) one runner works on the caller's thread.
 */
export class RunnerPool {
	readonly #runners: readonly Runner[];
	readonly #names: readonly string[];
	/** Samples that a runner takes at once. */
	readonly batch: number;

	private constructor(job: Pick<RunnerJob, "outputs" | "derived" | "batch">, runners: readonly Runner[]) {
		this.#names = rangeNames(job);
		this.batch = job.batch.size;
		this.#runners = runners;
	}

	/** Rejects with `runtime/missing`, and with `calibrate/failed` where ONNX Runtime does not load the model. */
	static async open(job: Omit<RunnerJob, "threads">, size: number, cores: number): Promise<RunnerPool> {
		const script = new URL("./calibrate-worker.js", import.meta.url);
		const what = "ONNX Runtime does not load the model";
		if (!existsSync(fileURLToPath(script))) {
			const runner = new LocalRunner(await failing(SampleRunner.open({ ...job, threads: undefined }), what));
			return new RunnerPool(job, [runner]);
		}
		const threads = Math.max(1, Math.floor(cores / size));
		const made = Array.from({ length: size }, () => new ThreadRunner(script, { ...job, threads }));
		const pool = new RunnerPool(job, made);
		try {
			await failing(Promise.all(made.map((runner) => runner.ready)), what);
		} catch (error) {
			await pool.close();
			throw error;
		}
		return pool;
	}

	get size(): number {
		return this.#runners.length;
	}

	/** Runs samples at once, at turn `turn`: always on the same thread, so that sums come out the same. */
	async run(turn: number, samples: readonly Feeds[], only?: readonly string[]): Promise<SeenRange[][]> {
		const seen = await this.#runners[turn % this.#runners.length]!.run(samples, only);
		return seen.map(({ ranges, counted }) => {
			const reduced = Array.from({ length: ranges.length / 2 }, (_, at) => {
				return { name: this.#names[at]!, min: ranges[2 * at]!, max: ranges[2 * at + 1]!, notFinite: 0, counted: false };
			});
			return [...counted, ...reduced];
		});
	}

	/** What all runners have summed up; they begin anew. */
	async take(): Promise<RunnerSums[]> {
		return Promise.all(this.#runners.map((runner) => runner.take()));
	}

	async close(): Promise<void> {
		await Promise.all(this.#runners.map((runner) => runner.close()));
	}
}

/** Works on the caller's thread, one sample after the other. */
class LocalRunner implements Runner {
	readonly #runner: SampleRunner;
	#last: Promise<unknown> = Promise.resolve();
	#closed: Promise<void> | undefined;

	constructor(runner: SampleRunner) {
		this.#runner = runner;
	}

	async run(samples: readonly Feeds[], only: readonly string[] | undefined) {
		return this.#next(async () => this.#runner.run(samples, only));
	}

	async take(): Promise<RunnerSums> {
		return this.#next(async () => this.#runner.take());
	}

	async close(): Promise<void> {
		this.#closed ??= this.#next(async () => this.#runner.close());
		return this.#closed;
	}

	async #next<T>(work: () => Promise<T>): Promise<T> {
		const next = this.#last.then(work);
		this.#last = next.catch(() => undefined);
		return next;
	}
}

class ThreadRunner implements Runner {
	readonly ready: Promise<unknown>;
	readonly #worker: Worker;
	readonly #waiting: { resolve: (reply: RunnerReply) => void; reject: (error: unknown) => void }[] = [];
	readonly #ended: Promise<void>;
	#end: Error | undefined;

	constructor(script: URL, job: RunnerJob) {
		disableTelemetry();
		this.#worker = new Worker(script, { workerData: job });
		this.#worker.on("message", (reply: RunnerReply) => {
			const next = this.#waiting.shift();
			if (!("failed" in reply)) return next?.resolve(reply);
			const { code, message } = reply.failed;
			next?.reject(code === undefined ? new Error(message) : new QGraphError(code, message));
		});
		this.#worker.on("error", (error) => {
			this.#end = error;
			for (const { reject } of this.#waiting.splice(0)) reject(error);
		});
		this.#ended = new Promise((resolve) => {
			this.#worker.on("exit", (code) => {
				this.#end ??= new Error(`the thread that runs samples ended with code ${code}`);
				for (const { reject } of this.#waiting.splice(0)) reject(this.#end);
				resolve();
			});
		});
		this.ready = this.#reply();
	}

	async run(samples: readonly Feeds[], only: readonly string[] | undefined) {
		const reply = await this.#ask({ kind: "run", samples, only });
		if (!("seen" in reply)) throw new Error("a thread answered something else than was asked");
		return reply.seen;
	}

	async take(): Promise<RunnerSums> {
		const reply = await this.#ask({ kind: "take" });
		if (!("sums" in reply)) throw new Error("a thread answered something else than was asked");
		return reply.sums;
	}

	async close(): Promise<void> {
		if (this.#end === undefined) this.#worker.postMessage({ kind: "close" } satisfies RunnerRequest);
		this.ready.catch(() => this.#worker.terminate());
		await this.#ended;
	}

	async #ask(request: RunnerRequest): Promise<RunnerReply> {
		if (this.#end !== undefined) throw this.#end;
		this.#worker.postMessage(request);
		return this.#reply();
	}

	async #reply(): Promise<RunnerReply> {
		return new Promise((resolve, reject) => {
			this.#waiting.push({ resolve, reject });
		});
	}
}

/** Makes `calibrate/failed` of what a runtime throws. */
export async function failing<T>(work: Promise<T>, what: string): Promise<T> {
	try {
		return await work;
	} catch (error) {
		if (error instanceof QGraphError) throw error;
		const reason = error instanceof Error ? error.message : String(error);
		throw new QGraphError("calibrate/failed", `${what}: ${reason}`, {}, { cause: error });
	}
}
