import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { onTestFinished } from "vitest";
import { REPO, repoFile } from "./repo.js";

const execute = promisify(execFile);

/** Runs a program and resolves to what it prints on stdout; rejects, with all that it printed, when it fails. */
export async function run(program: string, args: readonly string[], folder = REPO): Promise<string> {
	const { stdout } = await execute(program, args, { cwd: folder, maxBuffer: 2 ** 26 });
	return stdout;
}

/** Runs a file that a build makes, by its path from the top of the checkout. */
export function runBuilt(script: string, ...args: readonly string[]): Promise<string> {
	const file = repoFile(script);
	if (!existsSync(file))
		throw new Error(`there is no ${script}: run 'npm run build:examples' first, as 'npm test' does`);
	return run(process.execPath, [file, ...args]);
}

/** A new folder that goes away with the test. */
export function temporaryFolder(): string {
	const folder = mkdtempSync(path.join(tmpdir(), "qgraph-"));
	onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
	return folder;
}

/** Writes the model of examples/demo-model.ts to a temporary folder; returns its path. */
export async function demoModelFile(): Promise<string> {
	const file = path.join(temporaryFolder(), "demo.onnx");
	await runBuilt(".cache/examples/00-make-model.js", file);
	return file;
}
