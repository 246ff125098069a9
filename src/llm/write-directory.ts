import { copyFileSync, linkSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { GENAI_CONFIG_FILE } from "./genai-config.js";
import type { LlmJob } from "./llm-job.js";
import { pipelineConfig } from "./pipeline-config.js";
import type { PipelineGraph } from "./pipeline-graph.js";

/** Completes the directory that GenAI loads: the graphs of `from`, their genai_config.json, and what lay beside the model. */
export function writeDirectory(job: LlmJob, graphs: readonly PipelineGraph[], from: string, folder: string): void {
	for (const name of readdirSync(from)) putFile(path.join(from, name), path.join(folder, name));
	const content = JSON.stringify(pipelineConfig(job, graphs), null, 2);
	writeFileSync(path.join(folder, GENAI_CONFIG_FILE), `${content}\n`);
	const model = path.basename(job.config.modelFile);
	for (const entry of readdirSync(job.folder, { withFileTypes: true })) {
		const isOther = entry.isFile() && entry.name !== GENAI_CONFIG_FILE && !entry.name.startsWith(model);
		if (isOther) copyFileSync(path.join(job.folder, entry.name), path.join(folder, entry.name));
	}
}

/** The file under a second name: weights take no place twice where the file system can do that. */
function putFile(from: string, to: string): void {
	try {
		linkSync(from, to);
	} catch {
		copyFileSync(from, to);
	}
}
