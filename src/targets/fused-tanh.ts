import { isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { fixedShape } from "./fixed-shape.js";
import { isComputed, LINEAR } from "./rules/producers.js";
import type { TypeSource } from "./type-source.js";

/** Views of one product's rows and columns. */
const VIEWS = ["Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Cast"];
/** What the compiler makes one with a Conv, where one of its inputs is a constant. */
const OF_CHANNELS = ["Add", "Mul", "BatchNormalization"];
/** Matrices of more rows than these are no images to the compiler. */
const MOST_ROWS = 32;

/** Is `value` the input of one operator alone? */
function isOwn(value: Value): boolean {
	return value.uses.length === 1 && !value.isGraphOutput;
}

/** Are the results of the linear operator `node` one matrix of many rows, or one row of many positions? */
function isLine(node: Node, types: TypeSource): boolean {
	const shape = fixedShape(types.shapeOf(node.outputs[0]!));
	if (shape === undefined) return false;
	const positions = isOnnxOp(node, "Conv") ? shape.slice(2) : shape.slice(-2, -1);
	const others = isOnnxOp(node, "Conv") ? [shape[0]!, ...positions.slice(0, -1)] : shape.slice(0, -2);
	return positions.length > 0 && positions.at(-1)! > MOST_ROWS && others.every((length) => length === 1);
}

/** The Conv, MatMul or Gemm on floats that the compiler computes `value` with, where only that reads it, and what is in between. */
export function fusedProduct(value: Value | undefined, types: TypeSource): Node | undefined {
	const between: Node[] = [];
	for (let at = value; at !== undefined && isOwn(at); ) {
		const { producer } = at;
		if (producer === undefined) return undefined;
		if (isOnnxOp(producer, ...LINEAR)) return isFused(producer, between, types) ? producer : undefined;
		if (!isOnnxOp(producer, ...VIEWS, ...OF_CHANNELS)) return undefined;
		between.push(producer);
		at = producer.inputs.find(isComputed);
	}
	return undefined;
}

function isFused(product: Node, between: readonly Node[], types: TypeSource): boolean {
	if (isOnnxOp(product, "ConvTranspose") || isLine(product, types)) return false;
	const taken = isOnnxOp(product, "Conv") ? OF_CHANNELS : isOnnxOp(product, "MatMul") ? ["Add"] : [];
	const others = between.filter((node) => !isOnnxOp(node, ...VIEWS));
	return others.every((node) => isOnnxOp(node, ...taken)) && (isOnnxOp(product, "Conv") || others.length < 2);
}
