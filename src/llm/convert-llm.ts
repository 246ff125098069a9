import { existsSync, renameSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { type Diagnostic, QGraphError } from "../diagnostics.js";
import { isSystemError, reasonOf } from "../onnx/io-error.js";
import { findRecipe } from "../recipe/find-recipe.js";
import { htpPython } from "../runtime/htp-environment.js";
import { arrangeCache } from "./arrange-cache.js";
import { readPrompts } from "./calibration-sequences.js";
import { type CompiledContext, compileGraphs } from "./compile-graphs.js";
import { divideGraphs, partsThatFit } from "./divide-graphs.js";
import type { GraphLengths } from "./layer-graph.js";
import { type LlmJob, type LlmSettings, readJob } from "./llm-job.js";
import type { PipelineGraph } from "./pipeline-graph.js";
import { type StageTime, writeProvenance } from "./provenance.js";
import { type LlmQuantization, type LlmQuantizeOptions, quantizeGraphs } from "./quantize-graphs.js";
import { splitModel } from "./split-model.js";
import { type LlmVerification, verifyLlm } from "./verify-llm.js";
import { widenModel } from "./widen-floats.js";
import { fingerprintOf, type StageOutput, WorkFolder } from "./work-folder.js";
import { writeDirectory } from "./write-directory.js";

export interface ConvertLlmOptions extends LlmSettings {
	/** Folder of `setupHtp`. */
	readonly htpHome?: string | undefined;
	/** Replace the output directory if it exists. */
	readonly overwrite?: boolean | undefined;
	readonly signal?: AbortSignal | undefined;
	/** Called with the stage, or a graph of it, and how far it is. */
	readonly onProgress?: ((step: string, done: number, total: number) => void) | undefined;
}

/** What was written. */
export interface LlmConversion extends GraphLengths {
	readonly layers: number;
	readonly padToken: number;
	readonly graphs: readonly PipelineGraph[];
	/** What was compiled. */
	readonly contexts: readonly CompiledContext[];
	/** What came of quantizing; null where the graphs are as the model was. */
	readonly quantization: LlmQuantization | null;
	/** How a generation on the target's emulator compares with that on the CPU; null where nothing was run. */
	readonly verification: LlmVerification | null;
	/** What there is to say of the settings. */
	readonly diagnostics: readonly Diagnostic[];
	/** Stages in their order; those of an earlier run that was interrupted are reused. */
	readonly stages: readonly StageTime[];
}

/**
 * Makes a directory of ONNX Runtime GenAI with a dynamic decoder one with static graphs: a front on the CPU, prefill and
 * decode over a cache of fixed length, whose weights are one file, the update of the cache on the CPU, and the head. The
 * output appears whole or not at all. What stages made stays in `<output>.work` when a later one fails or is
 * interrupted; the next run goes on from there. Rejects with `llm/...`, with `htp/...` where graphs are to be compiled and the
 * compiler is not there, and with what reading and writing models says.
 */
export async function convertLlm(
	folder: string,
	output: string,
	options: ConvertLlmOptions = {},
): Promise<LlmConversion> {
	const job = await readJob(folder, options);
	if (existsSync(output) && options.overwrite !== true) {
		throw new QGraphError("write/exists", `'${output}' exists; --force replaces it`, { file: output });
	}
	await checkResources(job, options);
	let work: WorkFolder | undefined;
	try {
		work = await WorkFolder.open(`${path.resolve(output)}.work`, fingerprintOf(folder));
		const conversion = await runStages(job, work, output, options);
		work.remove();
		return conversion;
	} catch (error) {
		if (work?.isWorthKeeping === false) work.remove();
		if (!isSystemError(error)) throw error;
		const message = `cannot write '${output}': ${reasonOf(error)}`;
		throw new QGraphError("write/failed", message, { file: output }, { cause: error });
	}
}

/** Rejects for what later stages would miss: a recipe, prompts, the compiler. */
async function checkResources(job: LlmJob, { htpHome, verify }: ConvertLlmOptions): Promise<void> {
	const { recipe, data = [], evaluation = [] } = job.quantization ?? {};
	if (recipe !== undefined) findRecipe(recipe);
	await readPrompts(job, [...data, ...evaluation]);
	if (job.compile !== undefined || verify === true) htpPython(htpHome);
}

async function runStages(
	job: LlmJob,
	work: WorkFolder,
	output: string,
	options: ConvertLlmOptions,
): Promise<LlmConversion> {
	const { lengths, padToken, config } = job;
	const stages: StageTime[] = [];
	const run = async <T>(name: string, settings: unknown, make: (folder: string) => Promise<T>) => {
		options.onProgress?.(name, 0, 1);
		options.signal?.throwIfAborted();
		const made: StageOutput<T> = await work.stage(name, settings, make);
		stages.push({ name, seconds: made.seconds, isReused: made.isReused });
		return made;
	};
	const decoder = job.widens
		? await run("widen", {}, (folder) => widenModel(config.modelFile, folder, options.signal)).then(withModel(job))
		: job;
	const split = await run("split", { lengths, padToken, isWindowed: job.layout === "B" }, (folder) =>
		splitModel(decoder, folder, options),
	);
	const { target, genaiVersion, quantization, compile, layout, splits, head } = job;
	const quantized =
		quantization === undefined
			? undefined
			: await run("quantize", { target, quantization, files: tokenFiles(quantization) }, (folder) =>
					quantizeGraphs(decoder, split.result, split.folder, folder, { ...quantization, ...options }),
				);
	const made = quantized === undefined ? split : { folder: quantized.folder, result: quantized.result.graphs };
	const arranged =
		layout === "C"
			? made
			: await run("cache", { layout }, (folder) => arrangeCache(layout, made.result, job, made.folder, folder));
	const parts = splits === "auto" ? partsThatFit(arranged.result, arranged.folder) : splits;
	const divided =
		parts === 1
			? arranged
			: await run("divide", { parts }, (folder) =>
					divideGraphs(arranged.result, arranged.folder, folder, parts, options.signal),
				);
	const isQuantized = quantization !== undefined;
	const compiled =
		target === undefined || compile === undefined
			? { folder: divided.folder, result: { graphs: divided.result, contexts: [] } }
			: await run("compile", { target, compile, head }, (folder) =>
					compileGraphs(divided.result, divided.folder, folder, { target, kind: compile, head, isQuantized }, options),
				);
	const { graphs, contexts } = compiled.result;
	const written = await run("write", { target, genaiVersion, head, layout }, (folder) =>
		writeDirectory(job, graphs, compiled.folder, folder),
	);
	const verified =
		target === undefined || options.verify !== true
			? undefined
			: await run("verify", { target, head }, () => verifyLlm(job, divided.result, divided.folder, target, options));
	writeProvenance(job, { graphs, contexts }, stages, written.folder);
	if (existsSync(output)) rmSync(output, { recursive: true });
	renameSync(written.folder, output);
	return {
		...lengths,
		layers: config.layers,
		padToken,
		graphs,
		contexts,
		quantization: quantized?.result ?? null,
		verification: verified?.result ?? null,
		diagnostics: job.diagnostics,
		stages,
	};
}

/** The same with another file of the decoder. */
function withModel(job: LlmJob): (made: StageOutput<string>) => LlmJob {
	return ({ folder, result }) => ({ ...job, config: { ...job.config, modelFile: path.join(folder, result) } });
}

/** Files that a quantization reads, with what changes when they do. */
function tokenFiles({ data = [], evaluation = [], recipe = "" }: LlmQuantizeOptions): string[] {
	return [...data, ...evaluation, recipe].map((file) => {
		const found = statSync(file, { throwIfNoEntry: false });
		return found === undefined ? file : `${file} ${found.size} ${found.mtimeMs}`;
	});
}
