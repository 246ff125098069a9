import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import type { Use, Value } from "../../ir/value.js";
import { allNodes } from "../../ir/walk.js";
import { isView } from "../../weights/activation.js";
import { addConstant, constantOf, removeIfUnused } from "../../weights/constant.js";
import { dequantizedTensor } from "../../weights/derived-tensor.js";
import { foldedQuantize } from "../../weights/folded-quantize.js";
import { constantType } from "./grid-operators.js";
import { addParameters, type Encoding, encodingAt, sameEncoding, widened } from "./qdq.js";
import { removeUnused } from "./remove-unused.js";

/** The bits of the codes that all results of `node` become at once; undefined where not all do, or not alike. */
export function quantizedBits(node: Node): 8 | 16 | undefined {
	const results = node.outputs.filter((output) => output.uses.length > 0 || output.isGraphOutput);
	const bits = new Set(results.map(bitsBehind));
	const [only] = bits;
	return bits.size === 1 ? only : undefined;
}

/** The codes that a DequantizeLinear reads where they are a constant, or a QuantizeLinear of one; undefined where they are not. */
export function storedCodes({ inputs: [codes] }: Node): Tensor | undefined {
	const { producer } = codes ?? {};
	const isMade = producer !== undefined && isOnnxOp(producer, "QuantizeLinear");
	const constant = isMade ? foldedQuantize(producer) : constantOf(codes);
	return constant?.overridable === false ? constant.tensor : undefined;
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

/**
 * Makes constants of 8 bits floats again, those that operators compute on and statistics of BatchNormalization (INT32 ones, too),
 * not weights and tables: between activations of 16 bits they become what is best there. Returns how many.
 */
export function widenConstants(model: Model, names: NameScope): number {
	let count = 0;
	for (const { node } of [...allNodes(model)]) {
		const output = node.outputs[0];
		if (!isOnnxOp(node, "DequantizeLinear") || output === undefined || output.isGraphOutput) continue;
		const codes = storedCodes(node);
		const encoding = encodingAt(node);
		if (codes === undefined || encoding === undefined) continue;
		const isBias = output.uses.every(({ node }) => isOnnxOp(node, "BatchNormalization"));
		if (!isNarrow(encoding) && !(isBias && encoding.dtype === DataType.INT32)) continue;
		if (output.uses.length === 0 || !output.uses.every(isComputedOn)) continue;
		const [scale, zeroPoint] = [constantOf(node.inputs[1])!.tensor, constantOf(node.inputs[2])?.tensor];
		const floats = dequantizedTensor(codes, { scale, zeroPoint, axis: 0 });
		if (floats === undefined) continue;
		output.replaceUsesWith(addConstant(node.graph!, names.fresh(`${output.name}_float`), floats, node));
		removeUnused(output);
		count++;
	}
	return count;
}

function isComputedOn({ node, index }: Use): boolean {
	if (isOnnxOp(node, "BatchNormalization")) return index > 0;
	return !isView(node) && !isOnnxOp(node, "Gather") && constantType(node, index, 16) === DataType.UINT16;
}
