import { describe, expect, it } from "vitest";
import { Graph } from "../../src/ir/graph.js";
import { Model } from "../../src/ir/model.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import type { Value } from "../../src/ir/value.js";
import { INVARIANTS, verifyModel } from "../../src/ir/verify.js";
import { type GraphBuilder, type ModelBuilder, modelOf, nodeNamed } from "../support/build.js";

const one = floatTensor([1], [1]);

/** x -> Add(w) -> If(reads s in both branches) -> y, and a function. Everything that the verifier looks at is there. */
function sound(fill: (b: ModelBuilder) => void = () => {}): Model {
	return modelOf((b) => {
		b.input("x");
		b.input("c");
		b.initializer("w", one);
		b.node("Add", ["x", "w"], ["s"], {}, "add");
		const then_branch = b.subgraph("then", (t) => {
			t.initializer("tw", one);
			t.node("Mul", ["s", "tw"], ["t"], {}, "then_mul");
			t.output("t");
		});
		const else_branch = b.subgraph("else", (e) => {
			e.node("Clip", ["s", "", "w"], ["e"], {}, "else_clip");
			e.output("e");
		});
		b.node("If", ["c"], ["y", ""], { then_branch, else_branch }, "if");
		b.output("y");
		b.function("local", "F", (f) => {
			f.input("fx");
			f.node("Relu", ["fx"], ["fy"], {}, "relu");
			f.output("fy");
		});
		fill(b);
	});
}

function subgraph(model: Model, attribute: "then_branch" | "else_branch"): Graph {
	const found = nodeNamed(model.graph, "if").attributes.get(attribute);
	if (found?.kind !== "graph") throw new Error(`no ${attribute}`);
	return found.value;
}

function valueNamed(graph: Graph, name: string): Value {
	const all = [...graph.inputs, ...graph.initializers, ...Array.from(graph.nodes, (node) => node.outputs).flat()];
	const found = all.find((value) => value.name === name);
	if (found === undefined) throw new Error(`no value ${name}`);
	return found;
}

/** The messages; all must be of the invariant `broken`. */
function breaches(model: Model, broken: keyof typeof INVARIANTS): string[] {
	const found = verifyModel(model);
	for (const { code, severity, message, notes } of found) {
		expect({ code, severity, notes }).toEqual({
			code: "verify/invalid",
			severity: "error",
			notes: [INVARIANTS[broken]],
		});
		expect(message).toMatch(`invariant ${broken}: `);
	}
	return found.map(({ message }) => message.slice(`invariant ${broken}: `.length));
}

describe("a sound model", () => {
	it("has nothing to report, with subgraphs, functions, absent inputs and unwanted outputs", () => {
		expect(verifyModel(sound())).toEqual([]);
		expect(verifyModel(new Model())).toEqual([]);
	});

	it("may return an input, an initializer, a value twice, or a value of an outer graph", () => {
		const model = sound((b) => {
			b.output("x");
			b.output("w");
			b.output("y");
		});
		const then = subgraph(model, "then_branch");
		then.setOutput(0, valueNamed(model.graph, "s"));
		expect(verifyModel(model)).toEqual([]);
	});

	it("may have an input with a default, nodes in any order and value infos that name nothing", () => {
		const model = sound((b) => {
			b.initializer("x", one);
			b.node("Neg", ["late"], ["early"], {}, "neg");
			b.node("Abs", ["x"], ["late"], {}, "abs");
			b.graph.valueInfo.add(b.value("late"));
			b.graph.valueInfo.add(b.value("nothing"));
		});
		expect(verifyModel(model)).toEqual([]);
	});

	it("may have training graphs that read the main graph and names that only bindings define", () => {
		const model = sound();
		const algorithm = new Graph("step");
		const updated = algorithm.createValue("updated");
		const inputs = [valueNamed(model.graph, "w"), algorithm.createValue("gradient")];
		algorithm.createNode({ op: "Sub", inputs, outputs: [updated] });
		algorithm.addOutput(updated);
		model.trainingInfo.push({
			initialization: undefined,
			algorithm,
			initializationBinding: [],
			updateBinding: [["w", "updated"]],
		});
		expect(verifyModel(model)).toEqual([]);
	});

	it("stays sound under edits", () => {
		const model = sound();
		const { graph } = model;
		const [s, x] = [valueNamed(graph, "s"), valueNamed(graph, "x")];
		s.replaceUsesWith(x);
		nodeNamed(graph, "add").remove();
		graph.setOutput(0, x);
		nodeNamed(subgraph(model, "else_branch"), "else_clip").setInput(1, x);
		graph.removeInitializer(valueNamed(graph, "w"));
		nodeNamed(subgraph(model, "else_branch"), "else_clip").setInput(2, undefined);
		expect(verifyModel(model)).toEqual([]);
	});

	it("may be a chain of 200,000 nodes", () => {
		const graph = new Graph("chain");
		let last = graph.createValue("start");
		graph.addInput(last);
		for (let step = 0; step < 200_000; step++) {
			const next = graph.createValue(`v${step}`);
			graph.createNode({ op: "Relu", inputs: [last], outputs: [next] });
			last = next;
		}
		graph.addOutput(last);
		expect(verifyModel(new Model(graph))).toEqual([]);
	});
});

