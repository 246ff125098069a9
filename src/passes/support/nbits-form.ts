import { intOf } from "../../ir/attribute.js";
import type { Model } from "../../ir/model.js";
import { isMicrosoftOp, isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, DataType, dataTypeName } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { allNodes, type GraphSite, nodeLabel } from "../../ir/walk.js";
import { type Constant, constantOf } from "../../weights/constant.js";
import { eachNumber } from "../../weights/numbers.js";
import type { WeightEntry } from "../infra/report.js";
import type { Refusal } from "./eligibility.js";

/**
 * What a MatMulNBits reads: y = x W + bias, where W [depth, channels] is stored in columns, each in whole blocks:
 * w = (code - zero point) * scale. Lengths of what is stored were checked.
 */
export interface NBitsForm {
	/** K, that is summed over. */
	readonly depth: number;
	/** N. */
	readonly channels: number;
	readonly bits: 2 | 4 | 8;
	readonly blockSize: number;
	/** Of a column; the last one may reach beyond `depth`. */
	readonly blocks: number;
	/** UINT8: codes [channels, blocks * blockSize], the first in the lowest bits. */
	readonly packed: Constant;
	/** [channels, blocks], of the type of the activations. */
	readonly scales: Constant;
	/** Like codes [channels, blocks], each row in whole bytes, or numbers [channels, blocks]; undefined: 2^(bits - 1). */
	readonly zeroPoints: Constant | undefined;
	/** For every row of W as the operator sees it, which stored row of blocks it is in; undefined where that is in order. */
	readonly groups: Int32Array | undefined;
	readonly bias: Value | undefined;
}

/** A MatMulNBits, and what it reads or why that is not known. */
export interface NBitsSite {
	readonly node: Node;
	readonly graphSite: GraphSite;
	/** Name of the constant that holds the codes, or of the input where that is none. */
	readonly weightName: string;
	readonly form: NBitsForm | Refusal;
}

/** Every MatMulNBits, in all graphs and functions. */
export function findNBitsSites(model: Model): NBitsSite[] {
	const sites: NBitsSite[] = [];
	for (const { node, site } of allNodes(model)) {
		if (!isMicrosoftOp(node, "MatMulNBits")) continue;
		const weightName = storedConstant(node.inputs[1])?.value.name ?? node.inputs[1]?.name ?? "";
		sites.push({ node, graphSite: site, weightName, form: nbitsForm(node, weightName) });
	}
	return sites;
}

const SCALE_TYPES: readonly number[] = [DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16];

