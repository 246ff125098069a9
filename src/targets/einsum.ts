import { stringOf } from "../ir/attribute.js";
import { DataType } from "../ir/types.js";
import type { OperandFacts, OperatorFacts } from "./operator-facts.js";

const ELLIPSIS = "...";

/** An Einsum's equation: a letter an axis. */
export interface EinsumEquation {
	readonly terms: readonly string[];
	readonly output: string;
}

/** Letters, of which those that an equation does not use stand for the axes of its ellipses. */
const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** undefined where a term names an axis twice, or an ellipsis stands for axes that are not known, or summed over. */
export function einsumEquation({ node, inputs }: OperatorFacts): EinsumEquation | undefined {
	const [left, right] = (stringOf(node, "equation") ?? "").replaceAll(" ", "").split("->");
	if (left === undefined) return undefined;
	const written = left.split(",");
	if (written.length !== node.inputs.length) return undefined;
	const lettersOf = (term: string) => term.replace(ELLIPSIS, "");
	const covered = written.map((term, index) => {
		const rank = inputs[index]?.shape?.length;
		if (!term.includes(ELLIPSIS)) return 0;
		return rank === undefined ? undefined : rank - lettersOf(term).length;
	});
	if (!covered.every((count) => count !== undefined && count >= 0)) return undefined;
	const most = Math.max(...(covered as number[]));
	const free = [...LETTERS].filter((letter) => !left.includes(letter)).slice(0, most);
	if (free.length < most) return undefined;
	const last = (count: number) => free.slice(most - count).join("");
	const terms = written.map((term, index) => term.replace(ELLIPSIS, last(covered[index]!)));
	const letters = written.flatMap((term) => [...lettersOf(term)]);
	const once = letters.filter((letter) => letters.indexOf(letter) === letters.lastIndexOf(letter));
	const output = right === undefined ? last(most) + once.sort().join("") : right.replace(ELLIPSIS, last(most));
	const isPlain = [...terms, output].every((term) => /^[a-zA-Z]*$/.test(term) && new Set(term).size === term.length);
	const isWhole = free.every((letter) => output.includes(letter));
	return isPlain && isWhole ? { terms, output } : undefined;
}

/** The zero points in the middle of the types of 16 bits. */
const MIDDLES: ReadonlyMap<DataType | undefined, number> = new Map([
	[DataType.UINT16, 2 ** 15],
	[DataType.INT16, 0],
]);

/** Are these codes of 16 bits whose zero point is not in the middle? */
export function isLopsided(operand: OperandFacts | undefined): boolean {
	const { dtype, zeroPoint } = operand?.quantization ?? {};
	const middle = MIDDLES.get(dtype);
	return middle !== undefined && zeroPoint !== middle;
}

/** Is it an Einsum that the compiler takes: a product of matrices, with no axis out of its place and the right zero point? */
export function isTakenEinsum(operator: OperatorFacts): boolean {
	const { node, inputs } = operator;
	if (stringOf(node, "equation")?.includes(ELLIPSIS) || isLopsided(inputs[1])) return false;
	const equation = einsumEquation(operator);
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
