import type { Graph, NodeSpec } from "../../ir/graph.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { constantOf, removeIfUnused } from "../../weights/constant.js";
import { smallConstantOf } from "./small-constant.js";

/** What `value` is a copy of: what stands before any Cast, Identity and pairs of QuantizeLinear and DequantizeLinear. */
export function originOf(value: Value): Value {
	let at = value;
	for (let before = copied(at); before !== undefined; before = copied(at)) at = before;
	return at;
}

/** What `value` is before any Cast and Identity. */
export function uncast(value: Value): Value {
	let at = value;
	while (at.producer !== undefined && isOnnxOp(at.producer, "Cast", "Identity") && at.producer.inputs[0]) {
		at = at.producer.inputs[0];
	}
	return at;
}

function copied({ producer }: Value): Value | undefined {
	if (producer === undefined) return undefined;
	if (isOnnxOp(producer, "Cast", "Identity")) return producer.inputs[0];
	if (!isOnnxOp(producer, "DequantizeLinear")) return undefined;
	const quantizer = producer.inputs[0]?.producer;
	return quantizer !== undefined && isOnnxOp(quantizer, "QuantizeLinear") ? quantizer.inputs[0] : undefined;
}

/** The operator of the standard domain, one of `types`, whose only output `value` is, copies aside. */
export function producerOf(value: Value | undefined, ...types: readonly string[]): Node | undefined {
	const producer = value && originOf(value).producer;
	return producer !== undefined && isOnnxOp(producer, ...types) && producer.outputs.length === 1 ? producer : undefined;
}

/** Are `a` and `b` the same, copies aside? */
export function isSame(a: Value | undefined, b: Value | undefined): boolean {
	return a !== undefined && b !== undefined && originOf(a) === originOf(b);
}

/** Both operands of a binary operator whose order does not matter, in either order. */
export function* operandsOf({ inputs: [a, b] }: Node): Generator<readonly [Value, Value]> {
	if (a === undefined || b === undefined) return;
	yield [a, b];
	yield [b, a];
}

/** The number that `value` is, where it is a constant of one element, dequantized or not. */
export function scalarOf(value: Value | undefined): number | undefined {
	const constant = smallConstantOf(value && uncast(value));
	return constant?.values.length === 1 ? constant.values[0] : undefined;
}

/** What rounding two constants to float16 leaves of a product. */
const TOLERANCE = 2 ** -10;

export function isAbout(actual: number | undefined, expected: number): boolean {
	return actual !== undefined && Math.abs(actual - expected) <= TOLERANCE * Math.abs(expected);
}

/** The nodes from `root` up to `leaves`; constants, those behind a DequantizeLinear too, and copies of leaves are none. */
export function nodesBetween(root: Node, leaves: readonly Value[]): Set<Node> {
	const ends = new Set(leaves.map(originOf));
	const nodes = new Set([root]);
	for (const node of nodes) {
		for (const input of node.inputs) {
			if (input?.producer === undefined || isConstant(input) || ends.has(originOf(input))) continue;
			nodes.add(input.producer);
		}
	}
	return nodes;
}

function isConstant(value: Value): boolean {
	return constantOf(value) !== undefined || smallConstantOf(value) !== undefined;
}

/** A value made inside of `nodes` that something else reads, too; `result` is meant to be read. */
export function sharedValue(nodes: ReadonlySet<Node>, result: Value): Value | undefined {
	for (const { outputs } of nodes) {
		for (const output of outputs) {
			if (output === result) continue;
			if (output.isGraphOutput || output.uses.some(({ node }) => !nodes.has(node))) return output;
		}
	}
	return undefined;
}

/** Puts a node in the place of `root`, giving what that gave, and removes what only `root` needed. */
export function replaceSubgraph(root: Node, spec: Omit<NodeSpec, "outputs">): Node {
	const inputs = [...root.inputs];
	const node = (root.graph as Graph).replaceNode(root, { ...spec, outputs: root.outputs });
	for (const input of inputs) if (input !== undefined) removeUnused(input);
	return node;
}

/** Removes what computes `value`, where nothing reads that any more, and what only that needed. */
export function removeUnused(value: Value): void {
	const pending = [value];
	for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
		const { producer } = at;
		if (constantOf(at) !== undefined) removeIfUnused(at);
		else if (producer?.graph !== undefined && producer.outputs.every(isUnused)) {
			const inputs = producer.inputs.filter((input) => input !== undefined);
			producer.remove();
			pending.push(...inputs);
		}
	}
}

function isUnused(value: Value): boolean {
	return value.uses.length === 0 && !value.isGraphOutput;
}
