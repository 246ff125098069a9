import type { Graph } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import { type Dimension, tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { type GraphLengths, isNew, NAMES } from "./layer-graph.js";
import { isMask, isRotary } from "./shared-inputs.js";

/** Lengths of a layer graph: numbers, or names of what is said when it runs. */
export interface LayerDimensions {
	readonly sequence: Dimension;
	readonly context: Dimension;
	/** The context and the sequence. */
	readonly total: Dimension;
}

/** Makes the layer graph of several tokens that of one: other lengths, and its only state comes out. */
export function makeDecodeGraph(model: Model, { context }: Pick<GraphLengths, "context">): void {
	makeStatesGraph(model, { sequence: 1, context, total: context + 1 });
}

/** Gives the layer graph of several tokens other lengths, and lets the states of all of them come out. Quantized ones, too. */
export function makeStatesGraph({ graph }: Model, dimensions: LayerDimensions): void {
	resizePorts(graph, dimensions);
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

/** Gives the inputs and outputs of a layer graph other lengths. */
export function resizePorts(graph: Graph, dimensions: LayerDimensions): void {
	for (const value of [...graph.inputs, ...graph.outputs]) resize(value, dimensions);
}

/** What has a row for every token gets rows for `sequence` tokens; pasts get the length of the context. */
function resize(value: Value, { sequence, context, total }: LayerDimensions): void {
	const { name, type } = value;
	if (type?.kind !== "tensor" || type.shape === undefined) return;
	const shape = [...type.shape];
	if (name === NAMES.embedded || name === NAMES.hidden || isRotary(name)) shape[1] = sequence;
	else if (isMask(name)) shape.splice(2, 2, sequence, total);
	else if (isNew(name)) shape[2] = sequence;
	else if (shape.length === 4) shape[2] = context;
	value.type = tensorType(type.elementType, shape);
}

/** Forgets types of the values inside, which are those of other lengths. */
export function forgetTypes(graph: Graph): void {
	for (const value of [...graph.valueInfo]) {
		value.type = undefined;
		graph.valueInfo.delete(value);
	}
}
