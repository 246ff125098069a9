import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import type { Interval } from "../../quant/grid.js";
import { type CutRange, hardSwishStart, limitedResult } from "../cut-range.js";
import { fixedShape } from "../fixed-shape.js";
import { castOfNorm } from "../half-norm.js";
import { narrowHardSwish } from "../hard-swish.js";
import { inputFacts, type OperandFacts, type QuantizationFacts } from "../operator-facts.js";
import { codeInterval } from "../readers.js";
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

/** Of what is cut off in front of an activation so much of the interval may be let through: 41 dB with a hundredth, 27 with five. */
const LET_THROUGH = 0.01;

/** Does `range` reach further than what an activation's own limits and those in front of it leave? */
function reachesFurther(range: Interval, { own, all }: CutRange, step: number): boolean {
	const further = (limits: Interval, tolerance: number) =>
		range.lo < limits.lo - tolerance || range.hi > limits.hi + tolerance;
	return (
		further(own, step / 2) || further(all, Math.max(step / 2, LET_THROUGH * (all.hi - Math.max(all.lo, range.lo))))
	);
}

export const FUSED_RULES: RuleGroup = {
	title: "Operators that the compiler makes one of",
	rules: [
		{
			id: "htp/silu-size",
			about:
				"What a Mul and a Sigmoid of 16 bits make `x Sigmoid(x)` of, in one encoding, is no image of 9 to 12 rows, nor of more rows and up to 8 columns, and no batch of 9 to 12 matrices.",
			consequence: "wrong",
			measured:
				"0 to 10 dB behind Conv, ConvTranspose, MatMul, LayerNormalization, MaxPool, Gelu and others, on every architecture, with INT16 and with block scales too: 10 x 10 3.8 dB, 12 x 20 1.7 dB, 14 x 7 1.2 dB, 40 x 8 0 dB; 1 to 10 dB in [12, 31, 72], [10, 100, 32] and [9, 64, 32] behind a MatMul or in front of one, 73 dB with 8, 13, 16 and 20 matrices; 77 dB with 8 x 20, 20 x 20, 13 x 9, and for all sizes with 8 bits, on floats in between, or with another encoding of x in front of the Mul",
			remedy: "quantize x once more in front of the Mul, with a scale that differs",
			appliedBy: "legalize-operators",
			broken({ node, inputs }, context) {
				const x = siluArgument(node, inputs, context);
				const { dtype } = x?.quantization ?? {};
				if (x === undefined || dtype === undefined || bitsPerElement(dtype) !== 16) return undefined;
				return misreadSize(imageSize(x, node.outputs[0]!));
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
		{
			id: "htp/clip-range",
			about:
				"The output encoding of a Relu or Clip behind Conv, ConvTranspose, Gemm, Add, Sub, Mul or a MatMul of rank 3 or less, or of a LeakyRelu, PRelu or HardSwish behind those of them that have weights, views, Slices and MaxPools behind it included, reaches no further than its limits and what Clips, quantizers and a Relu between let through.",
			consequence: "wrong",
			measured:
				"the limits are lost, on every architecture: a Conv in front of a Clip from 0 to 1.5 whose encoding reaches to 1.65 25 dB, to 3 14 dB, from -1 to 1.5 2 dB; with 8 bits the same for some limits; 82 dB with the encoding from 0 to 1.5, or up to 1; behind other operators 60 dB or more; a Clip to 0.75 and a Relu whose encoding reaches to 1 12 dB; a quantizer up to 0.5 and a Relu, LeakyRelu or PRelu up to 1 3 dB, a HardSwish 0 dB, views between included where the compiler sees through them; 41 dB where the encoding is a hundredth wider, 27 with a twentieth; without a quantizer behind, a Clip from -1 to 1 and a MaxPool, Slice, Transpose or Identity whose encoding reaches from -4 to 4 3 to 6 dB, and a Relu whose encoding reaches from 0 to 4 5 dB, to 1.25 16 dB, right from -4 on; a Relu, or several, and a Clip -3 dB, a Clip between two Relus whose encoding starts at 0 -5 to 0 dB; right in front of Concat, Pad, Resize, Flatten and averages, and with a second reader",
			remedy: "quantize the result within the limits first",
			appliedBy: "legalize-operators",
			broken({ node }, { types }) {
				const cut = limitedResult(node, types);
				const range = cut && codeInterval(cut.result);
				if (range === undefined || !reachesFurther(range, cut!, cut!.result.scale!)) return undefined;
				const [from, to, lo, hi] = [
					range.lo,
					range.hi,
					Math.max(range.lo, cut!.all.lo),
					Math.min(range.hi, cut!.all.hi),
				].map((end) => end.toPrecision(3));
				return `its codes reach from ${from} to ${to}, its values from ${lo} to ${hi}`;
			},
		},
		{
			id: "htp/hard-swish-range",
			about:
				"The output encoding of a HardSwish of 16 bits behind a Conv, Gemm or MatMul that has values below 0, views, Slices and MaxPools behind it included, is at least a quarter as wide as the lower end of its input is away from 0.",
			consequence: "wrong",
			since: "v69",
			measured:
				"inputs below four times that width come out as other negative values, where -3 and less should be 0, also with a wider encoding in between: behind a Conv of values down to -8, from -0.375 to 0.1 1.5 dB, to 0.3 9 dB, to 0.8 34 dB, to 1.7 76 dB; 2 to 8 dB with a view or Slice behind it, 12 to 25 dB with a MaxPool; the same behind MatMul, Gemm, depthwise Conv, a Transpose between; 65 dB or more from 0 on, behind ConvTranspose, Add, LayerNormalization and graph inputs, on a line of 33 to 100 rows that are no multiple of 8, and on a v68",
			remedy: "write it as a Mul with a HardSigmoid",
			appliedBy: "legalize-operators",
			broken(operator, { types }) {
				const range = narrowHardSwish(operator, types);
				if (range === undefined) return undefined;
				const [from, to, lo] = [range.lo, range.hi, range.lowest].map((end) => end.toPrecision(3));
				return `its codes reach from ${from} to ${to}, its inputs down to ${lo}`;
			},
		},
		{
			id: "htp/hard-swish-cut",
			about:
				"What Clips and quantizers let through of a Conv, or of a MatMul or Gemm with a weight, to a HardSwish reaches down to -3; from 0 on its output encoding may cut off as much.",
			consequence: "wrong",
			since: "v69",
			measured:
				"the limit is lost: 12 to 23 dB behind a quantizer from -0.1, -1 or -2 on, of 16 and 8 bits, MatMul of rank 2 to 4, 34 to 40 dB from -2.9 on, 77 to 84 dB from -3 on and with a Max in front; right behind ConvTranspose, Add and a product of two activations, and on v68",
			remedy: "put a Max with the lower end in front",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }, { types }) {
				const start = input?.quantization === undefined ? undefined : hardSwishStart(node, types);
				const range = output?.quantization && codeInterval(output.quantization);
				if (start === undefined || (start >= 0 && range !== undefined && range.lo >= (start * (start + 3)) / 6))
					return undefined;
				return `what is below ${Number(start.toPrecision(3))} is cut off in front of it`;
			},
		},
		{
			id: "htp/half-norm",
			about:
				"A layer normalization with scale and bias of FLOAT that is written with ReduceMean, Sub, Pow, Sqrt and Div does not read what a Cast from FLOAT16 has made for it alone.",
			consequence: "refused",
			measured:
				"ONNX Runtime makes a LayerNormalization of it that reads FLOAT16 beside a FLOAT scale, and refuses the model ('bound to different types'), without the HTP too; as a LayerNormalization behind the Cast 73 to 90 dB on v68, v73, v79 and v81, as right without a bias, with Mul for Pow, a scale of FLOAT16 behind a Cast, and where something else reads the Cast",
			remedy: "make it one LayerNormalization",
			appliedBy: "fuse-layer-norm",
			broken({ node }, { types }) {
				const cast = castOfNorm(node, types);
				return cast && `the layer normalization around it reads '${cast.outputs[0]!.name}', cast from FLOAT16`;
			},
		},
	],
};
