import { intOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, elementCount } from "../../ir/types.js";
import { nodeLabel } from "../../ir/walk.js";
import type { Interval } from "../../quant/grid.js";
import { type CutRange, hardSwishStart, limitedResult } from "../cut-range.js";
import { fusedProduct } from "../fused-tanh.js";
import { castOfNorm } from "../half-norm.js";
import { narrowHardSwish } from "../hard-swish.js";
import { storedOf } from "../lost-fill.js";
import { inputFacts, type OperandFacts, type OperatorFacts } from "../operator-facts.js";
import { codeInterval } from "../readers.js";
import { reducedAxes } from "../reduced-axes.js";
import type { RuleGroup } from "../rule.js";
import type { TypeSource } from "../type-source.js";
import { reachOf } from "./operand-ranges.js";
import { sourceOf } from "./producers.js";

/** Of what is cut off in front of an activation so much of the interval may be let through: 41 dB with a hundredth, 27 with five. */
const LET_THROUGH = 0.01;

/** Results of so much and more are right enough. */
const TANH_REACH = 0.6;

/** Does `range` reach further than what an activation's own limits and those in front of it leave? */
function reachesFurther(range: Interval, { own, all }: CutRange, step: number): boolean {
	const further = (limits: Interval, tolerance: number) =>
		range.lo < limits.lo - tolerance || range.hi > limits.hi + tolerance;
	return (
		further(own, step / 2) || further(all, Math.max(step / 2, LET_THROUGH * (all.hi - Math.max(all.lo, range.lo))))
	);
}

/** Between a Mul and the ReduceSum that the compiler makes one of with it. */
const BETWEEN: readonly string[] = ["Relu", "Reshape", "Unsqueeze", "Squeeze"];

function isWide(operand: OperandFacts | undefined): boolean {
	const dtype = operand?.quantization?.dtype;
	return dtype !== undefined && bitsPerElement(dtype) === 16;
}

/** The Mul by a constant along the last axis whose results the operator adds up over that axis, which goes. */
function weightedSum({ node, inputs: [input], outputs: [output] }: OperatorFacts, types: TypeSource): Node | undefined {
	const rank = input?.shape?.length;
	if (!isOnnxOp(node, "ReduceSum") || intOf(node, "keepdims", 1) !== 0 || rank === undefined) return undefined;
	if ([...reducedAxes(node, rank)].join() !== `${rank - 1}` || !isWide(input) || !isWide(output)) return undefined;
	const product = sourceOf(input!.value, BETWEEN);
	const factor = product && isOnnxOp(product, "Mul") ? product.inputs[1] : undefined;
	const facts = factor && inputFacts(factor, types);
	const stored = facts && isWide(facts) ? storedOf(facts) : undefined;
	const length = input!.shape!.at(-1);
	const isAlong = stored?.shape.at(-1) === length && stored !== undefined && elementCount(stored.shape) === length;
	return isAlong && length !== 1 ? product : undefined;
}

export const FUSED_RULES: RuleGroup = {
	title: "Operators that the compiler makes one of",
	rules: [
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
			id: "htp/tanh-product",
			about:
				"What a Tanh of floats reads is not made by a Conv, MatMul or Gemm, biases, factors of channels and views in between, unless that is one matrix, or line, of more than 32 positions, something else reads it, or the codes of the result reach up to 0.6.",
			consequence: "wrong",
			since: "v73",
			measured:
				"both are computed as one, where results near 0 are 3 % too small: 29 to 31 dB with a standard deviation of 0.05 and 0.1, 33 of 0.15, 35 of 0.2, 38 of 0.3, 41 of 0.5, with a Mul behind 27; of Conv of one and two dimensions, depthwise, of MatMul by a constant and by a computed value, also between codes where the weight is of floats, and of a sum of two such; 64 dB and more with a quantizer, Clip, Max, Relu or LeakyRelu in between, behind ConvTranspose, LayerNormalization and pools, and on v69",
			remedy: "put a Max with -16 in between, which a Tanh does not tell from less",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }, { types }) {
				if (!isOnnxOp(node, "Tanh") || input === undefined || input.moved !== undefined) return undefined;
				if ((reachOf(output) ?? 0) >= TANH_REACH) return undefined;
				const product = fusedProduct(input.value, types);
				return product && `'${input.value.name}' comes from ${product.op.type} as floats`;
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
		{
			id: "htp/weighted-sum",
			about:
				"A ReduceSum over the last axis of 16 bits, which goes, does not read what a Mul makes with a constant of 16 bits along that axis on its right, a Relu and views in between.",
			consequence: "wrong",
			until: "v69",
			measured:
				"-3 to 0 dB, mostly zeros, as in the expected place of a keypoint: [1, 17, 24], [5, 24], [1, 5, 32], [1, 17, 8] and [1, 2, 17, 24], UINT16 and INT16, on v68 and v69; 68 dB and more where the axis stays, over another axis, with the constant on the left, of INT8, one number, a whole matrix, or one a row, without a quantizer in between, as a ReduceMean, and on v73, v75, v79 and v81; of 8 bits 42 to 51 dB",
			remedy: "keep the axis, and take it off with a Reshape",
			appliedBy: "legalize-operators",
			broken(operator, { types }) {
				const product = weightedSum(operator, types);
				return product && `it adds up what Mul '${nodeLabel(product)}' makes with a constant`;
			},
		},
	],
};
