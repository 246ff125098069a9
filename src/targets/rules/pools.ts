import { intOf, intsOf, stringOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, DataType, elementCount } from "../../ir/types.js";
import { nodeLabel } from "../../ir/walk.js";
import { constantOf } from "../../weights/constant.js";
import { numbersOf, scalarOf } from "../../weights/numbers.js";
import { clipLimits } from "../clip-limits.js";
import { fixedShape } from "../fixed-shape.js";
import { fusedPads } from "../fused-pad.js";
import { isGlobalAverage } from "../global-average.js";
import type { OperatorFacts } from "../operator-facts.js";
import { type Pads, poolPads } from "../pool-pads.js";
import { reducedAxes } from "../reduced-axes.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import { ELEMENTWISE, sourceOf } from "./producers.js";

/** Does the operator read floats, and not codes on both sides? */
function isOnFloats({ inputs, outputs }: OperatorFacts): boolean {
	return inputs[0]?.quantization === undefined || outputs[0]?.quantization === undefined;
}

/** Does the operator look for an extreme along exactly the last two axes, of which the last has one element and the other more? */
function isLineOfColumns({ node, inputs: [input] }: OperatorFacts): boolean {
	const shape = fixedShape(input?.shape);
	if (shape === undefined || shape.length < 2 || shape.at(-1) !== 1 || shape.at(-2)! < 2) return false;
	const reduced = reducedAxes(node, shape.length);
	const isAll = reduced.size === 0 && shape.length === 2 && node.inputs[1] === undefined;
	return isAll || (reduced.size === 2 && reduced.has(shape.length - 1) && reduced.has(shape.length - 2));
}

/** Does a window that goes on by single steps have as many rows in as out, and no pads beside it? */
function padsRowsAlone(node: Node, [rows, columns, ...more]: readonly Pads[]): boolean {
	if (rows === undefined || columns === undefined || more.length > 0 || columns.begin + columns.end > 0) return false;
	const [height] = intsOf(node, "kernel_shape");
	const isSame = rows.begin > 0 && rows.begin === rows.end && height === 2 * rows.begin + 1;
	return isSame && intsOf(node, "strides").every((stride) => stride === 1);
}

/** What is wrong of an AveragePool. */
function wrongAverage(operator: OperatorFacts, { architecture }: RuleContext): string | undefined {
	const { node, inputs } = operator;
	if (!isOnnxOp(node, "AveragePool")) return undefined;
	const kernel = intsOf(node, "kernel_shape");
	const isFloat = isOnFloats(operator);
	const countsPads = intOf(node, "count_include_pad", 0) === 1 || fusedPads(node) !== undefined;
	const pads = poolPads(operator);
	if (isFloat && pads !== undefined && padsRowsAlone(node, pads)) return "it pads rows, and no columns";
	for (const [axis, { begin, end }] of pads?.entries() ?? []) {
		const size = kernel[axis]!;
		if (begin + end === 0) continue;
		if (size === 3 && !countsPads && Math.max(begin, end) >= 2) return "it pads by 2 in front of a kernel of 3";
		if (size % 2 === 0 && (countsPads || isFloat)) return `it pads in front of a kernel of ${size}`;
		if (isFloat && !countsPads && begin !== end) return `it pads by ${begin} on one side and ${end} on the other`;
		if (!isFloat || inputs[0]?.shape?.[1] !== 1) continue;
		if (countsPads) return "it counts pads, of one channel";
		if (architecture === "v68" && kernel.length < 3) return "it leaves pads out, of one channel";
	}
	return undefined;
}

/** Operators that make nothing below 0. */
const NOT_NEGATIVE = ["Relu", "Sigmoid", "Softmax", "HardSigmoid", "Abs", "Exp", "ReduceL2", "Softplus"];

/** The zeros in front of a MaxPool that are taken for pads, which it leaves out, where values may be below 0. */
function lostZeros(operator: OperatorFacts): string | undefined {
	const { node } = operator;
	const pads = isOnnxOp(node, "MaxPool") ? fusedPads(node) : undefined;
	if (pads === undefined || pads.every((amount) => amount === 0)) return undefined;
	const padded = node.inputs[0]!.producer!.inputs[0]!;
	const source = sourceOf(padded, ["MaxPool", "Transpose", "Reshape", "Identity"]);
	if (source !== undefined && isOnnxOp(source, ...NOT_NEGATIVE)) return undefined;
	if (source !== undefined && isOnnxOp(source, "Clip") && (clipLimits(source)?.lo ?? -1) >= 0) return undefined;
	const quantizer = padded.producer;
	const isPositive =
		quantizer !== undefined &&
		isOnnxOp(quantizer, "DequantizeLinear") &&
		scalarOf(constantOf(quantizer.inputs[2])) === 0;
	const isUnsigned = isPositive && UNSIGNED.includes(constantOf(quantizer.inputs[2])!.tensor.dtype);
	return isUnsigned ? undefined : `[${pads.join(", ")}] zeros in front of it are left out`;
}

