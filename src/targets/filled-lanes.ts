import { intsOf } from "../ir/attribute.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { numbersOf } from "../weights/numbers.js";
import { fixedShape } from "./fixed-shape.js";
import type { OperatorFacts } from "./operator-facts.js";
import { codeInterval } from "./readers.js";
import type { TypeSource } from "./type-source.js";

/** Operators whose results of images have something in the lanes behind the last channel. */
const OF_IMAGES: readonly string[] = [
	...["Conv", "ConvTranspose", "AveragePool", "MaxPool", "GlobalAveragePool", "Resize"],
	...["DepthToSpace", "SpaceToDepth"],
];

/** Those of matrices, behind the last column; a MatMul of codes is one, too. */
const OF_MATRICES: readonly string[] = ["Gemm", "QLinearMatMul", "LpNormalization", "LogSoftmax", "Where", "ReduceMax"];

/** Operators that compute those lanes as they do the others. */
const PASSING: readonly string[] = [
	...["QuantizeLinear", "DequantizeLinear", "Clip", "Tanh", "Sigmoid", "Gelu", "HardSwish", "Elu", "Neg", "Abs"],
	...["Add", "Sub", "Mul", "Div", "Max", "ReduceMean", "Split", "Concat"],
];

const VIEWS: readonly string[] = ["Reshape", "Unsqueeze", "Squeeze", "Flatten"];

/**
 * The axes of what a Pad appends to whose last group of lanes an operator in front has filled. The HTP up to v69
 * leaves there what that made of lanes that nothing was in, which is the smallest code.
 */
export function filledAxes({ node, inputs: [input, , value] }: OperatorFacts, types: TypeSource): readonly number[] {
	const codes = input?.quantization;
	const rank = input?.shape?.length ?? 0;
	const addsZeros = value?.constant === undefined || numbersOf(value.constant)[0] === 0;
	if (!isOnnxOp(node, "Pad") || codes === undefined || (addsZeros && codeInterval(codes)?.lo === 0)) return [];
	return Array.from({ length: rank }, (_, axis) => axis).filter((axis) => isFilled(input!.value, axis, types));
}

/** Has an operator filled the lanes behind `axis` of `value`? */
function isFilled(value: Value, axis: number, types: TypeSource): boolean {
	const seen = new Set<Value>();
	let isView = false;
	let isDirect = true;
	const search = (at: Value, along: number): boolean => {
		const { producer } = at;
		if (producer === undefined || seen.has(at)) return false;
		seen.add(at);
		const shape = fixedShape(types.shapeOf(at));
		if (shape === undefined || shape.length > 4) return false;
		const isLast = along === shape.length - 1;
		if (isOnnxOp(producer, "Transpose")) {
			const perm = intsOf(producer, "perm");
			return perm.length > 0 && !isView && search(producer.inputs[0]!, perm[along]!);
		}
		if (isOnnxOp(producer, ...VIEWS)) {
			const before = fixedShape(types.shapeOf(producer.inputs[0]!));
			if (!isLast || before?.at(-1) !== shape.at(-1)) return false;
			isView = true;
			return search(producer.inputs[0]!, before!.length - 1);
		}
		if (isOnnxOp(producer, ...PASSING)) {
			isDirect &&= isOnnxOp(producer, "QuantizeLinear", "DequantizeLinear");
			const operands = isOnnxOp(producer, "Add", "Sub", "Mul", "Div", "Max") ? producer.inputs : [producer.inputs[0]];
			return operands.some(
				(operand) => operand !== undefined && types.shapeOf(operand)?.length === shape.length && search(operand, along),
			);
		}
		if (isOnnxOp(producer, ...OF_IMAGES)) return !isView && along === 1;
		const isMatrix = isOnnxOp(producer, ...OF_MATRICES) || isCodeProduct(producer) || isCut(producer);
		return isMatrix && isLast && !(isDirect && fillsRows(producer, shape));
	};
	return search(value, axis);
}

/** Is `node` a MatMul whose right side is codes? One of floats leaves zeros. */
function isCodeProduct(node: Node): boolean {
	const right = node.inputs[1]?.producer;
	return isOnnxOp(node, "MatMul") && right !== undefined && isOnnxOp(right, "DequantizeLinear");
}

/** Does a Slice cut off what a Pad has added? */
function isCut(node: Node): boolean {
	let at: Node | undefined = node.inputs[0]?.producer;
	while (at !== undefined && isOnnxOp(at, "QuantizeLinear", "DequantizeLinear")) at = at.inputs[0]?.producer;
	return isOnnxOp(node, "Slice") && at !== undefined && isOnnxOp(at, "Pad");
}

/** One matrix, of 16 rows or more, a multiple of 8: its product has nothing beside it. */
function fillsRows(node: Node, shape: readonly number[]): boolean {
	const rows = shape.at(-2) ?? 1;
	const isProduct = isOnnxOp(node, "MatMul", "Gemm", "QLinearMatMul");
	return isProduct && rows >= 16 && rows % 8 === 0 && elementCount(shape.slice(0, -2)) === 1;
}
