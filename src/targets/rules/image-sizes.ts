import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { fixedShape } from "../fixed-shape.js";
import { inputFacts, type OperandFacts, type QuantizationFacts } from "../operator-facts.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import type { TypeSource } from "../type-source.js";
import { ELEMENTWISE, sourceOf } from "./producers.js";

/** Behind these the second and third dimension are height and width. */
const CHANNELS_LAST: readonly string[] = ["MatMul", "Gemm", "Transpose", "LayerNormalization", "RMSNormalization"];

/** What an operator of one element after another works on. */
interface ImageSize {
	readonly rows: number;
	/** undefined: it does not matter. */
	readonly columns: number | undefined;
}

/** The operator that alone reads `value`, quantizers and operators of one element after another aside. */
function readerOf(value: Value): Node | undefined {
	const [use] = value.uses;
	if (value.uses.length !== 1) return undefined;
	return isOnnxOp(use!.node, "QuantizeLinear", "DequantizeLinear", ...ELEMENTWISE)
		? readerOf(use!.node.outputs[0]!)
		: use!.node;
}

/** The operator that says what the axes of a value of rank 4 are: what makes it, or what reads it. */
function layoutOperator(value: Value, output: Value): Node | undefined {
	const source = sourceOf(value, ELEMENTWISE);
	if (source !== undefined) return source;
	const reader = readerOf(output);
	return reader !== undefined && isOnnxOp(reader, ...CHANNELS_LAST) ? reader : undefined;
}

/** The rows and columns that the compiler takes a value to have: matrices of a batch are rows. */
function imageSize({ value, shape }: OperandFacts, output: Value): ImageSize | undefined {
	if (shape?.length === 3) return typeof shape[0] === "number" ? { rows: shape[0], columns: undefined } : undefined;
	const neighbour = layoutOperator(value, output);
	if (shape?.length !== 4 || neighbour === undefined) return undefined;
	const [rows, columns] = isOnnxOp(neighbour, ...CHANNELS_LAST) ? shape.slice(1, 3) : shape.slice(2);
	return typeof rows === "number" && typeof columns === "number" ? { rows, columns } : undefined;
}

/** The same of a sum that nothing but views and the graph's input are in front of: their axes are taken as they are. */
function sizeOfSum({ value, shape, quantization }: OperandFacts): ImageSize | undefined {
	const sum = quantization?.node.inputs[0]?.producer?.inputs[0]?.producer;
	const source = sourceOf(value, ELEMENTWISE);
	if (sum === undefined || !isOnnxOp(sum, "Add") || shape?.length !== 4) return undefined;
	if (source !== undefined && !isOnnxOp(source, ...VIEWS)) return undefined;
	const [, rows, columns] = shape;
	return typeof rows === "number" && typeof columns === "number" ? { rows, columns } : undefined;
}

/** Are the channels the last axis? */
function isLastAxis({ value, shape }: OperandFacts, node: Node): boolean {
	const neighbour = layoutOperator(value, node.outputs[0]!);
	return shape?.length === 3 || (neighbour !== undefined && isOnnxOp(neighbour, ...CHANNELS_LAST));
}

/** Behind these nothing says what the height and width are. */
const VIEWS: readonly string[] = ["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Concat"];

/** Sizes that kernels for images of 16 bits get wrong, some of those that the compiler makes of several operators. */
function misreadSize(size: ImageSize | undefined): string | undefined {
	if (size === undefined) return undefined;
	const { rows, columns } = size;
	if (rows <= 8 || (rows > 12 && (columns === undefined || columns > 8))) return undefined;
	return columns === undefined
		? `the batch is of ${rows} matrices`
		: `the image is of ${rows} rows and ${columns} columns`;
}

function isSame(a: QuantizationFacts, b: QuantizationFacts): boolean {
	return a.dtype === b.dtype && a.scale === b.scale && a.zeroPoint === b.zeroPoint;
}

