import type { TypeTable } from "../../../inference/index.js";
import type { Attribute } from "../../../ir/attribute.js";
import { readAll } from "../../../ir/data.js";
import type { Node } from "../../../ir/node.js";
import type { Tensor } from "../../../ir/tensor.js";
import { DataType, type Dimension } from "../../../ir/types.js";
import { Value } from "../../../ir/value.js";
import { constantOf } from "../../../weights/constant.js";

/** A constant that is yet to be made; `label` becomes a part of its name. */
export interface NewConstant {
	readonly label: string;
	readonly tensor: Tensor;
}

/** A node of one output that is yet to be made, in the form that it has from operator set 13 on. */
export interface NewNode {
	readonly label: string;
	readonly op: string;
	readonly inputs: readonly (Operand | undefined)[];
	readonly attributes: Readonly<Record<string, Attribute>>;
}

/** What a node will read. */
export type Operand = Value | NewConstant | NewNode;

/** What conversions may ask about the surroundings of a node. */
export interface DraftContext {
	/** Operator set version that the model gets. */
	readonly target: number;
	readonly types: TypeTable;
	/** Does every call of the function around the node give its attribute `name`, or has that a default? */
	isAlwaysGiven(name: string): boolean;
}

/** Why a node has no equal in the newer operator set. The model is left as it is. */
export class Unconvertible extends Error {}

/** The most elements that a constant may have for a conversion to look at them. */
const MAX_READ_ELEMENTS = 64;

/**
 * What a node will be: conversions change it step by step, version after version, while the model stays as it is. It is
 * written into the graph (write-draft.ts) once every node of the model has turned out to be convertible.
 */
export class NodeDraft {
	readonly node: Node;
	readonly context: DraftContext;
	type: string;
	readonly attributes: Map<string, Attribute>;
	/** A shorter list than the node's where later outputs go away. */
	outputs: readonly Value[];
	/** A node that the only output goes through afterwards, as its first input in front of those listed. */
	finish: NewNode | undefined;
	readonly #inputs: (Operand | undefined)[];

	constructor(node: Node, context: DraftContext) {
		this.node = node;
		this.context = context;
		this.type = node.op.type;
		this.attributes = new Map(node.attributes);
		this.outputs = node.outputs;
		this.#inputs = [...node.inputs];
	}

	get inputs(): readonly (Operand | undefined)[] {
		return this.#inputs;
	}

	/** Is the node to be other than it is? */
	get isChanged(): boolean {
		const { node } = this;
		return (
			this.type !== node.op.type ||
			this.finish !== undefined ||
			this.outputs.length !== node.outputs.length ||
			this.attributes.size !== node.attributes.size ||
			[...this.attributes].some(([name, attribute]) => node.attributes.get(name) !== attribute) ||
			this.#inputs.length !== node.inputs.length ||
			this.#inputs.some((input, index) => input !== node.inputs[index])
		);
	}

	/** The list grows as needed. */
	setInput(index: number, operand: Operand | undefined): void {
		while (this.#inputs.length < index) this.#inputs.push(undefined);
		this.#inputs[index] = operand;
	}

	/** Input `index`, which the operator cannot do without. */
	requiredInput(index: number): Operand {
		return this.#inputs[index] ?? refuse(`input ${index} is missing`);
	}

	/** Takes the attribute `name` away; undefined where there is none. */
	take(name: string): Attribute | undefined {
		const attribute = this.attributes.get(name);
		this.attributes.delete(name);
		return attribute;
	}

	/** The integer attribute `name`, or `fallback` where there is none. Refuses those that a call of a function gives. */
	integer(name: string, fallback: number): number {
		const attribute = this.attributes.get(name);
		if (attribute === undefined) return fallback;
		return attribute.kind === "int" ? Number(attribute.value) : refuse(`attribute '${name}' is no constant integer`);
	}

	/** The integers of attribute `name`; undefined where there is none. Refuses those that a call of a function gives. */
	integers(name: string): readonly number[] | undefined {
		const attribute = this.attributes.get(name);
		if (attribute === undefined) return undefined;
		return attribute.kind === "ints"
			? attribute.value.map(Number)
			: refuse(`attribute '${name}' is no constant list of integers`);
	}

	/** The text of attribute `name`, or `fallback` where there is none. Refuses those that a call of a function gives. */
	text(name: string, fallback: string): string {
		const attribute = this.attributes.get(name);
		if (attribute === undefined) return fallback;
		if (attribute.kind !== "string") return refuse(`attribute '${name}' is no constant text`);
		return new TextDecoder().decode(readAll(attribute.value));
	}

	elementTypeOf(operand: Operand | undefined): DataType | undefined {
		if (operand === undefined) return undefined;
		if (operand instanceof Value) {
			const type = this.context.types.typeOf(operand);
			return type?.kind === "tensor" ? type.elementType : undefined;
		}
		return "tensor" in operand ? operand.tensor.dtype : undefined;
	}

	shapeOf(operand: Operand | undefined): readonly Dimension[] | undefined {
		if (operand === undefined) return undefined;
		if (operand instanceof Value) return this.context.types.shapeOf(operand);
		return "tensor" in operand ? operand.tensor.shape : undefined;
	}

	/** The tensor that `operand` holds whatever the caller does; undefined for everything else. */
	constantOf(operand: Operand | undefined): Tensor | undefined {
		if (operand === undefined) return undefined;
		if (!(operand instanceof Value)) return "tensor" in operand ? operand.tensor : undefined;
		const constant = constantOf(operand);
		return constant === undefined || constant.overridable ? undefined : constant.tensor;
	}

	/** The elements of a small constant of floats; undefined for everything else. */
	floatsOf(operand: Operand | undefined): readonly number[] | undefined {
		const bytes = smallBytes(this.constantOf(operand));
		return bytes === undefined ? undefined : [...new Float32Array(bytes.buffer)];
	}

	/** Is output `index` there, and does anything use it? */
	isOutputUsed(index: number): boolean {
		const output = this.outputs[index];
		return output !== undefined && (output.uses.length > 0 || output.isGraphOutput);
	}
}

/** Gives up on the model; `reason` ends a sentence that names the node. */
export function refuse(reason: string): never {
	throw new Unconvertible(reason);
}

function smallBytes(tensor: Tensor | undefined): Uint8Array<ArrayBuffer> | undefined {
	if (tensor === undefined || tensor.dtype !== DataType.FLOAT || tensor.data.byteLength > 4 * MAX_READ_ELEMENTS)
		return undefined;
	return Uint8Array.from(readAll(tensor.data));
}
