import type { Graph } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import { tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { type GraphLengths, isNew, NAMES } from "./layer-graph.js";
import { isMask, isRotary } from "./shared-inputs.js";

/** Makes the layer graph of several tokens that of one: other lengths, and its only state comes out. */
export function makeDecodeGraph({ graph }: Model, { context }: Pick<GraphLengths, "context">): void {
	for (const value of [...graph.inputs, ...graph.outputs]) shorten(value, context);
	const lastIndex = graph.inputs.find(({ name }) => name === NAMES.lastIndex)!;
	const gather = lastIndex.uses[0]!.node;
	graph.replaceNode(gather, {
		op: "Identity",
		name: gather.name,
		inputs: [gather.inputs[0]],
		outputs: [...gather.outputs],
	});
	graph.removeInput(lastIndex);
	forgetTypes(graph);
}

/** Gives what has a row for every token one row. Pasts and the state have none. */
function shorten(value: Value, context: number): void {
	const { name, type } = value;
	if (type?.kind !== "tensor" || type.shape === undefined) return;
	const shape = [...type.shape];
	if (name === NAMES.embedded || isRotary(name)) shape[1] = 1;
	else if (isMask(name)) shape.splice(2, 2, 1, context + 1);
	else if (isNew(name)) shape[2] = 1;
	value.type = tensorType(type.elementType, shape);
}

/** Types of the values inside are those of the longer graph. */
function forgetTypes(graph: Graph): void {
	for (const value of [...graph.valueInfo]) {
		value.type = undefined;
		graph.valueInfo.delete(value);
	}
}
