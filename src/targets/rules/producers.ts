import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { constantOf } from "../../weights/constant.js";
import type { RuleContext } from "../rule.js";

export const LINEAR: readonly string[] = ["MatMul", "Gemm", "Conv", "ConvTranspose"];

/** Operators that ONNX Runtime puts Transposes around, to the layout of an image and back. */
export const OF_IMAGES: readonly string[] = [
	...["Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "GlobalAveragePool", "GlobalMaxPool"],
	...["AveragePool", "MaxPool", "Resize", "DepthToSpace", "SpaceToDepth"],
];

/** Operators that leave the layout of an image as it is. */
export const ELEMENTWISE: readonly string[] = [
	"Relu",
	"LeakyRelu",
	"PRelu",
	"Clip",
	"Tanh",
	"Gelu",
	"HardSwish",
	"Add",
	"Sub",
	"Mul",
	"Identity",
];

/** What makes `value`, quantizers and operators of the types `passing` aside. */
export function sourceOf(value: Value | undefined, passing: readonly string[]): Node | undefined {
	let producer = value?.producer;
	while (producer !== undefined && isOnnxOp(producer, "QuantizeLinear", "DequantizeLinear", ...passing)) {
		producer = (producer.inputs.find((input) => input?.producer !== undefined) ?? producer.inputs[0])?.producer;
	}
	return producer;
}

/** Is the result of the linear operator `node` computed in fp16, because its weight has float block scales? */
export function isBlockProduct(node: Node, { blockQuantOptimization }: RuleContext): boolean {
	const dequantize = node.inputs[1]?.producer;
	if (!isOnnxOp(node, ...LINEAR) || dequantize === undefined || !isOnnxOp(dequantize, "DequantizeLinear")) return false;
	if (blockQuantOptimization && !isOnnxOp(node, "Gemm")) return false;
	return dequantize.attributes.has("block_size") && dequantize.inputs[1]?.producer === undefined;
}

/** Is `node` a linear operator on integers? */
export function isIntegerProduct(node: Node, context: RuleContext): boolean {
	const weight = node.inputs[1]?.producer;
	if (!isOnnxOp(node, ...LINEAR) || weight === undefined) return false;
	return isOnnxOp(weight, "DequantizeLinear") && !isBlockProduct(node, context);
}

/** Is `value`, Q/DQ in front of it aside, made by an operator or given? */
export function isComputed(value: Value | undefined): boolean {
	let at = value;
	while (at?.producer !== undefined && isOnnxOp(at.producer, "QuantizeLinear", "DequantizeLinear")) {
		at = at.producer.inputs[0];
	}
	return at !== undefined && constantOf(at) === undefined;
}
