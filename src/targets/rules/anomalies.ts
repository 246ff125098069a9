import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, DataType, type Dimension } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import { becomesLpbq } from "../provider-options.js";
import { codeInterval } from "../readers.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import { isBlockProduct, isIntegerProduct, LINEAR, sourceOf } from "./producers.js";
import { hasPadsOrGaps } from "./turned-norms.js";

/** A matrix of 16 rows: no batch of them. */
function hasSixteenRows(shape: readonly Dimension[] | undefined): boolean {
	return shape?.at(-2) === 16 && shape.slice(0, -2).every((dim) => dim === 1);
}

/** The same of images, [1, C, 16] or [1, C, 1, 16]. */
function hasSixteenPositions(shape: readonly Dimension[] | undefined): boolean {
	return shape?.at(-1) === 16 && shape[0] === 1 && shape.slice(2, -1).every((dim) => dim === 1);
}

/** Is the weight computed by the kernel that has this fault: on integers, but for LPBQ as it is written? */
function isConvolved(operator: OperatorFacts, { blockQuantOptimization }: RuleContext): boolean {
	const { scheme } = operator.weight ?? {};
	return scheme === "per-channel" || (scheme === "block" && blockQuantOptimization && becomesLpbq(operator));
}

/** Is an operand of 16 bits cut off at 0 by its quantizer? */
function isPositive({ quantization }: OperandFacts): boolean {
	if (quantization?.dtype === undefined || bitsPerElement(quantization.dtype) !== 16) return false;
	return codeInterval(quantization)?.lo === 0;
}

function hasSeveral(shape: readonly Dimension[] | undefined): boolean {
	return shape?.slice(0, -2).some((dim) => dim !== 1) === true;
}

/** Shapes without the ones in front. */
function trimmed(shape: readonly Dimension[]): readonly Dimension[] {
	const first = shape.findIndex((dim) => dim !== 1);
	return first < 0 ? [] : shape.slice(first);
}

/** The linear operator whose result `value` is, quantizers and Reshapes aside, where each of these is the only reader. */
function linearBehind(value: Value): Node | undefined {
	let at = value;
	while (at.producer !== undefined && at.uses.length === 1) {
		const { producer } = at;
		if (isOnnxOp(producer, "MatMul", "Gemm")) return producer;
		if (!isOnnxOp(producer, "QuantizeLinear", "DequantizeLinear", "Reshape")) return undefined;
		at = producer.inputs[0]!;
	}
	return undefined;
}

/** Does `node`, which is no linear operator, read the result of one on integers, other operators in between, but no quantizers? */
function readsProduct(node: Node, context: RuleContext, depth = 8): boolean {
	if (depth === 0 || isOnnxOp(node, "QuantizeLinear", "DequantizeLinear", ...LINEAR)) return false;
	return node.inputs.some((input) => {
		const producer = input?.producer;
		return (
			producer !== undefined && (isIntegerProduct(producer, context) || readsProduct(producer, context, depth - 1))
		);
	});
}

/** Is the weight of `node` INT4 with one scale a channel, of two channels or more? */
function hasInt4Channels(node: Node, { types }: RuleContext): boolean {
	const dequantize = node.inputs[1]?.producer;
	if (dequantize === undefined || !isOnnxOp(dequantize, "DequantizeLinear")) return false;
	const [codes, scale] = dequantize.inputs;
	if (types.elementTypeOf(codes!) !== DataType.INT4 || dequantize.attributes.has("block_size")) return false;
	const [channels] = types.shapeOf(scale!) ?? [];
	return typeof channels === "number" && channels > 1;
}

/** Between 5 dimensions, [a, b, c, 2w, d], and as many, [a, b, 2c, w, d], or four where d is 1. */
function isHalved(input: readonly number[], output: readonly number[]): boolean {
	const [a, b, c, width, d] = input;
	if (input.length !== 5 || width! % 2 !== 0) return false;
	const halved = [a!, b!, 2 * c!, width! / 2];
	const isOf = (expected: readonly number[], shape: readonly number[]) =>
		shape.length === expected.length && expected.every((length, axis) => shape[axis] === length);
	if (isOf([...halved, d!], output)) return true;
	const padded = [...new Array<number>(Math.max(0, 4 - output.length)).fill(1), ...output];
	return d === 1 && isOf(halved, padded);
}

/** Is the result of `node` one of integers, its weight with one scale or one a channel, or a Gemm's? */
function isPlainProduct(node: Node, context: RuleContext): boolean {
	const dequantize = node.inputs[1]?.producer;
	if (isOnnxOp(node, "Gemm")) return true;
	return isIntegerProduct(node, context) && dequantize?.attributes.has("block_size") === false;
}