/** What `operand` is quantized from, pairs with the encoding that is there already aside. */
function quantizedFrom({ value, quantization }: OperandFacts, types: TypeSource): Value {
	const codes = quantization?.node.inputs[0];
	const quantizer = codes?.producer;
	if (quantization === undefined || quantizer === undefined || !isOnnxOp(quantizer, "QuantizeLinear"))
		return codes ?? value;
	const before = inputFacts(quantizer.inputs[0]!, types);
	const isRepeated = before.quantization !== undefined && isSame(before.quantization, quantization);
	return isRepeated ? quantizedFrom(before, types) : codes!;
}

/** The quantized x of `x Sigmoid(x)`, whose Sigmoid is quantized too and reads x in the same encoding. */
function siluArgument(node: Node, inputs: readonly (OperandFacts | undefined)[], { types }: RuleContext) {
	if (!isOnnxOp(node, "Mul")) return undefined;
	for (const [x, gate] of [inputs, inputs.toReversed()]) {
		const sigmoid = gate?.quantization?.node.inputs[0]?.producer?.inputs[0]?.producer;
		if (x?.quantization === undefined || sigmoid === undefined || !isOnnxOp(sigmoid, "Sigmoid")) continue;
		const argument = inputFacts(sigmoid.inputs[0]!, types);
		if (argument.quantization === undefined || !isSame(argument.quantization, x.quantization)) continue;
		if (quantizedFrom(argument, types) === quantizedFrom(x, types)) return x;
	}
	return undefined;
}

/** Three matrices of so many rows, of more columns than the first and fewer than the last of `columns`. */
const THREE_MATRICES = { rows: [12, 20, 28], columns: [64, 256] } as const;

/** Three matrices that a product behind a norm makes, of which one part is gated and multiplied with another. */
function gatedThird({ value, shape }: OperandFacts, output: Value): string | undefined {
	const [batch, rows, columns] = shape?.length === 3 ? (shape as readonly number[]) : [];
	if (batch !== 3 || !THREE_MATRICES.rows.some((count) => count === rows)) return undefined;
	if (columns! <= THREE_MATRICES.columns[0] || columns! >= THREE_MATRICES.columns[1]) return undefined;
	const product = sourceOf(value, ["Split", "Slice", "Add"]);
	const norm = product && isOnnxOp(product, "MatMul") ? sourceOf(product.inputs[0], []) : undefined;
	if (norm === undefined || !isOnnxOp(norm, "LayerNormalization", "Softmax")) return undefined;
	return isMultiplied(output) ? `three matrices of ${rows} rows and ${columns} columns` : undefined;
}

/** Does a Mul read `value`, quantizers aside? */
function isMultiplied(value: Value): boolean {
	return value.uses.some(({ node }) =>
		isOnnxOp(node, "QuantizeLinear", "DequantizeLinear") ? isMultiplied(node.outputs[0]!) : isOnnxOp(node, "Mul"),
	);
}

