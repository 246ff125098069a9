import { isNumberArray, type JsonValue, type NumberArray } from "./json-reader.js";

/** What is to be written; members and elements are made when it is their turn. */
export type JsonNode =
	| { readonly kind: "text"; readonly text: string }
	| { readonly kind: "numbers"; readonly numbers: NumberArray; readonly format: "float" | "integer" }
	| { readonly kind: "list"; readonly elements: readonly (() => JsonNode)[] }
	| { readonly kind: "object"; readonly members: ReadonlyMap<string, () => JsonNode> };

export function numbersNode(numbers: NumberArray, format: "float" | "integer"): JsonNode {
	return { kind: "numbers", numbers, format };
}

/** A value that was read. */
export function toNode(value: JsonValue): JsonNode {
	if (isNumberArray(value)) return numbersNode(value, value.values.every(Number.isInteger) ? "integer" : "float");
	if (Array.isArray(value)) return { kind: "list", elements: value.map((element: JsonValue) => () => toNode(element)) };
	if (value instanceof Map) {
		return { kind: "object", members: new Map([...value].map(([key, member]) => [key, () => toNode(member)])) };
	}
	return textNode(value as Scalar);
}

type Scalar = string | number | boolean | null;

export function textNode(value: Scalar): JsonNode {
	return { kind: "text", text: typeof value === "string" ? quoted(value) : JSON.stringify(value) };
}

const INDENT = "    ";

/** The text of `node` in pieces, as Python's json module writes it with sorted keys and an indent of 4. */
export function* jsonText(node: JsonNode, indent = ""): Generator<string> {
	if (node.kind === "text") yield node.text;
	else if (node.kind === "numbers") yield* numbersText(node.numbers, node.format, indent);
	else if (node.kind === "list") {
		const elements = node.elements.map((element) => ["", element] as const);
		yield* sequenceText("[", elements, "]", indent);
	} else {
		const sorted = [...node.members].sort(([a], [b]) => (a < b ? -1 : 1));
		const members = sorted.map(([key, member]) => [`${quoted(key)}: `, member] as const);
		yield* sequenceText("{", members, "}", indent);
	}
}

function* sequenceText(
	open: string,
	elements: readonly (readonly [prefix: string, node: () => JsonNode])[],
	close: string,
	indent: string,
): Generator<string> {
	if (elements.length === 0) {
		yield open + close;
		return;
	}
	const inner = indent + INDENT;
	yield open;
	for (const [index, [prefix, element]] of elements.entries()) {
		yield `${index === 0 ? "" : ","}\n${inner}${prefix}`;
		yield* jsonText(element(), inner);
	}
	yield `\n${indent}${close}`;
}

function* numbersText(
	{ shape, values }: NumberArray,
	format: "float" | "integer",
	indent: string,
	depth = 0,
	first = 0,
): Generator<string> {
	const number = format === "float" ? pythonFloat : String;
	const length = shape[depth];
	if (length === undefined) {
		yield number(values[first]!);
		return;
	}
	const inner = indent + INDENT;
	if (depth === shape.length - 1) {
		const lines = Array.from(values.subarray(first, first + length), (value) => `\n${inner}${number(value)}`);
		yield `[${lines.join(",")}\n${indent}]`;
		return;
	}
	const stride = shape.slice(depth + 1).reduce((product, dim) => product * dim, 1);
	yield "[";
	for (let index = 0; index < length; index++) {
		yield `${index === 0 ? "" : ","}\n${inner}`;
		yield* numbersText({ shape, values }, format, inner, depth + 1, first + index * stride);
	}
	yield `\n${indent}]`;
}

/** A key or text with everything beyond ASCII escaped. */
function quoted(text: string): string {
	return JSON.stringify(text).replace(
		/[\u007f-\uffff]/g,
		(char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
	);
}

/** A float as Python prints it: the fewest digits that give it back, with a point or an exponent below 1e-4 and from 1e16 on. */
export function pythonFloat(value: number): string {
	if (Object.is(value, -0)) return "-0.0";
	if (value === 0) return "0.0";
	const magnitude = Math.abs(value);
	if (magnitude < 1e-4 || magnitude >= 1e16) {
		const [mantissa, power] = value.toExponential().split("e");
		const exponent = Number(power);
		return `${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
	}
	const text = String(value);
	return text.includes(".") ? text : `${text}.0`;
}
