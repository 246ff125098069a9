import { isOnnxOp } from "../../ir/node.js";
import { DataType, dataTypeName } from "../../ir/types.js";
import { numbersOf } from "../../weights/numbers.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import { roundedStep } from "../product-steps.js";
import { becomesLpbq } from "../provider-options.js";
import { CODES } from "../readers.js";
import { repeatedPairs } from "../repeated-pairs.js";
import { returnedCodes } from "../returned-codes.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import type { WeightFacts } from "../weight-facts.js";
import { LINEAR } from "./producers.js";
import { typeName } from "./type-name.js";

/** How far the scale of a Gemm's bias may be from that of the products, as part of it. */
const TOLERANCE = 1e-3;

/** The same of a Conv's bias: with 0.01 46 dB are left. */
const CONV_TOLERANCE = 5e-3;

/** From here on the compiler gives such a bias scales of its own. */
const RESTORED_RATIO = 32;

/** One more than the largest INT32. */
const INT32_END = 2 ** 31;

interface Biased {
	readonly weight: WeightFacts;
	readonly bias: OperandFacts;
	/** undefined where the input has not one constant scale. */
	readonly inputScale: number | undefined;
}

/** The scale of each channel's products where ONNX Runtime or the model quantizes the weight; empty where neither does. */
function productScales({ node, weight, inputs, fusedAdd, result }: OperatorFacts): Float64Array {
	const input = inputs[0]?.quantization?.scale;
	if (input === undefined || weight === undefined) return new Float64Array();
	if (weight.scheme !== "float") return weight.channelScales.map((scale) => input * scale);
	const isQuantized = result !== undefined && (isOnnxOp(node, "MatMul") ? fusedAdd : inputs[2]) !== undefined;
	return new Float64Array(isQuantized ? weight.channels : 0).fill(input * roundedStep(weight));
}

/** The operator's bias, or the vector added behind a MatMul, where its quantized weight is none that lpbq.ts, gemm.ts or conv.ts have rules for. */
function biased({ node, weight, inputs, fusedAdd }: OperatorFacts): Biased | undefined {
	const bias = isOnnxOp(node, "MatMul") ? fusedAdd?.addend : inputs[2];
	if (weight === undefined || bias === undefined || weight.scheme === "lpbq" || weight.scheme === "float")
		return undefined;
	const isTaken =
		isOnnxOp(node, "Conv", "ConvTranspose") || (isOnnxOp(node, "Gemm", "MatMul") && weight.scheme !== "block");
	return isTaken ? { weight, bias, inputScale: inputs[0]?.quantization?.scale } : undefined;
}

/**
 * What the compiler stores in steps of the products: a float bias, or beside block scales that QNN makes LPBQ of an INT32
 * one, too, whatever its own scales.
 */
function restoredBias(operator: OperatorFacts, { blockQuantOptimization }: RuleContext): Float64Array | undefined {
	const bias = isOnnxOp(operator.node, "MatMul") ? operator.fusedAdd?.addend : operator.inputs[2];
	if (bias?.constant?.dtype === DataType.FLOAT) return Float64Array.from(numbersOf(bias.constant));
	const { dtype, codes, scales } = bias?.quantization ?? {};
	if (!blockQuantOptimization || !becomesLpbq(operator) || dtype !== DataType.INT32) return undefined;
	if (codes === undefined || scales === undefined) return undefined;
	const steps = numbersOf(scales);
	return Float64Array.from(numbersOf(codes), (code, channel) => code * steps[steps.length === 1 ? 0 : channel]!);
}

