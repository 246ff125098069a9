import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { nodeLabel } from "../../ir/walk.js";

/** Operators that may stand between an operator with a quantized weight and its QuantizeLinear. */
const VIEWS: readonly string[] = ["Reshape", "Transpose"];

/**
 * What reads the result of an operator where a QuantizeLinear should, `views` aside: the first of its readers that is none;
 * "output" of a graph; undefined where the only reader is one.
 */
export function unquantizedReader(output: Value, views = VIEWS): Node | "output" | undefined {
	if (output.isGraphOutput) return "output";
	for (const { node } of output.uses) {
		if (isOnnxOp(node, "QuantizeLinear") && output.uses.length === 1) continue;
		const next = node.outputs[0];
		if (isOnnxOp(node, ...views) && next !== undefined && output.uses.length === 1)
			return unquantizedReader(next, views);
		return node;
	}
	return undefined;
}

export function describeReader(reader: Node | "output"): string {
	return reader === "output" ? "is an output of the graph" : `is read by ${reader.op.type} '${nodeLabel(reader)}'`;
}