describe("invariant 1, node lists", () => {
	it("is broken by a node that does not know its graph", () => {
		const model = sound();
		nodeNamed(model.graph, "add")._graph = undefined;
		expect(breaches(model, 1)).toEqual(["node 'add' stands in the list of this graph but belongs to none"]);
	});

	it("is broken by a node of another graph", () => {
		const model = sound();
		nodeNamed(model.graph, "add")._graph = model.functions[0]!.body;
		expect(breaches(model, 1)).toEqual(["node 'add' stands in the list of this graph but belongs to 'F'"]);
	});

	it("is broken by a list that runs in a circle", () => {
		const model = sound();
		nodeNamed(model.graph, "if")._next = nodeNamed(model.graph, "add");
		expect(breaches(model, 1)).toEqual(["node 'add' stands in a node list twice"]);
	});

	it("is broken by links that disagree", () => {
		const model = sound();
		nodeNamed(model.graph, "if")._previous = undefined;
		expect(breaches(model, 1)).toEqual(["node 'if' does not know its neighbour 'add'"]);
	});

	it("is broken by a list that breaks off", () => {
		const model = sound();
		nodeNamed(model.graph, "add")._next = undefined;
		expect(breaches(model, 1)).toEqual(["the node list says 2 nodes but holds 1"]);
	});

	it("is broken by a graph that two attributes hold", () => {
		const model = sound();
		const shared = subgraph(model, "then_branch");
		nodeNamed(model.graph, "if").attributes.set("else_branch", { kind: "graph", value: shared });
		expect(breaches(model, 1)).toEqual(["the graph is held twice: it is also 'main/if.then_branch'"]);
	});

	it("is broken by a graph that holds itself", () => {
		const model = sound();
		nodeNamed(model.graph, "add").attributes.set("body", { kind: "graph", value: model.graph });
		expect(breaches(model, 1)).toEqual(["the graph is held twice: it is also 'main'"]);
	});
});

