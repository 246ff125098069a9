import { intOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { numbersOf } from "../../weights/numbers.js";
import { fixedShape } from "../fixed-shape.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";
import { ELEMENTWISE, sourceOf } from "./producers.js";

const RESHAPES: readonly string[] = ["Reshape", "Squeeze", "Unsqueeze", "Flatten"];
const INTEGERS: readonly (DataType | undefined)[] = [DataType.INT32, DataType.INT64];
/** Rows of integers of which the first column is taken, one more than a multiple of it. */
const ROW_GROUP = 8;
/** Columns and rows of what a Pad has put rows behind. */
const PADDED = { columns: 16, rows: 4, most: 32 };

/** Lengths without the ones in front. */
function leading(shape: readonly number[]): readonly number[] {
	const first = shape.findIndex((length) => length !== 1);
	return first < 0 ? [] : shape.slice(first);
}

/** The operands of an outer product in batches, [.., n, 1] and [.., 1, n], both as long: the columns first. */
function outerOperands([first, second]: readonly (OperandFacts | undefined)[]):
	| readonly [OperandFacts, OperandFacts]
	| undefined {
	for (const [columns, rows] of [
		[first, second],
		[second, first],
	]) {
		const [a, b] = [fixedShape(columns?.shape), fixedShape(rows?.shape)];
		const length = a?.at(-2);
		if (a === undefined || b === undefined || length === undefined || length === 1) continue;
		if (a.at(-1) !== 1 || b.at(-1) !== length || b.at(-2) !== 1) continue;
		const [batch, other] = [a, b].map((shape) => leading(shape.slice(0, -2)));
		if (batch!.length > 0 && batch!.join() === other!.join()) return [columns!, rows!];
	}
	return undefined;
}

/** Is it a view of what an operator has made? */
function isReshapedResult({ value }: OperandFacts): boolean {
	const view = sourceOf(value, []);
	return (
		view !== undefined &&
		isOnnxOp(view, ...RESHAPES) &&
		sourceOf(view.inputs[0], [...RESHAPES, "Transpose"]) !== undefined
	);
}

/** How many numbers a Pad of rank 4 puts behind the second axis from the end, where it puts none elsewhere. */
export function rowsBehind({ node, inputs }: OperatorFacts): number | undefined {
	const amounts = inputs[1]?.constant;
	if (!isOnnxOp(node, "Pad") || amounts === undefined || inputs[3] !== undefined) return undefined;
	const pads = Array.from(numbersOf(amounts));
	const count = pads[6]!;
	return pads.length === 8 && count > 0 && pads.every((amount, at) => at === 6 || amount === 0) ? count : undefined;
}

/** The operators that read `value`, quantizers and operators of one element after another aside, and where. */
function readersOf(value: Value): { readonly node: Node; readonly index: number }[] {
	return value.uses.flatMap(({ node, index }) =>
		isOnnxOp(node, "QuantizeLinear", "DequantizeLinear", ...ELEMENTWISE)
			? readersOf(node.outputs[0]!)
			: [{ node, index }],
	);
}

/** Does a Transpose make `value`, a Reshape, and operators of one element after another, in between? */
function isTurned(value: Value): boolean {
	const view = sourceOf(value, [...ELEMENTWISE, "Cast"]);
	const turn = view && isOnnxOp(view, "Reshape") ? sourceOf(view.inputs[0], ELEMENTWISE) : undefined;
	return turn !== undefined && isOnnxOp(turn, "Transpose");
}

/** Does it take just the first of four on the last axis? */
function takesFirst({ node, inputs }: OperatorFacts): boolean {
	const shape = inputs[0]?.shape;
	if (shape?.at(-1) !== 4) return false;
	const [first, ...others] = inputs.slice(1).map((input) => input?.constant && Array.from(numbersOf(input.constant)));
	const isLast = (axis: number) => axis === -1 || axis === shape.length - 1;
	if (isOnnxOp(node, "Gather")) {
		return first?.length === 1 && (first[0] === 0 || first[0] === -4) && isLast(intOf(node, "axis", 0));
	}
	if (!isOnnxOp(node, "Slice") || first?.length !== 1) return false;
	const [[end], [axis], [step]] = [others[0] ?? [], others[1] ?? [0], others[2] ?? [1]];
	return (first[0] === 0 || first[0] === -4) && (end === 1 || end === -3) && isLast(axis!) && step === 1;
}

export const TURNED_VIEW_RULES: RuleGroup = {
	title: "Views that the compiler turns around",
	rules: [
		{
			id: "htp/outer-product",
			about:
				"A Mul of [.., n, 1] and [.., 1, n] in batches, between codes of one type, does not read what a Reshape or its like makes of the result of an operator.",
			consequence: "wrong",
			measured:
				"-28 to -8 dB on every architecture, of 16 and 8 bits, whatever n and the batch are, in front of every operator: [5, 8, 6, 1] and [5, 8, 1, 6] behind Gather, Add, MatMul, Max and Relu, as in factorization machines; 97 dB and more as one product, with [.., n, 1] and [.., 1, m], with other batches on either side, on floats, as Add, Sub, Max, Min and Div, behind graph inputs, and with an operator between Reshape and Mul",
			remedy: "put a Max with the least code in front of both",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs: [output] }) {
				const operands = isOnnxOp(node, "Mul") ? outerOperands(inputs) : undefined;
				const types = new Set([...(operands ?? []), output].map((one) => one?.quantization?.dtype));
				if (operands === undefined || types.size > 1 || types.has(undefined)) return undefined;
				if (!operands.some(isReshapedResult)) return undefined;
				const [columns, rows] = operands.map(({ shape }) => `[${shape!.join(", ")}]`);
				return `it multiplies ${columns} with ${rows}`;
			},
		},
		{
			id: "htp/turned-pad",
			about:
				"Between codes, a Pad does not put rows behind the second axis from the end, up to 32 that are no multiple of 4, of a multiple of 16 columns that a Transpose and a Reshape to rank 4 have made, where a MatMul multiplies them.",
			consequence: "wrong",
			measured:
				"-8 to 3 dB on every architecture, of 16 and 8 bits, with 0 as the number too: [1, 4, 8, 64] and one row, as in linear attention, 6, 10, 12, 16 and one, 8 and two or three, in two to eight matrices, with 16, 32, 48 and 64 columns; 49 dB and more as a Concat with a constant, with 60 and 100 columns, to 8, 12 and 16 rows, to 33 rows, in front, without the Transpose, and where another operator reads them",
			remedy: "make it a Concat with a constant",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs, outputs } = operator;
				const [count, shape] = [rowsBehind(operator), fixedShape(outputs[0]?.shape)];
				const { dtype } = inputs[0]?.quantization ?? {};
				if (count === undefined || shape === undefined || dtype === undefined || shape.length !== 4) return undefined;
				const [rows, columns] = shape.slice(-2) as [number, number];
				if (rows % PADDED.rows === 0 || rows > PADDED.most || columns % PADDED.columns !== 0) return undefined;
				const isLeft = readersOf(node.outputs[0]!).some((use) => isOnnxOp(use.node, "MatMul") && use.index === 0);
				if (!isLeft || !isTurned(inputs[0]!.value)) return undefined;
				return `${count} rows are put behind ${rows - count} of ${columns} columns`;
			},
		},
		{
			id: "htp/first-of-four",
			about:
				"No Gather or Slice takes just the first of four integers of INT32 or INT64 on the last axis, out of one more row than a multiple of 8.",
			consequence: "wrong",
			measured:
				"the last row is that of the first one, on every architecture: 9, 17, 25, 33, 41 and 65 rows, of rank 2 and 3, with the index as a number, a row and negative, by a Slice and a Split, and often behind a Transpose, too, which the compiler takes back; read by Gather, Cast, Add and as graph output, as the features of recommendation models; right for the other three, out of 1 to 3, 5, 6, 8, 12 and 16 numbers in a row, for other numbers of rows, on codes and on floats, and with the index of each out of a vector",
			remedy: "gather every fourth number of all of them as a vector",
			appliedBy: "legalize-operators",
			broken(operator, { known }) {
				const { node, inputs } = operator;
				const shape = fixedShape(inputs[0]?.shape);
				if (shape === undefined || !INTEGERS.includes(inputs[0]!.dtype) || known.isFolded(node)) return undefined;
				const rows = elementCount(shape.slice(0, -1));
				if (rows === 1 || rows % ROW_GROUP !== 1 || !takesFirst(operator)) return undefined;
				return `it takes the first of [${shape.join(", ")}]`;
			},
		},
	],
};
