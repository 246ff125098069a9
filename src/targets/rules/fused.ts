import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, type Dimension } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import type { Interval } from "../../quant/grid.js";
import { type CutRange, hardSwishStart, limitedResult } from "../cut-range.js";
import { castOfNorm } from "../half-norm.js";
import { narrowHardSwish } from "../hard-swish.js";
import { inputFacts, type OperandFacts, type QuantizationFacts } from "../operator-facts.js";
import { codeInterval } from "../readers.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import type { TypeSource } from "../type-source.js";
import { ELEMENTWISE, sourceOf } from "./producers.js";

/** Behind these the second and third dimension are height and width. */
const CHANNELS_LAST: readonly string[] = ["MatMul", "Gemm", "Transpose", "LayerNormalization", "RMSNormalization"];

/** The height and width that the compiler takes a value of rank 4 to have. */
function imageSize(value: Value, shape: readonly Dimension[] | undefined): readonly [number, number] | undefined {
	const source = sourceOf(value, ELEMENTWISE);
	if (shape?.length !== 4 || source === undefined) return undefined;
	const [height, width] = isOnnxOp(source, ...CHANNELS_LAST) ? shape.slice(1, 3) : shape.slice(2);
	return typeof height === "number" && typeof width === "number" ? [height, width] : undefined;
}

/** Behind these nothing says what the height and width are. */
const VIEWS: readonly string[] = ["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Concat"];

/** Sizes that kernels for images of 16 bits get wrong, some of those that the compiler makes of several operators. */
function misreadSize(size: readonly [number, number] | undefined): string | undefined {
	if (size === undefined) return undefined;
	const [height, width] = size;
	if (height <= 8 || (height > 12 && width > 8)) return undefined;
	return `the image is of ${height} rows and ${width} columns`;
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
				"What a Mul and a Sigmoid of 16 bits make `x Sigmoid(x)` of, in one encoding, is no image of 9 to 12 rows, nor of more rows and up to 8 columns.",
			consequence: "wrong",
			measured:
				"0 to 10 dB behind Conv, ConvTranspose, MatMul, LayerNormalization, MaxPool, Gelu and others, on every architecture, with INT16 and with block scales too: 10 x 10 3.8 dB, 12 x 20 1.7 dB, 14 x 7 1.2 dB, 40 x 8 0 dB; 77 dB with 8 x 20, 20 x 20, 13 x 9, and for all sizes with 8 bits, on floats in between, or with another encoding of x in front of the Mul",
			remedy: "quantize x once more in front of the Mul, with a scale that differs",
			appliedBy: "legalize-operators",
			broken({ node, inputs }, context) {
				const x = siluArgument(node, inputs, context);
				const { dtype } = x?.quantization ?? {};
				if (x === undefined || dtype === undefined || bitsPerElement(dtype) !== 16) return undefined;
				return misreadSize(imageSize(x.value, x.shape));
			},
		},
		{
			id: "htp/softplus-size",
			about:
				"A Softplus of 16 bits behind operators that the compiler computes channel by channel is on no image of 9 to 12 rows, nor of more rows and up to 8 columns.",
			consequence: "wrong",
			measured:
				"1 to 12 dB behind Conv, ConvTranspose, MatMul of rank 4, pools, BatchNormalization, Resize, operators by element between, and a second scale, on every architecture: 9 x 20 7.8 dB, 12 x 12 3.4 dB, 20 x 8 1.4 dB; 41 dB with 8 x 20, 13 x 9, 20 x 20, for all sizes behind a Reshape or the graph's input, and with 8 bits",
			remedy: "put a Reshape to a matrix in front and one behind",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input] }) {
				const dtype = input?.quantization?.dtype;
				if (!isOnnxOp(node, "Softplus") || dtype === undefined || bitsPerElement(dtype) !== 16) return undefined;
				const source = sourceOf(input!.value, ELEMENTWISE);
				if (source === undefined || isOnnxOp(source, ...VIEWS)) return undefined;
				return misreadSize(imageSize(input!.value, input!.shape));
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