describe("invariant 2, uses", () => {
	it("is broken by a use that is missing", () => {
		const model = sound();
		valueNamed(model.graph, "x")._uses.pop();
		expect(breaches(model, 2)).toEqual(["node 'add' reads 'x' as input 0, but the uses of 'x' do not list it"]);
		expect(verifyModel(model)[0]?.at).toEqual({ graph: "main", node: "add", value: "x" });
	});

	it("is broken by a use that is listed twice", () => {
		const model = sound();
		const x = valueNamed(model.graph, "x");
		x._uses.push(x._uses[0]!);
		expect(breaches(model, 2)).toEqual(["the uses of 'x' list input 0 of node 'add' twice"]);
	});

	it("is broken by a use of an input that reads something else", () => {
		const model = sound();
		valueNamed(model.graph, "x")._uses.push({ node: nodeNamed(model.graph, "add"), index: 1 });
		valueNamed(model.graph, "s")._uses.push({ node: nodeNamed(model.graph, "add"), index: 7 });
		expect(breaches(model, 2)).toEqual([
			"the uses of 'x' list input 1 of node 'add', which reads 'w' there",
			"the uses of 's' list input 7 of node 'add', which reads nothing there",
		]);
	});

	it("is broken by a use of a node that is not in the model", () => {
		const model = sound();
		const { graph } = model;
		const node = graph.createNode({ op: "Neg", name: "gone", inputs: [graph.inputs[0]], outputs: [] });
		graph.nodes._unlink(node);
		expect(breaches(model, 2)).toEqual(["the uses of 'x' list input 0 of node 'gone', which is not in the model"]);
	});
});

describe("invariant 3, producers", () => {
	it("is broken by a value that does not know its producer", () => {
		const model = sound();
		valueNamed(model.graph, "s")._producer = undefined;
		expect(breaches(model, 3)).toEqual(["the producer of 's' is none; expected node 'add'"]);
	});

	it("is broken by a producer that does not have the value among its outputs", () => {
		const model = sound();
		valueNamed(model.graph, "y")._producer = nodeNamed(model.graph, "add");
		expect(breaches(model, 3)).toEqual(["the producer of 'y' is node 'add'; expected node 'if'"]);
	});
});

describe("invariant 4, lists of a graph", () => {
	it("is broken by a tensor that is not in the list of initializers", () => {
		const model = sound();
		valueNamed(model.graph, "x").initializer = one;
		expect(breaches(model, 4)).toEqual([
			"'x' holds a tensor but is not among the initializers of its graph; use Graph.setInitializer",
		]);
	});

	it("is broken by an initializer without a tensor", () => {
		const model = sound();
		valueNamed(model.graph, "w").initializer = undefined;
		expect(breaches(model, 4)).toEqual([
			"'w' is among the initializers of its graph but holds no tensor; use Graph.removeInitializer",
		]);
	});

	it("holds for sparse initializers too", () => {
		const model = sound();
		const x = valueNamed(model.graph, "x");
		x.sparseInitializer = { values: one, indices: int64Tensor([1], [0]), shape: [4] };
		expect(breaches(model, 4)[0]).toMatch("'x' holds a tensor but is not among the sparse initializers");
		model.graph.sparseInitializers.add(x);
		expect(verifyModel(model)).toEqual([]);
	});

	it("is broken by a value of another graph in the list of inputs", () => {
		const model = sound();
		model.graph.addInput(new Graph("elsewhere").createValue("stray"));
		expect(breaches(model, 4)).toEqual(["'stray' is a graph input here but a value of graph 'elsewhere'"]);
	});

	it("is broken by a node whose output belongs to another graph", () => {
		const model = sound();
		const stray = subgraph(model, "then_branch").createValue("stray");
		model.graph.createNode({ op: "Neg", inputs: [], outputs: [stray] });
		expect(breaches(model, 4)).toEqual([
			"'stray' is the output of a node here but a value of graph 'main/if.then_branch'",
		]);
	});

	it("is broken by a value info of another graph", () => {
		const model = sound();
		subgraph(model, "then_branch").valueInfo.add(valueNamed(model.graph, "s"));
		expect(breaches(model, 4)).toEqual(["'s' is in the value infos here but a value of graph 'main'"]);
	});

	it("is broken by a value that miscounts how often it is an input or output", () => {
		const model = sound();
		valueNamed(model.graph, "s")._outputOf++;
		expect(breaches(model, 4)).toEqual(["'s' counts as 0 graph inputs and 1 graph outputs; expected 0 and 0"]);
	});
});

