import { describe, expect, it } from "vitest";
import { subgraphsOf, tensorAttribute } from "../../src/ir/attribute.js";
import { Graph } from "../../src/ir/graph.js";
import type { Model } from "../../src/ir/model.js";
import { printModel } from "../../src/ir/print.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { allGraphs, allNodes, allTensors, functionKey, nodeLabel } from "../../src/ir/walk.js";
import { modelOf, nodeNamed } from "../support/build.js";

function nested(): Model {
	return modelOf((b) => {
		b.input("x");
		b.initializer("w", floatTensor([1], [1]));
		const then_branch = b.subgraph("then", (t) => {
			const body = t.subgraph("body", (l) => {
				l.initializer("deep", floatTensor([1], [2]));
				l.node("Add", ["x", "deep"], ["sum"], {}, "add");
				l.output("sum");
			});
			t.node("Loop", ["x"], ["looped"], { body }, "loop");
			t.output("looped");
		});
		const else_branch = b.subgraph("else", (e) => {
			e.node("Constant", [], ["k"], { value: tensorAttribute(floatTensor([1], [3])) }, "constant");
			e.output("k");
		});
		b.node("If", ["x"], ["y"], { then_branch, else_branch });
		b.node("Relu", ["y"], ["z"], {}, "relu");
		b.output("z");
		b.function("com.acme", "Block", (f) => {
			f.input("fx");
			f.node("If", ["fx"], ["fy"], { then_branch: f.subgraph("then", (t) => t.output("fx")) }, "fif");
			f.output("fy");
		});
	});
}

describe("walk", () => {
	it("finds every graph, outer ones first, with its path", () => {
		expect(Array.from(allGraphs(nested()), ({ path }) => path)).toEqual([
			"main",
			"main/If(y).then_branch",
			"main/If(y).then_branch/loop.body",
			"main/If(y).else_branch",
			"function com.acme:Block",
			"function com.acme:Block/fif.then_branch",
		]);
	});

	it("says which function a graph lies in", () => {
		const model = nested();
		const functions = Array.from(allGraphs(model), (site) => site.function);
		expect(functions.slice(0, 4)).toEqual([undefined, undefined, undefined, undefined]);
		expect(functions.slice(4)).toEqual([model.functions[0], model.functions[0]]);
	});

	it("finds training graphs", () => {
		const model = nested();
		model.trainingInfo.push({
			initialization: undefined,
			algorithm: new Graph("step"),
			initializationBinding: [],
			updateBinding: [],
		});
		expect(Array.from(allGraphs(model), ({ path }) => path).at(-1)).toBe("training 0 algorithm");
	});

	it("finds every node with its graph", () => {
		const found = Array.from(allNodes(nested()), ({ node, site }) => `${site.graph.name}/${node.op.type}`);
		expect(found).toEqual(["main/If", "main/Relu", "then/Loop", "body/Add", "else/Constant", "Block/If"]);
	});

	it("finds the tensors of initializers, attributes and defaults of functions", () => {
		const model = nested();
		model.functions[0]?.attributeDefaults.set("bias", tensorAttribute(floatTensor([1], [4])));
		const values = Array.from(allTensors(model), ({ data }) => Buffer.from(data.read(0, 4)).readFloatLE(0));
		expect(values).toEqual([1, 2, 3, 4]);
	});

	it("names the attributes that hold graphs, and their places in lists", () => {
		const graphs = [new Graph("a"), new Graph("b")];
		const { graph } = modelOf((b) => {
			b.node("Switch", [], ["y"], { cases: { kind: "graphs", value: graphs } }, "switch");
		});
		expect([...subgraphsOf(nodeNamed(graph, "switch"))]).toEqual([
			["cases[0]", graphs[0]],
			["cases[1]", graphs[1]],
		]);
	});

	it("labels nodes without names and keys functions with overloads", () => {
		const { graph } = modelOf((b) => b.node("Relu", ["x"], ["y"]));
		expect(nodeLabel([...graph.nodes][0]!)).toBe("Relu(y)");
		expect(functionKey({ domain: "d", name: "F", overload: "" })).toBe("d:F");
		expect(functionKey({ domain: "d", name: "F", overload: "v2" })).toBe("d:F:v2");
	});

	it("walks and prints a node with more subgraphs than a call takes arguments", () => {
		const count = 200_000;
		const model = modelOf((b) => {
			b.input("x");
			const bodies = Array.from({ length: count }, (_, index) => new Graph(`g${index}`));
			b.node("Loop", ["x"], ["y"], { bodies: { kind: "graphs", value: bodies } }, "loop");
			b.output("y");
		});
		expect(Array.from(allGraphs(model))).toHaveLength(count + 1);
		expect(printModel(model)).toContain(`g${count - 1}`);
	});
});
