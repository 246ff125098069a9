import path from "node:path";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { DataType } from "../ir/types.js";
import { allNodes } from "../ir/walk.js";
import { readModel, writeModel } from "../onnx/file.js";
import { lowerMatmulNbits } from "../passes/lower-matmul-nbits.js";
import { lowerSkipLayerNorm } from "../passes/lower-skip-layer-norm.js";
import { floatExponent } from "../passes/support/float-exponent.js";
import { runPasses } from "../run-passes.js";
import { cacheGraph } from "./cache-graph.js";
import { makeDecodeGraph } from "./decode-graph.js";
import { cutEmbedding } from "./decoder.js";
import { frontOptions, makeFrontGraph } from "./front-graph.js";
import { makeHeadGraph } from "./head-graph.js";
import { isNew, makeLayerGraph } from "./layer-graph.js";
import type { LlmJob } from "./llm-job.js";
import { graphOf, type PipelineGraph } from "./pipeline-graph.js";

/** What is added to the scores of positions that are not seen, in float graphs. */
export const MASKED = -10_000;

export interface SplitOptions {
	readonly signal?: AbortSignal | undefined;
	readonly onProgress?: ((graph: string, done: number, total: number) => void) | undefined;
}

/** Writes the static graphs of a decoder, float, into `folder`: front, prefill, decode, cache and head, in the order in which they run. */
export async function splitModel(job: LlmJob, folder: string, options: SplitOptions = {}): Promise<PipelineGraph[]> {
	const { config, lengths } = job;
	const { context } = lengths;
	let cacheType: DataType = DataType.FLOAT;
	const makers: readonly (readonly [PipelineGraph["role"], () => Promise<Model>])[] = [
		[
			"front",
			async () => {
				const model = await readModel(config.modelFile);
				makeFrontGraph(model, config, frontOptions(job, MASKED));
				return model;
			},
		],
		[
			"prefill",
			async () => {
				const model = await lowerDecoder(job);
				makeLayerGraph(model, config, lengths);
				const made = model.graph.outputs.find(({ name }) => isNew(name))!.type;
				if (made?.kind === "tensor") cacheType = made.elementType;
				return model;
			},
		],
		[
			"decode",
			async () => {
				const model = await readModel(path.join(folder, "prefill.onnx"));
				makeDecodeGraph(model, lengths);
				return model;
			},
		],
		["kv_update", async () => cacheGraph(config, context, cacheType)],
		[
			"lm_head",
			async () => {
				const model = await lowerDecoder(job);
				makeHeadGraph(model, config);
				return model;
			},
		],
	];
	const graphs: PipelineGraph[] = [];
	for (const [index, [role, make]] of makers.entries()) {
		const { signal, onProgress } = options;
		signal?.throwIfAborted();
		onProgress?.(role, index, makers.length);
		const model = await make();
		const fileName = `${role}.onnx`;
		// the weights of prefill serve decode, too
		const externalData = role === "decode" ? "keep" : "one-file";
		await writeModel(model, path.join(folder, fileName), { externalData, ...(signal && { signal }) });
		graphs.push(graphOf(role, role, fileName, model));
	}
	return graphs;
}

/** The decoder without its embedding, in standard operators but for the attention, with exponents as the HTP takes them. */
async function lowerDecoder({ config }: LlmJob): Promise<Model> {
	const model = await readModel(config.modelFile);
	cutEmbedding(model, config);
	await runPasses(model, [lowerSkipLayerNorm(), lowerMatmulNbits()]);
	const names = new NameScope(model);
	for (const { node } of [...allNodes(model)]) floatExponent(node, names);
	return model;
}