describe("invariant 5, one definition", () => {
	it("is broken by a value that two nodes produce", () => {
		const model = sound((b) => b.node("Neg", ["x"], ["s"], {}, "neg"));
		expect(breaches(model, 5)).toEqual(["value 's' is the output of a node twice; expected one definition"]);
		expect(verifyModel(model)[0]?.at).toEqual({ graph: "main", node: "neg", value: "s" });
	});

	it("is broken by an initializer that a node produces", () => {
		const model = sound((b) => b.node("Neg", ["x"], ["w"]));
		expect(breaches(model, 5)).toEqual([
			"value 'w' is an initializer and the output of a node; expected one definition",
		]);
	});

	it("is broken by an input that is listed twice", () => {
		const model = sound((b) => b.input("x"));
		expect(breaches(model, 5)).toEqual(["value 'x' is a graph input twice; expected one definition"]);
	});
});

describe("invariant 6, names", () => {
	it("is broken by two values of one name", () => {
		const model = sound();
		model.graph.setInitializer(model.graph.createValue("s"), one);
		const [first] = breaches(model, 6);
		expect(first).toBe(
			"two values are named 's': one is an initializer, another the output of a node; expected one of the name",
		);
	});

	it("is broken in function bodies", () => {
		const model = sound();
		const { body } = model.functions[0]!;
		body.createNode({ op: "Neg", name: "twin", inputs: [], outputs: [body.createValue("fx")] });
		expect(breaches(model, 6)).toHaveLength(1);
		expect(verifyModel(model)[0]?.at).toEqual({ graph: "function local:F", node: "twin", value: "fx" });
	});

	it("is broken by a value that hides the outer one which a node reads", () => {
		const model = sound();
		valueNamed(subgraph(model, "then_branch"), "tw").name = "s";
		expect(breaches(model, 6)).toEqual([
			"node 'then_mul' reads 's' as input 0, the one of graph 'main', but 'main/if.then_branch' gives that name to another value; rename one of them",
		]);
	});

	it("is broken by a node in a subgraph whose output is named like an outer input or initializer", () => {
		const model = sound();
		valueNamed(subgraph(model, "then_branch"), "t").name = "c";
		expect(breaches(model, 6)).toEqual([
			"output 'c' of node 'then_mul' has the name of a graph input of 'main'; expected a name that no outer graph has",
		]);
	});

	it("is not broken by names that ONNX Runtime lets subgraphs use again", () => {
		const model = sound();
		const then = subgraph(model, "then_branch");
		valueNamed(then, "tw").name = "x";
		valueNamed(then, "t").name = "y";
		valueNamed(subgraph(model, "else_branch"), "e").name = "y";
		expect(verifyModel(model)).toEqual([]);
	});

	it("is not broken by shadowing in functions, which are renamed when they are inlined", () => {
		const model = sound((b) =>
			b.function("local", "G", (g) => {
				g.input("gx");
				g.input("gc");
				const then_branch = g.subgraph("then", (t) => {
					t.graph.createNode({ op: "Neg", inputs: [t.value("gx")], outputs: [t.graph.createValue("gc")] });
				});
				g.node("If", ["gc"], ["gy"], { then_branch });
				g.output("gy");
			}),
		);
		expect(verifyModel(model)).toEqual([]);
	});

	it("is broken by a value info left over from another value of the name", () => {
		const model = sound();
		model.graph.valueInfo.add(model.graph.createValue("s"));
		expect(breaches(model, 6)[0]).toMatch("the value infos hold a value 's' that nothing defines");
	});
});

