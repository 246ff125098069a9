import { isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";

/** Operators that move elements without computing: the grid of their input is that of their output. */
const VIEW_OPS = ["Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"];

/** Does `node` only move the elements of its first input? */
export function isView(node: Node): boolean {
	return isOnnxOp(node, ...VIEW_OPS);
}

/** Do both the activation that `node` reads at input `index` and its output live on an integer grid? */
export function hasIntegerActivations(node: Node, index: number): boolean {
	const input = node.inputs[index];
	const output = node.outputs[0];
	return input !== undefined && output !== undefined && comesFromInteger(input) && goesToInteger(output);
}

/** Does `value` come out of a DequantizeLinear, view operators aside? */
function comesFromInteger(value: Value): boolean {
	let producer = value.producer;
	while (producer !== undefined && isView(producer)) producer = producer.inputs[0]?.producer;
	return producer !== undefined && isOnnxOp(producer, "DequantizeLinear");
}

/** Is every reader of `value` a QuantizeLinear, view operators aside? */
export function goesToInteger(value: Value): boolean {
	const pending = [value];
	const seen = new Set<Value>(pending);
	for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
		if (at.isGraphOutput || at.uses.length === 0) return false;
		for (const { node, index } of at.uses) {
			if (index !== 0) return false;
			if (isOnnxOp(node, "QuantizeLinear")) continue;
			const next = node.outputs[0];
			if (!isView(node) || next === undefined) return false;
			if (!seen.has(next)) {
				seen.add(next);
				pending.push(next);
			}
		}
	}
	return true;
}
