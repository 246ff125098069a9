import type { Graph } from "../ir/graph.js";
import { isOnnxOp } from "../ir/node.js";
import { DataType, type Dimension, type ValueType } from "../ir/types.js";
import { frontAxis } from "./dimension.js";
import {
	commonFact,
	commonType,
	elementTypeOf,
	type Fact,
	NOTHING,
	type Shape,
	shapeOfType,
	tensorFact,
} from "./fact.js";
import type { OperatorCall } from "./operator-call.js";
import { agreed } from "./rules/shape.js";

/** Infers the types in a body whose inputs are `inputs`, and gives those of its outputs. */
export type RunBody = (body: Graph, inputs: readonly Fact[]) => readonly Fact[];

/** How often a loop's body is looked at until what it carries around is stable; then shapes are given up. */
const MAX_ROUNDS = 3;

/** Loops nested deeper than this carry unknown types: each level multiplies the work. */
const MAX_DEPTH = 3;

/** The outputs of If, Loop, Scan and SequenceMap; undefined for other operators. */
export function inferControlFlow(call: OperatorCall, run: RunBody, depth: number): readonly Fact[] | undefined {
	if (!isOnnxOp(call.node, "If", "Loop", "Scan", "SequenceMap")) return undefined;
	switch (call.node.op.type) {
		case "If":
			return branch(call, run);
		case "Loop":
			return loop(call, run, depth);
		case "Scan":
			return call.version < 9 ? scanOfBatches(call, run, depth) : scan(call, run, depth);
		default:
			return sequenceMap(call, run);
	}
}

function bodyOf(call: OperatorCall, name: string): Graph | undefined {
	const attribute = call.attribute(name);
	return attribute?.kind === "graph" ? attribute.value : undefined;
}

/** What both branches give; where the condition is known, what the one that is taken gives. */
function branch(call: OperatorCall, run: RunBody): readonly Fact[] {
	const [thenGraph, elseGraph] = [bodyOf(call, "then_branch"), bodyOf(call, "else_branch")];
	const thenFacts = thenGraph ? run(thenGraph, []) : [];
	const elseFacts = elseGraph ? run(elseGraph, []) : [];
	const condition = call.elements(0)?.[0];
	if (typeof condition === "number") return condition === 0 ? elseFacts : thenFacts;
	return thenFacts.map((fact, index) => commonFact(fact, elseFacts[index] ?? NOTHING));
}

function loop(call: OperatorCall, run: RunBody, depth: number): readonly Fact[] {
	const body = bodyOf(call, "body");
	if (body === undefined) return [];
	const initial = Array.from({ length: Math.max(0, call.inputCount - 2) }, (_, index) => call.type(index + 2));
	const control = [tensorFact(DataType.INT64, []), tensorFact(DataType.BOOL, [])];
	const { states, outputs } = untilStable(initial, depth, (states) =>
		run(body, [...control, ...states.map((type) => ({ type }))]).slice(1),
	);
	const stacked = outputs.slice(states.length).map(({ type }) => withAxis(type, 0, undefined));
	return [...states.map((type) => ({ type })), ...stacked];
}

/** [length, ...] sequences in, [length, ...] sequences out, along any axis. */
function scan(call: OperatorCall, run: RunBody, depth: number): readonly Fact[] {
	const body = bodyOf(call, "body");
	const sequences = call.int("num_scan_inputs");
	if (body === undefined || sequences === undefined || sequences > call.inputCount) return [];
	const stateCount = call.inputCount - sequences;
	const axes = call.ints("scan_input_axes");
	const outputAxes = call.ints("scan_output_axes");
	const lengths: Dimension[] = [];
	const slices = Array.from({ length: sequences }, (_, index) => {
		const shape = call.shape(stateCount + index);
		const axis = shape && frontAxis(axes?.[index] ?? 0, shape.length);
		if (axis === undefined) return tensorFact(call.elementType(stateCount + index), undefined);
		lengths.push(shape![axis]);
		return tensorFact(call.elementType(stateCount + index), shape!.toSpliced(axis, 1));
	});
	const initial = Array.from({ length: stateCount }, (_, index) => call.type(index));
	const { states, outputs } = untilStable(initial, depth, (states) =>
		run(body, [...states.map((type) => ({ type })), ...slices]),
	);
	const stacked = outputs
		.slice(stateCount)
		.map(({ type }, index) => withAxis(type, outputAxes?.[index] ?? 0, agreed(lengths)));
	return [...states.map((type) => ({ type })), ...stacked];
}

