import type { Graph } from "./graph.js";
import type { Node } from "./node.js";
import type { SparseTensor, Tensor } from "./tensor.js";
import type { ValueType } from "./types.js";

/** One place where a value is read: input `index` of `node`, which may sit in a subgraph of the value's own graph. */
export interface Use {
	readonly node: Node;
	readonly index: number;
}

/**
 * A named edge of the graph: a graph input, an initializer, a node's output or several of these at once. Its producer and
 * its uses are kept by Graph and Node; passes never write them.
 */
export class Value {
	name: string;
	/** The graph that defines it. */
	readonly graph: Graph;
	type: ValueType | undefined;
	docString = "";
	/** `metadata_props` of its ValueInfo. Saved. */
	readonly metadata: Map<string, string> = new Map();
	/** The constant that it holds, or that stands in for a graph input which the caller leaves out. */
	initializer: Tensor | undefined;
	sparseInitializer: SparseTensor | undefined;

	/** @internal kept by Node */ _producer: Node | undefined;
	/** @internal kept by Node */ readonly _uses: Use[] = [];
	/** @internal kept by Graph */ _outputOf = 0;
	/** @internal kept by Graph */ _inputOf = 0;

	/** @internal Use Graph.createValue. */
	constructor(name: string, graph: Graph, type?: ValueType) {
		this.name = name;
		this.graph = graph;
		this.type = type;
	}

	/** The node that computes it; undefined for inputs, initializers and names that nothing defines. */
	get producer(): Node | undefined {
		return this._producer;
	}

	/** Every node input that reads it, subgraphs included. */
	get uses(): readonly Use[] {
		return this._uses;
	}

	/** Is it listed as an output of its graph or of a subgraph? */
	get isGraphOutput(): boolean {
		return this._outputOf > 0;
	}

	get isGraphInput(): boolean {
		return this._inputOf > 0;
	}

	/** Makes every node input that reads this value read `other` instead; graph outputs stay. */
	replaceUsesWith(other: Value): void {
		if (other === this) return;
		for (const use of this._uses.splice(0)) {
			use.node._rewire(use.index, other);
			other._uses.push(use);
		}
	}
}
