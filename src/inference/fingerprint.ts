import type { Attribute } from "../ir/attribute.js";
import type { FunctionDefinition } from "../ir/model.js";
import type { Fact } from "./fact.js";

const numbers = new WeakMap<object, number>();
let next = 0;

/** The same text for calls of a function that give the same results. */
export function fingerprint(
	definition: FunctionDefinition,
	inputs: readonly (Fact | undefined)[],
	attributes: ReadonlyMap<string, Attribute>,
): string {
	const facts = inputs.map((fact) => (fact === undefined ? null : [fact.type ?? null, fact.elements ?? null]));
	const values = Array.from(attributes, ([name, attribute]) => [name, keyOf(attribute)]);
	return `${numberOf(definition)} ${JSON.stringify([facts, values], withUndefined)}`;
}

/** JSON has no undefined, which is another thing than null here only inside shapes: -1 is no dimension. */
function withUndefined(_: string, value: unknown): unknown {
	return Array.isArray(value) ? value.map((item) => (item === undefined ? -1 : item)) : value;
}

function keyOf(attribute: Attribute): unknown {
	switch (attribute.kind) {
		case "int":
			return String(attribute.value);
		case "ints":
			return attribute.value.map(String);
		case "float":
		case "floats":
			return [attribute.kind, attribute.value];
		default:
			return numberOf(attribute);
	}
}

function numberOf(object: object): number {
	let number = numbers.get(object);
	if (number === undefined) {
		number = next++;
		numbers.set(object, number);
	}
	return number;
}
