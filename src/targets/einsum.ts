import { stringOf } from "../ir/attribute.js";
import type { Node } from "../ir/node.js";
import type { OperatorFacts } from "./operator-facts.js";

/** An Einsum's equation: a letter an axis. */
export interface EinsumEquation {
	readonly terms: readonly string[];
	readonly output: string;
}

/** undefined where it has an ellipsis, or a term that names an axis twice. */
export function einsumEquation(node: Node): EinsumEquation | undefined {
	const [left, right] = (stringOf(node, "equation") ?? "").replaceAll(" ", "").split("->");
	if (left === undefined || left.includes(".")) return undefined;
	const terms = left.split(",");
	const letters = [...left.replaceAll(",", "")];
	const once = [...new Set(letters)].filter((letter) => letters.indexOf(letter) === letters.lastIndexOf(letter));
	const output = right ?? once.sort().join("");
	const isPlain = [...terms, output].every((term) => new Set(term).size === term.length);
	return isPlain && terms.length === node.inputs.length ? { terms, output } : undefined;
}

/** Is it an Einsum that the compiler takes: a product of matrices, with no axis out of its place? */
export function isTakenEinsum({ node, inputs }: OperatorFacts): boolean {
	const equation = einsumEquation(node);
	const [a, b] = equation?.terms ?? [];
	if (a === undefined || b === undefined || equation!.terms.length !== 2) return false;
	const { output } = equation!;
	if (isSame(`${a},${b}->${output}`, "bhwc,hkc->bhwk")) return true;
	if (a.length !== b.length || a.length < 2) return false;
	const batch = a.slice(0, -2);
	const [rows, depth] = a.slice(-2);
	const other = b.slice(-2);
	if (!b.startsWith(batch) || !other.includes(depth!)) return false;
	const columns = other.replace(depth!, "");
	const [first, second] = inputs.map((input) => input?.shape?.slice(0, batch.length));
	return output === batch + rows + columns && first?.every((dim, axis) => dim === second?.[axis]) === true;
}

/** Are both equations the same but for the names of their axes? */
function isSame(a: string, b: string): boolean {
	const named = (text: string) => {
		const letters = [...new Set(text.replace(/[^a-zA-Z]/g, ""))];
		return text.replace(/[a-zA-Z]/g, (letter) => `${letters.indexOf(letter)} `);
	};
	return named(a) === named(b);
}
