import { existsSync, readdirSync, realpathSync, statSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { QGraphError } from "../diagnostics.js";
import { intOf } from "../ir/attribute.js";
import { DataFile } from "../ir/data.js";
import type { Model } from "../ir/model.js";
import type { Node } from "../ir/node.js";
import { nodeLabel } from "../ir/walk.js";
import { embedSmallTensors } from "../onnx/embed-small-tensors.js";
import { readModel, writeModel } from "../onnx/file.js";
import { isSystemError, reasonOf } from "../onnx/io-error.js";
import { OutputSet } from "../onnx/output.js";
import { providerOptions as optionsOfTarget } from "../targets/provider-options.js";
import { type Target, targetName } from "../targets/target.js";
import { runOnHtp } from "./htp.js";
import { htpPython } from "./htp-environment.js";
import {
	type DimensionLengths,
	inputsOf,
	missingLengths,
	requireNamedDimensions,
	ShapeBinding,
} from "./model-inputs.js";
import type { SessionFailure, UnsupportedNode } from "./session.js";

const DEFAULT_TIMEOUT_SECONDS = 600;

/** What {@link compileForHtp} is told. */
export interface CompileOptions {
	/** Options of the QNN execution provider, in addition to those of the target. */
	readonly providerOptions?: Readonly<Record<string, string>> | undefined;
	/** May nodes that the HTP does not take run on the CPU? Default: no, the model is refused then. */
	readonly allowCpuFallback?: boolean | undefined;
	/** Is the compiled context inside the output (default), or in a file beside it? */
	readonly embed?: boolean | undefined;
	/** Lengths of symbolic dimensions, by name. */
	readonly dimensions?: DimensionLengths | undefined;
	/** Replace files that exist; default true. */
	readonly overwrite?: boolean | undefined;
	/** Default 600. */
	readonly timeoutSeconds?: number | undefined;
	/** Folder of `setupHtp`. */
	readonly htpHome?: string | undefined;
	readonly signal?: AbortSignal | undefined;
}

/** What came of a compilation. */
export interface HtpCompilation {
	/** The name of the target. */
	readonly target: string;
	readonly providerOptions: Readonly<Record<string, string>>;
	/** Why there is no output; null where it was written. */
	readonly failure: SessionFailure | null;
	/** Nodes that the HTP does not take: with CPU fallback they run there, else they are why the model is refused. */
	readonly notOnHtp: readonly UnsupportedNode[];
	/** What was written, the model last. */
	readonly files: readonly { readonly path: string; readonly bytes: number }[];
	/** Parts of the graph that were compiled, each one context; 1 where all of it is on the HTP. */
	readonly contexts: number;
	readonly contextBytes: number;
	readonly seconds: number;
}

/**
 * Compiles a model for an HTP and writes the EPContext model that ONNX Runtime's QNN provider loads on the device. The
 * output appears whole or not at all. What the compiler does (refuse, fail, crash, hang) is in the result; rejects where it
 * is not set up (`htp/...`), where the model cannot be read or has no fixed shapes, and where the output cannot be written.
 */
export async function compileForHtp(
	modelPath: string,
	outputPath: string,
	target: Target,
	options: CompileOptions = {},
): Promise<HtpCompilation> {
	const python = htpPython(options.htpHome);
	const model = await readModel(modelPath);
	const dimensions = fixedDimensions(model, options.dimensions ?? {});
	checkOutput(modelPath, outputPath, options);
	const folder = await mkdtemp(path.join(tmpdir(), "qgraph-compile-"));
	try {
		const made = path.join(folder, "made", path.basename(outputPath));
		await mkdir(path.dirname(made));
		const providerOptions = { ...optionsOfTarget(model, target), ...options.providerOptions };
		const context = { file: made, embed: options.embed ?? true };
		const { allowCpuFallback, timeoutSeconds = DEFAULT_TIMEOUT_SECONDS, signal } = options;
		const loaded = await loadable(model, modelPath, folder, signal);
		const result = await runOnHtp(
			python,
			{ model: loaded, dimensions, samples: [], folder, providerOptions, allowCpuFallback, context },
			{ timeoutSeconds, signal },
		);
		const common = { target: targetName(target), providerOptions };
		const failure = result.status === "ok" ? nothingCompiled(made, model) : result;
		if (failure !== undefined) {
			const nothing = { files: [], contexts: 0, contextBytes: 0, seconds: 0 };
			return { ...common, failure, notOnHtp: failure.unsupported, ...nothing };
		}
		const compiled = await describeContexts(made);
		const files = await place(path.dirname(made), outputPath, options);
		const seconds = result.status === "ok" ? result.loadSeconds : 0;
		return { ...common, failure: null, ...compiled, files, seconds };
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
}

/** The file of the model as ONNX Runtime loads it: itself, or a copy in which small tensors are inside. */
async function loadable(model: Model, file: string, folder: string, signal: AbortSignal | undefined): Promise<string> {
	if (!embedSmallTensors(model)) return path.resolve(file);
	const copy = path.join(folder, "input", path.basename(file));
	await mkdir(path.dirname(copy));
	await writeModel(model, copy, { externalData: "keep", ...(signal === undefined ? {} : { signal }) });
	return copy;
}

/** Lengths of the symbolic dimensions of the model, which the compiler must know. */
function fixedDimensions(model: Model, given: DimensionLengths): Record<string, number> {
	requireNamedDimensions(model);
	const binding = new ShapeBinding(given);
	const missing = new Set<string>();
	for (const { name, shape } of inputsOf(model)) binding.resolve(name, shape, missing);
	if (missing.size > 0) throw missingLengths(missing);
	return binding.lengths;
}

/** Says at once what writing would only find out after all the work. */
function checkOutput(modelPath: string, outputPath: string, { overwrite = true }: CompileOptions): void {
	if (!existsSync(path.dirname(path.resolve(outputPath)))) {
		throw new QGraphError("write/failed", `cannot write '${outputPath}': there is no such folder`, {
			file: outputPath,
		});
	}
	if (!existsSync(outputPath)) return;
	if (realpathSync(outputPath) === realpathSync(modelPath)) {
		const message = `'${outputPath}' is the model itself; choose another name for the compiled one`;
		throw new QGraphError("write/would-overwrite-input", message, { file: outputPath });
	}
	if (!overwrite) throw alreadyThere(outputPath);
}

function alreadyThere(file: string): QGraphError {
	return new QGraphError("write/exists", `'${file}' exists; use --force to replace it`, { file });
}

/** The failure that it is when the compiler, with CPU fallback, leaves the whole model to the CPU and writes nothing. */
function nothingCompiled(made: string, model: Model): SessionFailure | undefined {
	if (existsSync(made)) return undefined;
	const unsupported = Array.from(model.graph.nodes, unsupportedNode);
	return { status: "refused", stage: "load", message: "the HTP takes no node of the model", unsupported };
}

function unsupportedNode(node: Node): UnsupportedNode {
	return { name: nodeLabel(node), op: node.op.type };
}

/** What the compiler made of the model. */
async function describeContexts(made: string): Promise<Pick<HtpCompilation, "notOnHtp" | "contexts" | "contextBytes">> {
	const nodes = [...(await readModel(made)).graph.nodes];
	const contexts = nodes.filter(({ op }) => op.type === "EPContext");
	const contextBytes = contexts.reduce((sum, context) => sum + embeddedBytes(context), 0) + bytesBeside(made);
	const notOnHtp = nodes.filter((node) => !contexts.includes(node)).map(unsupportedNode);
	return { notOnHtp, contexts: contexts.length, contextBytes };
}

function embeddedBytes(context: Node): number {
	const cache = context.attributes.get("ep_cache_context");
	return cache?.kind === "string" && intOf(context, "embed_mode", 1) === 1 ? cache.value.byteLength : 0;
}

function bytesBeside(made: string): number {
	const files = readdirSync(path.dirname(made)).filter((name) => name !== path.basename(made));
	return files.reduce((sum, name) => sum + statSync(path.join(path.dirname(made), name)).size, 0);
}

/** Puts all files of `folder` beside the output, the model last. */
async function place(folder: string, outputPath: string, options: CompileOptions): Promise<HtpCompilation["files"]> {
	const { overwrite = true, signal } = options;
	const main = path.basename(outputPath);
	const names = [...readdirSync(folder).filter((name) => name !== main), main];
	const targets = names.map((name) => path.join(path.dirname(outputPath), name));
	const existing = targets.find((target) => existsSync(target));
	if (existing !== undefined && !overwrite) throw alreadyThere(existing);
	const output = new OutputSet({ signal });
	try {
		for (const [index, target] of targets.entries()) {
			await output.copy(target, new DataFile(path.join(folder, names[index]!)));
		}
		await output.commit(outputPath);
	} catch (error) {
		await output.discard();
		if (!isSystemError(error)) throw error;
		const message = `cannot write '${outputPath}': ${reasonOf(error)}`;
		throw new QGraphError("write/failed", message, { file: outputPath }, { cause: error });
	}
	return targets.map((target) => ({ path: target, bytes: statSync(target).size }));
}
