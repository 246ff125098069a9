import { describe, expect, it, test } from "vitest";
import type { Graph } from "../../src/ir/graph.js";
import { verifyModel } from "../../src/ir/verify.js";
import { modelOf, nodeNamed, nodeNames } from "../support/build.js";

function graphOf(...names: string[]): Graph {
	return modelOf((b) => {
		b.input("x");
		for (const name of names) b.node("Relu", ["x"], [`${name}_out`], {}, name);
	}).graph;
}

function insert(graph: Graph, name: string, before?: string): void {
	graph.createNode(
		{ op: "Relu", name, inputs: [graph.inputs[0]], outputs: [graph.createValue(`${name}_out`)] },
		before === undefined ? undefined : nodeNamed(graph, before),
	);
}

describe("NodeList", () => {
	it("keeps nodes where they were put", () => {
		const graph = graphOf("a", "b");
		insert(graph, "last");
		insert(graph, "first", "a");
		insert(graph, "middle", "b");
		expect(nodeNames(graph)).toEqual(["first", "a", "middle", "b", "last"]);
		expect(graph.nodes.length).toBe(5);
	});

	it("walks on when the current node is removed", () => {
		const graph = graphOf("a", "b", "c", "d");
		const seen: string[] = [];
		for (const node of graph.nodes) {
			seen.push(node.name);
			if (node.name !== "c") node.remove();
		}
		expect(seen).toEqual(["a", "b", "c", "d"]);
		expect(nodeNames(graph)).toEqual(["c"]);
	});

	it("visits a node inserted behind the current one and not one inserted before it", () => {
		const graph = graphOf("a", "b");
		const seen: string[] = [];
		for (const node of graph.nodes) {
			seen.push(node.name);
			if (node.name === "a") {
				insert(graph, "before", "a");
				insert(graph, "behind", "b");
			}
		}
		expect(seen).toEqual(["a", "behind", "b"]);
		expect(nodeNames(graph)).toEqual(["before", "a", "behind", "b"]);
	});

	it("skips a node that is removed before its turn", () => {
		const graph = graphOf("a", "b", "c");
		const seen: string[] = [];
		for (const node of graph.nodes) {
			seen.push(node.name);
			if (node.name === "a") nodeNamed(graph, "b").remove();
		}
		expect(seen).toEqual(["a", "c"]);
	});

	it("visits nodes appended during the walk", () => {
		const graph = graphOf("a");
		const seen: string[] = [];
		for (const node of graph.nodes) {
			seen.push(node.name);
			if (seen.length < 3) insert(graph, `more${seen.length}`);
		}
		expect(seen).toEqual(["a", "more1", "more2"]);
	});

	it("can be emptied during a walk, and filled again", () => {
		const graph = graphOf("a", "b");
		for (const node of graph.nodes) node.remove();
		expect(nodeNames(graph)).toEqual([]);
		insert(graph, "c");
		expect(nodeNames(graph)).toEqual(["c"]);
	});
});

test("a walk survives that the current node and the ones after it go", () => {
	const model = modelOf((b) => {
		b.input("x");
		for (const name of ["a", "b", "c", "d"]) b.node("Relu", ["x"], [`${name}_y`], {}, name);
		b.output("d_y");
	});
	const seen: string[] = [];
	for (const node of model.graph.nodes) {
		seen.push(node.name);
		if (node.name === "a") for (const name of ["b", "a", "c"]) nodeNamed(model.graph, name).remove();
	}
	expect(seen).toEqual(["a", "d"]);
	expect(nodeNames(model.graph)).toEqual(["d"]);
});

test("a node that goes takes along what its subgraphs read, and the types of its outputs", () => {
	const model = modelOf((b) => {
		b.input("x");
		b.input("flag");
		b.node("Relu", ["x"], ["captured"], {}, "producer");
		const branch = (name: string) =>
			b.subgraph(name, (inner) => {
				inner.node("Neg", ["captured"], [`${name}_y`]);
				inner.output("captured");
			});
		b.node("If", ["flag"], ["y"], { then_branch: branch("then"), else_branch: branch("else") }, "choice");
		b.graph.valueInfo.add(b.value("y"));
		b.node("Relu", ["x"], ["z"], {}, "kept");
		b.output("z");
	});
	nodeNamed(model.graph, "choice").remove();
	nodeNamed(model.graph, "producer").remove();
	expect(nodeNames(model.graph)).toEqual(["kept"]);
	expect(model.graph.valueInfo.size).toBe(0);
	expect(verifyModel(model)).toEqual([]);
});
