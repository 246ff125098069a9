import { tensorAttribute } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import type { Value } from "../ir/value.js";

/** A value whose bytes are in the model. */
export interface Constant {
	readonly value: Value;
	readonly tensor: Tensor;
	/** It is a default that the caller of the model may replace: an initializer that is a graph input too. */
	readonly overridable: boolean;
}

/** The constant that `value` is: an initializer or the output of a Constant node; undefined for everything else. */
export function constantOf(value: Value | undefined): Constant | undefined {
	if (value === undefined) return undefined;
	if (value.initializer !== undefined) {
		return { value, tensor: value.initializer, overridable: value.isGraphInput };
	}
	const { producer } = value;
	if (producer === undefined || !isOnnxOp(producer, "Constant")) return undefined;
	const attribute = producer.attributes.get("value");
	return attribute?.kind === "tensor" ? { value, tensor: attribute.value, overridable: false } : undefined;
}

/**
 * Puts a constant into `graph`, under a name that is free: an initializer, or in a function body, which has none, a
 * Constant node in front of `before` (undefined: at the end).
 */
export function addConstant(graph: Graph, name: string, tensor: Tensor, before: Node | undefined): Value {
	const value = graph.createValue(name);
	if (graph.isFunctionBody) {
		graph.createNode(
			{ op: "Constant", inputs: [], outputs: [value], attributes: { value: tensorAttribute(tensor) } },
			before,
		);
	} else graph.setInitializer(value, tensor);
	return value;
}

/** Gives the constant `value` other bytes, wherever it keeps them. */
export function replaceConstant(value: Value, tensor: Tensor): void {
	if (value.producer === undefined) value.initializer = tensor;
	else value.producer.attributes.set("value", tensorAttribute(tensor));
}

/** Removes a constant that nobody reads any more. */
export function removeIfUnused(value: Value): void {
	if (value.uses.length > 0 || value.isGraphOutput || value.isGraphInput) return;
	if (value.producer !== undefined) value.producer.remove();
	else value.graph.removeInitializer(value);
}
