import { intOf, stringOf } from "../ir/attribute.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType, elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { constantOf } from "../weights/constant.js";
import { numbersOf } from "../weights/numbers.js";
import { fixedShape } from "./fixed-shape.js";
import { isUniform, storedOf } from "./lost-fill.js";
import { inputFacts, type OperatorFacts } from "./operator-facts.js";
import { sourceOf } from "./rules/producers.js";
import type { TypeSource } from "./type-source.js";

/** How many rows the kernels take at once, and more of them than which are cut into parts. */
const ROWS = 4;
const PART = 32;

const VIEWS: readonly string[] = ["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"];
const PRODUCTS: readonly string[] = ["MatMul", "Gemm"];

/** Behind these the compiler does not look for what is put in front. */
const FIXED: readonly string[] = ["Sigmoid", "HardSigmoid", "Tanh", "Softmax"];

/** Rows of one number in front of those of an activation. */
export interface LeadingFill {
	readonly axis: number;
	/** How many there are in front, how many computed ones behind them, and how many in all. */
	readonly count: number;
	readonly rows: number;
	readonly all: number;
}

/** What `operator` puts in front of the rows of an activation of 16 bits, where the compiler runs out of memory over it. */
export function leadingFill(operator: OperatorFacts, types: TypeSource): LeadingFill | undefined {
	const { node, inputs, outputs } = operator;
	if (!isOnnxOp(node, "Concat", "Pad")) return undefined;
	const data = inputs[isOnnxOp(node, "Concat") ? 1 : 0];
	const [shape, result] = [data, outputs[0]].map((operand) => operand && fixedShape(operand.shape));
	const dtype = data?.quantization?.dtype;
	if (shape === undefined || result === undefined || shape.length < 2 || shape.length > 4) return undefined;
	if (dtype !== DataType.UINT16 && dtype !== DataType.INT16) return undefined;
	const axis = shape.length - 2;
	const count = isOnnxOp(node, "Concat") ? concatenated(operator, axis) : padded(operator, axis);
	if (count === undefined || elementCount(shape.slice(0, axis)) !== 1) return undefined;
	const [rows, all] = [shape[axis]!, result[axis]!];
	if (count % ROWS === 0 || rows % ROWS !== 0 || all <= PART) return undefined;
	const source = sourceOf(data!.value, VIEWS);
	if (source === undefined || isOnnxOp(source, ...FIXED)) return undefined;
	return meetsProduct(outputs[0]!.value, all, types) ? { axis, count, rows, all } : undefined;
}

/** How many rows of one number are in front of the only computed ones, with nothing else but one number behind these. */
function concatenated({ node, inputs }: OperatorFacts, axis: number): number | undefined {
	const [first, data, last, ...others] = inputs;
	if (first === undefined || data === undefined || others.length > 0 || storedOf(data) !== undefined) return undefined;
	const at = intOf(node, "axis", 0);
	if (at !== axis && at !== -2) return undefined;
	const isOne = isUniform(storedOf(first)) && (last === undefined || isUniform(storedOf(last)));
	return isOne ? fixedShape(first.shape)?.[axis] : undefined;
}

function padded({ node, inputs }: OperatorFacts, axis: number): number | undefined {
	if ((stringOf(node, "mode") ?? "constant") !== "constant" || node.inputs[3] !== undefined) return undefined;
	const amounts = inputs[1]?.constant && Array.from(numbersOf(inputs[1].constant));
	if (amounts === undefined) return undefined;
	const isElsewhere = amounts.some((amount, at) => amount !== 0 && at !== axis);
	return isElsewhere ? undefined : amounts[axis];
}

/** Does a product with a constant matrix read `value`, or is it added to what such a product makes? */
function meetsProduct(value: Value, rows: number, types: TypeSource): boolean {
	return value.uses.some(({ node, index }) => {
		if (isOnnxOp(node, "QuantizeLinear", "DequantizeLinear", ...VIEWS))
			return index === 0 && meetsProduct(node.outputs[0]!, rows, types);
		if (isOnnxOp(node, ...PRODUCTS)) return index === 0 && isWeighted(node, types);
		if (!isOnnxOp(node, "Add")) return false;
		const other = node.inputs[1 - index]!;
		const constant = storedOf(inputFacts(other, types));
		if (constant !== undefined) return constant.shape.at(-2) === rows && meetsProduct(node.outputs[0]!, rows, types);
		const product = productBehind(other, types);
		return product !== undefined && isWeighted(product, types);
	});
}

/** The product that makes `value`, or a sum of it and a constant. */
function productBehind(value: Value, types: TypeSource): Node | undefined {
	const source = sourceOf(value, VIEWS);
	if (source === undefined || !isOnnxOp(source, "Add"))
		return source && isOnnxOp(source, ...PRODUCTS) ? source : undefined;
	const computed = source.inputs.filter((input) => storedOf(inputFacts(input!, types)) === undefined);
	return computed.length === 1 ? productBehind(computed[0]!, types) : undefined;
}

function isWeighted(product: Node, types: TypeSource): boolean {
	const right = product.inputs[1];
	return right !== undefined && (constantOf(right) !== undefined || storedOf(inputFacts(right, types)) !== undefined);
}
