import { type Attribute, subgraphsOf } from "./attribute.js";
import type { Graph } from "./graph.js";
import type { Value } from "./value.js";

/** What a node computes: operator `type` of `domain` ("" is the standard one); `overload` picks among functions. */
export interface OpId {
	readonly domain: string;
	readonly type: string;
	readonly overload: string;
}

/** An operator call. Graph.createNode makes one and puts it in its place. */
export class Node {
	name: string;
	readonly op: OpId;
	docString = "";
	/** In file order; a key is the attribute's name. */
	readonly attributes: Map<string, Attribute>;
	/** `metadata_props`. Saved. */
	readonly metadata: Map<string, string> = new Map();
	/** What passes found out about the node: printed, and written to the file only where a pass puts it in `metadata`. */
	readonly annotations: Map<string, string> = new Map();

	/** @internal kept by Graph */ _graph: Graph | undefined;
	/** @internal kept by NodeList */ _previous: Node | undefined;
	/** @internal kept by NodeList */ _next: Node | undefined;
	readonly #inputs: (Value | undefined)[] = [];
	readonly #outputs: Value[];

	/** @internal Use Graph.createNode. */
	constructor(
		op: OpId,
		name: string,
		inputs: readonly (Value | undefined)[],
		outputs: readonly Value[],
		attributes: Map<string, Attribute>,
	) {
		this.op = op;
		this.name = name;
		this.attributes = attributes;
		this.#outputs = [...outputs];
		for (const output of outputs) output._producer ??= this;
		inputs.forEach((value, index) => {
			this.setInput(index, value);
		});
	}

	/** An absent optional input is undefined. */
	get inputs(): readonly (Value | undefined)[] {
		return this.#inputs;
	}

	/** An output that nobody wants has the empty name. */
	get outputs(): readonly Value[] {
		return this.#outputs;
	}

	/** The graph that the node stands in; undefined once it was removed. */
	get graph(): Graph | undefined {
		return this._graph;
	}

	/** The node that follows in the graph's order. */
	get next(): Node | undefined {
		return this._graph === undefined ? undefined : this._next;
	}

	/** Makes input `index` read `value`; the list grows as needed. */
	setInput(index: number, value: Value | undefined): void {
		const before = this.#inputs[index];
		if (before !== undefined) {
			const at = before._uses.findIndex((use) => use.node === this && use.index === index);
			before._uses.splice(at, 1);
		}
		while (this.#inputs.length < index) this.#inputs.push(undefined);
		this.#inputs[index] = value;
		value?._uses.push({ node: this, index });
	}

	/** Adds an output behind the others. */
	addOutput(value: Value): void {
		value._producer ??= this;
		this.#outputs.push(value);
	}

	/** Takes an output off the list, or throws a plain Error where it is still used. */
	removeOutput(value: Value): void {
		const index = this.#outputs.lastIndexOf(value);
		if (index < 0) throw new Error(`'${value.name}' is no output of node '${this.name}'`);
		if (value.uses.length > 0 || value.isGraphOutput) throw new Error(`output '${value.name}' is still used`);
		this.#outputs.splice(index, 1);
		if (value._producer === this) value._producer = undefined;
	}

	/** @internal Value.replaceUsesWith keeps the uses. */
	_rewire(index: number, value: Value): void {
		this.#inputs[index] = value;
	}

	/** Drops absent inputs at the end of the list. */
	trimInputs(): void {
		while (this.#inputs.length > 0 && this.#inputs.at(-1) === undefined) this.#inputs.pop();
	}

	/** Takes the node out of its graph. Its outputs must have no uses left, or a plain Error is thrown. */
	remove(): void {
		for (const output of this.#outputs) {
			if (output._producer === this && (output.uses.length > 0 || output.isGraphOutput)) {
				throw new Error(`node '${this.name}' cannot be removed: its output '${output.name}' is still used`);
			}
		}
		this.releaseInputs();
		for (const [, graph] of subgraphsOf(this)) graph.release();
		for (const output of this.#outputs) {
			if (output._producer === this) output._producer = undefined;
			if (output._producer === undefined) output.graph.valueInfo.delete(output);
		}
		this._graph?.nodes._unlink(this);
	}

	/** @internal Leaves `outputs` of its own to another node: Graph.replaceNode. */
	releaseOutputs(outputs: readonly Value[]): void {
		for (const output of outputs) if (output._producer === this) output._producer = undefined;
	}

	/** @internal Stops reading anything: the node is going away. */
	releaseInputs(): void {
		this.#inputs.forEach((_, index) => {
			this.setInput(index, undefined);
		});
	}
}

/** Is `node` the operator `type` of the standard ONNX domain? */
export function isOnnxOp(node: Node, ...types: readonly string[]): boolean {
	return isStandardDomain(node.op.domain) && types.includes(node.op.type);
}

/** Is `node` the operator `type` of ONNX Runtime's own domain? */
export function isMicrosoftOp(node: Node, ...types: readonly string[]): boolean {
	return node.op.domain === "com.microsoft" && types.includes(node.op.type);
}

/** The standard operators' domain has two spellings. */
export function isStandardDomain(domain: string): boolean {
	return domain === "" || domain === "ai.onnx";
}
