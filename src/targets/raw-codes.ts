import { isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { constantOf } from "../weights/constant.js";

/** Operators that move elements, or choose among them, so that codes stay codes. */
const MOVING = [
	...["Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "MaxPool", "Reshape", "Slice", "Split"],
	...["Squeeze", "Tile", "Unsqueeze"],
];

/** What `node` moves, where these are codes that a QuantizeLinear has made of something computed, or that a DequantizeLinear reads then. */
export function rawCodes(node: Node): Value | undefined {
	const codes = node.inputs[0];
	if (codes === undefined || !isOnnxOp(node, ...MOVING)) return undefined;
	return isQuantizer(codes) || codesBehind(node) !== undefined ? codes : undefined;
}

function isQuantizer({ producer }: Value): boolean {
	return producer !== undefined && isOnnxOp(producer, "QuantizeLinear") && constantOf(producer.inputs[0]) === undefined;
}

/** The DequantizeLinear that reads what `node` makes of an input of the graph. */
export function codesBehind({ inputs: [input], outputs: [output] }: Node): Node | undefined {
	if (input === undefined || !input.isGraphInput || input.initializer !== undefined) return undefined;
	return output?.uses.find(({ node }) => isOnnxOp(node, "DequantizeLinear"))?.node;
}
