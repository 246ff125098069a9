import type { Graph } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import { tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { type GraphLengths, NAMES } from "./layer-graph.js";

/** Makes the layer graph of several tokens that of one: other lengths, and its only state comes out. */
export function makeDecodeGraph({ graph }: Model, { sequence, context }: GraphLengths): void {
	for (const value of [...graph.inputs, ...graph.outputs]) shorten(value, sequence, context);
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

/** Pasts, as long as the context, stay. */
function shorten(value: Value, sequence: number, context: number): void {
	const { type } = value;
	if (type?.kind !== "tensor" || type.shape === undefined || value.name === NAMES.lastIndex) return;
	if (type.shape.length === 4 && type.shape[2] === context) return;
	const lengths = new Map([
		[sequence, 1],
		[context + sequence, context + 1],
	]);
	const isMask = type.shape.length === 4 && type.shape[3] === context + sequence;
	const axes = value.name === NAMES.embedded || value.name.startsWith("rope_") ? [1] : isMask ? [2, 3] : [2];
	const shape = type.shape.map((dim, axis) => (axes.includes(axis) ? (lengths.get(dim as number) ?? dim) : dim));
	value.type = tensorType(type.elementType, value.name === NAMES.hidden ? type.shape : shape);
}

/** Types of the values inside are those of the longer graph. */
function forgetTypes(graph: Graph): void {
	for (const value of [...graph.valueInfo]) {
		value.type = undefined;
		graph.valueInfo.delete(value);
	}
}
