import { subgraphsOf } from "../../ir/attribute.js";
import type { Graph } from "../../ir/graph.js";
import type { NameScope } from "../../ir/names.js";
import type { Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { addConstant } from "../../weights/constant.js";

/** Puts the nodes of a branch of `node`, an If, in its place. Values of the branch get names that are free around it. */
export function inlineBranch(node: Node, branch: Graph, names: NameScope): void {
	giveResults(node, moveBranch(node, branch, names), names);
	node.remove();
}

/** Puts the nodes of a branch of `node` in front of it, and returns what the branch hands out. */
export function moveBranch(node: Node, branch: Graph, names: NameScope): Value[] {
	const graph = node.graph!;
	const taken = new Set([...graph.nodes].map(({ name }) => name));
	const moved = new Map<Value, Value>();
	const outer = (value: Value) => moved.get(value) ?? value;
	for (const value of branch.initializers) {
		moved.set(value, addConstant(graph, names.fresh(value.name), value.initializer!, node));
	}
	for (const value of branch.sparseInitializers) {
		const other = graph.createValue(names.fresh(value.name), value.type);
		other.sparseInitializer = value.sparseInitializer;
		graph.sparseInitializers.add(other);
		moved.set(value, other);
	}
	for (const inner of branch.nodes) {
		const outputs = inner.outputs.map((value) => {
			const name = value.name === "" ? "" : names.fresh(value.name);
			const other = graph.createValue(name, value.type);
			moved.set(value, other);
			return other;
		});
		const { op, attributes } = inner;
		const name = inner.name !== "" && taken.has(inner.name) ? names.fresh(inner.name) : inner.name;
		const copy = graph.createNode({ op, name, inputs: inner.inputs, outputs, attributes }, node);
		copy.docString = inner.docString;
		for (const [key, value] of inner.metadata) copy.metadata.set(key, value);
		for (const [key, value] of inner.annotations) copy.annotations.set(key, value);
		for (const [, nested] of subgraphsOf(copy)) moveOutputs(nested, outer);
		// its graphs belong to the copy from now on
		inner.attributes.clear();
	}
	for (const [value, other] of moved) value.replaceUsesWith(other);
	return branch.outputs.map(outer);
}

/** Graphs may hand out values from around them. */
function moveOutputs(graph: Graph, outer: (value: Value) => Value): void {
	for (const [index, value] of graph.outputs.entries()) {
		if (outer(value) !== value) graph.setOutput(index, outer(value));
	}
	for (const node of graph.nodes) for (const [, nested] of subgraphsOf(node)) moveOutputs(nested, outer);
}

/** Makes whatever reads the results of `node` read these; outputs of the graph keep their names. */
export function giveResults(node: Node, results: readonly Value[], names: NameScope): void {
	const graph = node.graph!;
	for (const [index, output] of node.outputs.entries()) {
		const result = results[index]!;
		if (!output.isGraphOutput) {
			output.replaceUsesWith(result);
			continue;
		}
		node.releaseOutputs([output]);
		graph.createNode(
			{ op: "Identity", name: names.fresh(`${node.name}_result`), inputs: [result], outputs: [output] },
			node,
		);
	}
}
