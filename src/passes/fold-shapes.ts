import { inferTypes, type TypeTable } from "../inference/index.js";
import type { Graph } from "../ir/graph.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import type { Value } from "../ir/value.js";
import { allGraphs, nodeLabel } from "../ir/walk.js";
import { addConstant } from "../weights/constant.js";
import { definePass } from "./infra/pass.js";
import { dropEmptyParts } from "./support/empty-parts.js";
import { knownTensor } from "./support/known-tensor.js";

/** Operators with which exporters begin to compute a shape. */
const ROOTS = ["Shape", "Size", "ConstantOfShape", "Range"];

/**
 * `Reshape(x, Concat(Gather(Shape(x), 0), [12, 32]))` -> `Reshape(x, [1, 12, 32])`: what a model computes out of shapes
 * that are fixed becomes a constant, and the nodes that nobody reads any more go. Parts of a Concat that turn out to be
 * empty are left out.
 */
export const foldShapes = definePass<Record<never, never>>({
	name: "fold-shapes",
	summary: "Make constants of what is computed out of fixed shapes: Shape, Gather, Concat and what follows.",
	options: {},
	run(model, context) {
		const types = inferTypes(model);
		const names = new NameScope(model);
		let changed = false;
		for (const { graph, path } of allGraphs(model)) {
			const folded = foldable(graph, types);
			for (const [value, constant] of folded) {
				if (!isNeeded(value, folded)) continue;
				const { producer } = value;
				value.replaceUsesWith(addConstant(graph, names.fresh(`${value.name}_constant`), constant, producer!));
				context.count("values folded");
				changed = true;
			}
			changed = removeUnread(graph, folded) || changed;
			const dropped = dropEmptyParts(graph, types);
			if (dropped > 0) {
				context.count("empty parts dropped", dropped);
				changed = true;
			}
			for (const node of graph.nodes) {
				if (!isOnnxOp(node, "Shape", "Size") || types.elementsOf(node.outputs[0]!)?.every(isNumber)) continue;
				const message = `the shape of '${node.inputs[0]?.name}' is not fixed, so that it stays computed`;
				context.report("shapes/computed", message, { graph: path, node: nodeLabel(node) });
			}
		}
		return changed;
	},
});

function isNumber(element: unknown): boolean {
	return typeof element === "number";
}

/** Values of `graph` that come out of shapes and are known, with the constants that they are. */
function foldable(graph: Graph, types: TypeTable): Map<Value, Tensor> {
	const derived = new Set<Value>();
	const folded = new Map<Value, Tensor>();
	for (const node of graph.nodes) {
		const [output] = node.outputs;
		if (output === undefined || node.outputs.length !== 1) continue;
		const isDerived =
			isOnnxOp(node, ...ROOTS) || node.inputs.some((input) => input !== undefined && derived.has(input));
		if (!isDerived) continue;
		derived.add(output);
		const constant = knownTensor(output, types);
		if (constant !== undefined) folded.set(output, constant);
	}
	return folded;
}

/** Does anything read it that is not folded itself? */
function isNeeded(value: Value, folded: ReadonlyMap<Value, Tensor>): boolean {
	return value.uses.some(({ node }) => !folded.has(node.outputs[0]!) || node.outputs[0]!.isGraphOutput);
}

/** Takes away the nodes of folded values, last ones first, as far as nobody reads them. */
function removeUnread(graph: Graph, folded: ReadonlyMap<Value, Tensor>): boolean {
	let removed = false;
	const nodes: Node[] = [...graph.nodes].filter((node) => folded.has(node.outputs[0]!));
	for (const node of nodes.reverse()) {
		const output = node.outputs[0]!;
		if (output.uses.length > 0 || output.isGraphOutput) continue;
		node.remove();
		removed = true;
	}
	return removed;
}
