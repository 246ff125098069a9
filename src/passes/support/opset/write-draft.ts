import type { Graph } from "../../../ir/graph.js";
import type { NameScope } from "../../../ir/names.js";
import type { Node } from "../../../ir/node.js";
import { Value } from "../../../ir/value.js";
import { addConstant } from "../../../weights/constant.js";
import type { NewNode, NodeDraft, Operand } from "./node-draft.js";

/**
 * Makes the node what its draft says: in place where operator and outputs stay, else by a new node that has the old one's
 * name, metadata and outputs. What the draft reads and does not exist yet is put in front.
 */
export function writeDraft(draft: NodeDraft, names: NameScope): void {
	const { node } = draft;
	const writer = new DraftWriter(node, names);
	const inputs = draft.inputs.map((input) => writer.valueOf(input));
	const isSameOperator = draft.type === node.op.type && draft.outputs.length === node.outputs.length;
	if (isSameOperator && draft.finish === undefined) changeInPlace(draft, inputs);
	else writer.replace(draft, inputs);
}

function changeInPlace({ node, attributes }: NodeDraft, inputs: readonly (Value | undefined)[]): void {
	inputs.forEach((input, index) => {
		if (input !== node.inputs[index]) node.setInput(index, input);
	});
	node.trimInputs();
	for (const name of [...node.attributes.keys()]) if (!attributes.has(name)) node.attributes.delete(name);
	for (const [name, attribute] of attributes) node.attributes.set(name, attribute);
}

class DraftWriter {
	readonly #node: Node;
	readonly #graph: Graph;
	readonly #names: NameScope;
	readonly #made: Map<Operand, Value> = new Map();

	constructor(node: Node, names: NameScope) {
		this.#node = node;
		this.#graph = node.graph!;
		this.#names = names;
	}

	/** What `operand` stands for; a constant or node that is not there yet is made, once. */
	valueOf(operand: Operand | undefined): Value | undefined {
		if (operand === undefined || operand instanceof Value) return operand;
		const known = this.#made.get(operand);
		if (known !== undefined) return known;
		const value =
			"tensor" in operand
				? addConstant(this.#graph, this.#valueName(operand.label), operand.tensor, this.#node)
				: this.#resultOf(operand);
		this.#made.set(operand, value);
		return value;
	}

	#resultOf({ label, op, inputs, attributes }: NewNode): Value {
		const read = inputs.map((input) => this.valueOf(input));
		const output = this.#graph.createValue(this.#valueName(label));
		const spec = { op, name: this.#nodeName(label), inputs: read, outputs: [output], attributes };
		this.#graph.createNode(spec, this.#node);
		return output;
	}

	replace({ type, attributes, outputs, finish }: NodeDraft, inputs: readonly (Value | undefined)[]): void {
		const spec = { op: type, name: this.#node.name, inputs, attributes };
		if (finish === undefined) {
			copyNotes(this.#node, this.#graph.replaceNode(this.#node, { ...spec, outputs }));
			return;
		}
		const unfinished = this.#graph.createValue(this.#valueName(type.toLowerCase()));
		copyNotes(this.#node, this.#graph.createNode({ ...spec, outputs: [unfinished] }, this.#node));
		this.#graph.replaceNode(this.#node, {
			op: finish.op,
			name: this.#nodeName(finish.label),
			inputs: [unfinished, ...finish.inputs.map((input) => this.valueOf(input))],
			outputs,
			attributes: finish.attributes,
		});
	}

	#valueName(label: string): string {
		return this.#names.fresh(`${this.#node.name || this.#node.outputs[0]?.name || this.#node.op.type}_${label}`);
	}

	/** Nodes without a name stay among their like. */
	#nodeName(label: string): string {
		return this.#node.name === "" ? "" : this.#names.fresh(`${this.#node.name}_${label}`);
	}
}

function copyNotes(from: Node, to: Node): void {
	to.docString = from.docString;
	for (const [key, value] of from.metadata) to.metadata.set(key, value);
	for (const [key, value] of from.annotations) to.annotations.set(key, value);
}