const UNSIGNED: readonly DataType[] = [DataType.UINT8, DataType.UINT16];

/** Operators between whose results and an AveragePool a Pad is computed wrong. */
const PADDED: readonly string[] = [
	"Conv",
	"ConvTranspose",
	"MaxPool",
	"AveragePool",
	"Resize",
	"BatchNormalization",
	"InstanceNormalization",
];

function isConstantPad(node: Node): boolean {
	return isOnnxOp(node, "Pad") && (stringOf(node, "mode") ?? "constant") === "constant";
}

/** What a Pad adds to the spatial axes, in front of each and behind each; undefined where another axis is padded. */
function spatialPads(node: Node): readonly Pads[] | undefined {
	const amounts = constantOf(node.inputs[1])?.tensor;
	if (amounts === undefined || node.inputs[3] !== undefined) return undefined;
	const numbers = Array.from(numbersOf(amounts));
	const rank = numbers.length / 2;
	const pads = numbers.slice(0, rank).map((begin, axis) => ({ begin, end: numbers[axis + rank]! }));
	return pads.slice(0, 2).every(({ begin, end }) => begin === 0 && end === 0) ? pads.slice(2) : undefined;
}

export const POOL_RULES: RuleGroup = {
	title: "Pools",
	rules: [
		{
			id: "htp/average-pads",
			about:
				"On floats an AveragePool that leaves pads out of the average has as many of them behind as in front, and an odd kernel where it pads; one that counts pads, as ONNX Runtime makes of a Pad in front, has an odd kernel and more than one channel; one that does not has no pads of 2 with a kernel of 3, and on a v68 more than one channel; one that has as many rows in as out, by pads, has columns padded, too.",
			consequence: "wrong",
			measured:
				"on floats 8 to 13 dB with pads on one side only, 60 to 71 dB with as many on both and where they count; -1 dB with a kernel of 2 and pads of 1, or a Pad in front; 0 dB where pads count and there is one channel; between UINT16 -1 dB where the pads count too; 0 and -13 dB with a kernel of 3 and pads of 2; right with a kernel of 5 and pads up to 4, and with kernels of 3 and pads of 1; on floats -2 to 6 dB with kernels of 3x1, 3x3, 5x1, 5x3 and 7x3 and pads of half the kernel for rows alone (v68: 16 to 20 dB with 32 channels), 69 dB and more with steps of 2 along either axis, with smaller pads, pads for columns alone and for both; 5 to 23 dB on a v68 with one channel and any pads, right there between codes, with three dimensions and two channels",
			remedy: "put a Pad in front, and pads of 0 with the auto_pad VALID, which keeps both apart",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				const what = context.known.isFolded(operator.node) ? undefined : wrongAverage(operator, context);
				return what && `AveragePool is computed wrong: ${what}`;
			},
		},
		{
			id: "htp/pad-maximum",
			about:
				"A MaxPool does not read what a Pad has put zeros around and nothing else reads, unless there is nothing below 0, with no quantizer between them.",
			consequence: "wrong",
			since: "v69",
			measured:
				"ONNX Runtime makes pads of the MaxPool of the zeros, which it leaves out: -10 to -4 dB where all values are below 0, 25 to 44 dB of normal values in images of 6 x 7, on floats and codes, on v73, v79 and v81; 74 dB and more with another number than 0, a quantizer between, an auto_pad, behind a Relu, and on a v68; beside pads of the MaxPool itself -8 to 27 dB, -96 where a window lies in pads alone, with 1e-30 in place of the zeros 72 dB and more",
			remedy:
				"give the MaxPool the auto_pad VALID, which keeps both apart, or pad with 1e-30 where it pads or rounds up itself",
			appliedBy: "legalize-operators",
			broken(operator, { known }) {
				const what = known.isFolded(operator.node) ? undefined : lostZeros(operator);
				return what && `MaxPool is computed wrong: ${what}`;
			},
		},
		{
			id: "htp/pad-average",
			about:
				"Between codes, an AveragePool with a kernel of even size, and an average over all positions, do not read what a Pad of a constant makes of the result of a convolution, pool, Resize or of a normalization with statistics; the latter not of a LayerNormalization's either.",
			consequence: "wrong",
			measured:
				"4 to 17 dB with kernels of 2 and 4 and any pads, on v68, v73 and v79, with other operators on single elements in between too; 65 to 74 dB with kernels of 3 and 5, and of graph inputs, LayerNormalization, Transpose and Concat; GlobalAveragePool and ReduceMean over both axes -8 to 26 dB, 51 to 92 dB over one axis or three, with an operator in between, with other modes and of MatMul, Softmax and graph inputs; MaxPool, GlobalMaxPool, ReduceSum and Conv behind a Pad are right",
			remedy: "write the average as a Conv of each channel",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs, outputs } = operator;
				if (isOnFloats(operator) || outputs[0] === undefined) return undefined;
				const even = isOnnxOp(node, "AveragePool") && intsOf(node, "kernel_shape").find((size) => size % 2 === 0);
				const isGlobal = isGlobalAverage(node, inputs[0]?.shape?.length ?? 0);
				const pad = sourceOf(inputs[0]?.value, []);
				if ((!even && !isGlobal) || pad === undefined || !isConstantPad(pad)) return undefined;
				const source = sourceOf(pad.inputs[0], ELEMENTWISE);
				if (source === undefined || !isOnnxOp(source, ...PADDED, ...(isGlobal ? ["LayerNormalization"] : [])))
					return undefined;
				const what = isGlobal ? "it is over all positions" : `its kernel is ${even}`;
				return `${what}, behind Pad '${nodeLabel(pad)}' of what ${source.op.type} makes`;
			},
		},
		{
			id: "htp/pad-pad",
			about:
				"Between codes, a Pad of a constant behind an axis does not read what another one has padded in front of an axis, of the result of a convolution, pool, Resize or of a normalization with statistics.",
			consequence: "wrong",
			measured:
				"2 to 15 dB of images of 8x8, 7x9 and 12x16, 4 and 32 channels, on v68 and v79, not of every image and amount: 83 dB of 6x6; 77 to 84 dB where the second pads in front only or the first behind only, and of Relu and graph inputs",
			remedy: "make one Pad of both",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs } = operator;
				const first = sourceOf(inputs[0]?.value, []);
				if (!isConstantPad(node) || first === undefined || !isConstantPad(first) || isOnFloats(operator))
					return undefined;
				const source = sourceOf(first.inputs[0], ELEMENTWISE);
				if (source === undefined || !isOnnxOp(source, ...PADDED)) return undefined;
				const isInFront = spatialPads(first)?.some(({ begin }) => begin > 0);
				const isBehind = spatialPads(node)?.some(({ end }) => end > 0);
				return isInFront && isBehind ? `it pads what Pad '${nodeLabel(first)}' has padded` : undefined;
			},
		},
		{
			id: "htp/max-pool-pads",
			about: "A MaxPool with pads in front, or on 8 bits with any, gives codes of the scale that it reads.",
			consequence: "wrong",
			until: "v68",
			measured:
				"23 to 33 dB with scales from 1.01 to 8 times the input's, UINT16, INT16 and UINT8, and from 8 to 16 bits and back: pads count as 0; 39 dB with pads behind, from UINT8; 50 to 140 dB without pads, with another zero point only, and on v73, v79 and v81",
			remedy:
				"quantize its result as its input is, and again behind, with the same zero point where both are UINT16 or UINT8",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs, outputs } = operator;
				if (!isOnnxOp(node, "MaxPool") || intsOf(node, "dilations").some((dilation) => dilation > 1)) return undefined;
				const [from, to] = [inputs[0]?.quantization, operator.result ?? outputs[0]?.quantization];
				if (from?.scale === undefined || to?.scale === undefined || from.dtype === undefined) return undefined;
				if (from.scale === to.scale && from.dtype === to.dtype) return undefined;
				const isNarrow = bitsPerElement(from.dtype) === 8;
				const pads = poolPads(operator)?.find(({ begin, end }) => begin > 0 || (isNarrow && end > 0));
				return (
					pads && `it pads by ${pads.begin} and ${pads.end}, and reads the scale ${from.scale} and gives ${to.scale}`
				);
			},
		},
		{
			id: "htp/global-max-row",
			about:
				"A GlobalMaxPool reads no row or column of a multiple of 8 that a Conv of several positions, and of channels together, makes, also by way of Relu.",
			consequence: "wrong",
			measured:
				"3 to 14 dB with 8 and 16 elements, kernels of 3, 5 and 1x3, with 24, 32, 40 and 48 with kernels of 3x3, groups, 4 to 64 channels, UINT16, INT16, UINT8 and INT8, on v68 and v79; 78 dB and more with 3, 4, 9, 12 and 17 elements, two rows, kernels of 1, depthwise, of other operators, of a Relu that its quantizer does not make superfluous, and as ReduceMax",
			remedy: "write it as ReduceMax",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs } = operator;
				const lengths = fixedShape(inputs[0]?.shape)?.slice(2);
				if (!isOnnxOp(node, "GlobalMaxPool") || isOnFloats(operator) || lengths === undefined) return undefined;
				const count = elementCount(lengths);
				if (count % 8 !== 0 || Math.max(...lengths) !== count) return undefined;
				const source = sourceOf(inputs[0]?.value, ["Relu", "Identity"]);
				if (source === undefined || !isOnnxOp(source, "Conv")) return undefined;
				const kernel = intsOf(source, "kernel_shape");
				if (kernel.length > 0 && kernel.every((size) => size === 1)) return undefined;
				if (intOf(source, "group", 1) > 1 && intOf(source, "group", 1) === inputs[0]?.shape?.[1]) return undefined;
				return `it reads ${count} elements in a row of Conv '${nodeLabel(source)}'`;
			},
		},
		{
			id: "htp/lp-pool-pads",
			about: "An LpPool has no pads.",
			consequence: "wrong",
			measured:
				"7 dB with pads of 1 on both sides or in front; with pads behind, and of 2, the compiler's process ends where the image is larger, 32 x 32; right without, 68 to 71 dB",
			remedy: "put a Pad in front",
			appliedBy: "legalize-operators",
			broken(operator, { known }) {
				if (!isOnnxOp(operator.node, "LpPool") || known.isFolded(operator.node)) return undefined;
				const found = poolPads(operator)?.find(({ begin, end }) => begin + end > 0);
				return found && `LpPool pads by ${found.begin} in front and ${found.end} behind`;
			},
		},
		{
			id: "htp/reduce-column",
			about:
				"No ReduceMax or ReduceMin of codes goes over just the last two axes where the last has one element and the other more.",
			consequence: "wrong",
			measured:
				"-30 to -13 dB with [1, 1, 4, 1], [1, 3, 33, 1], [1, 4, 1], [4, 1], with UINT16, INT16 and UINT8, keepdims or not, on every architecture; right with [1, 3, 1, 6], over one of both axes, over a third one too, on floats, and for ReduceMean, ReduceSum and ReduceL2",
			remedy: "put a Reshape in front that exchanges both lengths",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs } = operator;
				if (!isOnnxOp(node, "ReduceMax", "ReduceMin") || inputs[0]?.quantization === undefined) return undefined;
				return isLineOfColumns(operator) ? `its input is [${inputs[0].shape!.join(", ")}]` : undefined;
			},
		},
		{
			id: "htp/mean-of-one",
			about: "No ReduceMean of codes goes over two axes of which one has one element.",
			consequence: "wrong",
			measured:
				"-7 to 0 dB, UINT16 and INT16, keepdims or not: over the last two axes of [1, 32, 1, 1], [1, 32, 1, 7], [2, 32, 1, 9], [1, 32, 3, 1] behind graph inputs, right with 8 and 16 channels; behind Conv and MatMul over channels and a length of 1, also on v68, of 3, 8 and 32 channels; right over one axis or three, with 8 bits, on floats, and for ReduceSum, ReduceMax and GlobalAveragePool",
			remedy: "leave out the axis of one element",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input] }) {
				const shape = fixedShape(input?.shape);
				const dtype = input?.quantization?.dtype;
				if (!isOnnxOp(node, "ReduceMean") || shape === undefined || dtype === undefined) return undefined;
				const axes = [...reducedAxes(node, shape.length)];
				if (bitsPerElement(dtype) !== 16 || axes.length !== 2 || axes.every((axis) => shape[axis] !== 1))
					return undefined;
				return `it goes over the axes ${axes.join(" and ")} of [${shape.join(", ")}]`;
			},
		},
	],
};