export const BIAS_RULES: RuleGroup = {
	title: "Biases",
	rules: [
		{
			id: "htp/bias-granularity",
			about: "An INT32 bias has one scale where the weight has one, and one a channel where the weight has more.",
			consequence: "wrong",
			measured: "-10 to 24 dB: one scale with a weight of several, or several with a weight of one",
			remedy: "store the bias anew with such scales, or as float",
			appliedBy: "legalize-bias",
			broken(operator) {
				const found = biased(operator);
				if (found?.bias.quantization?.dtype !== DataType.INT32) return undefined;
				const { weight, bias } = found;
				const expected = weight.scheme === "per-tensor" ? "tensor" : "channel";
				const actual = bias.quantization!.granularity;
				if (actual === expected || weight.channels === 1) return undefined;
				return `bias '${bias.quantization!.node.inputs[0]!.name}' has one scale a ${actual}, expected one a ${expected} as weight '${weight.name}' is ${weight.scheme}`;
			},
		},
		{
			id: "htp/gemm-bias-scale",
			about:
				"The scales of the INT32 bias of a Gemm, or of a MatMul's in an Add, are those of the input times those of the weight's channels.",
			consequence: "wrong",
			measured: "0.4 dB with 257 times these",
			remedy: "store the bias anew with such scales, or as float",
			appliedBy: "legalize-bias",
			broken(operator) {
				const found = biased(operator);
				if (found === undefined || found.inputScale === undefined || !isOnnxOp(operator.node, "Gemm", "MatMul"))
					return undefined;
				const { weight, bias, inputScale } = found;
				const scales = bias.quantization?.scales;
				if (weight.scheme === "per-tensor" || bias.quantization?.granularity !== "channel" || scales === undefined)
					return undefined;
				const biasScales = numbersOf(scales);
				for (const [channel, channelScale] of weight.channelScales.entries()) {
					const ratio = (biasScales[channel] ?? Number.NaN) / (inputScale * channelScale);
					if (Math.abs(ratio - 1) <= TOLERANCE) continue;
					return `bias '${bias.quantization.node.inputs[0]!.name}' has ${ratio.toPrecision(3)} times the scale of the products in channel ${channel}`;
				}
				return undefined;
			},
		},
		{
			id: "htp/conv-bias-scale",
			about:
				"The scales of the INT32 bias of a Conv whose weight has one scale a channel are those of the input times those of the channels, or at least 32 times these where it has two or three dimensions.",
			consequence: "wrong",
			measured:
				"8 to 14 dB with 1.7 times these, 1 to 8 dB with 16 times, 28 dB with 1.05; 47 dB with 1.005; 32 to 1000 times 81 to 110 dB with two and three dimensions, 0 to 1 dB with one; Conv, ConvTranspose, groups and depthwise, INT8 and INT4, on every architecture; right with any beside one scale",
			remedy: "store the bias anew with such scales, or as float",
			appliedBy: "legalize-bias",
			broken(operator) {
				const found = isOnnxOp(operator.node, "Conv", "ConvTranspose") ? biased(operator) : undefined;
				const { dtype, granularity, scales, node } = found?.bias.quantization ?? {};
				if (found?.inputScale === undefined || scales === undefined || dtype !== DataType.INT32) return undefined;
				if (found.weight.scheme !== "per-channel" || granularity !== "channel") return undefined;
				const isImage = found.weight.shape.length > 3;
				const biasScales = numbersOf(scales);
				for (const [channel, channelScale] of found.weight.channelScales.entries()) {
					const ratio = (biasScales[channel] ?? Number.NaN) / (found.inputScale * channelScale);
					if (Math.abs(ratio - 1) <= CONV_TOLERANCE || (isImage && ratio >= RESTORED_RATIO)) continue;
					return `bias '${node!.inputs[0]!.name}' has ${ratio.toPrecision(3)} times the scale of the products in channel ${channel}`;
				}
				return undefined;
			},
		},
		{
			id: "htp/block-bias-scale",
			about:
				"The scales of the INT32 bias of a Conv, whose block scales QNN makes LPBQ of, are those of the input times a sixteenth of the channel's largest, or at least 32 times these.",
			consequence: "wrong",
			measured:
				"-11 dB with a sixteenth, 7 dB with half, 20 dB with 1.25, 12 dB with 2 and 7 dB with 16 times these, 46 dB with 1.01; right with 32 to 4096 times, in fp16, and for a MatMul",
			remedy: "store the bias anew with such scales",
			appliedBy: "legalize-bias",
			broken(operator, { blockQuantOptimization }) {
				const found = isOnnxOp(operator.node, "Conv") ? biased(operator) : undefined;
				const { dtype, scales, node } = found?.bias.quantization ?? {};
				if (found?.inputScale === undefined || scales === undefined || dtype !== DataType.INT32) return undefined;
				if (!blockQuantOptimization || !becomesLpbq(operator)) return undefined;
				const biasScales = numbersOf(scales);
				for (const [channel, channelScale] of found.weight.channelScales.entries()) {
					const ratio = biasScales[biasScales.length === 1 ? 0 : channel]! / (found.inputScale * channelScale);
					if (Math.abs(ratio - 1) <= CONV_TOLERANCE || ratio >= RESTORED_RATIO) continue;
					return `bias '${node!.inputs[0]!.name}' has ${ratio.toPrecision(3)} times the scale of the products in channel ${channel}`;
				}
				return undefined;
			},
		},
		{
			id: "htp/bias-type",
			about: "The bias of an operator whose weight has several scales is float or INT32.",
			consequence: "refused",
			measured: "UINT16 and UINT8 biases are refused, and right where the weight has one scale",
			remedy: "store the bias anew as INT32 with the scales of the products, or as float",
			appliedBy: "legalize-bias",
			broken(operator) {
				const found = biased(operator);
				const quantization = found?.bias.quantization;
				if (found === undefined || quantization === undefined || quantization.dtype === DataType.INT32)
					return undefined;
				if (found.weight.scheme === "per-tensor") return undefined;
				return `bias '${quantization.node.inputs[0]!.name}' is ${dataTypeName(quantization.dtype ?? DataType.UNDEFINED)}, expected float or INT32`;
			},
		},
		{
			id: "htp/bias-overflow",
			about:
				"A float bias, divided by the scale of its channel's products, fits 32 bits. So does an INT32 bias beside block scales that QNN makes LPBQ of, in steps of a sixteenth of the largest. A float weight between quantized values counts as INT8 with one scale, which ONNX Runtime makes of it.",
			consequence: "wrong",
			measured:
				"2.5 dB with channel scales of 2^-23; beside a float weight 87 dB with 2^30.9, -5 dB with 2^31.1; INT32 beside block scales 5 dB with 2^34.7, exact with 2^28.7, and 151 dB in fp16",
			remedy: "raise the scales of channels whose codes are all 0; otherwise add the bias with an Add",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				const { node, weight, inputs, fusedAdd } = operator;
				const bias = isOnnxOp(node, "MatMul") ? fusedAdd?.addend : inputs[2];
				const values = isOnnxOp(node, ...LINEAR) ? restoredBias(operator, context) : undefined;
				if (values === undefined) return undefined;
				if (weight?.scheme !== "float" && biased(operator) === undefined) return undefined;
				const scales = productScales(operator);
				for (const [channel, value] of scales.length === 0 ? [] : values.entries()) {
					const code = Math.abs(value) / scales[channel % scales.length]!;
					if (code < INT32_END) continue;
					return `bias '${bias!.value.name}' is ${code.toExponential(1)} times the scale of the products in channel ${channel}, expected less than 2^31`;
				}
				return undefined;
			},
		},
		{
			id: "htp/bias-repeated-pairs",
			about:
				"Between an operator with an INT32 bias, whose weight has several scales, and what it computes on there is one QuantizeLinear and DequantizeLinear, or the last of several cuts off the most.",
			consequence: "wrong",
			measured:
				"2 to 12 dB behind two pairs of one type: ONNX Runtime makes one of them, with the scale of what both let through, and takes the bias in steps of that; Conv, Gemm and MatMul with Add, INT8, INT4 and the exact-BQ form, 8 and 16 bits, on v68 and v73; 60 dB and more with a float bias, one scale, two types, a Reshape in between, and with the finer pair behind",
			remedy: "store the bias as float, or quantize once",
			appliedBy: "legalize-operators",
			broken(operator, { types, blockQuantOptimization }) {
				const { weight, bias } = biased(operator) ?? {};
				if (weight === undefined || bias?.quantization?.dtype !== DataType.INT32) return undefined;
				if (weight.scheme === "per-tensor" || (weight.scheme === "block" && !blockQuantOptimization)) return undefined;
				const pairs = repeatedPairs(operator.inputs[0], types);
				const { scale, dtype } = operator.inputs[0]!.quantization ?? {};
				const codes = dtype === undefined ? undefined : CODES[dtype];
				if (pairs === undefined || scale === undefined || codes === undefined) return undefined;
				const made = (pairs.interval.hi - pairs.interval.lo) / (codes.max - codes.min);
				if (Math.abs(made / scale - 1) <= TOLERANCE) return undefined;
				return `the input is quantized twice, with scales of ${pairs.first.scale} and ${scale}, and bias '${bias.quantization.node.inputs[0]!.name}' is INT32`;
			},
		},
		{
			id: "htp/bias-returned-codes",
			about:
				"Between an operator with a bias, whose weight has several scales, and the operator in front are no 16-bit quantizers that change the type and change it back with another scale.",
			consequence: "wrong",
			measured:
				"6 to 23 dB, the bias times the ratio of the two scales, for INT16 -> UINT16 -> INT16 and the reverse, behind Conv, MatMul, MaxPool, Relu and Tanh and with a superfluous Clip or Relu in between, Conv and MatMul with Add, float and INT32 biases, on v68, v73, v79 and v81; 54 dB with 1.01 times the scale; 67 dB and more with one scale, without a bias, with one scale for the weight, for a ConvTranspose, and behind an input, an Add or a Reshape",
			remedy: "leave out the quantizers in between",
			appliedBy: "legalize-operators",
			broken(operator, { types, blockQuantOptimization }) {
				const { weight, bias } = biased(operator) ?? {};
				if (weight === undefined || isOnnxOp(operator.node, "ConvTranspose")) return undefined;
				if (bias?.constant?.dtype !== DataType.FLOAT && bias?.quantization?.dtype !== DataType.INT32) return undefined;
				if (weight.scheme === "per-tensor" || (weight.scheme === "block" && !blockQuantOptimization)) return undefined;
				const { first } = returnedCodes(operator.inputs[0], types) ?? {};
				const { scale, dtype } = operator.inputs[0]!.quantization ?? {};
				if (first?.scale === undefined || scale === undefined) return undefined;
				if (Math.abs(first.scale / scale - 1) <= CONV_TOLERANCE) return undefined;
				return `the input is ${typeName(dtype)} with a scale of ${first.scale}, then of another type and again ${typeName(dtype)} with ${scale}, and there is the bias '${bias.value.name}'`;
			},
		},
		{
			id: "htp/conv-int4-bias",
			about: "A convolution whose INT4 weight has one scale has no bias.",
			consequence: "refused",
			measured:
				"refused with a float and with an INT32 bias, for Conv and ConvTranspose; 64 dB without one; a Gemm takes it",
			remedy: "store the weight with one scale a channel, or as INT8",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, weight, inputs } = operator;
				if (!isOnnxOp(node, "Conv", "ConvTranspose") || weight?.scheme !== "per-tensor") return undefined;
				if (weight.dtype !== DataType.INT4 || inputs[2] === undefined) return undefined;
				return `weight '${weight.name}' is INT4 with one scale, and there is the bias '${inputs[2].value.name}'`;
			},
		},
		{
			id: "htp/bias-activations",
			about:
				"Input and output of an operator with an INT32 bias are quantized alike and so is its weight; of one with a float bias, where both are quantized.",
			consequence: "refused",
			measured:
				"INT32 refused with a float input, output or weight and with UINT16 and UINT8; float refused with UINT16 and UINT8, right with a float output: 70 dB; a UINT16 bias is right with all",
			remedy: "quantize input and output alike, or store the bias as UINT16",
			appliedBy: "legalize-operators",
			broken({ node, weight, inputs, fusedAdd, result }) {
				if (!isOnnxOp(node, ...LINEAR)) return undefined;
				if (weight?.scheme !== "per-tensor" && weight?.scheme !== "float") return undefined;
				const bias = isOnnxOp(node, "MatMul") ? fusedAdd?.addend : inputs[2];
				const isInt32 = bias?.quantization?.dtype === DataType.INT32;
				if (bias === undefined || (!isInt32 && bias.constant?.dtype !== DataType.FLOAT)) return undefined;
				const input = inputs[0]?.quantization?.dtype;
				const output = result?.dtype;
				const found = `the input is ${typeName(input)} and the output ${typeName(output)}, expected the same with`;
				if (!isInt32) {
					const isMixed = input !== undefined && output !== undefined && input !== output;
					return isMixed ? `${found} the float bias '${bias.value.name}'` : undefined;
				}
				if (weight.scheme === "float") return `bias '${bias.value.name}' is INT32 and weight '${weight.name}' float`;
				const isAlike = input !== undefined && input === output;
				return isAlike ? undefined : `${found} the INT32 bias '${bias.value.name}'`;
			},
		},
	],
};
