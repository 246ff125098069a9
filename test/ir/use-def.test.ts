import { describe, expect, it } from "vitest";
import { Graph } from "../../src/ir/graph.js";
import type { Value } from "../../src/ir/value.js";
import { modelOf, nodeNamed } from "../support/build.js";

/** `A:0 B:1`: who reads a value. */
function usesOf(value: Value): string {
	return value.uses.map(({ node, index }) => `${node.name}:${index}`).join(" ");
}

function addAndMul(): Graph {
	return modelOf((b) => {
		b.input("x");
		b.input("w");
		b.node("Add", ["x", "w"], ["s"], {}, "add");
		b.node("Mul", ["s", "s"], ["y"], {}, "mul");
		b.output("y");
	}).graph;
}

describe("use-def", () => {
	it("knows producers, uses and graph outputs", () => {
		const graph = addAndMul();
		const [x] = graph.inputs;
		const [y] = graph.outputs;
		expect(x?.producer).toBeUndefined();
		expect(x && usesOf(x)).toBe("add:0");
		expect(y?.producer?.name).toBe("mul");
		expect(y?.isGraphOutput).toBe(true);
		expect(x?.isGraphInput).toBe(true);
	});

	it("moves a use with setInput", () => {
		const graph = addAndMul();
		const [x, w] = graph.inputs as [Value, Value];
		const add = nodeNamed(graph, "add");
		add.setInput(1, x);
		expect(usesOf(x)).toBe("add:0 add:1");
		expect(usesOf(w)).toBe("");
		add.setInput(0, undefined);
		expect(usesOf(x)).toBe("add:1");
		expect(add.inputs).toEqual([undefined, x]);
	});

	it("grows the input list and drops absent inputs at its end", () => {
		const graph = addAndMul();
		const [x] = graph.inputs as [Value];
		const add = nodeNamed(graph, "add");
		add.setInput(4, x);
		expect(add.inputs.length).toBe(5);
		expect(add.inputs.slice(2, 4)).toEqual([undefined, undefined]);
		add.setInput(4, undefined);
		add.trimInputs();
		expect(add.inputs.length).toBe(2);
	});

	it("replaces every use, of a node that reads the value twice as well", () => {
		const graph = addAndMul();
		const [x] = graph.inputs as [Value];
		const sum = nodeNamed(graph, "add").outputs[0]!;
		sum.replaceUsesWith(x);
		expect(usesOf(sum)).toBe("");
		expect(usesOf(x)).toBe("add:0 mul:0 mul:1");
		expect(nodeNamed(graph, "mul").inputs).toEqual([x, x]);
	});

	it("leaves everything as it is when a value replaces itself", () => {
		const graph = addAndMul();
		const sum = nodeNamed(graph, "add").outputs[0]!;
		sum.replaceUsesWith(sum);
		expect(usesOf(sum)).toBe("mul:0 mul:1");
	});

	it("replaces uses in subgraphs, and leaves graph outputs alone", () => {
		const { graph } = modelOf((b) => {
			b.input("x");
			b.node("Relu", ["x"], ["a"], {}, "relu");
			const then_branch = b.subgraph("then", (t) => {
				t.node("Neg", ["a"], ["n"], {}, "neg");
				t.output("n");
			});
			b.node("If", ["c"], ["y"], { then_branch }, "if");
			b.output("a");
		});
		const [x] = graph.inputs as [Value];
		const [a] = graph.outputs as [Value];
		a.replaceUsesWith(x);
		expect(usesOf(x)).toBe("relu:0 neg:0");
		expect(graph.outputs).toEqual([a]);
	});

	it("refuses to remove a node whose output is read or returned", () => {
		const graph = addAndMul();
		expect(() => nodeNamed(graph, "add").remove()).toThrow(
			"node 'add' cannot be removed: its output 's' is still used",
		);
		expect(() => nodeNamed(graph, "mul").remove()).toThrow("still used");
		expect(graph.nodes.length).toBe(2);
	});

	it("releases the inputs and outputs of a removed node", () => {
		const graph = addAndMul();
		const add = nodeNamed(graph, "add");
		const mul = nodeNamed(graph, "mul");
		const [x] = graph.inputs as [Value];
		const product = mul.outputs[0]!;
		graph.setOutput(0, x);
		mul.remove();
		add.remove();
		expect([x, ...add.outputs].map(usesOf)).toEqual(["", ""]);
		expect(product.producer).toBeUndefined();
		expect(product.isGraphOutput).toBe(false);
		expect(mul.graph).toBeUndefined();
		expect(graph.nodes.length).toBe(0);
	});

	it("counts a value as output as often as graphs list it", () => {
		const graph = addAndMul();
		const [x] = graph.inputs as [Value];
		const [y] = graph.outputs as [Value];
		graph.addOutput(y);
		graph.setOutput(0, x);
		expect(y.isGraphOutput).toBe(true);
		graph.setOutput(1, x);
		expect(y.isGraphOutput).toBe(false);
		expect(() => graph.setOutput(2, x)).toThrow("graph 'main' has no output 2");
	});

	it("takes a value for its initializer and forgets it again", () => {
		const graph = new Graph("g");
		const value = graph.createValue("w");
		const tensor = { dtype: 1, shape: [0], data: { byteLength: 0, read: () => new Uint8Array() } };
		graph.setInitializer(value, tensor);
		graph.valueInfo.add(value);
		expect([...graph.initializers]).toEqual([value]);
		graph.removeInitializer(value);
		expect(value.initializer).toBeUndefined();
		expect(graph.initializers.size + graph.valueInfo.size).toBe(0);
	});
});
