import type { Graph } from "../../ir/graph.js";
import type { Value } from "../../ir/value.js";

/** Makes `outputs` the outputs of `graph` and takes away everything that they do not need, inputs, too. */
export function pruneTo(graph: Graph, outputs: readonly Value[]): void {
	for (const output of [...graph.outputs]) graph.removeOutput(output);
	for (const output of outputs) graph.addOutput(output);
	for (const node of [...graph.nodes].reverse()) {
		if (node.outputs.every((output) => output.uses.length === 0 && !output.isGraphOutput)) node.remove();
	}
	for (const value of [...graph.initializers]) {
		if (value.uses.length === 0 && !value.isGraphOutput) graph.removeInitializer(value);
	}
	for (const value of [...graph.inputs]) {
		if (value.uses.length === 0 && !value.isGraphOutput) graph.removeInput(value);
	}
}
