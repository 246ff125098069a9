import type { TypeTable } from "../../inference/index.js";
import type { Graph } from "../../ir/graph.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";

/**
 * `Concat(x, x[..., 32:])` -> `x` where x has 32 columns: rotary embeddings of whole heads, as exporters write them, join
 * with the columns that are not turned, of which there are none. Returns how many parts went.
 */
export function dropEmptyParts(graph: Graph, types: TypeTable): number {
	let dropped = 0;
	for (const node of [...graph.nodes]) {
		if (node.graph === undefined || !isOnnxOp(node, "Concat")) continue;
		const [output] = node.outputs;
		const parts = node.inputs.filter((input) => input !== undefined);
		const full = parts.filter((part) => !isEmpty(part, types));
		if (output === undefined || full.length === 0 || full.length === parts.length) continue;
		dropped += parts.length - full.length;
		if (full.length === 1 && !output.isGraphOutput) {
			output.replaceUsesWith(full[0]!);
			node.remove();
		} else setInputs(node, full);
		for (const part of new Set(parts)) if (isEmpty(part, types)) removeUnread(part);
	}
	return dropped;
}

function isEmpty(value: Value, types: TypeTable): boolean {
	return types.staticShapeOf(value)?.includes(0) === true;
}

function setInputs(node: Node, inputs: readonly Value[]): void {
	for (const index of node.inputs.keys()) node.setInput(index, inputs[index]);
	node.trimInputs();
}

/** Removes what computes a value that nobody reads any more. */
function removeUnread(value: Value): void {
	const { producer } = value;
	if (producer?.outputs.some((output) => output.uses.length > 0 || output.isGraphOutput) !== false) return;
	const inputs = new Set(producer.inputs);
	producer.remove();
	for (const input of inputs) if (input !== undefined) removeUnread(input);
}