function nbitsForm(node: Node, weightName: string): NBitsForm | Refusal {
	for (const attribute of node.attributes.values()) {
		if (attribute.kind === "reference") return unsupported("its attributes are those of the function's caller");
	}
	const [depth, channels] = [intOf(node, "K", 0), intOf(node, "N", 0)];
	const [bits, blockSize] = [intOf(node, "bits", 4), intOf(node, "block_size", 0)];
	if (bits !== 2 && bits !== 4 && bits !== 8) return unsupported(`it has ${bits} bits, expected 2, 4 or 8`);
	if (depth < 1 || channels < 1 || blockSize < 1 || (blockSize * bits) % 8 !== 0) {
		return unsupported(`it has K = ${depth}, N = ${channels} and block_size = ${blockSize}, expected positive numbers`);
	}
	const blocks = Math.ceil(depth / blockSize);
	const [packed, scales, zeroPoints, groupIndex] = [1, 2, 3, 4].map((index) => storedConstant(node.inputs[index]));
	for (const [index, constant] of [packed, scales, zeroPoints, groupIndex].entries()) {
		const input = node.inputs[index + 1];
		if (constant === undefined && (input !== undefined || index < 2)) {
			const message = `input ${index + 1} of MatMulNBits is computed, expected a constant`;
			return { code: "weight/scale-not-constant", message };
		}
		if (constant?.overridable === true) {
			return { code: "weight/overridable", message: `'${constant.value.name}' of MatMulNBits is a graph input too` };
		}
	}
	if (!SCALE_TYPES.includes(scales!.tensor.dtype)) {
		const message = `the scales of weight '${weightName}' are ${dataTypeName(scales!.tensor.dtype)}, expected FLOAT, FLOAT16 or BFLOAT16`;
		return { code: "weight/scale-type", message };
	}
	const zeroPointBits = zeroPoints?.tensor.dtype === DataType.UINT8 ? bits : bitsPerElement(scales!.tensor.dtype)!;
	const isPackedOrFloat =
		zeroPoints === undefined || [DataType.UINT8, scales!.tensor.dtype].includes(zeroPoints.tensor.dtype);
	if (!isPackedOrFloat || packed!.tensor.dtype !== DataType.UINT8) {
		return unsupported("its codes or zero points are of another type than UINT8 or, zero points, that of the scales");
	}
	const lengths: readonly (readonly [Constant | undefined, number])[] = [
		[packed, (channels * blocks * blockSize * bits) / 8],
		[scales, (channels * blocks * bitsPerElement(scales!.tensor.dtype)!) / 8],
		[zeroPoints, channels * Math.ceil((blocks * zeroPointBits) / 8)],
	];
	for (const [constant, expected] of lengths) {
		const found = constant?.tensor.data.byteLength ?? expected;
		if (found === expected) continue;
		const message = `'${constant!.value.name}' of MatMulNBits has ${found} bytes, expected ${expected} for K = ${depth}, N = ${channels}, ${bits} bits and blocks of ${blockSize}`;
		return { code: "weight/data-length", message };
	}
	const groups = groupIndex && groupsOf(groupIndex, depth, blocks, blockSize);
	if (groups !== undefined && "code" in groups) return groups;
	return {
		depth,
		channels,
		bits,
		blockSize,
		blocks,
		packed: packed!,
		scales: scales!,
		zeroPoints,
		groups: groups?.order,
		bias: node.inputs[5],
	};

	function unsupported(why: string): Refusal {
		return { code: "nbits/unsupported", message: `weight '${weightName}' of MatMulNBits stays packed: ${why}` };
	}
}

/** The constant that `value` is, or of which it is another view with the same bytes. */
export function storedConstant(value: Value | undefined): Constant | undefined {
	for (let at = value; at !== undefined; at = at.producer.inputs[0]) {
		const constant = constantOf(at);
		if (constant !== undefined) return constant;
		if (!at.producer || !isOnnxOp(at.producer, "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"))
			return undefined;
	}
	return undefined;
}

/** `order` is undefined where row k is in block floor(k / blockSize), as without a group index. */
function groupsOf(
	{ value, tensor }: Constant,
	depth: number,
	blocks: number,
	blockSize: number,
): { readonly order: Int32Array | undefined } | Refusal {
	const groups = new Int32Array(depth).fill(-1);
	eachNumber(tensor, (group, index) => {
		if (index < depth) groups[index] = group;
		return index < depth;
	});
	const isValid = groups.every((group) => group >= 0 && group < blocks);
	if (tensor.dtype !== DataType.INT32 || !isValid) {
		const message = `the group index '${value.name}' of MatMulNBits is no INT32 for each of ${depth} rows, from 0 to ${blocks - 1}`;
		return { code: "nbits/unsupported", message };
	}
	return { order: groups.every((group, row) => group === Math.floor(row / blockSize)) ? undefined : groups };
}

/** What is said of a packed weight wherever it is listed. */
export function packedEntryOf({
	node,
	graphSite,
	weightName,
	form,
}: NBitsSite): Omit<WeightEntry, "status" | "code" | "message"> {
	const place = { weight: weightName, node: nodeLabel(node), op: node.op.type, graph: graphSite.path };
	if ("code" in form) return { ...place, shape: [], dtype: dataTypeName(DataType.UINT8), scheme: "block" };
	const { depth, channels, bits, blockSize } = form;
	return {
		...place,
		shape: [depth, channels],
		dtype: dataTypeName(DataType.UINT8),
		bits,
		scheme: "block",
		blockSize,
		blockAxis: 0,
		channelAxis: 1,
	};
}
