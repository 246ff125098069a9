import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { allNodes } from "../../ir/walk.js";
import { constantOf, removeIfUnused } from "../../weights/constant.js";

import { addParameters, type Encoding, encodingAt, sameEncoding, widened } from "./qdq.js";

/** The bits of the codes that all results of `node` become at once; undefined where not all do, or not alike. */
export function quantizedBits(node: Node): 8 | 16 | undefined {
	const results = node.outputs.filter((output) => output.uses.length > 0 || output.isGraphOutput);
	const bits = new Set(results.map(bitsBehind));
	const [only] = bits;
	return bits.size === 1 ? only : undefined;
}

function bitsBehind({ uses, isGraphOutput }: Value): 8 | 16 | undefined {
	const [use] = uses;
	if (use === undefined || isGraphOutput || uses.length > 1 || !isOnnxOp(use.node, "QuantizeLinear")) return undefined;
	const encoding = encodingAt(use.node);
	if (encoding === undefined || encoding.dtype === DataType.INT32) return undefined;
	return isNarrow(encoding) ? 8 : 16;
}

function isNarrow({ dtype }: Encoding): boolean {
	return dtype === DataType.UINT8 || dtype === DataType.INT8;
}

/**
 * Makes activations of 8 bits UINT16, with 257 steps for one, so that all that could be told apart before can be still, and
 * nothing is clamped that was not. Pairs whose codes something else reads stay. Returns how many tensors were widened.
 */
export function widenActivations(model: Model, names: NameScope): number {
	let count = 0;
	for (const { node } of [...allNodes(model)]) {
		if (!isOnnxOp(node, "QuantizeLinear") || constantOf(node.inputs[0]) !== undefined) continue;
		const encoding = encodingAt(node);
		const codes = node.outputs[0];
		if (encoding === undefined || codes === undefined || !isNarrow(encoding) || codes.isGraphOutput) continue;
		const readers = codes.uses.map((use) => use.node);
		const isPair = readers.every((reader) => {
			const inverse = isOnnxOp(reader, "DequantizeLinear") ? encodingAt(reader) : undefined;
			return inverse !== undefined && sameEncoding(inverse, encoding) && reader.graph === node.graph;
		});
		if (readers.length === 0 || !isPair) continue;
		const parameters = addParameters(node.graph!, codes.name, widened(encoding), names, node);
		for (const user of [node, ...readers]) {
			for (const [index, parameter] of parameters.entries()) {
				const before = user.inputs[index + 1];
				user.setInput(index + 1, parameter);
				if (before !== undefined && constantOf(before) !== undefined) removeIfUnused(before);
			}
		}
		codes.type = undefined;
		count++;
	}
	return count;
}
