import { readdirSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { readModel, writeModel } from "../onnx/file.js";
import { keepPart, partsOf } from "../passes/support/graph-parts.js";
import { graphOf, type PipelineGraph, putFile } from "./pipeline-graph.js";

/** Bytes of weights that a graph may have: the HTP of a v73 takes no graph beyond 2 GiB. */
const MAX_PART_BYTES = 1.5 * 2 ** 30;

/** In how many parts prefill and decode in `folder` are to be cut for each to fit. */
export function partsThatFit(graphs: readonly PipelineGraph[], folder: string): number {
	const prefill = graphs.find(({ role }) => role === "prefill")!;
	const files = readdirSync(folder).filter((name) => name.startsWith(prefill.fileName));
	const bytes = files.reduce((sum, name) => sum + statSync(path.join(folder, name)).size, 0);
	return Math.max(1, Math.ceil(bytes / MAX_PART_BYTES));
}

/**
 * Cuts prefill and decode of `from` into `count` parts each at the same places, all with the weights of prefill in one file,
 * and puts them and the other graphs into `folder`. Rejects with `split/parts` where there are not so many places.
 */
export async function divideGraphs(
	graphs: readonly PipelineGraph[],
	from: string,
	folder: string,
	count: number,
	signal?: AbortSignal,
): Promise<PipelineGraph[]> {
	for (const name of readdirSync(from)) putFile(path.join(from, name), path.join(folder, name));
	const divided: PipelineGraph[] = [];
	for (const graph of graphs) {
		if (graph.role !== "prefill" && graph.role !== "decode") {
			divided.push(graph);
			continue;
		}
		const file = path.join(folder, graph.fileName);
		const parts = partsOf(await readModel(file), count);
		for (const [index, part] of parts.entries()) {
			signal?.throwIfAborted();
			const model = await readModel(file);
			keepPart(model, part);
			const name = `${graph.name}_${index}`;
			await writeModel(model, path.join(folder, `${name}.onnx`), { externalData: "keep", ...(signal && { signal }) });
			divided.push(graphOf(name, graph.role, `${name}.onnx`, model));
		}
	}
	for (const { role, fileName } of graphs) {
		if (role === "prefill" || role === "decode") rmSync(path.join(folder, fileName));
	}
	return divided;
}
