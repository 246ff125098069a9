import { intAttribute, intOf, intsAttribute } from "../../ir/attribute.js";
import type { NameScope } from "../../ir/names.js";
import { isMicrosoftOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { type NBitsForm, storedConstant } from "./nbits-form.js";
import type { UnpackedWeight } from "./nbits-rewrite.js";
import type { NBitsTensors } from "./nbits-tensors.js";
import { removeUnused } from "./remove-unused.js";

/** Is `node` ONNX Runtime's Gather of rows that it dequantizes? */
export function isEmbedding(node: Node): boolean {
	return isMicrosoftOp(node, "GatherBlockQuantized");
}

/**
 * Lets an embedding that shares the packed weight of a MatMulNBits read what that became: rows of [N, K] are columns of
 * [K, N], so that a Transpose puts the axis K last again. Says whether that is possible: codes of other types than INT4 and
 * rows in another order no embedding reads.
 *
 * @param idsRank rank of the indices; undefined where it is not known.
 */
export function retieEmbedding(
	node: Node,
	form: NBitsForm,
	tensors: NBitsTensors,
	weight: UnpackedWeight,
	idsRank: number | undefined,
	names: NameScope,
): boolean {
	const [data, ids, scales, zeroPoints] = node.inputs;
	const isSame =
		storedConstant(data)?.value === form.packed.value &&
		storedConstant(scales)?.value === form.scales.value &&
		storedConstant(zeroPoints)?.value === form.zeroPoints?.value;
	const isRow = intOf(node, "gather_axis", 0) === 0 && [1, -1].includes(intOf(node, "quantize_axis", 1));
	const isAlike =
		intOf(node, "bits", 4) === form.bits &&
		intOf(node, "block_size", 128) === form.blockSize &&
		form.depth === form.blocks * form.blockSize;
	const isReadable = tensors.codes.dtype === DataType.INT4 && form.bits === 4 && tensors.order === undefined;
	if (!isSame || !isRow || !isAlike || !isReadable || idsRank === undefined) return false;
	const graph = node.graph!;
	const [output] = node.outputs;
	const columns = graph.createValue(names.fresh(`${output!.name}_columns`));
	const attributes = new Map(node.attributes);
	attributes.set("gather_axis", intAttribute(1));
	attributes.set("quantize_axis", intAttribute(0));
	const inputs = [weight.codes, ids, weight.scale, ...(weight.zeroPoint === undefined ? [] : [weight.zeroPoint])];
	const made = graph.createNode({ op: node.op, name: node.name, inputs, outputs: [columns], attributes }, node);
	made.docString = node.docString;
	for (const [key, text] of node.metadata) made.metadata.set(key, text);
	const perm = [...Array.from({ length: idsRank }, (_, axis) => axis + 1), 0];
	graph.replaceNode(node, {
		op: "Transpose",
		name: names.fresh(`${node.name || output!.name}_Transpose`),
		inputs: [columns],
		outputs: [output!],
		attributes: { perm: intsAttribute(perm) },
	});
	for (const input of [data, scales, zeroPoints]) if (input !== undefined) removeUnused(input);
	return true;
}

/** The embeddings that read the codes of a weight [K, N] with the scales of its blocks along K. */
export function embeddingsOf(codes: Value, scale: Value, blockSize: number): Node[] {
	return codes.uses
		.filter(({ node, index }) => index === 0 && isEmbedding(node) && node.inputs[2] === scale)
		.map(({ node }) => node)
		.filter((node) => intOf(node, "quantize_axis", 1) === 0 && intOf(node, "block_size", 128) === blockSize);
}
