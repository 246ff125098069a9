import { type Attribute, subgraphsOf } from "./attribute.js";
import { Node, type OpId } from "./node.js";
import { NodeList } from "./node-list.js";
import type { Tensor } from "./tensor.js";
import type { ValueType } from "./types.js";
import { Value } from "./value.js";

/** Quantization parameters that a file attaches to a tensor by name (GraphProto.quantization_annotation). */
export interface QuantizationAnnotation {
	readonly tensorName: string;
	readonly parameters: ReadonlyMap<string, string>;
}

/** What Graph.createNode takes; a string as operator means one of the standard domain. */
export interface NodeSpec {
	readonly op: string | { readonly domain: string; readonly type: string; readonly overload?: string };
	readonly name?: string;
	readonly inputs: readonly (Value | undefined)[];
	readonly outputs: readonly Value[];
	readonly attributes?: Readonly<Record<string, Attribute>> | Map<string, Attribute>;
}

/** The main graph, the body of a function, or a subgraph that a node carries in an attribute. */
export class Graph {
	name: string;
	docString = "";
	readonly nodes: NodeList = new NodeList(this);
	/** Values with an initializer, in file order; of a function body there are none. */
	readonly initializers: Set<Value> = new Set();
	readonly sparseInitializers: Set<Value> = new Set();
	/** Values whose type the file states although they are neither inputs nor outputs, in file order. */
	readonly valueInfo: Set<Value> = new Set();
	readonly metadata: Map<string, string> = new Map();
	quantizationAnnotations: readonly QuantizationAnnotation[] = [];
	/** Is it a function's body? Constants are then Constant nodes, for functions have no initializers. */
	readonly isFunctionBody: boolean;
	readonly #inputs: Value[] = [];
	readonly #outputs: Value[] = [];

	constructor(name: string, options: { readonly isFunctionBody?: boolean } = {}) {
		this.name = name;
		this.isFunctionBody = options.isFunctionBody ?? false;
	}

	get inputs(): readonly Value[] {
		return this.#inputs;
	}

	/** May hold values of an outer graph. */
	get outputs(): readonly Value[] {
		return this.#outputs;
	}

	/** A new value of this graph. The caller sees to it that the name is free (see NameScope). */
	createValue(name: string, type?: ValueType): Value {
		return new Value(name, this, type);
	}

	addInput(value: Value): void {
		value._inputOf++;
		this.#inputs.push(value);
	}

	/** Takes `value` off the list of inputs; it keeps its initializer. */
	removeInput(value: Value): void {
		const index = this.#inputs.indexOf(value);
		if (index < 0) throw new Error(`'${value.name}' is no input of graph '${this.name}'`);
		value._inputOf--;
		this.#inputs.splice(index, 1);
	}

	addOutput(value: Value): void {
		value._outputOf++;
		this.#outputs.push(value);
	}

	/** Takes `value` off the list of outputs, where it stands last if it stands there more than once. */
	removeOutput(value: Value): void {
		const index = this.#outputs.lastIndexOf(value);
		if (index < 0) throw new Error(`'${value.name}' is no output of graph '${this.name}'`);
		value._outputOf--;
		this.#outputs.splice(index, 1);
	}

	/** Makes output `index` another value. */
	setOutput(index: number, value: Value): void {
		const before = this.#outputs[index];
		if (before === undefined) throw new Error(`graph '${this.name}' has no output ${index}`);
		before._outputOf--;
		value._outputOf++;
		this.#outputs[index] = value;
	}

	/** Makes `value` hold the constant `tensor`, as one of this graph's initializers. */
	setInitializer(value: Value, tensor: Tensor): void {
		value.initializer = tensor;
		this.initializers.add(value);
	}

	/** Takes the initializer away from `value`. */
	removeInitializer(value: Value): void {
		value.initializer = undefined;
		this.initializers.delete(value);
		this.valueInfo.delete(value);
	}

	/** @internal Stops reading values of outer graphs, at any depth: the node that carries this graph is going away. */
	release(): void {
		for (const output of this.#outputs) output._outputOf--;
		for (const node of this.nodes) {
			node.releaseInputs();
			for (const [, graph] of subgraphsOf(node)) graph.release();
		}
	}

	/** A new node, in front of `before` or at the end. */
	createNode(spec: NodeSpec, before?: Node): Node {
		const op: OpId =
			typeof spec.op === "string"
				? { domain: "", type: spec.op, overload: "" }
				: { domain: spec.op.domain, type: spec.op.type, overload: spec.op.overload ?? "" };
		const attributes =
			spec.attributes instanceof Map ? new Map(spec.attributes) : new Map(Object.entries(spec.attributes ?? {}));
		const node = new Node(op, spec.name ?? "", spec.inputs, spec.outputs, attributes);
		this.nodes._link(node, before);
		return node;
	}

	/**
	 * A new node in the place of `node`, which goes away. `spec.outputs` may be values that `node` computed; those that are
	 * left out must have no uses left, or a plain Error is thrown.
	 */
	replaceNode(node: Node, spec: NodeSpec): Node {
		node.releaseOutputs(spec.outputs);
		const replacement = this.createNode(spec, node);
		node.remove();
		return replacement;
	}
}
