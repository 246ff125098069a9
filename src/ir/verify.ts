import { CODES, type Diagnostic } from "../diagnostics.js";
import { subgraphsOf } from "./attribute.js";
import type { Graph } from "./graph.js";
import type { FunctionDefinition, Model } from "./model.js";
import type { Node } from "./node.js";
import { describeCycle, findCycle } from "./order.js";
import type { Use, Value } from "./value.js";
import { allGraphs, nodeLabel } from "./walk.js";

/**
 * What holds of every model between passes, in graphs of any depth and in function bodies. A diagnostic gives the number
 * of the rule that is broken and the rule itself as its note.
 *
 * They are deliberately weaker than the ONNX specification where ONNX Runtime 1.30 is (tried with it), so that no model
 * which it runs is refused: nodes may stand in any order, imports of operator sets may be missing, a subgraph may give a
 * name again that a node around it gives, and value infos may name nothing. Only two initializers of one name are an
 * error here but a warning there: it takes the last, and readers differ.
 */
export const INVARIANTS = {
	1: "The list of nodes of a graph is sound: each node stands in it once, knows its graph and its neighbours, and a graph is held by one attribute of one node. Only Graph.createNode and Node.remove change the list.",
	2: "Uses are in step: each input of each node is listed once among the uses of the value that it reads, and nothing else is. Only Node.setInput and Value.replaceUsesWith change them.",
	3: "Producers are in step: a value's producer is the node that has it among its outputs.",
	4: "The lists of a graph are in step: inputs, initializers, outputs of nodes and value infos are values of that graph, values know how often graphs list them, and the initializers are exactly the values that hold a tensor.",
	5: "A value is defined at most once: as a graph input, as an initializer, as both of these, or as the output of one node.",
	6: "A name means one value: no two values of a graph that are defined have the same name, what a node reads is what its name means at that place when the model is written, and outside functions no node of a subgraph gives its output the name of an outer graph's input or initializer. Take new names from NameScope.",
	7: "A node reads only values of its own graph and of the graphs around it; a function body reads only its own.",
	8: "What is read or returned is defined, under a name. (Not asked of training graphs, where the bindings may define it.)",
	9: "No node needs its own result.",
	10: "Function bodies have no initializers: their constants are Constant nodes.",
} as const;

/** Every breach of {@link INVARIANTS}, as `verify/invalid`; none means that the model is sound. Takes linear time. */
export function verifyModel(model: Model): Diagnostic[] {
	return new Verifier(model).run();
}

interface Site {
	readonly path: string;
	readonly parent: Graph | undefined;
	readonly isTraining: boolean;
	readonly function: FunctionDefinition | undefined;
}

type Definition = "a graph input" | "an initializer" | "the output of a node";

class Verifier {
	readonly #model: Model;
	readonly #diagnostics: Diagnostic[] = [];
	readonly #sites: Map<Graph, Site> = new Map();
	/** Where the inputs of each node begin in a numbering of all node inputs of the model. */
	readonly #firstSlots: Map<Node, number> = new Map();
	#slotCount = 0;
	/** Every value that a graph or a node mentions. */
	readonly #values: Set<Value> = new Set();
	readonly #definitions: Map<Value, Definition> = new Map();
	readonly #names: Map<Graph, Map<string, Value>> = new Map();
	readonly #producers: Map<Value, Node> = new Map();
	readonly #listedAsInput: Map<Value, number> = new Map();
	readonly #listedAsOutput: Map<Value, number> = new Map();

	constructor(model: Model) {
		this.#model = model;
	}

