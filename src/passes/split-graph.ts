import { QGraphError } from "../diagnostics.js";
import type { Graph } from "../ir/graph.js";
import { definePass } from "./infra/pass.js";
import { type GraphPart, keepPart, partsOf } from "./support/graph-parts.js";

/** Options of {@link splitGraph}. */
export interface SplitGraphOptions {
	readonly part: string;
	readonly inputs: readonly string[];
	readonly outputs: readonly string[];
}

/**
 * Keeps one part of the main graph: that between `inputs` and `outputs`, or one of several with about as many bytes of
 * weights, cut where the fewest values go over. What goes over becomes an output of one part and an input of the next.
 */
export const splitGraph = definePass<SplitGraphOptions>({
	name: "split-graph",
	summary: "Keep one part of the main graph: '2/4', the second of four, or what is between values.",
	options: {
		part: { default: "", describe: "which of how many parts with about as many bytes of weights: '2/4'" },
		inputs: { default: [] as readonly string[], describe: "values inside that become inputs" },
		outputs: {
			default: [] as readonly string[],
			describe: "values that become the outputs; default those of the model",
		},
	},
	run(model, context) {
		const { part, inputs, outputs } = context.options;
		const { graph } = model;
		const [size, before] = [graph.nodes.length, interfaceOf(graph)];
		if (part !== "") {
			if (model.metadata.get(PART_KEY) === part) return false;
			keepPart(
				model,
				numbered(part, (count) => partsOf(model, count)),
			);
			model.metadata.set(PART_KEY, part);
		} else if (inputs.length > 0 || outputs.length > 0) {
			const all = graph.outputs.map(({ name }) => name);
			keepPart(model, { inputs, outputs: outputs.length > 0 ? outputs : all });
		}
		const removed = size - graph.nodes.length;
		if (removed > 0) context.count("nodes removed", removed);
		return removed > 0 || part !== "" || interfaceOf(graph) !== before;
	},
});

function interfaceOf({ inputs, outputs }: Graph): string {
	return JSON.stringify([inputs, outputs].map((values) => values.map(({ name }) => name)));
}

/** What a part says of itself, so that it is not cut once more. */
const PART_KEY = "qgraph.part";

/** The part that `text` names. */
function numbered(text: string, partsFor: (count: number) => readonly GraphPart[]): GraphPart {
	const [index, count] = (/^(\d+)\/(\d+)$/.exec(text) ?? []).slice(1).map(Number);
	if (index !== undefined && count !== undefined && index >= 1 && index <= count) return partsFor(count)[index - 1]!;
	throw new QGraphError("split/part", `'${text}' names no part; expected one such as '2/4', the second of four`);
}
