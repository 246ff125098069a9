import { readdirSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { readModel } from "../onnx/file.js";
import { providerOptions } from "../targets/provider-options.js";
import type { Target } from "../targets/target.js";
import { runOnHtp } from "./htp.js";
import { htpPython } from "./htp-environment.js";
import type { SessionFailure } from "./session.js";

export interface SharedCompileOptions {
	/** Default 1800. */
	readonly timeoutSeconds?: number | undefined;
	/** Folder of `setupHtp`. */
	readonly htpHome?: string | undefined;
	readonly signal?: AbortSignal | undefined;
}

/** What came of compiling models together. */
export interface SharedCompilation {
	/** Why there is nothing; null where all were compiled. */
	readonly failure: SessionFailure | null;
	/** EPContext models, in the order of the models. */
	readonly files: readonly string[];
	/** Of the contexts beside them. */
	readonly contextBytes: number;
	readonly seconds: number;
}

const DEFAULT_TIMEOUT_SECONDS = 1800;

/**
 * Compiles models, of fixed shapes, into one context of the HTP, which has weights only once that several of them have, and
 * writes `<name>_ctx.onnx` for each and the context into `folder`, where neither may be. No node may run on the CPU. What the
 * compiler does is in the result; rejects where it is not set up (`htp/...`) and where a model cannot be read.
 */
export async function compileShared(
	modelPaths: readonly string[],
	folder: string,
	target: Target,
	options: SharedCompileOptions = {},
): Promise<SharedCompilation> {
	const python = htpPython(options.htpHome);
	const jobs = [];
	for (const model of modelPaths) {
		const context = { file: path.join(folder, `${path.basename(model, ".onnx")}_ctx.onnx`), embed: false };
		jobs.push({
			model: path.resolve(model),
			context,
			providerOptions: { ...providerOptions(await readModel(model), target) },
		});
	}
	const scratch = await mkdtemp(path.join(tmpdir(), "qgraph-compile-"));
	const there = bytesIn(folder);
	try {
		const result = await runOnHtp(
			python,
			{ ...jobs.at(-1)!, before: jobs.slice(0, -1), dimensions: {}, samples: [], folder: scratch },
			{ timeoutSeconds: options.timeoutSeconds ?? DEFAULT_TIMEOUT_SECONDS, signal: options.signal },
		);
		if (result.status !== "ok") return { failure: result, files: [], contextBytes: 0, seconds: 0 };
		const files = jobs.map(({ context }) => context.file);
		const contextBytes = bytesIn(folder) - there - files.reduce((sum, file) => sum + statSync(file).size, 0);
		return { failure: null, files, contextBytes, seconds: result.loadSeconds };
	} finally {
		await rm(scratch, { recursive: true, force: true });
	}
}

function bytesIn(folder: string): number {
	return readdirSync(folder).reduce((sum, name) => sum + statSync(path.join(folder, name)).size, 0);
}
