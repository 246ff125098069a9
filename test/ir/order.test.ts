import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { QGraphError } from "../../src/diagnostics.js";
import { Graph } from "../../src/ir/graph.js";
import type { Node } from "../../src/ir/node.js";
import { describeCycle, findCycle, isSorted, sortModel, sortNodes, valuesReadBy } from "../../src/ir/order.js";
import { verifyModel } from "../../src/ir/verify.js";
import { type GraphBuilder, modelOf, nodeNamed, nodeNames } from "../support/build.js";

/** Node `name` computes value `name` from the values named. */
function call(b: GraphBuilder, name: string, ...inputs: string[]): void {
	b.node("Sum", inputs, [name], {}, name);
}

/** Node `name` is an If whose branch, `depth` graphs down, reads the values named. */
function capture(b: GraphBuilder, name: string, depth: number, ...inputs: string[]): void {
	for (const input of inputs) b.value(input);
	const then_branch = b.subgraph(`${name}_then`, (inner) => {
		const result = `${name}_${depth}`;
		if (depth > 1) capture(inner, result, depth - 1, ...inputs);
		else call(inner, result, ...inputs);
		inner.output(result);
	});
	b.node("If", ["x"], [name], { then_branch }, name);
}

function graphOf(fill: (b: GraphBuilder) => void): Graph {
	return modelOf((b) => {
		b.input("x");
		fill(b);
	}).graph;
}

function chain(length: number, reversed: boolean): Graph {
	const graph = new Graph("chain");
	const values = Array.from({ length: length + 1 }, (_, index) => graph.createValue(`v${index}`));
	graph.addInput(values[0]!);
	for (let step = 0; step < length; step++) {
		const at = reversed ? length - 1 - step : step;
		graph.createNode({ op: "Relu", inputs: [values[at]], outputs: [values[at + 1]!] });
	}
	graph.addOutput(values[length]!);
	return graph;
}

describe("sortNodes", () => {
	it("leaves a sorted graph as it is, independent nodes too", () => {
		const graph = graphOf((b) => {
			call(b, "d", "x");
			call(b, "a", "x");
			call(b, "c", "d");
			call(b, "b", "a", "c");
		});
		expect(isSorted(graph)).toBe(true);
		expect(sortNodes(graph)).toBe(false);
		expect(nodeNames(graph)).toEqual(["d", "a", "c", "b"]);
	});

	it("moves no more than it must: of the nodes that are ready, the first in the list goes first", () => {
		const graph = graphOf((b) => {
			call(b, "late", "p", "q");
			call(b, "free1", "x");
			call(b, "q", "p");
			call(b, "free2", "x");
			call(b, "p", "x");
			call(b, "free3", "x");
		});
		expect(isSorted(graph)).toBe(false);
		expect(sortNodes(graph)).toBe(true);
		expect(nodeNames(graph)).toEqual(["free1", "free2", "p", "q", "late", "free3"]);
		expect(isSorted(graph)).toBe(true);
	});

	it.each([1, 2, 3])("puts a node behind what its subgraphs read, %i deep", (depth) => {
		const graph = graphOf((b) => {
			capture(b, "if", depth, "a");
			call(b, "a", "x");
		});
		expect(isSorted(graph)).toBe(false);
		expect(sortNodes(graph)).toBe(true);
		expect(nodeNames(graph)).toEqual(["a", "if"]);
	});

	it("puts a node behind a value that its subgraph only returns", () => {
		const graph = graphOf((b) => {
			b.value("a");
			b.node("If", ["x"], ["y"], { then_branch: b.subgraph("then", (t) => t.output("a")) }, "if");
			call(b, "a", "x");
		});
		sortNodes(graph);
		expect(nodeNames(graph)).toEqual(["a", "if"]);
	});

	it("ignores absent inputs, values that nothing defines and values of graphs around", () => {
		const graph = graphOf((b) => {
			call(b, "a", "x");
			const then_branch = b.subgraph("then", (t) => {
				call(t, "u", "t", "a", "", "nowhere");
				call(t, "t", "a");
			});
			b.node("If", ["x"], ["y"], { then_branch }, "if");
		});
		const attribute = nodeNamed(graph, "if").attributes.get("then_branch");
		const inner = attribute?.kind === "graph" ? attribute.value : new Graph("");
		expect(sortNodes(graph)).toBe(false);
		expect(sortNodes(inner)).toBe(true);
		expect(nodeNames(inner)).toEqual(["t", "u"]);
	});

	it.each([false, true])("sorts a chain of 200,000 nodes, reversed: %s", (reversed) => {
		const graph = chain(200_000, reversed);
		const start = performance.now();
		expect(sortNodes(graph)).toBe(reversed);
		expect(performance.now() - start).toBeLessThan(5000);
		expect(isSorted(graph)).toBe(true);
		expect([...graph.nodes][0]?.inputs[0]).toBe(graph.inputs[0]);
	});

	it("sorts every graph of a model", () => {
		const model = modelOf((b) => {
			b.input("x");
			const then_branch = b.subgraph("then", (t) => {
				call(t, "u", "t");
				call(t, "t", "x");
			});
			b.node("If", ["x"], ["y"], { then_branch }, "if");
			b.function("local", "F", (f) => {
				f.input("x");
				call(f, "w", "v");
				call(f, "v", "x");
			});
		});
		expect(sortModel(model)).toBe(true);
		expect(nodeNames(model.functions[0]!.body)).toEqual(["v", "w"]);
		expect(sortModel(model)).toBe(false);
	});
});

