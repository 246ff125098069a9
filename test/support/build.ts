import type { Attribute } from "../../src/ir/attribute.js";
import { Graph, type NodeSpec } from "../../src/ir/graph.js";
import { Model } from "../../src/ir/model.js";
import type { Node } from "../../src/ir/node.js";
import type { Tensor } from "../../src/ir/tensor.js";
import { DataType, type Dimension, tensorType } from "../../src/ir/types.js";
import type { Value } from "../../src/ir/value.js";

/** Attributes of a node; the keys are their names. */
export type Attributes = Readonly<Record<string, Attribute>>;

/**
 * Builds graphs by names instead of values. A name means the value of the graph at hand, else that of a graph around it,
 * else a new value that something may define later, so that nodes can stand in any order.
 */
export class GraphBuilder {
	readonly graph: Graph;
	readonly #outer: GraphBuilder | undefined;
	readonly #values: Map<string, Value> = new Map();

	constructor(graph: Graph, outer?: GraphBuilder) {
		this.graph = graph;
		this.#outer = outer;
	}

	input(name: string, dtype: DataType = DataType.FLOAT, shape?: readonly Dimension[]): Value {
		const value = this.#own(name);
		if (!this.graph.isFunctionBody) value.type = tensorType(dtype, shape);
		this.graph.addInput(value);
		return value;
	}

	initializer(name: string, tensor: Tensor): Value {
		const value = this.#own(name);
		this.graph.setInitializer(value, tensor);
		return value;
	}

	/** A node at the end of the graph; "" is an absent input or an output that nobody wants. */
	node(
		op: NodeSpec["op"],
		inputs: readonly string[],
		outputs: readonly string[],
		attributes: Attributes = {},
		name = "",
	): Node {
		return this.graph.createNode({
			op,
			name,
			inputs: inputs.map((input) => (input === "" ? undefined : this.value(input))),
			outputs: outputs.map((output) => (output === "" ? this.graph.createValue("") : this.#own(output))),
			attributes,
		});
	}

	output(name: string): Value {
		const value = this.value(name);
		this.graph.addOutput(value);
		return value;
	}

	/** A graph that may read the values of this one, as attribute for a node: `{ then_branch: b.subgraph(...) }`. */
	subgraph(name: string, fill: (inner: GraphBuilder) => void): Attribute & { readonly kind: "graph" } {
		const inner = new GraphBuilder(new Graph(name), this);
		fill(inner);
		return { kind: "graph", value: inner.graph };
	}

	/** The value that `name` means here. */
	value(name: string): Value {
		return this.#find(name) ?? this.#own(name);
	}

	#find(name: string): Value | undefined {
		const own = this.#values.get(name);
		return own !== undefined || this.#outer === undefined ? own : this.#outer.#find(name);
	}

	#own(name: string): Value {
		const value = this.#values.get(name) ?? this.graph.createValue(name);
		this.#values.set(name, value);
		return value;
	}
}

/** Builds a model; its methods fill the main graph. */
export class ModelBuilder extends GraphBuilder {
	readonly model: Model;

	constructor({ opset = 21, irVersion = 10 }: { readonly opset?: number; readonly irVersion?: number } = {}) {
		const model = new Model(new Graph("main"));
		super(model.graph);
		this.model = model;
		model.irVersion = irVersion;
		model.opsetImports.set("", opset);
	}

	/** A function `domain:name`; its body reads nothing of the main graph. */
	function(domain: string, name: string, fill: (body: GraphBuilder) => void): void {
		const body = new GraphBuilder(new Graph(name, { isFunctionBody: true }));
		fill(body);
		this.model.opsetImports.set(domain, 1);
		this.model.functions.push({
			domain,
			name,
			overload: "",
			docString: "",
			body: body.graph,
			attributeNames: [],
			attributeDefaults: new Map(),
			opsetImports: new Map(this.model.opsetImports),
			metadata: new Map(),
		});
	}

	build(): Model {
		return this.model;
	}
}

/** `new ModelBuilder()` filled by `fill`: `modelOf((b) => { b.input("x"); b.node("Relu", ["x"], ["y"]); b.output("y"); })`. */
export function modelOf(fill: (builder: ModelBuilder) => void): Model {
	const builder = new ModelBuilder();
	fill(builder);
	return builder.build();
}

/** The nodes of a graph by their names, in order. */
export function nodeNames(graph: Graph): string[] {
	return Array.from(graph.nodes, (node) => node.name);
}

/** The node called `name`; an Error where there is none. */
export function nodeNamed(graph: Graph, name: string): Node {
	for (const node of graph.nodes) if (node.name === name) return node;
	throw new Error(`graph '${graph.name}' has no node '${name}'`);
}
