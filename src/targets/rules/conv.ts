import { intOf, intsOf, stringOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, DataType, dataTypeName } from "../../ir/types.js";
import { nodeLabel } from "../../ir/walk.js";
import { constantOf } from "../../weights/constant.js";
import { axisOfEmptyWindow, convWindows } from "../conv-windows.js";
import type { OperatorFacts } from "../operator-facts.js";
import { becomesLpbq } from "../provider-options.js";
import { quantizerBehind, vectorAddsBehind } from "../readers.js";
import type { RuleGroup } from "../rule.js";
import { typeName } from "./type-name.js";

function isConv({ node, weight }: OperatorFacts, scheme: "lpbq" | "block"): boolean {
	return isOnnxOp(node, "Conv", "ConvTranspose") && weight?.scheme === scheme;
}

/** Does ONNX Runtime make one Conv of it and the Add of a float constant behind it, of which the sum is quantized? */
function isSumQuantized({ outputs: [output] }: Node): boolean {
	const [use, ...others] = output!.uses;
	if (use === undefined || others.length > 0 || output!.isGraphOutput) return false;
	if (!isOnnxOp(use.node, "Add") || use.index !== 0 || constantOf(use.node.inputs[1]) === undefined) return false;
	return quantizerBehind(use.node.outputs[0]!) !== undefined;
}

/** A two-dimensional convolution of one position and one group. */
function isPointwise({ node, weight }: OperatorFacts): boolean {
	const shape = weight?.shape ?? [];
	return (
		isOnnxOp(node, "Conv") && intOf(node, "group", 1) === 1 && shape.length === 4 && shape[2] === 1 && shape[3] === 1
	);
}

/** Is there an element behind the last tap of the kernel, or, but along the depth of a volume, of the steps that it takes? */
function reachesTooFar({ node, inputs }: OperatorFacts, paddings: readonly number[]): boolean {
	const kernel = inputs[1]?.shape?.slice(2) ?? [];
	const [strides, pads] = [intsOf(node, "strides"), intsOf(node, "pads")];
	return kernel.some((length, axis) => {
		if (typeof length !== "number") return false;
		const stride = strides[axis] ?? 1;
		const last = length + (paddings[axis] ?? 0) - (pads[axis + kernel.length] ?? 0);
		const isDepth = kernel.length === 3 && axis === 0;
		return last > (isDepth ? length : Math.ceil(length / stride) * stride);
	});
}

