import { copyFileSync, linkSync } from "node:fs";
import type { Model } from "../ir/model.js";
import type { HeadPlace } from "./llm-job.js";

/** What a graph of the pipeline is for. */
export type GraphRole = "front" | "prefill" | "decode" | "kv_update" | "lm_head";

/** A graph of the pipeline, in a file. */
export interface PipelineGraph {
	readonly name: string;
	readonly role: GraphRole;
	readonly fileName: string;
	readonly inputs: readonly string[];
	readonly outputs: readonly string[];
}

/** The entry of `model`, whose inputs and outputs it has. */
export function graphOf(name: string, role: GraphRole, fileName: string, { graph }: Model): PipelineGraph {
	const names = (values: readonly { readonly name: string }[]) => values.map((value) => value.name);
	return { name, role, fileName, inputs: names(graph.inputs), outputs: names(graph.outputs) };
}

/** Does it run where the directory is made for? The others are for the CPU. */
export function runsOnTarget({ role }: PipelineGraph, head: HeadPlace): boolean {
	return role === "prefill" || role === "decode" || (role === "lm_head" && head === "htp");
}

/** The file under a second name: weights take no place twice where the file system can do that. */
export function putFile(from: string, to: string): void {
	try {
		linkSync(from, to);
	} catch {
		copyFileSync(from, to);
	}
}
