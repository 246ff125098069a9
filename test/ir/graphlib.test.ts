import { describe, expect, it } from "vitest";
import type { Graph } from "../../src/ir/graph.js";
import { toDot, toGraphlib } from "../../src/ir/graphlib.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { modelOf, nodeNamed } from "../support/build.js";

function sample(): Graph {
	return modelOf((b) => {
		b.input("x");
		b.initializer("w", floatTensor([1], [1]));
		b.node("Add", ["x", "w"], ["s"], {}, "add");
		b.node("Mul", ["s", "s"], ["m"]);
		const then_branch = b.subgraph("then", (t) => {
			t.node("Add", ["m", "w"], ["inner"], {}, "inner_add");
			t.output("inner");
		});
		b.node("If", ["x"], ["", "y"], { then_branch }, "if");
		b.node("Print", ["y", "", "lost"], [], {}, "print");
		b.output("y");
	}).graph;
}

function inner(graph: Graph): Graph {
	const attribute = nodeNamed(graph, "if").attributes.get("then_branch");
	if (attribute?.kind !== "graph") throw new Error("no then_branch");
	return attribute.value;
}

describe("toGraphlib", () => {
	it("has a vertex for every node, input, initializer and output", () => {
		const view = toGraphlib(sample());
		expect(view.graph()).toBe("main");
		expect(view.nodes()).toEqual([
			"input:x",
			"initializer:w",
			"node:s",
			"node:m",
			"node:y",
			"node:#3",
			"undefined:lost",
			"output:y",
		]);
	});

	it("labels vertices with what they stand for", () => {
		const graph = sample();
		const view = toGraphlib(graph);
		const add = nodeNamed(graph, "add");
		expect(view.node("node:s")).toEqual({ kind: "node", op: "Add", name: "add", node: add });
		expect(view.node("input:x")).toEqual({ kind: "input", name: "x", value: add.inputs[0] });
	});

	it("has one edge for each value from its source to each reader, captured values included", () => {
		const view = toGraphlib(sample());
		const edges = view.edges().map((edge) => `${edge.v} -${view.edge(edge)}-> ${edge.w}`);
		expect(edges).toEqual([
			"input:x -x-> node:s",
			"initializer:w -w-> node:s",
			"node:s -s-> node:m",
			"input:x -x-> node:y",
			"node:m -m-> node:y",
			"initializer:w -w-> node:y",
			"node:y -y-> node:#3",
			"undefined:lost -lost-> node:#3",
			"node:y -y-> output:y",
		]);
	});

	it("keeps two values between the same nodes apart", () => {
		const { graph } = modelOf((b) => {
			b.node("Split", [], ["a", "b"]);
			b.node("Add", ["a", "b"], ["c"]);
		});
		const view = toGraphlib(graph);
		expect(view.outEdges("node:a")?.map((edge) => view.edge(edge))).toEqual(["a", "b"]);
	});

	it("shows what a subgraph takes from outside", () => {
		const view = toGraphlib(inner(sample()));
		expect(view.nodes()).toEqual(["node:inner", "outer:m", "outer:w", "output:inner"]);
	});

	it("keeps the ids of nodes when others come and go", () => {
		const graph = sample();
		graph.createNode(
			{ op: "Neg", inputs: [graph.inputs[0]], outputs: [graph.createValue("n")] },
			nodeNamed(graph, "add"),
		);
		expect(toGraphlib(graph).node("node:s")).toMatchObject({ name: "add" });
	});

	it("gives different ids to nodes and values of the same names", () => {
		const { graph } = modelOf((b) => {
			b.input("a");
			b.node("Neg", ["a"], ["a#2"]);
			for (const name of ["one", "two"]) {
				b.graph.createNode({ op: "Relu", name, inputs: [], outputs: [b.graph.createValue("a")] });
			}
		});
		expect(toGraphlib(graph).nodes()).toEqual(["input:a", "node:a#2", "node:a", "node:a#3"]);
	});

	it("takes 20,000 nodes in a chain", () => {
		const { graph } = modelOf((b) => {
			b.input("v0");
			for (let step = 0; step < 20_000; step++) b.node("Relu", [`v${step}`], [`v${step + 1}`]);
		});
		const view = toGraphlib(graph);
		expect([view.nodeCount(), view.edgeCount()]).toEqual([20_001, 20_000]);
	});
});

describe("toDot", () => {
	it("writes vertices and edges in the order of the graph", () => {
		expect(toDot(inner(sample()))).toBe(
			[
				'digraph "then" {',
				'\t"node:inner" [label="Add\\ninner_add", shape=box];',
				'\t"outer:m" [label="m", shape=hexagon];',
				'\t"outer:w" [label="w", shape=hexagon];',
				'\t"output:inner" [label="inner", shape=ellipse];',
				'\t"outer:m" -> "node:inner" [label="m"];',
				'\t"outer:w" -> "node:inner" [label="w"];',
				'\t"node:inner" -> "output:inner" [label="inner"];',
				"}",
				"",
			].join("\n"),
		);
		expect(toDot(sample())).toBe(toDot(sample()));
	});

	it("quotes names that DOT would read as something else", () => {
		const { graph } = modelOf((b) => {
			b.input('a"b\\');
			b.node("Relu", ['a"b\\'], ["<x>\\n\ny\r\0"], {}, "\\N");
		});
		graph.name = "graph; {";
		const lines = toDot(graph).split("\n");
		expect(lines).toEqual([
			'digraph "graph; {" {',
			'\t"input:a\\"b\\\\" [label="a\\"b\\\\", shape=ellipse];',
			'\t"node:<x>\\\\n\\ny\\r\u{fffd}" [label="Relu\\n\\\\N", shape=box];',
			'\t"input:a\\"b\\\\" -> "node:<x>\\\\n\\ny\\r\u{fffd}" [label="a\\"b\\\\"];',
			"}",
			"",
		]);
	});
});
