import type { NameScope } from "../../ir/names.js";
import type { Node } from "../../ir/node.js";
import { floatTensor, int64Tensor } from "../../ir/tensor.js";
import { bitsPerElement, DataType } from "../../ir/types.js";
import { isWithin } from "../../targets/capabilities.js";
import { addFloats, extentOf, floatParameters } from "./constant-remedies.js";
import { addEncodedConstant } from "./encoded-table.js";
import { unsignBoth } from "./encoding-remedies.js";
import { GraphWriter } from "./node-writer.js";
import { addQdq, addQuantizedConstant, encodingAt, encodingOf } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { type SmallConstant, smallConstantOf } from "./small-constant.js";

/** The scale, input 1, as INT16 or UINT16 with 0 in the middle. */
function encodeSymmetric(node: Node, dtype: DataType, names: NameScope): boolean {
	const scale = node.inputs[1]!;
	const constant = smallConstantOf(scale);
	if (constant === undefined) return false;
	const tensor = floatTensor(constant.shape, Float32Array.from(constant.values));
	const { lo, hi } = extentOf(tensor);
	const step = Math.max(-lo, hi, SMALLEST) / 0x7fff;
	const encoding = encodingOf(dtype, step, dtype === DataType.UINT16 ? 0x8000 : 0);
	node.setInput(
		1,
		addEncodedConstant(node.graph!, { value: scale, tensor, overridable: false }, encoding, names, node),
	);
	removeUnused(scale);
	return true;
}

/** Scale of an RMS normalization: symmetric between INT16; as floats; on v68, which does not take these, in the type of its input. */
export const encodeRmsScale: Remedy = (operator, tools) => {
	const { node, inputs } = operator;
	const { names, architecture } = tools;
	const scale = node.inputs[1]!;
	const constant = smallConstantOf(scale);
	const dtype = inputs[0]?.moved?.dtype;
	if (constant === undefined || dtype === undefined) return false;
	if (dtype === DataType.INT16) return encodeSymmetric(node, dtype, names);
	const isFloat = architecture !== "v68";
	if (dtype === DataType.INT8 && !isFloat) unsignBoth(operator, tools);
	const type = dtype === DataType.INT8 ? DataType.UINT8 : dtype;
	const made = isFloat
		? addFloats(node, scale.name, constant, names)
		: addQuantizedConstant(node.graph!, scale.name, { ...constant, dtype: type }, names, node);
	node.setInput(1, made);
	removeUnused(scale);
	return true;
};

/** Scale of a LayerNormalization: symmetric where that is computed on integers, else it and the bias as floats. */
export const encodeLayerParameters: Remedy = (operator, tools) => {
	const { node, inputs, outputs } = operator;
	const dtype = inputs[0]?.moved?.dtype;
	const isWide = dtype === DataType.UINT16 && outputs[0]?.moved?.dtype === dtype;
	if (isWide && isWithin(tools.architecture, "v73")) return encodeSymmetric(node, dtype, tools.names);
	return floatParameters(operator, tools);
};

/** The bias, input 2, as INT32. */
function encodeBias(node: Node, { shape, values }: SmallConstant, names: NameScope): void {
	const value = node.inputs[2]!;
	const tensor = floatTensor(shape, Float32Array.from(values));
	const { lo, hi } = extentOf(tensor);
	const encoding = encodingOf(DataType.INT32, Math.max(-lo, hi, SMALLEST) * BIAS_STEP, 0);
	node.setInput(2, addEncodedConstant(node.graph!, { value, tensor, overridable: false }, encoding, names, node));
	removeUnused(value);
}

/**
 * Scale and bias of an InstanceNormalization as codes, between unsigned ones: the scale in the type of the input, the bias as
 * INT32; on floats as floats.
 */
export const encodeInstanceParameters: Remedy = (operator, tools) => {
	const { node, inputs, outputs } = operator;
	const { names, architecture } = tools;
	const dtype = inputs[0]?.moved?.dtype;
	const result = outputs[0]?.moved?.dtype;
	if (dtype === undefined || result === undefined || bitsPerElement(result) !== bitsPerElement(dtype)) {
		return architecture !== "v68" && floatParameters(operator, tools);
	}
	const [, scale, bias] = node.inputs;
	const [factors, offsets] = [smallConstantOf(scale), smallConstantOf(bias)];
	if (factors === undefined || offsets === undefined) return false;
	unsignBoth(operator, tools);
	const type = bitsPerElement(dtype) === 16 ? DataType.UINT16 : DataType.UINT8;
	node.setInput(1, addQuantizedConstant(node.graph!, scale!.name, { ...factors, dtype: type }, names, node));
	encodeBias(node, offsets, names);
	removeUnused(scale!);
	return true;
};

/** Of the largest bias: as fine as a float32. */
const BIAS_STEP = 2 ** -24;

/** Of parameters that are nothing but 0. */
const SMALLEST = 2 ** -20;

/** An image padded by nothing, in its own codes: the compiler makes nothing of it and what is in front. */
export const padByNothing: Remedy = ({ node, inputs: [input] }, { names }) => {
	const encoding = input?.quantization && encodingAt(input.quantization.node);
	const rank = input?.shape?.length;
	if (encoding === undefined || rank === undefined) return false;
	const graph = node.graph!;
	const writer = new GraphWriter(graph, names, node.name || node.outputs[0]!.name, node);
	const nothing = writer.constant("nothing", int64Tensor([2 * rank], new Array<number>(2 * rank).fill(0)));
	const padded = writer.emit("Pad", [input!.value, nothing], {}, "padded");
	node.setInput(0, addQdq(graph, padded, encoding, names, node));
	return true;
};