describe("cycles", () => {
	function cyclic(): Graph {
		return graphOf((b) => {
			call(b, "behind", "c");
			call(b, "a", "x", "c");
			call(b, "free", "x");
			call(b, "b", "a");
			call(b, "c", "b");
		});
	}

	it("are refused with the names of their nodes, in order, and nothing is moved", () => {
		const graph = cyclic();
		const message =
			"graph 'main' has a cycle, 'c' -> 'a' -> 'b' -> 'c'; expected that no node needs its own result: break the cycle";
		expect(() => sortNodes(graph)).toThrow(new QGraphError("graph/cycle", message, { graph: "main", node: "c" }));
		expect(nodeNames(graph)).toEqual(["behind", "a", "free", "b", "c"]);
	});

	it("carry their place", () => {
		const model = modelOf((b) => {
			b.input("x");
			b.node("If", ["x"], ["y"], { then_branch: b.subgraph("t", (t) => call(t, "self", "self")) }, "if");
		});
		expect(() => sortModel(model)).toThrow(
			expect.objectContaining({ code: "graph/cycle", at: { graph: "main/if.then_branch", node: "self" } }),
		);
	});

	it("may go through a subgraph", () => {
		const graph = graphOf((b) => {
			capture(b, "if", 2, "a");
			call(b, "a", "if");
		});
		expect(findCycle(graph)?.map((node) => node.name)).toEqual(["if", "a"]);
	});

	it("are told from unsorted graphs", () => {
		expect(findCycle(cyclic())?.map((node) => node.name)).toEqual(["c", "a", "b"]);
		expect(findCycle(chain(3, true))).toBeUndefined();
		expect(findCycle(chain(3, false))).toBeUndefined();
	});

	it("are shortened in messages", () => {
		const graph = chain(20_000, false);
		const nodes = [...graph.nodes];
		nodes[0]!.setInput(0, nodes.at(-1)!.outputs[0]);
		expect(findCycle(graph)?.length).toBe(20_000);
		const text = describeCycle(findCycle(graph)!);
		expect(text).toMatch(/^'Relu\(v1\)' -> 'Relu\(v2\)'.* -> 'Relu\(v10\)' -> 19990 more nodes -> 'Relu\(v1\)'$/);
	});
});

describe("valuesReadBy", () => {
	it("gives inputs and captured values, and nothing that a subgraph defines", () => {
		const graph = graphOf((b) => {
			call(b, "a", "x");
			call(b, "k", "x");
			capture(b, "if", 2, "a", "k", "a");
		});
		const read = Array.from(valuesReadBy(nodeNamed(graph, "if")), (value) => value.name);
		expect(read).toEqual(["x", "x", "a", "k", "a"]);
	});
});

interface Recipe {
	/** For each node: the earlier nodes that it reads, and whether it does so in a subgraph. */
	readonly nodes: readonly { readonly reads: readonly number[]; readonly nested: boolean }[];
	readonly order: readonly number[];
}

const recipes: fc.Arbitrary<Recipe> = fc.integer({ min: 1, max: 30 }).chain((size) =>
	fc.record({
		nodes: fc.tuple(
			...Array.from({ length: size }, (_, index) =>
				fc.record({
					reads: index === 0 ? fc.constant([]) : fc.array(fc.nat(index - 1), { maxLength: 4 }),
					nested: fc.boolean(),
				}),
			),
		),
		order: fc.shuffledSubarray(
			Array.from({ length: size }, (_, index) => index),
			{ minLength: size },
		),
	}),
);

/** The order that sortNodes promises, found the slow way. */
function slowOrder(graph: Graph): Node[] {
	const waiting = [...graph.nodes];
	const done: Node[] = [];
	while (waiting.length > 0) {
		const next = waiting.findIndex((node) =>
			[...valuesReadBy(node)].every(({ producer }) => producer === undefined || done.includes(producer)),
		);
		done.push(...waiting.splice(next, 1));
	}
	return done;
}

describe("any shuffled graph", () => {
	it("is sorted stably, stays valid, and is left alone the second time", () => {
		fc.assert(
			fc.property(recipes, ({ nodes, order }) => {
				const model = modelOf((b) => {
					b.input("x");
					for (const index of order) {
						const { reads, nested } = nodes[index]!;
						const inputs = ["x", ...reads.map((read) => `n${read}`)];
						if (nested) capture(b, `n${index}`, 1 + (index % 2), ...inputs);
						else call(b, `n${index}`, ...inputs);
					}
					b.output("n0");
				});
				const expected = slowOrder(model.graph);
				const wasSorted = isSorted(model.graph);
				expect(verifyModel(model)).toEqual([]);
				expect(sortNodes(model.graph)).toBe(!wasSorted);
				expect([...model.graph.nodes]).toEqual(expected);
				expect(isSorted(model.graph)).toBe(true);
				expect(verifyModel(model)).toEqual([]);
				expect(sortNodes(model.graph)).toBe(false);
				expect([...model.graph.nodes]).toEqual(expected);
			}),
		);
	});
});
