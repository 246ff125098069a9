import { DataType, type Dimension } from "../../ir/types.js";
import { broadcast } from "../dimension.js";
import { type Shape, tensorFact } from "../fact.js";
import type { OperatorCall, Rule, RuleTable } from "../operator-call.js";
import { agreed, shaped } from "./shape.js";

/** numpy's matmul: vectors lose the dimension that stands in for the missing one. */
export function matMulShape(a: Shape | undefined, b: Shape | undefined): Shape | undefined {
	if (a === undefined || b === undefined || a.length === 0 || b.length === 0) return undefined;
	const batch = broadcast([a.slice(0, -2), b.slice(0, -2)]) ?? [];
	const rows = a.length === 1 ? [] : [a.at(-2)];
	const columns = b.length === 1 ? [] : [b.at(-1)];
	return [...batch, ...rows, ...columns];
}

function gemm(call: OperatorCall): Shape | undefined {
	const [a, b] = [call.shape(0), call.shape(1)];
	if ((a !== undefined && a.length !== 2) || (b !== undefined && b.length !== 2)) return undefined;
	return [a?.[call.int("transA") ? 1 : 0], b?.[call.int("transB") ? 0 : 1]];
}

/** MatMul of integers: the sums are int32. */
const matMulInteger: Rule = (call) => [tensorFact(DataType.INT32, matMulShape(call.shape(0), call.shape(1)))];

const qLinearMatMul: Rule = (call) => [tensorFact(call.elementType(7), matMulShape(call.shape(0), call.shape(3)))];

function einsum(call: OperatorCall): Shape | undefined {
	const equation = call.string("equation")?.replaceAll(" ", "");
	if (equation === undefined) return undefined;
	const [left = "", right] = equation.split("->");
	const terms = left.split(",");
	const lengths = new Map<string, Dimension>();
	const ellipses: (Shape | undefined)[] = [];
	for (const [index, term] of terms.entries()) {
		const shape = call.shape(index);
		const before = term.indexOf("...");
		if (shape === undefined) {
			if (before >= 0) ellipses.push(undefined);
			continue;
		}
		const letters = [...term.replace("...", "")];
		const extra = before < 0 ? 0 : shape.length - letters.length;
		if (extra < 0 || (before < 0 && letters.length !== shape.length)) return undefined;
		if (before >= 0) ellipses.push(shape.slice(before, before + extra));
		for (const [at, letter] of letters.entries()) {
			const dimension = shape[before >= 0 && at >= before ? at + extra : at];
			const known = lengths.get(letter);
			lengths.set(
				letter,
				known === undefined || known === 1 ? dimension : dimension === 1 ? known : agreed([known, dimension]),
			);
		}
	}
	const ellipsis = broadcast(ellipses);
	const output = right ?? implicitOutput(terms);
	const at = output.indexOf("...");
	const letters = (text: string): Shape => [...text].map((letter) => lengths.get(letter));
	if (at < 0) return letters(output);
	return ellipsis && [...letters(output.slice(0, at)), ...ellipsis, ...letters(output.slice(at + 3))];
}

/** Without an arrow: the ellipsis, then the letters that occur once, sorted. */
function implicitOutput(terms: readonly string[]): string {
	const text = terms.join("");
	const letters = [...text.replaceAll(".", "")];
	const single = letters.filter((letter) => letters.indexOf(letter) === letters.lastIndexOf(letter)).sort();
	return (text.includes("...") ? "..." : "") + single.join("");
}

function determinant(call: OperatorCall): Shape | undefined {
	return call.shape(0)?.slice(0, -2);
}

const LSTM_GATES = 4;
const GRU_GATES = 3;

/** RNN, GRU and LSTM: Y [sequence, directions, batch, hidden], then the last states [directions, batch, hidden]. */
function recurrent(gates: number): Rule {
	return (call) => {
		const input = call.shape(0);
		const directions = call.string("direction") === "bidirectional" ? 2 : 1;
		const hidden = call.int("hidden_size") ?? hiddenOf(call, gates);
		const batchFirst = call.int("layout") === 1;
		const [sequence, batch] = batchFirst ? [input?.[1], input?.[0]] : [input?.[0], input?.[1]];
		const all = batchFirst ? [batch, sequence, directions, hidden] : [sequence, directions, batch, hidden];
		const last = batchFirst ? [batch, directions, hidden] : [directions, batch, hidden];
		const state = tensorFact(call.elementType(0), last);
		return [tensorFact(call.elementType(0), all), state, ...(gates === LSTM_GATES ? [state] : [])];
	};
}

/** R is [directions, gates * hidden, hidden]. */
function hiddenOf(call: OperatorCall, gates: number): Dimension {
	const rows = call.shape(2)?.[1];
	return call.shape(2)?.[2] ?? (typeof rows === "number" ? rows / gates : undefined);
}

/** LSTM of com.microsoft, whose packed weights do not tell how many states are hidden: the attribute must. */
export const quantizedLstm: Rule = recurrent(LSTM_GATES);

export const LINEAR_RULES: RuleTable = {
	MatMul: shaped((call) => matMulShape(call.shape(0), call.shape(1))),
	Gemm: shaped(gemm),
	MatMulInteger: matMulInteger,
	QLinearMatMul: qLinearMatMul,
	Einsum: shaped(einsum),
	Det: shaped(determinant),
	LSTM: recurrent(LSTM_GATES),
	GRU: recurrent(GRU_GATES),
	RNN: recurrent(1),
};