	run(): Diagnostic[] {
		if (!this.#visitGraphs()) return this.#diagnostics;
		for (const graph of this.#sites.keys()) this.#define(graph);
		for (const graph of this.#sites.keys()) this.#read(graph);
		this.#checkUses();
		for (const value of this.#values) this.#checkValue(value);
		for (const [graph, { path }] of this.#sites) {
			const cycle = findCycle(graph);
			if (cycle) this.#report(9, `the graph has a cycle: ${describeCycle(cycle)}`, path, cycle[0]);
		}
		return this.#diagnostics;
	}

	/** Finds all graphs and nodes. False where the lists are so broken that a walk over them cannot be trusted. */
	#visitGraphs(): boolean {
		const parents = new Map<Graph, Graph>();
		const training = new Set(
			this.#model.trainingInfo.flatMap(({ initialization, algorithm }) => [initialization, algorithm]),
		);
		for (const { graph, path, function: definition } of allGraphs(this.#model)) {
			const isTraining = training.has(graph);
			const parent = isTraining ? this.#model.graph : parents.get(graph);
			if (this.#sites.has(graph)) {
				this.#report(1, `the graph is held twice: it is also '${this.#pathOf(graph)}'`, path);
				return false;
			}
			this.#sites.set(graph, {
				path,
				parent,
				isTraining: isTraining || (parent !== undefined && this.#sites.get(parent)!.isTraining),
				function: definition,
			});
			if (!this.#visitNodes(graph, path)) return false;
			for (const node of graph.nodes) for (const [, subgraph] of subgraphsOf(node)) parents.set(subgraph, graph);
		}
		return true;
	}

	#visitNodes(graph: Graph, path: string): boolean {
		let previous: Node | undefined;
		let count = 0;
		for (const node of graph.nodes) {
			const fault = this.#faultInList(graph, node, previous);
			if (fault !== undefined) {
				this.#report(1, `node '${nodeLabel(node)}' ${fault}`, path, node);
				return false;
			}
			this.#firstSlots.set(node, this.#slotCount);
			this.#slotCount += node.inputs.length;
			previous = node;
			count++;
		}
		if (count === graph.nodes.length) return true;
		this.#report(1, `the node list says ${graph.nodes.length} nodes but holds ${count}`, path);
		return false;
	}

	#faultInList(graph: Graph, node: Node, previous: Node | undefined): string | undefined {
		if (this.#firstSlots.has(node)) return "stands in a node list twice";
		if (node.graph !== graph) {
			return `stands in the list of this graph but belongs to ${node.graph ? quote(node.graph.name) : "none"}`;
		}
		if (node._previous === previous) return undefined;
		return `does not know its neighbour ${previous ? quote(nodeLabel(previous)) : "(it is the first)"}`;
	}

	#define(graph: Graph): void {
		const { path, function: definition, isTraining } = this.#sites.get(graph)!;
		const names = new Map<string, Value>();
		this.#names.set(graph, names);
		const define = (value: Value, as: Definition, node?: Node): void => {
			this.#own(graph, value, as, path, node);
			const before = this.#definitions.get(value);
			if (before !== undefined && !(before === "a graph input" && as === "an initializer")) {
				const twice = before === as ? `${as} twice` : `${before} and ${as}`;
				this.#report(5, `value '${value.name}' is ${twice}; expected one definition`, path, node, value);
			}
			this.#definitions.set(value, as);
			if (value.name === "" || names.get(value.name) === value) return;
			if (names.has(value.name)) {
				const first = this.#definitions.get(names.get(value.name)!);
				const both = `two values are named '${value.name}': one is ${first}, another ${as}`;
				this.#report(6, `${both}; expected one of the name`, path, node, value);
			} else {
				names.set(value.name, value);
				if (node && !definition && !isTraining) this.#checkShadowing(graph, value, path, node);
			}
		};
		for (const value of graph.inputs) {
			count(this.#listedAsInput, value);
			define(value, "a graph input");
		}
		for (const value of [...graph.initializers, ...graph.sparseInitializers]) define(value, "an initializer");
		if (definition?.body === graph && graph.initializers.size + graph.sparseInitializers.size > 0) {
			const [first] = [...graph.initializers, ...graph.sparseInitializers];
			this.#report(10, `the function body has initializer '${first?.name}'; expected none`, path, undefined, first);
		}
		for (const node of graph.nodes) {
			for (const value of node.outputs) {
				define(value, "the output of a node", node);
				if (!this.#producers.has(value)) this.#producers.set(value, node);
			}
		}
	}

	/**
	 * ONNX Runtime refuses a node in a subgraph whose output has the name of an outer input or initializer. All other
	 * shadowing it takes, and this too in function bodies.
	 */
	#checkShadowing(graph: Graph, value: Value, path: string, node: Node): void {
		for (let outer = this.#sites.get(graph)?.parent; outer !== undefined; outer = this.#sites.get(outer)?.parent) {
			const shadowed = this.#names.get(outer)?.get(value.name);
			const as = shadowed && this.#definitions.get(shadowed);
			if (as === undefined || as === "the output of a node") continue;
			const found = `output '${value.name}' of node '${nodeLabel(node)}' has the name of ${as} of '${this.#pathOf(outer)}'`;
			this.#report(6, `${found}; expected a name that no outer graph has`, path, node, value);
		}
	}

	#read(graph: Graph): void {
		const { path } = this.#sites.get(graph)!;
		for (const node of graph.nodes) {
			for (const [index, value] of node.inputs.entries()) {
				if (value !== undefined) this.#checkRead(graph, value, index, node);
			}
		}
		for (const [index, value] of graph.outputs.entries()) {
			count(this.#listedAsOutput, value);
			this.#checkRead(graph, value, index, undefined);
		}
		for (const value of graph.valueInfo) {
			this.#own(graph, value, "in the value infos", path);
			const named = this.#names.get(graph)?.get(value.name);
			if (named === undefined || named === value) continue;
			const found = `the value infos hold a value '${value.name}' that nothing defines, beside one that is defined`;
			this.#report(6, `${found}; delete it from the value infos`, path, undefined, value);
		}
	}

	/** Checks that `value` may be read as input `index` of `node`, or without a node returned as output `index`. */
	#checkRead(graph: Graph, value: Value, index: number, node: Node | undefined): void {
		this.#values.add(value);
		const fault = this.#faultInRead(graph, value);
		if (fault === undefined) return;
		const [rule, message] = fault;
		const what = node
			? `node '${nodeLabel(node)}' reads '${value.name}' as input ${index}`
			: `the graph returns '${value.name}' as output ${index}`;
		this.#report(rule, `${what}, ${message}`, this.#pathOf(graph), node, value);
	}

	#faultInRead(graph: Graph, value: Value): readonly [6 | 7 | 8, string] | undefined {
		let at: Graph | undefined = graph;
		let captor: Graph | undefined;
		while (at !== undefined && at !== value.graph) {
			if (this.#names.get(at)?.has(value.name)) captor ??= at;
			at = this.#sites.get(at)?.parent;
		}
		const owner = `graph '${this.#pathOf(value.graph)}'`;
		if (at === undefined) {
			const found = this.#sites.has(value.graph) ? "" : ", which is not in the model";
			return [7, `a value of ${owner}${found}; expected one of its own graph or of a graph around it`];
		}
		if (captor !== undefined) {
			return [
				6,
				`the one of ${owner}, but '${this.#pathOf(captor)}' gives that name to another value; rename one of them`,
			];
		}
		const expected = "expected a graph input, an initializer or an output of a node";
		if (value.name === "") return [8, `which has no name; ${expected}, with a name`];
		if (this.#definitions.has(value) || this.#sites.get(graph)?.isTraining) return undefined;
		return [8, `which nothing defines; ${expected}`];
	}

	#checkUses(): void {
		const listed = new Uint8Array(this.#slotCount);
		for (const value of this.#values) {
			for (const use of value.uses) {
				const fault = this.#faultInUse(value, use, listed);
				if (fault === undefined) continue;
				const message = `the uses of '${value.name}' list input ${use.index} of node '${nodeLabel(use.node)}'${fault}`;
				this.#report(2, message, this.#pathOf(value.graph), use.node, value);
			}
		}
		for (const [node, first] of this.#firstSlots) {
			for (const [index, value] of node.inputs.entries()) {
				if (value === undefined || listed[first + index] === 1) continue;
				const message = `node '${nodeLabel(node)}' reads '${value.name}' as input ${index}, but the uses of '${value.name}' do not list it`;
				this.#report(2, message, this.#pathOf(node.graph!), node, value);
			}
		}
	}

	/** Also marks the input in `listed`. */
	#faultInUse(value: Value, { node, index }: Use, listed: Uint8Array): string | undefined {
		const first = this.#firstSlots.get(node);
		if (first === undefined) return ", which is not in the model";
		const reads = node.inputs[index];
		if (reads !== value) return `, which reads ${reads ? quote(reads.name) : "nothing"} there`;
		if (listed[first + index] === 1) return " twice";
		listed[first + index] = 1;
		return undefined;
	}

	#checkValue(value: Value): void {
		const path = this.#pathOf(value.graph);
		const producer = this.#producers.get(value);
		if (value.producer !== producer) {
			const [says, is] = [value.producer, producer].map((node) => (node ? `node '${nodeLabel(node)}'` : "none"));
			this.#report(3, `the producer of '${value.name}' is ${says}; expected ${is}`, path, producer, value);
		}
		const asInput = this.#listedAsInput.get(value) ?? 0;
		const asOutput = this.#listedAsOutput.get(value) ?? 0;
		if (value._inputOf !== asInput || value._outputOf !== asOutput) {
			const found = `'${value.name}' counts as ${value._inputOf} graph inputs and ${value._outputOf} graph outputs`;
			this.#report(4, `${found}; expected ${asInput} and ${asOutput}`, path, undefined, value);
		}
		this.#checkInitializer(value, "initializer", value.initializer, value.graph.initializers, path);
		this.#checkInitializer(value, "sparse initializer", value.sparseInitializer, value.graph.sparseInitializers, path);
	}

	#checkInitializer(value: Value, kind: string, tensor: unknown, list: ReadonlySet<Value>, path: string): void {
		if ((tensor !== undefined) === list.has(value)) return;
		const message = list.has(value)
			? `'${value.name}' is among the ${kind}s of its graph but holds no tensor; use Graph.removeInitializer`
			: `'${value.name}' holds a tensor but is not among the ${kind}s of its graph; use Graph.setInitializer`;
		this.#report(4, message, path, undefined, value);
	}

	/** Notes `value`, which `graph` lists and so must own. */
	#own(graph: Graph, value: Value, as: string, path: string, node?: Node): void {
		this.#values.add(value);
		if (value.graph === graph) return;
		this.#report(
			4,
			`'${value.name}' is ${as} here but a value of graph '${this.#pathOf(value.graph)}'`,
			path,
			node,
			value,
		);
	}

	#pathOf(graph: Graph): string {
		return this.#sites.get(graph)?.path ?? graph.name;
	}

	#report(rule: keyof typeof INVARIANTS, message: string, graph: string, node?: Node, value?: Value): void {
		this.#diagnostics.push({
			code: "verify/invalid",
			severity: CODES["verify/invalid"].severity,
			message: `invariant ${rule}: ${message}`,
			at: { graph, ...(node && { node: nodeLabel(node) }), ...(value && { value: value.name }) },
			notes: [INVARIANTS[rule]],
		});
	}
}

function count(counts: Map<Value, number>, value: Value): void {
	counts.set(value, (counts.get(value) ?? 0) + 1);
}

function quote(name: string): string {
	return `'${name}'`;
}
