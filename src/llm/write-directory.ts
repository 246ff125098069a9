import { copyFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { readModel } from "../onnx/file.js";
import { type ProviderOptions, providerOptions } from "../targets/provider-options.js";
import { GENAI_CONFIG_FILE } from "./genai-config.js";
import type { LlmJob } from "./llm-job.js";
import { pipelineConfig } from "./pipeline-config.js";
import { type PipelineGraph, putFile, runsOnTarget } from "./pipeline-graph.js";

/** Completes the directory that GenAI loads: the graphs of `from`, their genai_config.json, and what lay beside the model. */
export async function writeDirectory(
	job: LlmJob,
	graphs: readonly PipelineGraph[],
	from: string,
	folder: string,
): Promise<void> {
	for (const name of readdirSync(from)) putFile(path.join(from, name), path.join(folder, name));
	const options = new Map<PipelineGraph, ProviderOptions>();
	for (const graph of job.target === undefined ? [] : graphs.filter((one) => runsOnTarget(one, job.head))) {
		options.set(graph, providerOptions(await readModel(path.join(from, graph.fileName)), job.target!));
	}
	const content = JSON.stringify(pipelineConfig(job, graphs, options), null, 2);
	writeFileSync(path.join(folder, GENAI_CONFIG_FILE), `${content}\n`);
	const model = path.basename(job.config.modelFile);
	for (const entry of readdirSync(job.folder, { withFileTypes: true })) {
		const isOther = entry.isFile() && entry.name !== GENAI_CONFIG_FILE && !entry.name.startsWith(model);
		if (isOther) copyFileSync(path.join(job.folder, entry.name), path.join(folder, entry.name));
	}
}