export const IMAGE_SIZE_RULES: RuleGroup = {
	title: "Sizes of images that operators by element get wrong",
	rules: [
		{
			id: "htp/silu-size",
			about:
				"What a Mul and a Sigmoid of 16 bits make `x Sigmoid(x)` of, in one encoding, is no image of 9 to 12 rows, nor of more rows and up to 8 columns, and no batch of 9 to 12 matrices; nor three of 12, 20 or 28 rows and 65 to 255 columns that a Mul reads, out of a MatMul behind LayerNormalization or Softmax. Channels are rows behind an Add and views or the graph's input.",
			consequence: "wrong",
			measured:
				"-5 to 7 dB in [3, 12, 96], [3, 20, 96] and [3, 28, 160], gated parts of a decoder's feed-forward layer, on v73, v79 and v81, 70 dB with two and four matrices, 8, 10, 16, 24 and 36 rows, 64 and 256 columns; 0 to 10 dB behind Conv, ConvTranspose, MatMul, LayerNormalization, MaxPool, Gelu and others, on every architecture, with INT16 and with block scales too: 10 x 10 3.8 dB, 12 x 20 1.7 dB, 14 x 7 1.2 dB, 40 x 8 0 dB; 1 to 10 dB in [12, 31, 72], [10, 100, 32] and [9, 64, 32] behind a MatMul or in front of one; [1, 32, 8, 8], [1, 32, 4, 4], [1, 24, 8, 8], [1, 32, 7, 9] and [1, 32, 8, 16] behind an Add of a constant, as GroupNorms of diffusion models end, 0 dB, and 78 dB as [1, 8, 8, 8] and [1, 32, 16, 16]; 73 dB with 8, 13, 16 and 20 matrices; 77 dB with 8 x 20, 20 x 20, 13 x 9, and for all sizes with 8 bits, on floats in between, or with another encoding of x in front of the Mul",
			remedy: "quantize x once more in front of the Mul, with a scale that differs",
			appliedBy: "legalize-operators",
			broken({ node, inputs }, context) {
				const x = siluArgument(node, inputs, context);
				const { dtype } = x?.quantization ?? {};
				if (x === undefined || dtype === undefined || bitsPerElement(dtype) !== 16) return undefined;
				return (
					misreadSize(imageSize(x, node.outputs[0]!)) ?? misreadSize(sizeOfSum(x)) ?? gatedThird(x, node.outputs[0]!)
				);
			},
		},
		{
			id: "htp/softplus-size",
			about:
				"A Softplus of 16 bits behind operators that the compiler computes channel by channel is on no image of 9 to 12 rows, nor of more rows and up to 8 columns, and on no batch of 9 to 12 matrices.",
			consequence: "wrong",
			measured:
				"1 to 12 dB behind Conv, ConvTranspose, MatMul of rank 4, pools, BatchNormalization, Resize, operators by element between, and a second scale, on every architecture: 9 x 20 7.8 dB, 12 x 12 3.4 dB, 20 x 8 1.4 dB; [10, 100, 32] 1.2 dB, [9, 64, 128] 8.6 dB behind a MatMul; 41 dB with 8 x 20, 13 x 9, 20 x 20, for all sizes behind a Reshape or the graph's input, and with 8 bits",
			remedy: "put a Reshape to a matrix in front and one behind",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input] }) {
				const dtype = input?.quantization?.dtype;
				if (!isOnnxOp(node, "Softplus") || dtype === undefined || bitsPerElement(dtype) !== 16) return undefined;
				const source = sourceOf(input!.value, ELEMENTWISE);
				if (source === undefined || isOnnxOp(source, ...VIEWS)) return undefined;
				return misreadSize(imageSize(input!, node.outputs[0]!));
			},
		},
		{
			id: "htp/mish-size",
			about:
				"A Mish of 16 bits beside a MatMul or layer normalization is on no 9 to 12 matrices, or rows of an image, of more than 4,096 elements each.",
			consequence: "wrong",
			since: "v69",
			measured:
				"16 to 25 dB in [9, 64, 128], [10, 64, 128], [12, 100, 256] and [1, 9, 64, 128], in front of a MatMul and behind one; 42 dB and more with 8 and 13 matrices, of 4,096 elements and fewer, behind a MaxPool, and as one matrix of all rows",
			remedy: "put a Reshape to a matrix in front and one behind",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input] }) {
				const dtype = input?.quantization?.dtype;
				if (!isOnnxOp(node, "Mish") || dtype === undefined || bitsPerElement(dtype) !== 16) return undefined;
				const { rows } = imageSize(input!, node.outputs[0]!) ?? {};
				const size = elementCount(fixedShape(input!.shape?.slice(-2)) ?? []);
				if (rows === undefined || rows <= 8 || rows > 12 || size <= 4096 || !isLastAxis(input!, node)) return undefined;
				return `the input is of ${rows} matrices of ${size} elements`;
			},
		},
	],
};
