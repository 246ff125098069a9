import { spawn } from "node:child_process";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { setupHtp } from "../../src/runtime/htp-environment.js";

/** Where the suites have the HTP's compiler and emulator. */
export const HTP_HOME = fileURLToPath(new URL("../../.cache/htp/", import.meta.url));
const SCRIPT = fileURLToPath(new URL("htp_check.py", import.meta.url));
const BATCH_SCRIPT = fileURLToPath(new URL("htp_batch.py", import.meta.url));

/** One run of htp_check.py, which says what the fields mean. */
export interface HtpJob {
	readonly model: string;
	readonly options?: Readonly<Record<string, string>>;
	readonly run?: boolean;
	readonly seed?: number;
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
	return JSON.parse(await answerOf(python, SCRIPT, job));
}

/** As {@link checkOnHtp}, for many models; faster, as all have one process with the libraries loaded. */
export async function checkManyOnHtp(python: string, jobs: readonly HtpJob[]): Promise<HtpReport[]> {
	const lines = (await answerOf(python, BATCH_SCRIPT, jobs)).trim().split("\n");
	if (lines.length !== jobs.length) throw new Error(`${lines.length} reports instead of ${jobs.length}`);
	return lines.map((line) => JSON.parse(line));
}

async function answerOf(python: string, script: string, question: unknown): Promise<string> {
	const child = spawn(python, [script], { stdio: ["pipe", "pipe", "pipe"] });
	child.stdin.end(JSON.stringify(question));
	const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
	if (stdout === "") throw new Error(`${path.basename(script)} failed: ${stderr}`);
	return stdout;
}
