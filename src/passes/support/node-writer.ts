import type { Attribute } from "../../ir/attribute.js";
import type { Graph } from "../../ir/graph.js";
import type { NameScope } from "../../ir/names.js";
import type { Node } from "../../ir/node.js";
import type { Tensor } from "../../ir/tensor.js";
import type { Value } from "../../ir/value.js";
import { addConstant } from "../../weights/constant.js";
import { removeUnused } from "./remove-unused.js";

type Attributes = Readonly<Record<string, Attribute>>;

/** Writes operators of the standard domain into a graph, at its end or in front of a node. */
export class GraphWriter {
	readonly graph: Graph;
	readonly #names: NameScope;
	readonly #prefix: string;
	readonly #before: Node | undefined;

	/** @param prefix of the names of everything that is written. */
	constructor(graph: Graph, names: NameScope, prefix: string, before?: Node) {
		this.graph = graph;
		this.#names = names;
		this.#prefix = prefix;
		this.#before = before;
	}

	/** What a new node of one output computes. */
	emit(op: string, inputs: readonly (Value | undefined)[], attributes: Attributes = {}, label = op): Value {
		return this.emitSeveral(op, inputs, [label], attributes)[0]!;
	}

	/** What a new node computes, an output for each of `labels`. */
	emitSeveral(
		op: string,
		inputs: readonly (Value | undefined)[],
		labels: readonly string[],
		attributes: Attributes = {},
	): Value[] {
		const outputs = labels.map((label) => this.graph.createValue(this.#fresh(label)));
		this.graph.createNode({ op, name: this.#fresh(`${labels[0]!}_node`), inputs, outputs, attributes }, this.#before);
		return outputs;
	}

	constant(label: string, tensor: Tensor): Value {
		return addConstant(this.graph, this.#fresh(label), tensor, this.#before);
	}

	#fresh(label: string): string {
		return this.#names.fresh(this.#prefix === "" ? label : `${this.#prefix}_${label}`);
	}
}

/** Writes operators in front of the one that they take the place of; named after it. */
export class NodeWriter extends GraphWriter {
	readonly #node: Node;

	constructor(node: Node, names: NameScope) {
		super(node.graph!, names, node.name || node.outputs[0]!.name, node);
		this.#node = node;
	}

	/** Lets the node that computes `value`, emitted before and read by nobody, compute the old node's output `index`. */
	give(index: number, value: Value): Value {
		const output = this.#node.outputs[index]!;
		this.#node.releaseOutputs([output]);
		moveOutput(value, output);
		return output;
	}

	/** Takes the old node away, whose used outputs were all given, and what nobody reads then. */
	finish(): void {
		const inputs = new Set(this.#node.inputs);
		this.#node.remove();
		for (const input of inputs) if (input !== undefined) removeUnused(input);
	}
}

/** Lets the node that computes `value`, its only output, compute `output`, which nothing does; `value` comes out of nothing then. */
export function moveOutput(value: Value, output: Value): void {
	const node = value.producer!;
	const { op, name, inputs, attributes } = node;
	node.releaseOutputs([value]);
	value.graph.replaceNode(node, { op, name, inputs: [...inputs], outputs: [output], attributes });
}

/** Is output `index` of `node` there, and does anything use it? */
export function isOutputUsed(node: Node, index: number): boolean {
	const output = node.outputs[index];
	return output !== undefined && output.name !== "" && (output.uses.length > 0 || output.isGraphOutput);
}
