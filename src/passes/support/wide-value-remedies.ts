import { isOnnxOp } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import type { Interval } from "../../quant/grid.js";
import type { OperatorFacts } from "../../targets/operator-facts.js";
import { EIGHT_BITS } from "../../targets/rules/code-types.js";
import { gatedInput } from "../../targets/rules/gated-input.js";
import { rangeOf } from "../../targets/rules/operand-ranges.js";
import { CodedWriter } from "./coded-writer.js";
import type { Remedy } from "./remedy.js";

/** From there on a Softplus or Mish makes what it reads, and below the same without its sign 0, as far as 16 bits tell. */
const FAR = 16;
/** Below, a Gelu makes 0. */
const GELU_START = -5;
/** How far down they may read, a Softplus or Mish of 16 bits and others: more leaves no codes for what is near 0. */
const LOWEST = { narrow: -960, wide: -1024 };
/** Between grids: of the steps of one and the other. */
const LARGEST_FACTOR = 32;
/** Coefficients of `log(1 + z) = 2 w + 2/3 w^3 + 2/5 w^5 + ...` with `w = z / (z + 2)`. */
const LOGARITHM = [2 / 7, 2 / 5, 2 / 3, 2];
/** The least value of Mish. */
const LEAST_MISH = -0.31;

/** `Gelu(x)` -> `Gelu(DQ(Q(Max(x, -5))))`, `Mul(x, Sigmoid(x))` -> the same of `DQ(Q(Max(x, -16)))`. */
export const raiseStart: Remedy = (operator, tools) => {
	const gated = gatedInput(operator);
	const facts = gated === undefined ? operator : { ...operator, inputs: [gated] };
	const writer = (rangeOf(facts.inputs[0])?.lo ?? 0) < LOWEST.narrow ? undefined : CodedWriter.of(facts, tools);
	if (writer === undefined) return false;
	if (gated === undefined) {
		writer.keep(raisedTo(writer, GELU_START));
		return true;
	}
	const raised = raisedTo(writer, -FAR);
	const gate = writer.emit("Sigmoid", [raised], {}, "gate");
	writer.close(writer.emit("Mul", [raised, gate], {}, "gated"));
	return true;
};

/** Does `operator` read values so far below 0 that too few codes are left for what is near? */
function isTooFar({ inputs: [input], outputs: [output] }: OperatorFacts): boolean {
	const range = rangeOf(input);
	const isNarrow = [input, output].some((one) => EIGHT_BITS.includes(one?.quantization?.dtype));
	return range !== undefined && range.lo < (isNarrow ? LOWEST.narrow : LOWEST.wide);
}

/** `Mish(x)` -> `Mish(Clip(x, -16, 16)) + Relu(x - 16)`, and Softplus; without the sum where nothing is above 16. */
export const limitInput: Remedy = (operator, tools) => {
	const { node } = operator;
	const writer = isTooFar(operator) ? undefined : CodedWriter.of(operator, tools);
	if (writer === undefined) return false;
	const { hi } = writer.range;
	const limited = limitedTo(writer, FAR);
	const near = writer.emit(node.op.type, [limited], {}, "near");
	if (hi <= FAR) {
		writer.close(near);
		return true;
	}
	const lo = isOnnxOp(node, "Mish") ? LEAST_MISH : 0;
	const coded = writer.inCodes(near, { lo, hi: FAR });
	const far = { lo: writer.range.lo - FAR, hi: hi - FAR };
	const rest = writer.coded("Sub", [writer.input, writer.number(FAR, "far")], far, "rest");
	const above = writer.coded("Relu", [rest], { lo: 0, hi: hi - FAR }, "above");
	writer.close(writer.emit("Add", [coded, above], {}, "sum"));
	return true;
};

/** `Softplus(x)` -> `log(1 + z)` as a series, `Mish(x)` -> `x n / (n + 2)` with `n = z (z + 2)`, with `z = Exp(x)`. */
export const writeWithExponential: Remedy = (operator, tools) => {
	const writer = isTooFar(operator) ? undefined : CodedWriter.of(operator, tools);
	if (writer === undefined) return false;
	const x = writer.range.lo < -FAR ? raisedTo(writer, -FAR) : writer.input;
	const largest = Math.exp(writer.range.hi);
	const z = writer.coded("Exp", [x], upTo(largest), "exponential");
	writer.close(isOnnxOp(operator.node, "Mish") ? mishOf(writer, x, z, largest) : logarithmOf(writer, z, largest));
	return true;
};

/** `x tanh(log(1 + z))`. */
function mishOf(writer: CodedWriter, x: Value, z: Value, largest: number): Value {
	const more = writer.coded("Add", [z, writer.number(2, "two")], upTo(largest + 2), "more");
	const product = largest * (largest + 2);
	const n = writer.coded("Mul", [z, more], upTo(product), "product");
	const divisor = writer.coded("Add", [n, writer.number(2, "two_more")], upTo(product + 2), "divisor");
	const tanh = writer.coded("Div", [n, divisor], upTo(product / (product + 2)), "tanh");
	return writer.emit("Mul", [x, tanh], {}, "mish");
}

/** `log(1 + z)`. */
function logarithmOf(writer: CodedWriter, z: Value, largest: number): Value {
	const more = writer.coded("Add", [z, writer.number(2, "two")], upTo(largest + 2), "more");
	const end = largest / (largest + 2);
	const w = writer.coded("Div", [z, more], upTo(end), "quotient");
	const square = writer.coded("Mul", [w, w], upTo(end ** 2), "square");
	const [first, ...rest] = LOGARITHM;
	let reach = first! * end ** 2;
	let sum = writer.coded("Mul", [square, writer.number(first!, "term_0")], upTo(reach), "power_0");
	for (const [index, coefficient] of rest.entries()) {
		const label = `${index + 1}`;
		reach += coefficient;
		const next = writer.coded("Add", [sum, writer.number(coefficient, `term_${label}`)], upTo(reach), `sum_${label}`);
		if (index === rest.length - 1) return writer.emit("Mul", [next, w], {}, "logarithm");
		reach *= end ** 2;
		sum = writer.coded("Mul", [next, square], upTo(reach), `power_${label}`);
	}
	return sum;
}

function upTo(hi: number): Interval {
	return { lo: 0, hi };
}

/** What the operator reads, `start` where it is less; on a grid in between first, where the steps become too much smaller. */
function raisedTo(writer: CodedWriter, start: number): Value {
	const { lo, hi } = writer.range;
	const raised = (value: Value, end: number, label: string) =>
		writer.coded("Max", [value, writer.number(end, label)], { lo: end, hi: Math.max(hi, 0) }, `${label}_raised`);
	const middle = -Math.sqrt(lo * start);
	return raised(lo < LARGEST_FACTOR * start ? raised(writer.input, middle, "middle") : writer.input, start, "start");
}

/** What the operator reads, between `-end` and `end`. */
function limitedTo(writer: CodedWriter, end: number): Value {
	const { lo, hi } = writer.range;
	const raised = lo < -end ? raisedTo(writer, -end) : writer.input;
	const least = Math.max(lo, -end);
	if (hi <= end) return raised;
	return writer.coded("Min", [raised, writer.number(end, "end")], { lo: least, hi: end }, "limited");
}
