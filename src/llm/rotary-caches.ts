import type { Graph } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import type { Value } from "../ir/value.js";
import { scalarOf } from "../passes/support/subgraph.js";
import { constantOf } from "../weights/constant.js";

/** How a length is compared with the one from which on other tables hold. */
const COMPARISONS: Readonly<Record<string, (a: number, b: number) => boolean>> = {
	Greater: (a, b) => a > b,
	GreaterOrEqual: (a, b) => a >= b,
	Less: (a, b) => a < b,
	LessOrEqual: (a, b) => a <= b,
};

/**
 * Makes rotary tables that an If chooses by the length of the sequence constants: those for the whole `context`, for keys
 * in the cache cannot be turned again when a sequence outgrows the shorter tables.
 */
export function chooseRotaryCaches(model: Model, context: number): void {
	const names = new NameScope(model);
	for (const node of [...model.graph.nodes].filter((candidate) => isOnnxOp(candidate, "If"))) {
		const limit = limitOf(node);
		if (limit === undefined) continue;
		const tables = tablesOf(node, limit.holds(context));
		if (tables === undefined) continue;
		for (const [index, table] of tables.entries()) {
			const value = model.graph.createValue(names.fresh(`${node.outputs[index]!.name}_chosen`));
			model.graph.setInitializer(value, table);
			node.outputs[index]!.replaceUsesWith(value);
		}
		node.remove();
	}
}

/** The length up to which the shorter of two pairs of rotary tables hold; undefined where there is one pair. */
export function shortRotaryLength({ graph }: Model): number | undefined {
	const limits = [...graph.nodes]
		.filter((node) => isOnnxOp(node, "If") && tablesOf(node, true) !== undefined)
		.flatMap((node) => limitOf(node) ?? []);
	return limits.length === 0
		? undefined
		: Math.min(...limits.map(({ length, holds }) => (holds(length) ? length - 1 : length)));
}

interface Limit {
	readonly length: number;
	/** Is the condition true for sequences so long? */
	readonly holds: (length: number) => boolean;
}

/** The condition of an If that compares something with a constant. */
function limitOf(node: Node): Limit | undefined {
	const condition = node.inputs[0]?.producer;
	const compare = condition && isOnnxOp(condition, condition.op.type) ? COMPARISONS[condition.op.type] : undefined;
	if (condition === undefined || compare === undefined) return undefined;
	const [left, right] = condition.inputs.map(scalarOf);
	if (right !== undefined && left === undefined) return { length: right, holds: (length) => compare(length, right) };
	if (left !== undefined && right === undefined) return { length: left, holds: (length) => compare(left, length) };
	return undefined;
}

/** The constants that one branch of an If gives; undefined where it gives something else. */
function tablesOf(node: Node, isThen: boolean): Tensor[] | undefined {
	const branch = node.attributes.get(isThen ? "then_branch" : "else_branch");
	if (branch?.kind !== "graph") return undefined;
	const tables = (branch.value as Graph).outputs.map((output) => constantOf(behindIdentity(output))?.tensor);
	return tables.every((table) => table !== undefined && table.shape.length === 2) ? (tables as Tensor[]) : undefined;
}

function behindIdentity(value: Value): Value {
	const { producer } = value;
	return producer !== undefined && isOnnxOp(producer, "Identity") ? behindIdentity(producer.inputs[0]!) : value;
}