describe("invariant 7, scope", () => {
	it("is broken by a node that reads into a subgraph", () => {
		const model = sound();
		nodeNamed(model.graph, "add").setInput(1, valueNamed(subgraph(model, "then_branch"), "tw"));
		expect(breaches(model, 7)).toEqual([
			"node 'add' reads 'tw' as input 1, a value of graph 'main/if.then_branch'; expected one of its own graph or of a graph around it",
		]);
	});

	it("is broken by a branch that reads its sibling", () => {
		const model = sound();
		const clip = nodeNamed(subgraph(model, "else_branch"), "else_clip");
		clip.setInput(1, valueNamed(subgraph(model, "then_branch"), "tw"));
		expect(breaches(model, 7)).toHaveLength(1);
	});

	it("is broken by a function that reads the main graph", () => {
		const model = sound();
		nodeNamed(model.functions[0]!.body, "relu").setInput(0, valueNamed(model.graph, "x"));
		expect(breaches(model, 7)).toHaveLength(1);
	});

	it("is broken by a graph that returns a value of no graph in the model", () => {
		const model = sound();
		model.graph.addOutput(new Graph("elsewhere").createValue("stray"));
		expect(breaches(model, 7)).toEqual([
			"the graph returns 'stray' as output 1, a value of graph 'elsewhere', which is not in the model; expected one of its own graph or of a graph around it",
		]);
	});
});

describe("invariant 8, definedness", () => {
	const dangling = (b: GraphBuilder) => b.node("Neg", ["nowhere"], ["n"], {}, "neg");

	it("is broken by an input that nothing defines", () => {
		const model = sound(dangling);
		expect(breaches(model, 8)).toEqual([
			"node 'neg' reads 'nowhere' as input 0, which nothing defines; expected a graph input, an initializer or an output of a node",
		]);
	});

	it("is broken in subgraphs and functions", () => {
		const model = sound();
		for (const graph of [subgraph(model, "then_branch"), model.functions[0]!.body]) {
			graph.createNode({ op: "Neg", inputs: [graph.createValue("nowhere")], outputs: [] });
		}
		expect(breaches(model, 8)).toHaveLength(2);
	});

	it("is broken by a graph output that nothing defines", () => {
		const model = sound((b) => b.output("nowhere"));
		expect(breaches(model, 8)[0]).toMatch("the graph returns 'nowhere' as output 1, which nothing defines");
	});

	it("is broken by a value that is read although it has no name", () => {
		const model = sound();
		const unwanted = nodeNamed(model.graph, "if").outputs[1]!;
		model.graph.createNode({ op: "Neg", name: "neg", inputs: [unwanted], outputs: [] });
		expect(breaches(model, 8)[0]).toMatch("node 'neg' reads '' as input 0, which has no name");
	});
});

describe("invariant 9, cycles", () => {
	it("is broken by nodes that need each other", () => {
		const model = sound((b) => {
			b.node("Neg", ["q"], ["p"], {}, "neg");
			b.node("Abs", ["p"], ["q"], {}, "abs");
		});
		expect(breaches(model, 9)).toEqual(["the graph has a cycle: 'neg' -> 'abs' -> 'neg'"]);
		expect(verifyModel(model)[0]?.at).toEqual({ graph: "main", node: "neg" });
	});

	it("is broken by a subgraph that reads the result of its own node", () => {
		const model = sound();
		nodeNamed(subgraph(model, "then_branch"), "then_mul").setInput(1, valueNamed(model.graph, "y"));
		expect(breaches(model, 9)).toEqual(["the graph has a cycle: 'if' -> 'if'"]);
	});
});

describe("invariant 10, function bodies", () => {
	it("is broken by an initializer", () => {
		const model = sound();
		const { body } = model.functions[0]!;
		body.setInitializer(body.createValue("k"), one);
		expect(breaches(model, 10)).toEqual(["the function body has initializer 'k'; expected none"]);
	});

	it("allows initializers in subgraphs of functions", () => {
		const model = sound((b) =>
			b.function("local", "G", (g) => {
				g.input("gx");
				const then_branch = g.subgraph("then", (t) => {
					t.initializer("gw", one);
					t.output("gw");
				});
				g.node("If", ["gx"], ["gy"], { then_branch });
				g.output("gy");
			}),
		);
		expect(verifyModel(model)).toEqual([]);
	});
});
