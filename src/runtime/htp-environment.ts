import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { QGraphError } from "../diagnostics.js";
import { isSystemError, reasonOf } from "../onnx/io-error.js";
import { makeFolder } from "../onnx/make-folder.js";

/** The compiler and emulator of the HTP, and the ONNX Runtime that loads them: what all that is known of the HTP was measured with. */
export const HTP_PACKAGES = ["onnxruntime==1.31.1", "onnxruntime-qnn==2.7.0", "numpy>=2,<3"] as const;

/** Changes with the packages, so that an environment of other ones is never taken for this one. */
const NAME = "onnxruntime-1.31.1-qnn-2.7.0";

/** About what the packages take, for people who wait for them. */
const DOWNLOAD_MIB = 160;

/** About what they take on disk while and after they are unpacked. */
const DISK_MIB = 660;

const PYTHON_CHECK = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";

/** Every command that runs models says this where it cannot run them on the HTP. */
const WHAT_WORKS = "converting, checking and 'verify --on cpu' work without it";

const execute = promisify(execFile);

export interface HtpSetupOptions {
	/** Folder for the environment; default: the environment variable QGRAPH_HTP_HOME, else the user's cache folder. */
	readonly home?: string | undefined;
	/** A Python of version 3.11 or later to make it with; default: the first one in PATH. */
	readonly python?: string | undefined;
	readonly signal?: AbortSignal | undefined;
	/** Called before every step with what it is. */
	readonly onStep?: (step: string) => void;
}

/** A Python environment with the compiler and the emulator in it. */
export interface HtpEnvironment {
	readonly folder: string;
	/** Its interpreter. */
	readonly python: string;
	/** Was it made now, or there already? */
	readonly made: boolean;
	/** What it takes on disk. */
	readonly bytes: number;
}

/** The folder that holds the environment. */
export function htpHome(home?: string): string {
	const chosen = home ?? process.env.QGRAPH_HTP_HOME;
	return path.resolve(chosen !== undefined && chosen !== "" ? chosen : path.join(cacheFolder(), "qgraph", "htp"));
}

/** The user's folder for what can be made again. */
function cacheFolder(): string {
	const { LOCALAPPDATA, XDG_CACHE_HOME } = process.env;
	if (process.platform === "win32") return LOCALAPPDATA ?? path.join(homedir(), "AppData", "Local");
	if (process.platform === "darwin") return path.join(homedir(), "Library", "Caches");
	return XDG_CACHE_HOME !== undefined && path.isAbsolute(XDG_CACHE_HOME)
		? XDG_CACHE_HOME
		: path.join(homedir(), ".cache");
}

/** The interpreter of the environment that {@link setupHtp} made; throws `htp/not-set-up` where it did not. */
export function htpPython(home?: string): string {
	checkPlatform();
	const folder = path.join(htpHome(home), NAME);
	const python = interpreterIn(folder);
	if (existsSync(python)) return python;
	throw new QGraphError(
		"htp/not-set-up",
		`the compiler and emulator of the HTP are not in '${folder}'; run 'qgraph setup-htp' once, which fetches ${DOWNLOAD_MIB} MiB (${WHAT_WORKS})`,
	);
}

/**
 * Makes the Python environment that compiles for the HTP and emulates it, or finds it made. Rejects with
 * `htp/unsupported-platform`, `htp/no-python` or `htp/setup-failed`, leaving nothing half made.
 */
export async function setupHtp(options: HtpSetupOptions = {}): Promise<HtpEnvironment> {
	checkPlatform();
	const home = htpHome(options.home);
	const folder = path.join(home, NAME);
	const python = interpreterIn(folder);
	const isThere = existsSync(python);
	if (!isThere) await makeEnvironment(home, folder, options);
	return { folder, python, made: !isThere, bytes: await folderBytes(folder) };
}

/** There are no packages for other systems. */
function checkPlatform(): void {
	const { platform, arch } = process;
	if ((platform === "linux" || platform === "win32") && arch === "x64") return;
	throw new QGraphError(
		"htp/unsupported-platform",
		`this is ${platform} on ${arch}, but the compiler and emulator of the HTP are for Linux and Windows on x64 (${WHAT_WORKS})`,
	);
}

