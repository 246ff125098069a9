import { intOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { bitsPerElement, DataType, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { fixedShape } from "../fixed-shape.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import { sourceOf } from "./producers.js";

const VIEWS: readonly string[] = ["Reshape", "Squeeze", "Unsqueeze"];

/** Does `value` go into a Reshape, quantizers and copies aside? */
function isReshaped(value: Value): boolean {
	return value.uses.some(({ node, index }) => {
		if (isOnnxOp(node, "QuantizeLinear", "DequantizeLinear")) return index === 0 && isReshaped(node.outputs[0]!);
		return isOnnxOp(node, "Reshape", "Flatten") && index === 0;
	});
}

/** How many batches of matrices there are in a value of rank 4 or more. */
function batchesIn(shape: readonly number[]): number {
	return elementCount(shape.slice(0, -3));
}

/** The shape of several batches of products that a Reshape behind them gets wrong. */
function reshapedBatches(operator: OperatorFacts): readonly number[] | undefined {
	const { node, inputs, outputs, result } = operator;
	const shape = fixedShape(outputs[0]?.shape);
	const dtype = outputs[0]?.quantization?.dtype ?? result?.dtype;
	if (!isOnnxOp(node, "MatMul") || shape === undefined || dtype === undefined || bitsPerElement(dtype) !== 16)
		return undefined;
	const [inner, rows] = shape.slice(-3) as [number, number];
	const right = inputs[1]?.shape?.slice(0, -2) ?? [];
	if (batchesIn(shape) === 1 || inner < 8 || (rows !== 8 && rows !== 16)) return undefined;
	return right.some((dim) => dim !== 1) && isReshaped(node.outputs[0]!) ? shape : undefined;
}

/** Does a batch of right matrices make the operand? */
function isBatchedProduct(operand: OperandFacts | undefined, { types }: RuleContext): boolean {
	const product = sourceOf(operand?.value, VIEWS);
	if (product === undefined || !isOnnxOp(product, "MatMul")) return false;
	const batch = types.shapeOf(product.inputs[1]!)?.at(-3);
	return batch !== undefined && batch !== 1;
}

/** Do these rows of a matrix fill the tiles that the kernel writes to at once? */
function fillsTiles(rows: number, bits: number): boolean {
	return rows % 8 === 0 || (bits === 16 && rows % 4 === 0 && rows >= 12 && rows < 32);
}

/** The shape of a Concat that a batch of products is written into, beside what is no such product. */
function brokenShape(operator: OperatorFacts, context: RuleContext): readonly number[] | undefined {
	const { node, inputs, outputs } = operator;
	const shape = fixedShape(outputs[0]?.shape);
	if (!isOnnxOp(node, "Concat") || inputs.length !== 2 || shape === undefined) return undefined;
	const [first, second] = inputs;
	const bits = bitsPerElement(first?.quantization?.dtype ?? DataType.UNDEFINED);
	const axis = intOf(node, "axis", 0);
	if (bits === undefined || second?.quantization?.codes !== undefined || second?.constant !== undefined)
		return undefined;
	if (shape.length < 3 || shape.length > 4 || (axis !== -1 && axis !== shape.length - 1)) return undefined;
	const [batch, rows] = shape.slice(-3) as [number, number, number];
	if (batch < 8 || !fillsTiles(rows, bits)) return undefined;
	return isBatchedProduct(first, context) && !isBatchedProduct(second, context) ? shape : undefined;
}

/** Rows and columns from which on a v69 computes batches otherwise. */
const SHORT = { rows: 32, columns: 32 };

/** The shape of a batch of short matrices of 16 bits, whose left sides an operator has made. */
function shortProducts({ node, weight, inputs: [left, right], outputs }: OperatorFacts): readonly number[] | undefined {
	const shape = fixedShape(outputs[0]?.shape);
	const bits = bitsPerElement(left?.quantization?.dtype ?? DataType.UNDEFINED);
	if (!isOnnxOp(node, "MatMul") || weight !== undefined || shape === undefined || bits !== 16) return undefined;
	const [rows, columns] = shape.slice(-2) as [number, number];
	const isSingle = [left, right].some((side) => side?.shape?.slice(0, -2).every((dim) => dim === 1) !== false);
	if (isSingle || columns <= SHORT.columns || rows >= SHORT.rows || fillsTiles(rows, bits)) return undefined;
	return sourceOf(left!.value, [...VIEWS, "Identity"]) === undefined ? undefined : shape;
}

export const BATCHED_PRODUCT_RULES: RuleGroup = {
	title: "Batches of products",
	rules: [
		{
			id: "htp/concat-product",
			about:
				"A Concat of two operands over the last axis does not begin with codes of a MatMul of two batches, of 8 matrices or more with a multiple of 8 rows, or of 16 bits with 12, 20 or 28 rows, unless the other operand is constant or another such MatMul.",
			consequence: "wrong",
			measured:
				"the second operand comes out as something else, -4 to 4 dB behind a MatMul, Relu or rotary embedding, 15 dB behind a LayerNormalization, of 8 and 16 bits, on v68, v73, v79 and v81, as in attention on compressed keys (MLA), with any columns; out of memory behind a graph input; 46 dB and more with 7 matrices, 4, 9, 10, 15, 33 or 36 rows, the operands exchanged, three of them, another axis, one right matrix for all, as floats, and flat",
			remedy: "concatenate matrices of all rows, with Reshapes around",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				const shape = brokenShape(operator, context);
				return shape && `[${shape.join(", ")}] begins with the product '${operator.inputs[0]!.value.name}'`;
			},
		},
		{
			id: "htp/lpbq-batch",
			about:
				"A MatMul with an LPBQ weight on two matrices or more of 16 bits has 32 columns at most, or more than 32 rows, not a multiple of 8.",
			consequence: "wrong",
			since: "v69",
			until: "v69",
			measured:
				"-10 to 0 dB with 33 to 128 columns, 1 to 32, 40, 48, 56, 72 and 136 rows, 2 to 40 matrices in one batch or several, K of 32 to 512, blocks of 16, 32 and 64, UINT16 and INT16, behind a Relu too; 58 to 65 dB with 8 to 32 columns, 33 to 100 other rows, one matrix and INT8 or INT4 with one scale a channel, 40 dB with UINT8; on v68, v73, v75, v79 and v81 62 to 88 dB",
			remedy: "put a Reshape around it, so that it multiplies one matrix",
			appliedBy: "legalize-operators",
			broken({ node, weight, inputs: [left], outputs }) {
				const shape = fixedShape(outputs[0]?.shape);
				const bits = bitsPerElement(left?.quantization?.dtype ?? DataType.UNDEFINED);
				if (!isOnnxOp(node, "MatMul") || weight?.scheme !== "lpbq" || shape === undefined || bits !== 16)
					return undefined;
				const [matrices, [rows, columns]] = [elementCount(shape.slice(0, -2)), shape.slice(-2) as [number, number]];
				if (shape.length < 3 || matrices === 1 || columns <= SHORT.columns) return undefined;
				if (rows > SHORT.rows && rows % 8 !== 0) return undefined;
				return `${matrices} matrices of ${rows} rows are multiplied with the LPBQ weight '${weight.name}' of ${columns} columns`;
			},
		},
		{
			id: "htp/batch-rows",
			about:
				"A MatMul of two batches of two matrices or more, whose left side is of 16 bits and made by an operator, has 12, 20 or 28 rows, a multiple of 8, or 32 and more, or 32 columns at most.",
			consequence: "wrong",
			since: "v69",
			until: "v69",
			measured:
				"-7 to 8 dB with 1 to 7, 9, 10, 13, 14, 15, 17, 23, 25 and 31 rows and 48 to 128 columns, 8 to 15 dB with 33 to 47, whatever is summed up over, 2 to 12 matrices, behind Softmax, Sigmoid, Relu, Gelu, Add, Mul and Transpose, with UINT16, UINT8 and INT8 on the right, as in attention of few tokens; 34 dB, as on a v73, with 8, 12, 16, 20, 28, 33, 36, 47 and 50 rows, 8 to 32 columns, one matrix, 8 bits on the left, and graph inputs there",
			remedy: "put rows of zeros below the left side, and take them off again",
			appliedBy: "legalize-operators",
			broken(operator) {
				const shape = shortProducts(operator);
				return shape && `the products are [${shape.join(", ")}]`;
			},
		},
		{
			id: "htp/batches-reshaped",
			about:
				"No Reshape follows codes of 16 bits of several batches, [b, h, m, n], of 8 products of 8 or 16 rows or more of them each, without another operator between.",
			consequence: "wrong",
			measured:
				"-2 to 1 dB, or out of memory when compiled, whatever the shape is and what reads it (graph output, Transpose, Slice, MatMul, Add, Concat, normalizations, Gather), on v68, v73, v79 and v81: [8, 8, 8, 16] x [8, 8, 16, 8] as [8, 1, 64, 8] -0.8 dB; with axes of length 1 in front, too; 65 dB and more with one batch, up to 7 products, 9, 12, 20, 24 and 32 rows, 8 bits, a Relu in front of the Reshape, and as one batch of all products",
			remedy: "compute one batch of all products, with Reshapes around",
			appliedBy: "legalize-operators",
			broken(operator) {
				const shape = reshapedBatches(operator);
				return shape && `the product of ${batchesIn(shape)} batches is [${shape.join(", ")}]`;
			},
		},
	],
};
