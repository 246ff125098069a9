import { Graph as GraphlibGraph } from "@dagrejs/graphlib";
import type { Graph } from "./graph.js";
import type { Node } from "./node.js";
import { valuesReadBy } from "./order.js";
import type { Value } from "./value.js";

/** What a vertex stands for: a node, or a value that enters or leaves the graph. */
export type Vertex =
	| { readonly kind: "node"; readonly op: string; readonly name: string; readonly node: Node }
	| {
			/** `outer`: defined by a graph around this one; `undefined`: by none. */
			readonly kind: "input" | "initializer" | "outer" | "undefined" | "output";
			readonly name: string;
			readonly value: Value;
	  };

/** A directed multigraph of @dagrejs/graphlib, labelled with the graph's name, {@link Vertex}es and names of values. */
export type GraphlibView = GraphlibGraph<string, Vertex, string>;

const SHAPES: Readonly<Record<Vertex["kind"], string>> = {
	node: "box",
	input: "ellipse",
	initializer: "cylinder",
	outer: "hexagon",
	undefined: "octagon",
	output: "ellipse",
};

/**
 * A view of one graph for partitioning and drawing; later changes do not reach it. A node has the id `node:` with the name
 * of its first output, which other changes of the graph leave alone (a node without one: `node:#` with its position), a
 * value `input:`, `output:` and so on with its name. There is one edge for each value from where it comes to each vertex
 * that reads it, subgraphs counted with the node that holds them; the edge's name and label are the value's name. All
 * orders are those of the graph. Do not run graphlib's `alg` on it: that recurses, and fails from about 2,000 nodes on.
 */
export function toGraphlib(graph: Graph): GraphlibView {
	const view: GraphlibView = new GraphlibGraph<string, Vertex, string>({ directed: true, multigraph: true });
	view.setGraph(graph.name);
	const ids = new Map<Node | Value, string>();
	const add = (key: Node | Value, wanted: string, vertex: Vertex): string => {
		let id = wanted;
		for (let copy = 2; view.hasNode(id); copy++) id = `${wanted}#${copy}`;
		view.setNode(id, vertex);
		ids.set(key, id);
		return id;
	};
	const addValue = (value: Value): string => {
		const kind = kindOf(value, graph);
		return add(value, `${kind}:${value.name}`, { kind, name: value.name, value });
	};
	for (const value of [...graph.inputs, ...graph.initializers, ...graph.sparseInitializers]) {
		if (!ids.has(value)) addValue(value);
	}
	let position = 0;
	for (const node of graph.nodes) {
		const output = node.outputs.find((value) => value.name !== "")?.name ?? `#${position}`;
		add(node, `node:${output}`, { kind: "node", op: node.op.type, name: node.name, node });
		position++;
	}
	const sourceOf = (value: Value): string =>
		(value.producer && ids.get(value.producer)) ?? ids.get(value) ?? addValue(value);
	for (const node of graph.nodes) {
		for (const value of valuesReadBy(node)) view.setEdge(sourceOf(value), ids.get(node)!, value.name, value.name);
	}
	for (const value of new Set(graph.outputs)) {
		const source = sourceOf(value);
		const id = `output:${value.name}`;
		view.setNode(id, { kind: "output", name: value.name, value });
		view.setEdge(source, id, value.name, value.name);
	}
	return view;
}

/** The graph in the DOT language, for Graphviz: the vertices and edges of {@link toGraphlib} in their order. */
export function toDot(graph: Graph): string {
	const view = toGraphlib(graph);
	const lines = [`digraph ${quote(view.graph())} {`];
	for (const id of view.nodes()) {
		const vertex = view.node(id);
		const parts = vertex.kind === "node" ? [vertex.op, vertex.name] : [vertex.name];
		const text = parts.filter((part) => part !== "").join("\n");
		lines.push(`\t${quote(id)} [label=${quote(text)}, shape=${SHAPES[vertex.kind]}];`);
	}
	for (const edge of view.edges()) {
		lines.push(`\t${quote(edge.v)} -> ${quote(edge.w)} [label=${quote(view.edge(edge))}];`);
	}
	return `${[...lines, "}"].join("\n")}\n`;
}

function kindOf(value: Value, graph: Graph): "input" | "initializer" | "outer" | "undefined" {
	if (value.graph !== graph) return "outer";
	if (value.isGraphInput) return "input";
	return graph.initializers.has(value) || graph.sparseInitializers.has(value) ? "initializer" : "undefined";
}

/** A quoted DOT string that shows `text` as it is: backslashes would begin escapes, and NUL would end it. */
function quote(text: string): string {
	const escaped = text.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n").replaceAll("\r", "\\r");
	return `"${escaped.replaceAll("\0", "\u{fffd}")}"`;
}
