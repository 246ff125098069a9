import type { Attribute, AttributeKind, AttributeValues } from "../ir/attribute.js";
import { readAll } from "../ir/data.js";
import type { Node } from "../ir/node.js";
import type { DataType, ValueType } from "../ir/types.js";
import { isStatic } from "./dimension.js";
import { type Elements, elementTypeOf, type Fact, NOTHING, type Shape, shapeOfType } from "./fact.js";

/** A node together with what is known of its inputs: all that a rule may look at. */
export class OperatorCall {
	readonly node: Node;
	/** Version of the operator set that the node's operator is of. */
	readonly version: number;
	readonly #inputs: readonly (Fact | undefined)[];
	readonly #attributeOf: (name: string) => Attribute | undefined;

	constructor(
		node: Node,
		version: number,
		inputs: readonly (Fact | undefined)[],
		attributeOf: (name: string) => Attribute | undefined,
	) {
		this.node = node;
		this.version = version;
		this.#inputs = inputs;
		this.#attributeOf = attributeOf;
	}

	get inputCount(): number {
		return this.#inputs.length;
	}

	/** Is input `index` given? */
	has(index: number): boolean {
		return this.#inputs[index] !== undefined;
	}

	fact(index: number): Fact {
		return this.#inputs[index] ?? NOTHING;
	}

	type(index: number): ValueType | undefined {
		return this.fact(index).type;
	}

	elementType(index: number): DataType | undefined {
		return elementTypeOf(this.type(index));
	}

	shape(index: number): Shape | undefined {
		return shapeOfType(this.type(index));
	}

	/** Shapes of the inputs that are given, from `first` on. */
	shapes(first = 0): (Shape | undefined)[] {
		return this.#inputs.slice(first).flatMap((input) => (input === undefined ? [] : [shapeOfType(input.type)]));
	}

	/** What input `index` contains, as far as it is known; undefined where nothing of it is. */
	elements(index: number): Elements | undefined {
		return this.fact(index).elements;
	}

	/** What input `index` contains where all of it is known. */
	numbers(index: number): readonly number[] | undefined {
		const elements = this.elements(index);
		return isStatic(elements) ? elements : undefined;
	}

	/** Is something known of the contents of every input that is given? Constants are not read to find out. */
	hasElements(): boolean {
		return this.#inputs.every((input) => input === undefined || input.isConstant || input.elements !== undefined);
	}

	int(name: string): number | undefined {
		const value = this.#attribute(name, "int");
		return value === undefined ? undefined : Number(value);
	}

	ints(name: string): readonly number[] | undefined {
		return this.#attribute(name, "ints")?.map(Number);
	}

	float(name: string): number | undefined {
		return this.#attribute(name, "float");
	}

	floats(name: string): readonly number[] | undefined {
		return this.#attribute(name, "floats");
	}

	string(name: string): string | undefined {
		const value = this.#attribute(name, "string");
		return value === undefined ? undefined : new TextDecoder().decode(readAll(value));
	}

	/** The attribute `name`; what a function's caller gave where the node refers to that. */
	attribute(name: string): Attribute | undefined {
		return this.#attributeOf(name);
	}

	/** Numbers that newer versions of an operator take as input `index` and older ones as attribute `name`. */
	inputOrInts(index: number, name: string): Elements | undefined {
		return this.has(index) ? this.elements(index) : this.ints(name);
	}

	#attribute<K extends AttributeKind>(name: string, kind: K): AttributeValues[K] | undefined {
		const attribute = this.#attributeOf(name);
		if (attribute === undefined || attribute.kind !== kind || !("value" in attribute)) return undefined;
		return attribute.value as AttributeValues[K];
	}
}

/** What is known of the outputs of a call, in their order; what is missing at the end is unknown. Never throws. */
export type Rule = (call: OperatorCall) => readonly Fact[];

/** Rules by the name of the operator. */
export type RuleTable = Readonly<Record<string, Rule>>;

/** The elements of output 0 of a call, its type being inferred already; undefined where nothing is known. */
export type Evaluator = (
	call: OperatorCall,
	result: { readonly shape: readonly number[]; readonly elementType: DataType },
) => Elements | undefined;

/** The same rule for several operators. */
export function all(names: string, rule: Rule): RuleTable {
	return Object.fromEntries(names.split(" ").map((name) => [name, rule]));
}
