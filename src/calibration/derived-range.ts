import { floatOf } from "../ir/attribute.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { constantOf } from "../weights/constant.js";
import { scalarOf } from "../weights/numbers.js";

/**
 * How an element becomes that of another value: by an operation that never turns the order of elements round, or always,
 * and that float32 has exactly one result for. So the ends of a range become the ends of the other one.
 */
export interface ElementStep {
	readonly kind: "add" | "subtractFrom" | "multiply" | "divide" | "atLeast" | "atMost" | "scaleNegative";
	readonly operand: number;
}

/** A value whose range follows from that of another one. */
export interface Derivation {
	/** Its name. */
	readonly source: string;
	readonly steps: readonly ElementStep[];
}

/** How the range of a float32 value follows from that of the one that its operator reads; undefined where it does not. */
export function derivationOf({ producer }: Value): Derivation | undefined {
	if (producer === undefined) return undefined;
	const found = stepsOf(producer);
	if (found === undefined || !found.steps.every(({ operand }) => Number.isFinite(operand))) return undefined;
	return { source: found.source.name, steps: found.steps };
}

/** The ends of a range, each taken through the steps; NaN stays NaN. */
export function derivedRange(min: number, max: number, steps: readonly ElementStep[]): [min: number, max: number] {
	const ends = [min, max].map((end) => steps.reduce(stepped, end)) as [number, number];
	return ends[0] > ends[1] ? [ends[1], ends[0]] : ends;
}

function stepped(value: number, { kind, operand }: ElementStep): number {
	switch (kind) {
		case "add":
			return Math.fround(value + operand);
		case "subtractFrom":
			return Math.fround(operand - value);
		case "multiply":
			return Math.fround(value * operand);
		case "divide":
			return Math.fround(value / operand);
		case "atLeast":
			return Math.max(value, operand);
		case "atMost":
			return Math.min(value, operand);
		case "scaleNegative":
			return value < 0 ? Math.fround(value * operand) : value;
	}
}

type Found = { readonly source: Value; readonly steps: readonly ElementStep[] };

function stepsOf(node: Node): Found | undefined {
	const [first] = node.inputs;
	if (first === undefined) return undefined;
	if (isOnnxOp(node, "Relu")) return { source: first, steps: [{ kind: "atLeast", operand: 0 }] };
	if (isOnnxOp(node, "Neg")) return { source: first, steps: [{ kind: "multiply", operand: -1 }] };
	if (isOnnxOp(node, "LeakyRelu")) {
		const operand = floatOf(node, "alpha", 0.01);
		return operand >= 0 ? { source: first, steps: [{ kind: "scaleNegative", operand }] } : undefined;
	}
	if (isOnnxOp(node, "Clip")) return clipped(node, first);
	if (node.inputs.length !== 2 || !isOnnxOp(node, "Add", "Sub", "Mul", "Div", "Min", "Max")) return undefined;
	return binary(node, first, node.inputs[1]);
}

function binary(node: Node, first: Value, second: Value | undefined): Found | undefined {
	const [left, right] = [numberOf(first), numberOf(second)];
	if (right !== undefined) {
		const kind = BEHIND[node.op.type]!;
		if (right === 0 && (kind === "multiply" || kind === "divide")) return undefined;
		return { source: first, steps: [{ kind, operand: node.op.type === "Sub" ? -right : right }] };
	}
	const kind = BEFORE[node.op.type];
	if (left === undefined || second === undefined || kind === undefined) return undefined;
	return left === 0 && kind === "multiply" ? undefined : { source: second, steps: [{ kind, operand: left }] };
}

/** What an operator does to its first input, the second one being a number. */
const BEHIND: Readonly<Record<string, ElementStep["kind"]>> = {
	Add: "add",
	Sub: "add",
	Mul: "multiply",
	Div: "divide",
	Min: "atMost",
	Max: "atLeast",
};

/** What an operator does to its second input, the first one being a number. A quotient of a number has its order broken at 0. */
const BEFORE: Readonly<Record<string, ElementStep["kind"]>> = {
	Add: "add",
	Sub: "subtractFrom",
	Mul: "multiply",
	Min: "atMost",
	Max: "atLeast",
};

function clipped(node: Node, source: Value): Found | undefined {
	const steps: ElementStep[] = [];
	for (const [index, [name, kind]] of CLIP_BOUNDS.entries()) {
		const input = node.inputs[index + 1];
		const attribute = node.attributes.get(name);
		const operand = input === undefined ? (attribute?.kind === "float" ? attribute.value : undefined) : numberOf(input);
		if (operand !== undefined) steps.push({ kind, operand });
		else if (input !== undefined) return undefined;
	}
	return { source, steps };
}

const CLIP_BOUNDS = [
	["min", "atLeast"],
	["max", "atMost"],
] as const;

/** The only element of a float32 constant that nobody can replace. */
function numberOf(value: Value | undefined): number | undefined {
	const constant = constantOf(value);
	if (constant === undefined || constant.overridable || constant.tensor.dtype !== DataType.FLOAT) return undefined;
	return scalarOf(constant);
}
