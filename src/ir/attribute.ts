import { bytesData, readAll, type TensorData } from "./data.js";
import type { Graph } from "./graph.js";
import type { Node } from "./node.js";
import type { SparseTensor, Tensor } from "./tensor.js";
import type { ValueType } from "./types.js";

/** Kinds of attribute values, in the order of AttributeProto.AttributeType. */
export interface AttributeValues {
	float: number;
	int: bigint;
	string: TensorData;
	tensor: Tensor;
	graph: Graph;
	"sparse-tensor": SparseTensor;
	type: ValueType;
	floats: readonly number[];
	ints: readonly bigint[];
	strings: readonly TensorData[];
	tensors: readonly Tensor[];
	graphs: readonly Graph[];
	"sparse-tensors": readonly SparseTensor[];
	types: readonly ValueType[];
}

export type AttributeKind = keyof AttributeValues;

/**
 * A named constant of a node. Immutable, except for the graphs in it. `reference` (function bodies only) stands for the
 * attribute of that name of the calling node; `opaque` is an attribute whose stored fields contradict its type, kept as
 * it was.
 */
export type Attribute =
	| { [K in AttributeKind]: { readonly kind: K; readonly value: AttributeValues[K] } }[AttributeKind]
	| { readonly kind: "reference"; readonly to: string; readonly of: AttributeKind | undefined }
	| { readonly kind: "opaque" };

export function intAttribute(value: number | bigint): Attribute {
	return { kind: "int", value: BigInt(value) };
}

export function intsAttribute(values: readonly (number | bigint)[]): Attribute {
	return { kind: "ints", value: values.map(BigInt) };
}

export function floatAttribute(value: number): Attribute {
	return { kind: "float", value: Math.fround(value) };
}

export function stringAttribute(value: string): Attribute {
	return { kind: "string", value: bytesData(new TextEncoder().encode(value)) };
}

export function tensorAttribute(value: Tensor): Attribute {
	return { kind: "tensor", value };
}

/** The integer attribute `name` of `node` as a number, or `fallback` where the node has none. */
export function intOf(node: Node, name: string, fallback: number): number {
	const attribute = node.attributes.get(name);
	return attribute?.kind === "int" ? Number(attribute.value) : fallback;
}

/** The integers of the attribute `name` of `node`; none where it is absent. */
export function intsOf(node: Node, name: string): number[] {
	const attribute = node.attributes.get(name);
	return attribute?.kind === "ints" ? attribute.value.map(Number) : [];
}

/** The float attribute `name` of `node`, or `fallback` where the node has none. */
export function floatOf(node: Node, name: string, fallback: number): number {
	const attribute = node.attributes.get(name);
	return attribute?.kind === "float" ? attribute.value : fallback;
}

/** The text of the string attribute `name` of `node`; undefined where the node has none. */
export function stringOf(node: Node, name: string): string | undefined {
	const attribute = node.attributes.get(name);
	return attribute?.kind === "string" ? new TextDecoder().decode(readAll(attribute.value)) : undefined;
}

/** The graphs that a node carries, with the names of the attributes that hold them. */
export function* subgraphsOf(node: Node): Generator<readonly [string, Graph]> {
	for (const [name, attribute] of node.attributes) {
		if (attribute.kind === "graph") yield [name, attribute.value];
		else if (attribute.kind === "graphs") {
			for (const [index, graph] of attribute.value.entries()) yield [`${name}[${index}]`, graph];
		}
	}
}

/** Does `node` carry graphs, as If, Loop, Scan and SequenceMap do? */
export function hasSubgraphs(node: Node): boolean {
	return subgraphsOf(node).next().done !== true;
}