function numbers(shape: readonly Dimension[] | undefined): readonly number[] | undefined {
	return shape?.every((dim) => typeof dim === "number") === true ? (shape as readonly number[]) : undefined;
}

export const ANOMALY_RULES: RuleGroup = {
	title: "Faults of this version of the compiler",
	rules: [
		{
			id: "htp/layer-norm-16-rows",
			about:
				"A MatMul or Gemm behind a LayerNormalization, a MatMul with float block scales or an operator that reads the result of a MatMul before it is quantized does not multiply one matrix of exactly 16 rows, unless its weight is LPBQ in the double-dq form, has one scale or is float.",
			consequence: "wrong",
			measured:
				"-1 dB with weights of one scale a channel and in the exact-BQ form; right for 1 to 15, 17 and more rows, and for [2, 8] and [4, 4] rows; from v69 on -1 to 19 dB behind a MatMul of one scale and Relu, Gelu, Tanh, Exp, Sigmoid, Neg, Div, Add of a number or Concat, which are right behind a QuantizeLinear",
			remedy: "put a Reshape to [4, 4, K] in front and one behind",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				const { node, inputs } = operator;
				if (!isOnnxOp(node, "MatMul", "Gemm") || !isConvolved(operator, context)) return undefined;
				if (!hasSixteenRows(inputs[0]?.shape) || inputs[0]!.quantization === undefined) return undefined;
				const producer = sourceOf(inputs[0]!.value, ["Reshape"]);
				if (producer === undefined) return undefined;
				const isFaulty = isOnnxOp(producer, "LayerNormalization") || isBlockProduct(producer, context);
				if (!isFaulty && !readsProduct(producer, context)) return undefined;
				return `its 16 rows come out of ${producer.op.type} '${producer.name}'`;
			},
		},
		{
			id: "htp/norm-16-positions",
			about:
				"A Conv between codes, without pads and with steps no longer than its kernel, behind a LayerNormalization, a MatMul with float block scales or an operator that reads the result of a MatMul before it is quantized, a Transpose and Reshapes between, is on no image of one line of 16 positions.",
			consequence: "wrong",
			measured:
				"-1 to 2 dB on [1, C, 16] and [1, C, 1, 16], on every architecture behind a LayerNormalization, from v69 on behind the others, kernels of 1 and 3, groups, with a Relu behind or none, as the feed-forward layers of sequential recommenders; 70 dB with 15 and 17 positions, as 2 x 8, 4 x 4 and 16 x 1, behind a LayerNormalization of [4, 4, C], and with an operator by element in between",
			remedy: "put a Max with the least code in front",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				const { node, inputs } = operator;
				const [input] = inputs;
				if (!isOnnxOp(node, "Conv") || input?.quantization === undefined || hasPadsOrGaps(operator)) return undefined;
				if (!hasSixteenPositions(input.shape) || !isIntegerProduct(node, context)) return undefined;
				const views = ["Reshape", "Squeeze", "Unsqueeze"];
				const turn = sourceOf(input.value, views);
				const producer = turn && isOnnxOp(turn, "Transpose") ? sourceOf(turn.inputs[0], views) : undefined;
				if (producer === undefined) return undefined;
				const isFaulty = isOnnxOp(producer, "LayerNormalization") || isBlockProduct(producer, context);
				if (!isFaulty && !readsProduct(producer, context)) return undefined;
				return `its 16 positions come out of ${producer.op.type} '${producer.name}'`;
			},
		},
		{
			id: "htp/tanh-16-rows",
			about:
				"A Tanh of 16 bits behind an operator with a quantized weight has not exactly 16 rows in one matrix, or 16 positions in one line.",
			consequence: "wrong",
			measured:
				"-4 dB behind MatMul, Gemm and Conv with LPBQ weights, one scale and one a channel, on v68 too, also with Mul and Add of constants in between; right for 15, 17 and 32 rows, for [2, 8] and [4, 4], behind float block scales, with 8 bits, and with a Relu in between",
			remedy: "put a Reshape to [4, 4, N] in front and one behind",
			appliedBy: "legalize-operators",
			broken({ node, inputs }, context) {
				const [input] = inputs;
				const bits = input?.quantization?.dtype && bitsPerElement(input.quantization.dtype);
				if (!isOnnxOp(node, "Tanh") || bits !== 16) return undefined;
				const producer = sourceOf(input!.value, ["Reshape", "Mul", "Add", "Sub", "Div"]);
				if (producer === undefined || !isIntegerProduct(producer, context)) return undefined;
				const isImage = isOnnxOp(producer, "Conv", "ConvTranspose");
				if (!(isImage ? hasSixteenPositions : hasSixteenRows)(input!.shape)) return undefined;
				return `its 16 ${isImage ? "positions" : "rows"} come out of ${producer.op.type} '${producer.name}'`;
			},
		},
		{
			id: "htp/relu-int4-rows",
			about:
				"A Relu of 16 bits, whose quantizer cuts off at 0, alone behind the quantized result of a MatMul or Gemm whose weight is INT4 with one scale a channel, is on that one matrix.",
			consequence: "wrong",
			since: "v73",
			measured:
				"0.6 dB with [2, 9, K] and [2, 1, K] inputs, and with a Reshape from or to several matrices in between; 64 dB with one matrix, as [1, 9, K] or [9, K], with two readers, a Clip, a Relu in front of the quantizer, another zero point, 79 dB with INT8, right with one scale, LPBQ, 8-bit activations and in convolutions",
			remedy: "make the weight's codes INT8, 16 times as large, and its scales a sixteenth",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }, context) {
				if (!isOnnxOp(node, "Relu") || output === undefined || !isPositive(output)) return undefined;
				const producer = linearBehind(input!.value);
				if (producer === undefined || !hasInt4Channels(producer, context)) return undefined;
				const result = context.types.shapeOf(producer.outputs[0]!);
				if (input!.shape === undefined || result === undefined) return undefined;
				const isSame = String(trimmed(result)) === String(trimmed(input!.shape));
				if (isSame && !hasSeveral(result)) return undefined;
				return `it is on [${input!.shape.join(", ")}] out of ${producer.op.type} '${producer.name}'`;
			},
		},
		{
			id: "htp/reshape-square",
			about:
				"A Reshape or Unsqueeze of a matrix that a MatMul or Gemm makes to rank 5 does not end with two equal lengths.",
			consequence: "wrong",
			measured:
				"-20 to 0 dB with [10, 5] to [1, 1, 2, 5, 5], on every architecture, with UINT8 too, weights of one scale and one a channel, Gemms with float weights; right to [1, 2, 5, 5], [1, 1, 5, 2, 5], out of [2, 5, 5], with LPBQ, with block and float weights of a MatMul, behind a Relu and behind a Conv",
			remedy: "put a Reshape to a vector, QuantizeLinear and DequantizeLinear in front",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }, context) {
				const shape = output?.shape;
				if (!isOnnxOp(node, "Reshape", "Unsqueeze") || shape?.length !== 5 || shape[3] !== shape[4]) return undefined;
				if (input?.shape === undefined || trimmed(input.shape).length > 2) return undefined;
				const producer = sourceOf(input.value, []);
				if (producer === undefined || !isOnnxOp(producer, "MatMul", "Gemm") || !isPlainProduct(producer, context))
					return undefined;
				return `the result of ${producer.op.type} '${producer.name}' becomes [${shape.join(", ")}]`;
			},
		},
		{
			id: "htp/product-square",
			about:
				"The result of a QLinearMatMul with a matrix of constants, of rank 5, does not end with two equal lengths.",
			consequence: "crash",
			measured:
				"the process ends while it runs, or 0 dB with [1, 1, 2, 33, 32] by [32, 33] and [2, 1, 1, 24, 64] by [64, 24], on v68, v69, v73 and v79, UINT8 and INT8; 38 to 47 dB with other lengths, [2, 3, 7, 7] and lower ranks, a right side of rank 5, and computed ones",
			remedy: "write it as a MatMul between DequantizeLinear and QuantizeLinear",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs: [output] }) {
				const shape = output?.shape;
				const right = inputs[3];
				if (!isOnnxOp(node, "QLinearMatMul") || shape?.length !== 5 || shape[3] !== shape[4]) return undefined;
				if (right?.constant === undefined || right.shape?.length !== 2) return undefined;
				return `its result is [${shape.join(", ")}]`;
			},
		},
		{
			id: "htp/reshape-halved",
			about:
				"A Reshape or Flatten of rank 5 does not make [a, b, 2c, w, d] of [a, b, c, 2w, d], or [a, b, 2c, w] where d is 1.",
			consequence: "refused",
			measured:
				"the graph fails to compile ('memory allocation related error'), on codes and on floats, on every architecture: [1, 1, 2, 2, 1] to [4, 1], [2, 3, 1, 4, 2] to [2, 3, 2, 2, 2]; right with a third or a quarter instead of a half, to [6, 2, 2], and by way of a vector that is quantized",
			remedy: "put a Reshape to a vector, QuantizeLinear and DequantizeLinear in front",
			appliedBy: "legalize-operators",
			needsEncodings: true,
			broken({ node, inputs: [input], outputs: [output] }) {
				if (!isOnnxOp(node, "Reshape", "Flatten")) return undefined;
				const [from, to] = [numbers(input?.shape), numbers(output?.shape)];
				if (from === undefined || to === undefined || !isHalved(from, to)) return undefined;
				return `[${from.join(", ")}] becomes [${to.join(", ")}]`;
			},
		},
	],
};