/** Scan of opset 8: input 0 holds sequence lengths, everything else has the batch in front, sequences [batch, length, ...]. */
function scanOfBatches(call: OperatorCall, run: RunBody, depth: number): readonly Fact[] {
	const body = bodyOf(call, "body");
	const sequences = call.int("num_scan_inputs");
	if (body === undefined || sequences === undefined || sequences >= call.inputCount) return [];
	const stateCount = call.inputCount - 1 - sequences;
	const batch = agreed(call.shapes(1).map((shape) => shape?.[0]));
	const length = agreed(call.shapes(1 + stateCount).map((shape) => shape?.[1]));
	const inner = (index: number, skipped: number): Fact =>
		tensorFact(call.elementType(index), call.shape(index)?.slice(skipped));
	const initial = Array.from({ length: stateCount }, (_, index) => inner(index + 1, 1).type);
	const slices = Array.from({ length: sequences }, (_, index) => inner(index + 1 + stateCount, 2));
	const { states, outputs } = untilStable(initial, depth, (states) =>
		run(body, [...states.map((type) => ({ type })), ...slices]),
	);
	const stacked = outputs.slice(stateCount).map(({ type }) => withAxis(withAxis(type, 0, length).type, 0, batch));
	return [...states.map((type) => withAxis(type, 0, batch)), ...stacked];
}

/** A body that maps elements of sequences (inputs that are none are given to each call) to elements of sequences. */
function sequenceMap(call: OperatorCall, run: RunBody): readonly Fact[] {
	const body = bodyOf(call, "body");
	if (body === undefined) return [];
	const inputs = Array.from({ length: call.inputCount }, (_, index) => {
		const type = call.type(index);
		return type?.kind === "sequence" ? { type: type.element } : { type };
	});
	return run(body, inputs).map(({ type }) => ({ type: { kind: "sequence", element: type } }));
}

/**
 * Types of what a loop carries around, such that the body turns them into themselves: it is looked at again with what the
 * types before and after have in common until nothing changes.
 */
function untilStable(
	initial: readonly (ValueType | undefined)[],
	depth: number,
	run: (states: readonly (ValueType | undefined)[]) => readonly Fact[],
): { readonly states: readonly (ValueType | undefined)[]; readonly outputs: readonly Fact[] } {
	let states = depth > MAX_DEPTH ? initial.map(() => undefined) : initial;
	for (let round = 1; ; round++) {
		const outputs = run(states);
		const after = states.map((type, index) => commonType(type, outputs[index]?.type));
		if (after.every((type, index) => isSameType(type, states[index]))) return { states, outputs };
		if (round < MAX_ROUNDS) states = after;
		else states = states.map(round === MAX_ROUNDS ? withoutShape : () => undefined);
	}
}

function isSameType(a: ValueType | undefined, b: ValueType | undefined): boolean {
	return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function withoutShape(type: ValueType | undefined): ValueType | undefined {
	return type?.kind === "tensor" ? { ...type, shape: undefined } : undefined;
}

/** The tensors that the body gives, stacked along a new axis. */
function withAxis(type: ValueType | undefined, axis: number, length: Dimension): Fact {
	const shape: Shape | undefined = shapeOfType(type);
	const at = shape && frontAxis(axis, shape.length + 1);
	return tensorFact(elementTypeOf(type), at === undefined ? undefined : shape!.toSpliced(at, 0, length));
}
