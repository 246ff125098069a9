import { intAttribute } from "../../ir/attribute.js";
import type { NameScope } from "../../ir/names.js";
import { floatTensor, type Tensor, tensor } from "../../ir/tensor.js";
import { bitsPerElement, DataType, elementCount } from "../../ir/types.js";
import { addConstant, constantOf } from "../../weights/constant.js";
import { scalarOf } from "../../weights/numbers.js";
import type { WeightSite } from "../../weights/weight-site.js";
import { valuesOf } from "./small-constant.js";

/** Zero points, all 0. */
function zerosOf(dtype: DataType, shape: readonly number[]): Tensor {
	return tensor(dtype, shape, new Uint8Array(Math.ceil((elementCount(shape) * bitsPerElement(dtype)!) / 8)));
}

/** `DQ(INT4 codes, scale)` -> `DQ(INT4 codes, scale, zero points of 0)`, the same weight; says whether it did. */
export function addInt4ZeroPoints({ dequantization, weightName }: WeightSite, names: NameScope): boolean {
	const node = dequantization?.node;
	const scale = constantOf(node?.inputs[1])?.tensor;
	if (node === undefined || scale === undefined || node.inputs[2] !== undefined) return false;
	const zeros = addConstant(
		node.graph!,
		names.fresh(`${weightName}_zero_point`),
		zerosOf(DataType.INT4, scale.shape),
		node,
	);
	node.setInput(2, zeros);
	return true;
}

/**
 * `op(x, DQ(codes, scale))` -> `op(x, DQ(codes, the scale once a channel))`, the same weight, in a DequantizeLinear
 * of its own; says whether it did.
 */
export function repeatScale(
	{ node, input, dequantization, axes, stored, weightName }: WeightSite,
	names: NameScope,
): boolean {
	const scale = constantOf(dequantization?.node.inputs[1])?.tensor;
	const value = scale && elementCount(scale.shape) === 1 ? valuesOf(scale)?.[0] : undefined;
	const zeroPoint = dequantization?.node.inputs[2];
	const isSymmetric = zeroPoint === undefined || scalarOf(constantOf(zeroPoint)) === 0;
	if (value === undefined || axes === undefined || !isSymmetric) return false;
	const graph = node.graph!;
	const channels = stored.tensor.shape[axes.channelAxis]!;
	const scales = floatTensor([channels], new Float32Array(channels).fill(value));
	const inputs = [
		dequantization!.node.inputs[0]!,
		addConstant(graph, names.fresh(`${weightName}_scales`), scales, node),
		addConstant(graph, names.fresh(`${weightName}_zero_points`), zerosOf(stored.tensor.dtype, [channels]), node),
	];
	const output = graph.createValue(names.fresh(`${weightName}_channels`));
	const attributes = { axis: intAttribute(axes.channelAxis) };
	const name = names.fresh(`${weightName}_channels_DQ`);
	graph.createNode({ op: "DequantizeLinear", name, inputs, outputs: [output], attributes }, node);
	node.setInput(input, output);
	return true;
}
