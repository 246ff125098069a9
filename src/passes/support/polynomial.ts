import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { isAbout, isSame, producerOf, scalarOf } from "./subgraph.js";

/**
 * A polynomial of two values: coefficient `i + 4 j` belongs to x^i e^j, with i up to 3 and j up to 1. Writing subgraphs so
 * makes all ways to order and to nest sums and products equal.
 */
export type Polynomial = readonly number[];

const X_DEGREES = 4;
const LENGTH = 2 * X_DEGREES;
/** No operator is written with more nodes on a path than this. */
const MAX_DEPTH = 8;

/** The polynomial from its coefficients of 1, x, x^2 ... and of e, e x, e x^2 ... */
export function polynomial(ofX: readonly number[], ofE: readonly number[] = []): Polynomial {
	return Array.from({ length: LENGTH }, (_, index) =>
		index < X_DEGREES ? (ofX[index] ?? 0) : (ofE[index - X_DEGREES] ?? 0),
	);
}

/** `value` as a polynomial of `x` and `e`, by way of sums, products and powers; undefined where it is none. */
export function polynomialOf(value: Value | undefined, x: Value, e?: Value, depth = 0): Polynomial | undefined {
	if (value === undefined || depth > MAX_DEPTH) return undefined;
	if (isSame(value, x)) return polynomial([0, 1]);
	if (isSame(value, e)) return polynomial([], [1]);
	const scalar = scalarOf(value);
	if (scalar !== undefined) return polynomial([scalar]);
	const node = producerOf(value, "Add", "Sub", "Mul", "Div", "Pow");
	if (node === undefined) return undefined;
	const left = polynomialOf(node.inputs[0], x, e, depth + 1);
	const right = left && polynomialOf(node.inputs[1], x, e, depth + 1);
	if (left === undefined || right === undefined) return undefined;
	switch (node.op.type) {
		case "Add":
			return left.map((term, index) => term + right[index]!);
		case "Sub":
			return left.map((term, index) => term - right[index]!);
		case "Mul":
			return product(left, right);
		case "Div":
			return isConstant(right) ? left.map((term) => term / right[0]!) : undefined;
		default:
			return isConstant(right) ? power(left, right[0]!) : undefined;
	}
}

/** What may be the x of a polynomial that `value` is: the values that go into it, nearest first. */
export function* candidates(value: Value): Generator<Value> {
	const found = new Set([value]);
	for (const at of found) {
		yield at;
		if (found.size > LIMIT) continue;
		for (const input of producerOf(at, "Add", "Sub", "Mul", "Div", "Pow")?.inputs ?? []) {
			if (input !== undefined && scalarOf(input) === undefined) found.add(input);
		}
	}
}

const LIMIT = 16;

function isConstant(terms: Polynomial): boolean {
	return terms.every((term, index) => index === 0 || term === 0);
}

function product(a: Polynomial, b: Polynomial): Polynomial | undefined {
	const terms = Array<number>(LENGTH).fill(0);
	for (const [i, left] of a.entries()) {
		for (const [j, right] of b.entries()) {
			if (left === 0 || right === 0) continue;
			const isTooHigh = (i % X_DEGREES) + (j % X_DEGREES) >= X_DEGREES || i + j >= LENGTH;
			if (isTooHigh) return undefined;
			terms[i + j]! += left * right;
		}
	}
	return terms;
}

function power(base: Polynomial, exponent: number): Polynomial | undefined {
	if (exponent !== 2 && exponent !== 3) return undefined;
	const square = product(base, base);
	return exponent === 2 || square === undefined ? square : product(square, base);
}

/** The same but for how constants were rounded? */
export function isAboutPolynomial(actual: Polynomial | undefined, expected: Polynomial): boolean {
	return actual?.every((term, index) => isAbout(term, expected[index]!)) ?? false;
}

/** The node below `e` that gives `result`, a polynomial of `x` and `e`; undefined where there is none. */
export function nodeGiving(result: Polynomial, x: Value, e: Value): Node | undefined {
	for (const root of arithmeticBelow(e)) {
		if (isAboutPolynomial(polynomialOf(root.outputs[0], x, e), result)) return root;
	}
	return undefined;
}

/** The sums, products and quotients that `value` goes into, by way of others and of copies, nearest first. */
function arithmeticBelow(value: Value): Set<Node> {
	const below = new Set<Node>();
	const pending = new Set([value]);
	for (const at of pending) {
		for (const { node } of at.uses) {
			const isArithmetic = isOnnxOp(node, "Add", "Mul", "Div");
			if (isArithmetic) below.add(node);
			if (below.size < MOST_BELOW && (isArithmetic || isOnnxOp(node, ...COPIES))) pending.add(node.outputs[0]!);
		}
	}
	return below;
}

const MOST_BELOW = 16;
const COPIES = ["Cast", "Identity", "QuantizeLinear", "DequantizeLinear"];
