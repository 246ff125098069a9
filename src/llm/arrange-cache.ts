import { readdirSync } from "node:fs";
import path from "node:path";
import { intAttribute } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { DataType, tensorType } from "../ir/types.js";
import { readModel, writeModel } from "../onnx/file.js";
import { type GenaiConfig, layerName } from "./genai-config.js";
import { NAMES } from "./layer-graph.js";
import type { CacheLayout, LlmJob } from "./llm-job.js";
import { graphOf, type PipelineGraph, putFile } from "./pipeline-graph.js";
import { windowCache } from "./windowed-cache.js";

/**
 * Makes prefill and decode of `from` do without the graph that updates the cache on the CPU: with layout A they update it
 * themselves and give all of it, as Olive's pipelines do, with B the host moves it. Puts all graphs into `folder`.
 */
export async function arrangeCache(
	layout: Exclude<CacheLayout, "C">,
	graphs: readonly PipelineGraph[],
	{ config, lengths }: Pick<LlmJob, "config" | "lengths">,
	from: string,
	folder: string,
): Promise<PipelineGraph[]> {
	const update = graphs.find(({ role }) => role === "kv_update")!;
	const changed = graphs.filter(({ role }) => role === "prefill" || role === "decode");
	for (const name of readdirSync(from)) {
		const isMade = [update, ...changed].some(({ fileName }) => fileName === name);
		if (!isMade) putFile(path.join(from, name), path.join(folder, name));
	}
	const made: PipelineGraph[] = [];
	for (const graph of graphs) {
		if (graph === update) continue;
		if (!changed.includes(graph)) {
			made.push(graph);
			continue;
		}
		const { name, role, fileName } = graph;
		const model = await readModel(path.join(from, fileName));
		if (layout === "A") writeCacheInto(model, config);
		else windowCache(model, config, { ...lengths, sequence: role === "decode" ? 1 : lengths.sequence });
		await writeModel(model, path.join(folder, fileName), { externalData: "keep" });
		made.push(graphOf(name, role, fileName, model));
	}
	return made;
}

/** New keys and values, outputs until now, go into the past at `kv_index`, which comes out. */
function writeCacheInto({ graph }: Model, { layers, inputs, outputs }: GenaiConfig): void {
	const pasts = new Map(graph.inputs.map((input) => [input.name, input]));
	const news = new Map(graph.outputs.map((output) => [output.name, output]));
	const shape = news.get(NAMES.newKey(0))!.type;
	const index = graph.createValue(
		NAMES.cacheIndex,
		tensorType(DataType.INT32, shape?.kind === "tensor" ? shape.shape : undefined),
	);
	graph.addInput(index);
	const order = [...graph.nodes];
	const following = new Map(order.map((node, at) => [node, order[at + 1]] as const));
	for (let layer = 0; layer < layers; layer++) {
		for (const [pastName, newName, presentName] of [
			[inputs.pastKeys, NAMES.newKey(layer), outputs.presentKeys],
			[inputs.pastValues, NAMES.newValue(layer), outputs.presentValues],
		] as const) {
			const [past, own] = [pasts.get(layerName(pastName, layer))!, news.get(newName)!];
			const present = graph.createValue(layerName(presentName, layer), past.type);
			const update = {
				op: "ScatterElements",
				name: `update_${present.name}`,
				inputs: [past, index, own],
				outputs: [present],
				attributes: { axis: intAttribute(2) },
			};
			graph.createNode(update, following.get(own.producer!));
			graph.removeOutput(own);
			graph.addOutput(present);
		}
	}
}
