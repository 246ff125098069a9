import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type HtpSetup, prepareHtp } from "./htp.js";

const PACKAGE = "onnxruntime-genai==0.18.0";
const HOME = fileURLToPath(new URL("../../.cache/genai/", import.meta.url));
const FOLDER = path.join(HOME, PACKAGE.replace("==", "-"));
const SCRIPT = fileURLToPath(new URL("genai_generate.py", import.meta.url));
const MARK = "@@genai@@";

/** One run of genai_generate.py, which says what the fields mean. */
export interface GenaiJob {
	readonly folder: string;
	readonly prompts: readonly (readonly number[])[];
	readonly count: number;
	readonly onHtp?: boolean;
}

export interface GenaiGeneration {
	readonly tokens: readonly number[];
	readonly leads: readonly number[];
}

const execute = promisify(execFile);

/** Puts ONNX Runtime GenAI beside the Python environment of the HTP suite, or finds it there. As `prepareHtp` where that cannot be. */
export async function prepareGenai(): Promise<HtpSetup> {
	const setup = await prepareHtp();
	if ("missing" in setup || existsSync(FOLDER)) return setup;
	try {
		await mkdir(HOME, { recursive: true });
		const making = await mkdtemp(path.join(HOME, "making-"));
		const install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"];
		await execute(setup.python, [...install, "--only-binary=:all:", "--target", making, PACKAGE]);
		if (existsSync(FOLDER)) await rm(making, { recursive: true });
		else await rename(making, FOLDER);
		return setup;
	} catch (error) {
		if (existsSync(FOLDER)) return setup; // another suite was faster
		if (process.env.CI === "true") throw error;
		return { missing: error instanceof Error ? error.message : String(error) };
	}
}

/** Generates in a process of its own; what each job gave, or why it could not. */
export async function generateWithGenai(
	python: string,
	jobs: readonly GenaiJob[],
): Promise<(readonly GenaiGeneration[])[]> {
	const child = spawn(python, [SCRIPT], { env: { ...process.env, PYTHONPATH: FOLDER } });
	let [output, log] = ["", ""];
	child.stdout.on("data", (piece) => {
		output += piece;
	});
	child.stderr.on("data", (piece) => {
		log += piece;
	});
	for (const job of jobs) child.stdin.write(`${JSON.stringify({ onHtp: false, ...job })}\n`);
	child.stdin.end();
	const code = await new Promise((resolve) => child.on("close", resolve));
	const answers = output.split("\n").filter((line) => line.startsWith(MARK));
	return jobs.map((job, index) => {
		const answer = answers[index];
		if (answer === undefined) throw new Error(`'${job.folder}': the process ended with ${code}: ${log.slice(-2000)}`);
		const { generations, error } = JSON.parse(answer.slice(MARK.length));
		if (error !== undefined) throw new Error(`'${job.folder}': ${error}`);
		return generations as GenaiGeneration[];
	});
}

/** How close two tokens are, in parts of the range of the logits, for either to be right. */
const NEAR_TIE = 0.005;

/**
 * Where a generation leaves the one that is expected, with the lead of the expected token there; undefined where it does
 * not, or only at a near tie of both, behind which the two are different texts.
 */
export function firstDifference(
	expected: GenaiGeneration,
	actual: GenaiGeneration,
	tie = NEAR_TIE,
): string | undefined {
	const at = expected.tokens.findIndex((token, index) => token !== actual.tokens[index]);
	if (at < 0 || (expected.leads[at]! < tie && actual.leads[at]! < tie)) return undefined;
	return `token ${at} is ${actual.tokens[at]}, expected ${expected.tokens[at]}, which leads by ${expected.leads[at]!.toFixed(4)}`;
}
