import { createHash } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { HTP_PACKAGES } from "../runtime/htp-environment.js";
import { ownVersion } from "../runtime/own-version.js";
import { targetName } from "../targets/target.js";
import type { CompiledGraphs } from "./compile-graphs.js";
import { GENAI_CONFIG_FILE } from "./genai-config.js";
import type { LlmJob } from "./llm-job.js";

/** A stage that was run, or found done. */
export interface StageTime {
	readonly name: string;
	/** Of the run that did it. */
	readonly seconds: number;
	readonly isReused: boolean;
}

export const PROVENANCE_FILE = "qgraph.json";

/** Writes what the directory was made of and how: source, every setting with its default resolved, versions, stages. */
export function writeProvenance(
	job: LlmJob,
	{ graphs, contexts }: CompiledGraphs,
	stages: readonly StageTime[],
	folder: string,
): void {
	const { config, lengths, padToken, target, genaiVersion, compile, layout, splits, head, quantization } = job;
	const content = {
		versions: { qgraph: ownVersion(), node: process.version, compiler: HTP_PACKAGES, genai: genaiVersion },
		source: [path.join(job.folder, GENAI_CONFIG_FILE), config.modelFile].map(describe),
		settings: {
			context: lengths.context,
			prefill: lengths.sequence,
			padToken,
			target: target === undefined ? null : targetName(target),
			layout,
			splits,
			head,
			compile: compile ?? null,
			quantization: quantization ?? null,
		},
		graphs: graphs.map(({ name, fileName }) => ({ name, fileName })),
		contexts,
		stages,
	};
	writeFileSync(path.join(folder, PROVENANCE_FILE), `${JSON.stringify(content, null, 2)}\n`);
}

/** Models with weights of their own are too much to read for a sum. */
const MAX_HASHED_BYTES = 2 ** 28;

function describe(file: string): object {
	const bytes = statSync(file).size;
	const sha256 = bytes > MAX_HASHED_BYTES ? undefined : createHash("sha256").update(readFileSync(file)).digest("hex");
	return { file: path.basename(file), bytes, sha256 };
}
