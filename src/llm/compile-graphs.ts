import { readdirSync } from "node:fs";
import path from "node:path";
import { QGraphError } from "../diagnostics.js";
import { compileShared } from "../runtime/compile-shared.js";
import { HTP_CAPABILITIES } from "../targets/capabilities.js";
import { type Target, targetName } from "../targets/target.js";
import type { HeadPlace } from "./llm-job.js";
import { type PipelineGraph, putFile, runsOnTarget } from "./pipeline-graph.js";

/** How graphs become contexts: those with the same weights in one, or each in one of its own, as the emulator takes them. */
export type ContextKind = "shared" | "separate";

/** A context of the HTP. */
export interface CompiledContext {
	/** The graphs in it. */
	readonly graphs: readonly string[];
	readonly bytes: number;
	readonly seconds: number;
}

export interface CompiledGraphs {
	readonly graphs: readonly PipelineGraph[];
	readonly contexts: readonly CompiledContext[];
}

/** Nodes that a message names. */
const MAX_NAMED_NODES = 3;

/** What to do about weights that the HTP does not take as the model stores them. */
const REQUANTIZE =
	"the model's weights are quantized in a form that it has no kernels for: quantize them anew, with --recipe 16a8w for example, or convert the float model";

export interface CompileSettings {
	readonly target: Target;
	readonly kind: ContextKind;
	readonly head: HeadPlace;
	/** Were the weights quantized by a recipe, not taken as the model stores them? */
	readonly isQuantized: boolean;
}

export interface CompileGraphsOptions {
	readonly htpHome?: string | undefined;
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: ((step: string, done: number, total: number) => void) | undefined;
}

/**
 * Compiles the graphs in `from` that run on the HTP, and puts the EPContext models, their contexts and the other graphs into
 * `folder`. Rejects with `llm/not-on-htp` where the HTP does not take a graph wholly, and with `htp/...`.
 */
export async function compileGraphs(
	graphs: readonly PipelineGraph[],
	from: string,
	folder: string,
	settings: CompileSettings,
	options: CompileGraphsOptions = {},
): Promise<CompiledGraphs> {
	const { target, kind, head, isQuantized } = settings;
	const onTarget = graphs.filter((graph) => runsOnTarget(graph, head));
	const sets = contextsOf(onTarget, kind === "shared" && HTP_CAPABILITIES[target.architecture].sharedWeights);
	const compiled = sets.flat();
	for (const name of readdirSync(from)) {
		const isCompiled = compiled.some(({ fileName }) => name.startsWith(fileName));
		if (!isCompiled) putFile(path.join(from, name), path.join(folder, name));
	}
	const contexts: CompiledContext[] = [];
	const files = new Map<PipelineGraph, string>();
	for (const [index, set] of sets.entries()) {
		const names = set.map(({ name }) => name);
		options.onProgress?.(`compiling ${names.join(" and ")}`, index, sets.length);
		const paths = set.map(({ fileName }) => path.join(from, fileName));
		const result = await compileShared(paths, folder, target, options);
		if (result.failure !== null) {
			const { message, unsupported } = result.failure;
			const refused = unsupported.slice(0, MAX_NAMED_NODES).map(({ name, op }) => `${op} '${name}'`);
			const more = unsupported.length > MAX_NAMED_NODES ? ` and ${unsupported.length - MAX_NAMED_NODES} more` : "";
			const reason = refused.length === 0 ? message : `it cannot compute ${refused.join(", ")}${more}`;
			const graphNames = names.map((name) => `'${name}'`).join(" and ");
			const areWeights = !isQuantized && unsupported.some(({ op }) => op === "DequantizeLinear");
			const advice = areWeights ? `; ${REQUANTIZE}` : "";
			throw new QGraphError("llm/not-on-htp", `${targetName(target)} does not take ${graphNames}: ${reason}${advice}`);
		}
		for (const [at, graph] of set.entries()) files.set(graph, path.basename(result.files[at]!));
		contexts.push({ graphs: names, bytes: result.contextBytes, seconds: result.seconds });
	}
	return {
		graphs: graphs.map((graph) => ({ ...graph, fileName: files.get(graph) ?? graph.fileName })),
		contexts,
	};
}

/** Which graphs go into one context: a prefill and the decode that has its weights. */
function contextsOf(onTarget: readonly PipelineGraph[], isShared: boolean): PipelineGraph[][] {
	if (!isShared) return onTarget.map((graph) => [graph]);
	const [prefills, decodes] = (["prefill", "decode"] as const).map((role) =>
		onTarget.filter((graph) => graph.role === role),
	);
	const others = onTarget.filter(({ role }) => role !== "prefill" && role !== "decode");
	return [...prefills!.map((prefill, part) => [prefill, decodes![part]!]), ...others.map((graph) => [graph])];
}
