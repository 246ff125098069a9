import { intOf } from "../ir/attribute.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import { DataType, elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { type Constant, constantOf } from "./constant.js";
import { dequantizedTensor, quantizedTensor } from "./derived-tensor.js";

/**
 * The codes that a QuantizeLinear makes of a constant, under the name of that constant; undefined where it reads anything
 * else, or makes nothing that is known. The codes are made when they are read.
 */
export function foldedQuantize(node: Node): Constant | undefined {
	const source = sourceOf(node.inputs[0]);
	const scale = scaleTensorOf(node.inputs[1]);
	const zeroPoint = constantOf(node.inputs[2]);
	if (source === undefined || scale === undefined || (node.inputs[2] !== undefined && zeroPoint === undefined)) {
		return undefined;
	}
	if (zeroPoint?.overridable === true || intOf(node, "precision", 0) !== 0) return undefined;
	const axis = intOf(node, "axis", 1);
	const codes = quantizedTensor(source.tensor, {
		scale,
		zeroPoint: zeroPoint?.tensor,
		dtype: zeroPoint?.tensor.dtype ?? (intOf(node, "output_dtype", 0) || DataType.UINT8),
		axis: axis < 0 ? axis + source.tensor.shape.length : axis,
		blockSize: intOf(node, "block_size", 0),
	});
	return codes && { value: source.value, tensor: codes, overridable: source.overridable };
}

/** A constant, through Identity. */
function sourceOf(value: Value | undefined): Constant | undefined {
	const producer = value?.producer;
	if (producer !== undefined && isOnnxOp(producer, "Identity")) return sourceOf(producer.inputs[0]);
	return constantOf(value);
}

/** Scales that are constants, or LPBQ's: integers times one scale a channel. */
function scaleTensorOf(value: Value | undefined): Tensor | undefined {
	const constant = constantOf(value);
	if (constant !== undefined) return constant.overridable ? undefined : constant.tensor;
	const producer = value?.producer;
	if (producer === undefined || !isOnnxOp(producer, "DequantizeLinear")) return undefined;
	const [codes, scale, zeroPoint] = producer.inputs.map(constantOf);
	if (codes === undefined || scale === undefined || codes.overridable || scale.overridable) return undefined;
	const hasZeroPoint = producer.inputs[2] !== undefined;
	if (hasZeroPoint && (zeroPoint === undefined || zeroPoint.overridable)) return undefined;
	const axis = intOf(producer, "axis", 1);
	if (intOf(producer, "block_size", 0) !== 0 && elementCount(scale.tensor.shape) !== 1) return undefined;
	return dequantizedTensor(codes.tensor, {
		scale: scale.tensor,
		zeroPoint: zeroPoint?.tensor,
		axis: axis < 0 ? axis + codes.tensor.shape.length : axis,
	});
}
