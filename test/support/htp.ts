import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { setupHtp } from "../../src/runtime/htp-environment.js";

/** Where the suites have the HTP's compiler and emulator. */
export const HTP_HOME = fileURLToPath(new URL("../../.cache/htp/", import.meta.url));
const BATCH_SCRIPT = fileURLToPath(new URL("htp_batch.py", import.meta.url));

/** One run of htp_check.py, which says what the fields mean. */
export interface HtpJob {
	readonly model: string;
	readonly options?: Readonly<Record<string, string>>;
	readonly run?: boolean;
	/** A file of numpy's savez; without one inputs are random, by `seed`. */
	readonly inputs?: string;
	readonly seed?: number;
	/** What integer inputs are below. */
	readonly indices?: number;
}

export interface HtpReport {
	readonly status: "ok" | "refused" | "failed" | "crashed";
	readonly unsupported: readonly { readonly name: string; readonly type: string }[];
	/** `sqnrDb` is null where both are equal. */
	readonly outputs: readonly { readonly name: string; readonly sqnrDb: number | null }[];
	readonly error: string | null;
}

export type HtpSetup = { readonly python: string } | { readonly missing: string };

/**
 * Makes the Python environment of the HTP suite, or finds it made. Where that cannot be, resolves to the reason why the
 * suite is to be skipped; with CI=true it rejects instead, for there the suite must not be skipped unseen.
 */
export async function prepareHtp(): Promise<HtpSetup> {
	if (process.platform !== "linux" || process.arch !== "x64") {
		return { missing: `the HTP compiler is for Linux on x86-64, this is ${process.platform} on ${process.arch}` };
	}
	try {
		return await setupHtp({ home: HTP_HOME, onStep: (step) => process.stderr.write(`HTP suite: ${step}\n`) });
	} catch (error) {
		if (process.env.CI === "true") throw error;
		return { missing: error instanceof Error ? error.message : String(error) };
	}
}

/** Compiles a model for the HTP, runs it on the emulator and compares it with the CPU. */
export async function checkOnHtp(python: string, job: HtpJob): Promise<HtpReport> {
	emulators.set(python, emulators.get(python) ?? new Emulator(python));
	return emulators.get(python)!.report(job);
}

/** As {@link checkOnHtp}, for many models, one after the other. */
export async function checkManyOnHtp(python: string, jobs: readonly HtpJob[]): Promise<HtpReport[]> {
	return Promise.all(jobs.map((job) => checkOnHtp(python, job)));
}

/** Those of this process, by the Python that they run in. */
const emulators = new Map<string, Emulator>();

/**
 * A process that has the libraries loaded and forks one for every session, so that a small model takes a fraction of a
 * second. It ends with this process, which it does not keep running.
 */
class Emulator {
	readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
	readonly #waiting: ((line: string | undefined) => void)[] = [];
	#log = "";

	constructor(python: string) {
		this.#child = spawn(python, [BATCH_SCRIPT], { stdio: ["pipe", "pipe", "pipe"] });
		createInterface(this.#child.stdout).on("line", (line) => this.#waiting.shift()?.(line));
		this.#child.stderr.on("data", (piece) => {
			this.#log += piece;
		});
		this.#child.on("close", () => {
			emulators.delete(python);
			for (const answer of this.#waiting.splice(0)) answer(undefined);
		});
		this.#keepAlive(false);
	}

	async report(job: HtpJob): Promise<HtpReport> {
		this.#keepAlive(true);
		const line = await new Promise<string | undefined>((resolve) => {
			this.#waiting.push(resolve);
			this.#child.stdin.write(`${JSON.stringify(job)}\n`);
		});
		if (this.#waiting.length === 0) this.#keepAlive(false);
		if (line === undefined) throw new Error(`htp_batch.py ended: ${this.#log}`);
		return JSON.parse(line);
	}

	/** Does this process wait for the other one? */
	#keepAlive(isBusy: boolean): void {
		for (const handle of [this.#child, this.#child.stdin, this.#child.stdout, this.#child.stderr]) {
			const { ref, unref } = handle as { ref?: () => void; unref?: () => void };
			(isBusy ? ref : unref)?.call(handle);
		}
	}
}
