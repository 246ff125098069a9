import { everyPiece } from "../ir/data.js";
import type { Graph } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import type { Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import { dataTypeName } from "../ir/types.js";
import { allGraphs, nodeLabel } from "../ir/walk.js";
import { type ModelSummary, summarizeModel } from "./summary.js";

/** How two models differ. Names carry the path of their graph where it is not the main one. */
export interface ModelDiff {
	readonly before: ModelSummary;
	readonly after: ModelSummary;
	readonly nodes: {
		readonly added: readonly string[];
		readonly removed: readonly string[];
		readonly changed: readonly string[];
	};
	/** Constants held by initializers and Constant nodes. */
	readonly constants: {
		readonly added: readonly string[];
		readonly removed: readonly string[];
		/** Other type, shape or bytes: `name: FLOAT[2,4] -> UINT8[2,4]`. */
		readonly changed: readonly string[];
	};
	readonly identical: boolean;
}

/** Compares two models by the names of their nodes and constants; the bytes of constants are read where all else agrees. */
export function diffModels(before: Model, after: Model): ModelDiff {
	const nodes = diffMaps(nodesOf(before), nodesOf(after), (a, b, name) =>
		nodeText(a) === nodeText(b) ? undefined : `${name}: ${nodeText(a)} -> ${nodeText(b)}`,
	);
	const constants = diffMaps(constantsOf(before), constantsOf(after), describeChange);
	const lists = [...Object.values(nodes), ...Object.values(constants)];
	return {
		before: summarizeModel(before),
		after: summarizeModel(after),
		nodes,
		constants,
		identical: lists.every((list) => list.length === 0),
	};
}

function diffMaps<T>(
	before: ReadonlyMap<string, T>,
	after: ReadonlyMap<string, T>,
	compare: (a: T, b: T, name: string) => string | undefined,
): { added: string[]; removed: string[]; changed: string[] } {
	const changed: string[] = [];
	for (const [name, a] of before) {
		const b = after.get(name);
		const change = b === undefined ? undefined : compare(a, b, name);
		if (change !== undefined) changed.push(change);
	}
	return {
		added: [...after.keys()].filter((name) => !before.has(name)),
		removed: [...before.keys()].filter((name) => !after.has(name)),
		changed,
	};
}

function nodesOf(model: Model): Map<string, Node> {
	const nodes = new Map<string, Node>();
	for (const { graph, path } of allGraphs(model)) {
		for (const node of graph.nodes) nodes.set(qualified(model, graph, path, nodeLabel(node)), node);
	}
	return nodes;
}

function constantsOf(model: Model): Map<string, Tensor> {
	const constants = new Map<string, Tensor>();
	for (const { graph, path } of allGraphs(model)) {
		for (const value of graph.initializers) {
			if (value.initializer) constants.set(qualified(model, graph, path, value.name), value.initializer);
		}
		for (const node of graph.nodes) {
			const attribute = node.op.type === "Constant" ? node.attributes.get("value") : undefined;
			if (attribute?.kind === "tensor") {
				constants.set(qualified(model, graph, path, node.outputs[0]?.name ?? ""), attribute.value);
			}
		}
	}
	return constants;
}

function qualified(model: Model, graph: Graph, path: string, name: string): string {
	return graph === model.graph ? name : `${path}/${name}`;
}

function nodeText(node: Node): string {
	const attributes = [...node.attributes].map(([name, attribute]) => {
		const plain = attribute.kind === "int" || attribute.kind === "float" || attribute.kind === "ints";
		return `${name}=${plain ? attribute.value : attribute.kind}`;
	});
	return `${node.op.type}(${node.inputs.map((value) => value?.name ?? "").join(", ")}) {${attributes.sort().join(", ")}}`;
}

function describeChange(a: Tensor, b: Tensor, name: string): string | undefined {
	const text = (tensor: Tensor) => `${dataTypeName(tensor.dtype)}[${tensor.shape.join(",")}]`;
	if (text(a) !== text(b)) return `${name}: ${text(a)} -> ${text(b)}`;
	return sameBytes(a, b) ? undefined : `${name}: ${text(a)} with other values`;
}

function sameBytes(a: Tensor, b: Tensor): boolean {
	if (a.strings !== undefined || b.strings !== undefined) {
		const [left, right] = [a.strings ?? [], b.strings ?? []];
		return left.length === right.length && left.every((bytes, index) => Buffer.compare(bytes, right[index]!) === 0);
	}
	if (a.data.byteLength !== b.data.byteLength) return false;
	return everyPiece(a.data, (bytes, at) => Buffer.compare(bytes, b.data.read(at, at + bytes.byteLength)) === 0);
}
