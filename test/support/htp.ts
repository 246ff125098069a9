import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** The compiler and emulator of the HTP, and the ONNX Runtime that loads them; all figures of the suite are theirs. */
const PACKAGES = ["onnxruntime==1.31.1", "onnxruntime-qnn==2.7.0", "numpy>=2,<3"];
const HOME = fileURLToPath(new URL("../../.cache/htp/", import.meta.url));
const ENVIRONMENT = path.join(HOME, "onnxruntime-1.31.1-qnn-2.7.0");
const PYTHON = path.join(ENVIRONMENT, "bin", "python");
const SCRIPT = fileURLToPath(new URL("htp_check.py", import.meta.url));
const PYTHONS = ["python3", "python3.14", "python3.13", "python3.12", "python3.11"];

const execute = promisify(execFile);

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
	if (existsSync(PYTHON)) return { python: PYTHON };
	try {
		await makeEnvironment();
		return { python: PYTHON };
	} catch (error) {
		if (process.env.CI === "true") throw error;
		const reason = error instanceof Error ? error.message : String(error);
		return { missing: reason.trim().split("\n").slice(-3).join(" ") };
	}
}

/** Compiles a model for the HTP, runs it on the emulator and compares it with the CPU. */
export async function checkOnHtp(python: string, job: HtpJob): Promise<HtpReport> {
	const child = spawn(python, [SCRIPT], { stdio: ["pipe", "pipe", "pipe"] });
	child.stdin.end(JSON.stringify(job));
	const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
	if (stdout === "") throw new Error(`htp_check.py failed: ${stderr}`);
	return JSON.parse(stdout);
}

/** A folder gets its final name when all is in it, so that one left half made is never taken for a whole one. */
async function makeEnvironment(): Promise<void> {
	const system = await findPython();
	await mkdir(HOME, { recursive: true });
	await removeAbandoned();
	const folder = await mkdtemp(path.join(HOME, `making-${process.pid}-`));
	const python = path.join(folder, "bin", "python");
	try {
		say(`making a Python environment with ${PACKAGES.join(", ")} in ${ENVIRONMENT} (160 MB to fetch, once)`);
		await execute(system, ["-m", "venv", folder]);
		const install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
		await execute(python, [...install, ...PACKAGES], { maxBuffer: 2 ** 26 });
		await execute(python, ["-c", "import numpy, onnxruntime, onnxruntime_qnn"]);
		if (!existsSync(PYTHON)) await rm(ENVIRONMENT, { recursive: true, force: true }); // of a Python that is gone
		await rename(folder, ENVIRONMENT);
		say("made");
	} catch (error) {
		await rm(folder, { recursive: true, force: true });
		if (existsSync(PYTHON)) return; // somebody else was faster
		throw error;
	}
}

/** Removes what processes left that ended before they were done. */
async function removeAbandoned(): Promise<void> {
	for (const name of await readdir(HOME)) {
		const pid = /^making-(\d+)-/.exec(name)?.[1];
		if (pid !== undefined && !isRunning(Number(pid))) await rm(path.join(HOME, name), { recursive: true, force: true });
	}
}

function isRunning(pid: number): boolean {
	try {
		process.kill(pid, 0);
		return true;
	} catch {
		return false;
	}
}

async function findPython(): Promise<string> {
	const check = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
	for (const name of PYTHONS) {
		try {
			await execute(name, ["-c", check]);
			return name;
		} catch {}
	}
	throw new Error("there is no Python of version 3.11 or later with venv and pip");
}

function say(message: string): void {
	process.stderr.write(`HTP suite: ${message}\n`);
}