function interpreterIn(folder: string): string {
	return process.platform === "win32" ? path.join(folder, "Scripts", "python.exe") : path.join(folder, "bin", "python");
}

/** A folder gets its final name when all is in it, so that one left half made is never taken for a whole one. */
async function makeEnvironment(home: string, folder: string, options: HtpSetupOptions): Promise<void> {
	const { signal, onStep } = options;
	const system = await findPython(options);
	let making: string | undefined;
	try {
		await makeFolder(home);
		await removeAbandoned(home);
		making = await mkdtemp(path.join(home, `making-${process.pid}-`));
		const python = interpreterIn(making);
		onStep?.(`making a Python environment in '${folder}'`);
		await execute(system, ["-m", "venv", making], { signal });
		onStep?.(`fetching ${HTP_PACKAGES.join(", ")}: ${DOWNLOAD_MIB} MiB`);
		const install = [
			"-m",
			"pip",
			"install",
			"--quiet",
			"--disable-pip-version-check",
			"--no-input",
			"--only-binary=:all:",
		];
		await execute(python, [...install, ...HTP_PACKAGES], { signal, maxBuffer: 2 ** 26 });
		onStep?.("loading the packages");
		await execute(python, ["-c", "import numpy, onnxruntime, onnxruntime_qnn"], { signal });
		if (!existsSync(interpreterIn(folder))) await rm(folder, { recursive: true, force: true }); // of a Python that is gone
		await rename(making, folder);
	} catch (error) {
		if (making !== undefined) await rm(making, { recursive: true, force: true });
		signal?.throwIfAborted();
		if (existsSync(interpreterIn(folder))) return; // somebody else was faster
		throw setupFailed(error, folder, await freeMib(home));
	}
}

/** What is left on the disk of `folder`; undefined where that cannot be found out. */
async function freeMib(folder: string): Promise<number | undefined> {
	const disk = await statfs(folder).catch(() => undefined);
	return disk && Math.floor((disk.bavail * disk.bsize) / 2 ** 20);
}

function setupFailed(error: unknown, folder: string, free: number | undefined): QGraphError {
	if (free !== undefined && free < DISK_MIB) {
		const message = `cannot make the Python environment '${folder}': its disk has ${free} MiB left, and about ${DISK_MIB} are needed (${WHAT_WORKS})`;
		return new QGraphError("htp/setup-failed", message, { file: folder }, { cause: error });
	}
	const printed = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : "";
	const reason = printed === "" ? reasonOf(error) : printed.split("\n").slice(-3).join(" ");
	const message = `cannot make the Python environment '${folder}': ${reason} (${WHAT_WORKS})`;
	return new QGraphError("htp/setup-failed", message, { file: folder }, { cause: error });
}

async function findPython({ python, signal }: HtpSetupOptions): Promise<string> {
	const names = ["python3", "python", "python3.14", "python3.13", "python3.12", "python3.11"];
	const candidates = python === undefined ? names : [python];
	for (const name of candidates) {
		try {
			await execute(name, ["-c", PYTHON_CHECK], { signal });
			return name;
		} catch {
			signal?.throwIfAborted();
		}
	}
	const found = python === undefined ? "there is no Python" : `'${python}' is no Python`;
	const advice = "install Python 3.11 or later with its venv module, or name one with --python";
	throw new QGraphError(
		"htp/no-python",
		`${found} of version 3.11 or later with venv and pip; ${advice} (${WHAT_WORKS})`,
	);
}

/** Removes what processes left that ended before they were done. */
async function removeAbandoned(home: string): Promise<void> {
	for (const name of await readdir(home)) {
		const pid = /^making-(\d+)-/.exec(name)?.[1];
		if (pid !== undefined && !isRunning(Number(pid))) await rm(path.join(home, name), { recursive: true, force: true });
	}
}

function isRunning(pid: number): boolean {
	try {
		process.kill(pid, 0);
		return true;
	} catch (error) {
		return isSystemError(error) && error.code === "EPERM";
	}
}

async function folderBytes(folder: string): Promise<number> {
	let bytes = 0;
	for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
		if (entry.isFile()) bytes += (await stat(path.join(entry.parentPath, entry.name))).size;
	}
	return bytes;
}
