import { inferTypes, type TypeTable } from "../inference/index.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { type Tensor, tensor } from "../ir/tensor.js";
import { elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allGraphs } from "../ir/walk.js";
import { addConstant, constantOf } from "../weights/constant.js";
import { definePass } from "./infra/pass.js";
import { knownTensor } from "./support/known-tensor.js";
import { removeUnused } from "./support/remove-unused.js";

/** Operators that keep the order of the elements. */
const RESHAPING = ["Reshape", "Squeeze", "Unsqueeze", "Flatten"];

/** What weights are quantized by is a weight's, not a computation. */
const LEFT_ALONE = ["Constant", "DequantizeLinear", "QuantizeLinear"];

/**
 * `Conv(x, W, Identity(B))` -> `Conv(x, W, B)`, as exporters write a constant that two operators share; a constant behind
 * Reshape, Squeeze, Unsqueeze or Flatten is stored in the shape that is read, without a copy; small constants that are
 * computed out of constants are stored as they are.
 */
export const foldConstants = definePass<Record<never, never>>({
	name: "fold-constants",
	summary: "Store constants as they are read: without Identity, Reshape and arithmetic of small numbers in between.",
	options: {},
	run(model, context) {
		const types = inferTypes(model);
		const names = new NameScope(model);
		let changed = false;
		for (const { graph } of allGraphs(model)) {
			for (const node of [...graph.nodes]) {
				const [output, ...others] = node.outputs;
				if (output === undefined || others.length > 0 || output.isGraphOutput) continue;
				const same = identical(node);
				const made = same === undefined ? storedResult(node, types) : undefined;
				const stored = made && addConstant(graph, names.fresh(`${output.name}_constant`), made, node);
				const replacement = same ?? stored;
				if (replacement === undefined) continue;
				output.replaceUsesWith(replacement);
				const inputs = new Set(node.inputs);
				node.remove();
				if (stored !== undefined) stored.name = output.name;
				for (const input of inputs) if (input !== undefined) removeUnused(input);
				context.count("values folded");
				changed = true;
			}
		}
		return changed;
	},
});

/** The constant, quantized or not, that an Identity repeats. */
function identical(node: Node): Value | undefined {
	const [input] = node.inputs;
	if (!isOnnxOp(node, "Identity") || input === undefined) return undefined;
	const isQuantized = input.producer !== undefined && isOnnxOp(input.producer, "DequantizeLinear");
	const stored = isQuantized ? input.producer.inputs[0] : input;
	return constantOf(stored) === undefined ? undefined : input;
}

/** What a node makes of constants, where that takes no copy of anything large. */
function storedResult(node: Node, types: TypeTable): Tensor | undefined {
	const [source, ...parameters] = node.inputs.map(constantOf);
	if (source === undefined || isOnnxOp(node, ...LEFT_ALONE)) return undefined;
	if ([source, ...parameters].some((constant) => constant === undefined || constant.overridable)) return undefined;
	const output = node.outputs[0]!;
	const shape = types.staticShapeOf(output);
	const { dtype, shape: before, data, strings } = source.tensor;
	const isReshaped = isOnnxOp(node, ...RESHAPING) && strings === undefined && shape !== undefined;
	if (isReshaped && elementCount(shape) === elementCount(before)) return tensor(dtype, shape, data);
	return knownTensor(output, types);
}
