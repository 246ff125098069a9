import { type Attribute, subgraphsOf } from "./attribute.js";
import type { Graph } from "./graph.js";
import type { FunctionDefinition, Model } from "./model.js";
import type { Node } from "./node.js";
import type { SparseTensor, Tensor } from "./tensor.js";

/** A graph of a model together with where it is. */
export interface GraphSite {
	readonly graph: Graph;
	/** Names from the outside in: "main", "function com.acme:Block", "main/If_3.then_branch". */
	readonly path: string;
	/** The function whose body it is or lies in; undefined outside functions. */
	readonly function: FunctionDefinition | undefined;
}

/** Every graph of a model: the main one, function bodies, training graphs, and the subgraphs in all of these. */
export function* allGraphs(model: Model): Generator<GraphSite> {
	yield* graphAndSubgraphs(model.graph, model.graph.name, undefined);
	for (const definition of model.functions) {
		yield* graphAndSubgraphs(definition.body, `function ${functionKey(definition)}`, definition);
	}
	for (const [index, training] of model.trainingInfo.entries()) {
		if (training.initialization) {
			yield* graphAndSubgraphs(training.initialization, `training ${index} initialization`, undefined);
		}
		if (training.algorithm) yield* graphAndSubgraphs(training.algorithm, `training ${index} algorithm`, undefined);
	}
}

/** `graph` and every graph below it, outer ones first. */
export function* graphAndSubgraphs(
	graph: Graph,
	path: string,
	definition: FunctionDefinition | undefined,
): Generator<GraphSite> {
	const pending: GraphSite[] = [{ graph, path, function: definition }];
	for (let site = pending.pop(); site !== undefined; site = pending.pop()) {
		yield site;
		const below: GraphSite[] = [];
		for (const node of site.graph.nodes) {
			for (const [name, subgraph] of subgraphsOf(node)) {
				below.push({ graph: subgraph, path: `${site.path}/${nodeLabel(node)}.${name}`, function: definition });
			}
		}
		for (const inner of below.reverse()) pending.push(inner);
	}
}

/** Every node of a model with the graph that it stands in. */
export function* allNodes(model: Model): Generator<{ readonly node: Node; readonly site: GraphSite }> {
	for (const site of allGraphs(model)) for (const node of site.graph.nodes) yield { node, site };
}

/** What to call a node in messages: its name, or its operator and first output where it has none. */
export function nodeLabel(node: Node): string {
	return node.name === "" ? `${node.op.type}(${node.outputs[0]?.name ?? ""})` : node.name;
}

/** `domain:name` or `domain:name:overload`. */
export function functionKey(definition: { domain: string; name: string; overload: string }): string {
	return [definition.domain, definition.name, definition.overload].filter((part) => part !== "").join(":");
}

/** Every tensor of a model: initializers, sparse ones, and those in attributes, defaults of functions included. */
export function* allTensors(model: Model): Generator<Tensor> {
	for (const { graph } of allGraphs(model)) {
		for (const value of graph.initializers) if (value.initializer) yield value.initializer;
		for (const value of graph.sparseInitializers)
			if (value.sparseInitializer) yield* tensorsOf(value.sparseInitializer);
		for (const node of graph.nodes)
			for (const attribute of node.attributes.values()) yield* attributeTensors(attribute);
	}
	for (const definition of model.functions) {
		for (const attribute of definition.attributeDefaults.values()) yield* attributeTensors(attribute);
	}
}

function* attributeTensors(attribute: Attribute): Generator<Tensor> {
	if (attribute.kind === "tensor") yield attribute.value;
	else if (attribute.kind === "tensors") yield* attribute.value;
	else if (attribute.kind === "sparse-tensor") yield* tensorsOf(attribute.value);
	else if (attribute.kind === "sparse-tensors") for (const sparse of attribute.value) yield* tensorsOf(sparse);
}

function tensorsOf(sparse: SparseTensor): Tensor[] {
	return [sparse.values, sparse.indices];
}