export const CONV_RULES: RuleGroup = {
	title: "Convolutions",
	rules: [
		{
			id: "htp/lpbq-conv",
			about: "No convolution takes block scales that a DequantizeLinear makes.",
			consequence: "refused",
			measured: "refused for kernels 1x1 and 3x3, one dimension, groups; an error even where the CPU is a fallback",
			remedy: "store a 1x1 weight in the exact-BQ form, others with one scale a channel",
			appliedBy: "legalize-weights",
			broken(operator) {
				return isConv(operator, "lpbq") ? `weight '${operator.weight!.name}' is LPBQ in the double-dq form` : undefined;
			},
		},
		{
			id: "htp/block-conv",
			about: "Only 2-D convolutions with a 1x1 kernel and one group take block scales.",
			consequence: "refused",
			measured: "refused for 3x3, 1-D and grouped convolutions and for ConvTranspose",
			remedy: "store one scale a channel",
			appliedBy: "legalize-weights",
			broken(operator) {
				if (!isConv(operator, "block") || isPointwise(operator)) return undefined;
				const group = intOf(operator.node, "group", 1);
				return `weight '${operator.weight!.name}' is [${operator.weight!.shape.join(", ")}] in ${group === 1 ? "1 group" : `${group} groups`} of a ${operator.node.op.type}`;
			},
		},
		{
			id: "htp/block-conv-steps",
			about: "A convolution of one position with block scales has steps of [1, 1] or [2, 2], and dilations of 1.",
			consequence: "refused",
			since: "v69",
			measured:
				"refused with steps of [1, 2], [2, 1], [1, 3], [2, 3], [3, 3], [4, 4] and [5, 5], and with dilations of 2, which say nothing there; UINT16 and INT16; 67 dB with the others",
			remedy: "take the positions with a Slice in front, where there are no pads; leave the dilations out",
			appliedBy: "legalize-operators",
			broken(operator) {
				if (!isConv(operator, "block") || !isPointwise(operator)) return undefined;
				const [steps, dilations] = ["strides", "dilations"].map((name) => intsOf(operator.node, name)) as number[][];
				const isTaken = ["", "1,1", "2,2"].includes(steps!.join());
				if (isTaken && dilations!.every((dilation) => dilation === 1)) return undefined;
				const found = isTaken ? `dilations of ${dilations!.join(" and ")}` : `steps of ${steps!.join(" and ")}`;
				return `weight '${operator.weight!.name}' has blocks, a kernel of one position and ${found}`;
			},
		},
		{
			id: "htp/block-conv-single",
			about: "A convolution has two block scales or more.",
			consequence: "wrong",
			since: "v69",
			measured:
				"0 dB with one output and one block of 24 and 32, INT4 and INT8, UINT16 and INT16, with INT32 biases and without, pads and steps, on v69, v73 and v81; 66 to 69 dB with two outputs or two blocks, a MatMul 68 dB",
			remedy: "make it one scale for all",
			appliedBy: "legalize-weights",
			broken(operator) {
				const weight = operator.weight;
				if (!isConv(operator, "block") || weight!.channels !== 1 || weight!.blockSize < weight!.depth) return undefined;
				return `weight '${weight!.name}' has one block`;
			},
		},
		{
			id: "htp/block-conv-scales",
			about:
				"Block scales of a convolution that are not integers from 1 to 16 times a channel scale are computed in fp16.",
			consequence: "slow",
			since: "v69",
			measured:
				"66 dB; with enable_block_quant_weight_optimization = 1, which makes LPBQ of them, 20 to 36 dB: a ResNet-50 has 24 dB instead of 44",
			remedy: "leave that option 0, or fit the scales in the exact-BQ form",
			appliedBy: "bq-to-lpbq",
			broken(operator) {
				if (!isConv(operator, "block") || !isPointwise(operator) || operator.weight!.isExact) return undefined;
				const { name, exact } = operator.weight!;
				return `the block scales of weight '${name}' are ${(exact.worst * 100).toFixed(1)} % off 1 to 16 times a channel scale`;
			},
		},
		{
			id: "htp/block-conv-float-bias",
			about: "A convolution whose block scales QNN is not to make LPBQ of has no float bias.",
			consequence: "wrong",
			measured: "-28 dB: the bytes of the bias are taken for INT32",
			remedy: "store the bias as INT32",
			appliedBy: "legalize-bias",
			broken(operator, context) {
				const bias = operator.inputs[2];
				if (!isConv(operator, "block") || context.blockQuantOptimization || bias?.constant?.dtype !== DataType.FLOAT)
					return undefined;
				return `bias '${bias.value.name}' is float`;
			},
		},
		{
			id: "htp/exact-conv-channel",
			about: "A convolution with a bias, whose block scales QNN makes LPBQ of, has two output channels or more.",
			consequence: "wrong",
			measured:
				"1 to 24 dB with one channel, float and INT32 biases, on every architecture; 85 dB without a bias, 84 to 90 dB with two channels, 71 dB in fp16",
			remedy: "store it as INT8 with one scale a channel: the products of codes and integer scales fit 8 bits",
			appliedBy: "legalize-weights",
			broken(operator, context) {
				const { weight, inputs } = operator;
				if (!isConv(operator, "block") || !context.blockQuantOptimization || !becomesLpbq(operator)) return undefined;
				if (weight!.channels !== 1 || inputs[2] === undefined) return undefined;
				return `weight '${weight!.name}' has one output channel, and there is the bias '${inputs[2].value.name}'`;
			},
		},
		{
			id: "htp/conv-pads-8-bits",
			about:
				"A Conv with pads, and a ConvTranspose, whose kernel is larger than 1 and whose result goes into no QuantizeLinear, also not by way of an Add of a constant on its right, does not read what is quantized with 8 bits.",
			consequence: "wrong",
			until: "v68",
			measured:
				"-8 to 12 dB with UINT8 and INT8, float weights and one scale, one and two dimensions, groups; 64 dB without pads, with UINT16, with a Relu or Mul of floats in front, 42 dB with a quantized result",
			remedy: "quantize its input with 16 bits",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], weight, result }) {
				const { dtype } = input?.quantization ?? {};
				if (!isOnnxOp(node, "Conv", "ConvTranspose") || weight === undefined || result !== undefined) return undefined;
				if (isSumQuantized(node)) return undefined;
				if (dtype !== DataType.UINT8 && dtype !== DataType.INT8) return undefined;
				const isLarge = weight.shape.slice(2).some((length) => length > 1);
				const isSame = (stringOf(node, "auto_pad") ?? "").startsWith("SAME");
				const isPadded = isOnnxOp(node, "ConvTranspose") || isSame || intsOf(node, "pads").some((pad) => pad > 0);
				return isLarge && isPadded ? `it pads '${input!.value.name}', which is ${dataTypeName(dtype)}` : undefined;
			},
		},
		{
			id: "htp/transposed-conv-groups",
			about: "A ConvTranspose whose weight has one scale a channel, and one of three dimensions, has one group.",
			consequence: "wrong",
			measured:
				"7 dB with 2 groups and one scale a channel, with a bias refused, on every architecture, INT8 and INT4; one scale 88 dB, one group 88 dB; of three dimensions -3 to 0 dB with 2 and 8 groups, one scale, float weights, 8 and 16 bits and on floats, kernels of 1 and 3; 82 to 88 dB with one group",
			remedy: "write it with one group, the weights between groups 0",
			appliedBy: "legalize-operators",
			broken({ node, weight, inputs }) {
				const group = isOnnxOp(node, "ConvTranspose") ? intOf(node, "group", 1) : 1;
				if (group === 1) return undefined;
				if (inputs[1]?.shape?.length === 5) return `it has ${group} groups and three dimensions`;
				if (weight?.scheme !== "per-channel") return undefined;
				return `it has ${group} groups, and weight '${weight.name}' one scale a channel`;
			},
		},
		{
			id: "htp/transposed-conv-padding",
			about:
				"A depthwise ConvTranspose of two channels or more has no output_padding; one of any other goes no further than its kernel would, made longer until it is a multiple of the steps, nor beyond the kernel itself along the depth of a volume.",
			consequence: "wrong",
			measured:
				"depthwise -1 to 12 dB on codes of 16 and 8 bits and on floats, one and two dimensions, kernels of 1 to 4, steps of 2 and 3, on v68, v73, v79 and v81: elements come out in other places; 61 to 84 dB without, with uneven pads, with one channel, other groups and two outputs a channel. Others -6 to 16 dB, or MEM_ALLOC, or a crash, with an output_padding of 1 and kernels of 2, 4 and 3 in steps of 2, 2 and 3; 43 to 60 dB with kernels of 1, 3 and 4 in steps of 2, 2 and 3, and where pads cut off as much; 9 to 16 dB along the depth of a volume with a kernel of 3 in steps of 2, too",
			remedy: "cut off as much less behind, or put zeros behind the kernel",
			appliedBy: "legalize-operators",
			broken(operator) {
				const paddings = isOnnxOp(operator.node, "ConvTranspose") ? intsOf(operator.node, "output_padding") : [];
				if (!paddings.some((padding) => padding > 0)) return undefined;
				const shape = operator.inputs[1]?.shape ?? [];
				const group = intOf(operator.node, "group", 1);
				const isDepthwise = group !== 1 && shape[0] === group && shape[1] === 1;
				if (!isDepthwise && !reachesTooFar(operator, paddings)) return undefined;
				return `its output_padding is [${paddings.join(", ")}]`;
			},
		},
		{
			id: "htp/transposed-conv-add",
			about:
				"An Add behind a ConvTranspose, quantizers, Identity, Relu and Clip between included, does not read dequantized codes of one number a channel as its second operand.",
			consequence: "wrong",
			measured:
				"0 to 16 dB with a vector of the activations' type where the weight has one scale a channel, on every architecture, INT8 and INT4, groups and kernels; 0 to 58 dB with one scale for all, or one output channel, where the numbers are small; 72 and 87 dB with the operands exchanged, with a vector of another type or of floats, one number for several channels, with Sub, and with a MaxPool, Reshape, Mul, Slice, Pad or Resize in between",
			remedy: "exchange the operands of the Add",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, weight } = operator;
				if (!isOnnxOp(node, "ConvTranspose") || weight === undefined) return undefined;
				const [add] = vectorAddsBehind(operator);
				return add && `Add '${nodeLabel(add)}' behind it adds the vector '${add.inputs[1]!.name}' as second operand`;
			},
		},
		{
			id: "htp/conv-int16",
			about: "A depthwise Conv, and a Conv or ConvTranspose of three dimensions, is not on INT16 activations.",
			consequence: "refused",
			measured:
				"refused with as many groups as input and output channels, one of each too, of one or two dimensions, and with kernels of three, on every architecture; right with UINT16, with two channels a group, two outputs a channel, and as a ConvTranspose of one or two dimensions",
			remedy: "quantize input and output as UINT16",
			appliedBy: "legalize-operators",
			broken({ node, inputs, weight }) {
				const shape = weight?.shape ?? [];
				if (!isOnnxOp(node, "Conv", "ConvTranspose") || inputs[0]?.quantization?.dtype !== DataType.INT16)
					return undefined;
				const isDepthwise = isOnnxOp(node, "Conv") && shape[1] === 1 && shape[0] === intOf(node, "group", 1);
				if (!isDepthwise && shape.length < 5) return undefined;
				return `weight '${weight!.name}' is [${shape.join(", ")}], and the activations are INT16`;
			},
		},
		{
			id: "htp/conv-window",
			about:
				"What a kernel of one row spans over all input channels, dilations included, is 1016 KiB at most, 496 KiB on v68.",
			consequence: "refused",
			measured:
				"the graph fails to compile with 1,048,320 bytes and more on v69 and later, 524,032 on v68, for kernels of 3, 5 and 9, 8 and 16 bits, one and two dimensions, short inputs too; 61 to 87 dB up to 1,040,640 bytes (508,160 on v68), 78 dB as a depthwise Conv",
			remedy: "write it as a sum of Convs of kernel 1, one a tap, on Slices of the input",
			broken({ node, inputs: [input], weight }, { architecture }) {
				const [, channels, ...kernel] = weight?.shape ?? [];
				const bits = bitsPerElement(input?.quantization?.dtype ?? DataType.UNDEFINED);
				if (!isOnnxOp(node, "Conv") || intOf(node, "group", 1) !== 1 || bits === undefined) return undefined;
				const taps = kernel.at(-1);
				if (channels === undefined || taps === undefined || kernel.slice(0, -1).some((rows) => rows > 1))
					return undefined;
				const bytes = (channels * ((taps - 1) * (intsOf(node, "dilations").at(-1) ?? 1) + 1) * bits) / 8;
				const limit = (architecture === "v68" ? 496 : 1016) * 1024;
				return bytes > limit
					? `the kernel spans ${bytes} bytes of '${input!.value.name}', expected ${limit} at most`
					: undefined;
			},
		},
		{
			id: "htp/conv-int4-volume",
			about: "A convolution of three dimensions has no INT4 weight.",
			consequence: "refused",
			measured:
				"the graph fails to compile ('memory allocation related error') with one scale a channel, on v79 also with one scale, with groups and as a ConvTranspose too, on v68 and v81; right with INT8, and with INT4 in one and two dimensions",
			remedy: "make the codes INT8, 16 times as large, and the scales a sixteenth",
			appliedBy: "legalize-operators",
			broken({ node, weight }) {
				if (!isOnnxOp(node, "Conv", "ConvTranspose") || weight?.dtype !== DataType.INT4) return undefined;
				if (!["per-channel", "per-tensor"].includes(weight.scheme) || weight.shape.length !== 5) return undefined;
				return `weight '${weight.name}' is INT4 [${weight.shape.join(", ")}]`;
			},
		},
		{
			id: "htp/conv-empty-window",
			about:
				"On floats a Conv of more than one position, without steps and dilations, pads in front of an axis by less than its kernel is long; a Pad of zeros in front counts.",
			consequence: "wrong",
			since: "v69",
			measured:
				"-5 to 17 dB with pads of 3 and more and a kernel of 3, of 2 with one of 2, of 1 across a kernel of [1, 3], of one, two and three dimensions, depthwise too, with quantized weights, from codes to floats and back, on v73, v79 and v81; a kernel of 5 with pads of 6 crashes the compiler; 66 to 71 dB with one less, with so many behind only, with steps of 2, dilations of 2 or one position; between codes 77 to 88 dB, and on v68 138 dB",
			remedy: "put a Pad in front, and pads of 0 with the auto_pad VALID, which keeps both apart",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs, result } = operator;
				const axis = axisOfEmptyWindow(operator);
				if (axis === undefined || (inputs[0]?.quantization !== undefined && result !== undefined)) return undefined;
				const { kernel, pads } = convWindows(operator)!;
				return `${node.op.type} pads by ${pads[axis]} in front of axis ${axis + 2}, whose kernel is ${kernel[axis]} long`;
			},
		},
		{
			id: "htp/conv-volume-float",
			about: "A convolution of three dimensions is between quantized values of one type.",
			consequence: "refused",
			until: "v68",
			measured:
				"the graph fails to compile with floats or another type at either end, for Conv and ConvTranspose, float weights and one scale, kernels of 1 and 3; 57 to 88 dB from UINT16 to UINT16, 69 dB with a float result on v69 and v73",
			remedy: "put QuantizeLinear and DequantizeLinear behind it",
			appliedBy: "legalize-operators",
			needsEncodings: true,
			broken(operator) {
				const { node, inputs, weight } = operator;
				if (!isOnnxOp(node, "Conv", "ConvTranspose") || inputs[1]?.shape?.length !== 5) return undefined;
				if (weight?.scheme === "per-channel" || weight?.scheme === "block") return undefined;
				const [from, to] = [inputs[0]?.quantization?.dtype, operator.result?.dtype];
				if (from !== undefined && from === to) return undefined;
				return `the input is ${typeName(from)} and the result ${typeName(to)}, expected the same`;
			},
		},
	],
};
