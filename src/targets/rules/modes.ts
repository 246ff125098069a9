import { intOf, intsOf, stringOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { constantOf } from "../../weights/constant.js";
import { numbersOf } from "../../weights/numbers.js";
import { COMPILER_ROUNDING, coordinateMode, nearestMode, takenElements } from "../nearest-resize.js";
import type { OperatorFacts } from "../operator-facts.js";
import { codeInterval } from "../readers.js";
import { inexactScales } from "../resize-scales.js";
import type { RuleGroup } from "../rule.js";
import { sourceOf } from "./producers.js";

const POOLS = ["MaxPool", "AveragePool"];

const REDUCTIONS = ["none", "add", "mul", "max", "min"];

function constantInput({ inputs }: OperatorFacts, index: number): readonly number[] | undefined {
	const tensor = inputs[index]?.constant;
	return tensor === undefined ? undefined : Array.from(numbersOf(tensor));
}

/** Attributes of an operator that the compiler refuses, as `name value`. */
function refusedMode(operator: OperatorFacts): string | undefined {
	const { node } = operator;
	if (isOnnxOp(node, ...POOLS, "ConvTranspose")) {
		const dilations = intsOf(node, "dilations");
		if (dilations.some((dilation) => dilation !== 1)) return `dilations [${dilations.join(", ")}]`;
	}
	if (isOnnxOp(node, "RoiAlign") && stringOf(node, "mode") === "max") return "mode max";
	if (isOnnxOp(node, "MaxPool") && intsOf(node, "kernel_shape").length === 3) return "a kernel of three dimensions";
	if (isOnnxOp(node, "ArgMax", "ArgMin") && intOf(node, "select_last_index", 0) === 1) return "select_last_index 1";
	const reduction = stringOf(node, "reduction") ?? "none";
	const isFloat = operator.inputs[0]?.dtype === DataType.FLOAT;
	if (isOnnxOp(node, "ScatterElements", "ScatterND") && !REDUCTIONS.includes(reduction))
		return `reduction ${reduction}`;
	const isRefused = isOnnxOp(node, "ScatterElements") ? reduction !== "none" : ["min", "max"].includes(reduction);
	if (isOnnxOp(node, "ScatterElements", "ScatterND") && isFloat && isRefused) return `reduction ${reduction}`;
	if (isOnnxOp(node, "CumSum")) {
		for (const name of ["exclusive", "reverse"]) if (intOf(node, name, 0) === 1) return `${name} 1`;
	}
	if (isOnnxOp(node, "Pad")) {
		const mode = stringOf(node, "mode") ?? "constant";
		if (mode === "wrap") return "mode wrap";
		const isCutting = constantInput(operator, 1)?.some((amount) => amount < 0) === true;
		if (mode === "reflect" && isCutting) return "mode reflect and negative pads";
		if (mode !== "constant" && operator.inputs[0]?.shape?.length === 5) return `mode ${mode} and rank 5`;
		const isInt16 = operator.inputs[0]?.quantization?.dtype === DataType.INT16;
		if (mode === "constant" && isInt16 && node.inputs[2] !== undefined) return "a value beside INT16 codes";
	}
	return isOnnxOp(node, "Resize") ? refusedResize(operator) : undefined;
}

function refusedResize(operator: OperatorFacts): string | undefined {
	const { node, inputs, outputs } = operator;
	if (intOf(node, "antialias", 0) === 1) return "antialias 1";
	const coordinates = coordinateMode(operator);
	const nearest = nearestMode(operator);
	if (coordinates === "half_pixel_symmetric") return `coordinates ${coordinates}`;
	if (coordinates === "asymmetric" && (nearest === "ceil" || nearest === "round_prefer_floor"))
		return `coordinates asymmetric and nearest_mode ${nearest}`;
	const [from, to] = [inputs[0]?.shape, outputs[0]?.shape];
	const channels = [from?.[1], to?.[1]];
	if (from?.length !== 4 || nearest === undefined || channels.some((count) => typeof count !== "number"))
		return undefined;
	return channels[0] === channels[1] ? undefined : `${channels[0]} channels and ${channels[1]} behind`;
}

function interpolation({ node }: OperatorFacts): string | undefined {
	return isOnnxOp(node, "Resize") ? stringOf(node, "mode") : undefined;
}

/** What the first scale that does not divide the lengths would make of them. */
function describeScale(operator: OperatorFacts): string | undefined {
	const [inexact] = inexactScales(operator);
	if (inexact === undefined) return undefined;
	const { axis, length, count, scale } = inexact;
	return `axis ${axis} has ${length} elements, ${Number((length * scale).toPrecision(6))} with the scale ${Number(scale.toPrecision(6))}, and ${count} behind`;
}

/** A nearest Resize that takes other elements than ONNX says. */
function wrongResize(operator: OperatorFacts): string | undefined {
	for (const { axis, asked, done } of takenElements(operator) ?? []) {
		const at = asked.findIndex((element, index) => element !== done[index]);
		if (at === -1) continue;
		const rounded = COMPILER_ROUNDING[coordinateMode(operator)];
		return `element ${at} of axis ${axis} is number ${asked[at]} with nearest_mode ${nearestMode(operator)}, and number ${done[at]} as the compiler rounds, with ${rounded}`;
	}
	return undefined;
}

/** A pool whose last window reaches beyond its padded input. */
function wrongPool({ node, inputs, outputs }: OperatorFacts): string | undefined {
	const [from, to] = [inputs[0]?.shape?.slice(2), outputs[0]?.shape?.slice(2)];
	const kernel = intsOf(node, "kernel_shape");
	if (intOf(node, "ceil_mode", 0) !== 1 || from === undefined || to === undefined) return undefined;
	const strides = intsOf(node, "strides");
	const pads = intsOf(node, "pads");
	for (const [axis, length] of from.entries()) {
		const count = to[axis];
		if (typeof length !== "number" || typeof count !== "number") continue;
		const stride = strides[axis] ?? 1;
		const padded = length + (pads[axis] ?? 0) + (pads[axis + kernel.length] ?? 0);
		const rest = (padded - kernel[axis]!) % stride;
		const isLeftOut = count < Math.ceil((padded - kernel[axis]!) / stride) + 1;
		if (rest === 0 || (isOnnxOp(node, "MaxPool") && !isLeftOut)) continue;
		return `with ceil_mode 1 its last window on axis ${axis + 2} reaches beyond ${padded} elements`;
	}
	return undefined;
}

/** An edge that is repeated along one of the last two axes of floats. */
function wrongPad(operator: OperatorFacts): string | undefined {
	const { node, inputs } = operator;
	const pads = constantInput(operator, 1);
	if ((stringOf(node, "mode") ?? "constant") !== "edge" || pads === undefined) return undefined;
	const isFloat = inputs[0]?.dtype === DataType.FLOAT && inputs[0].quantization === undefined;
	const rank = pads.length / 2;
	const isImage = pads.some((amount, at) => amount !== 0 && at % rank >= rank - 2);
	return isFloat && isImage ? "edges of floats are repeated" : undefined;
}

function addsConstants(node: Node): boolean {
	return isOnnxOp(node, "Pad") && (stringOf(node, "mode") ?? "constant") === "constant";
}

/** What a Pad adds, and another one of all axes in front of it, which the compiler joins with it. */
function joinedPads(operator: OperatorFacts): readonly number[] | undefined {
	const { node, inputs } = operator;
	const pads = constantInput(operator, 1);
	const first = sourceOf(inputs[0]?.value, []);
	if (first === undefined || !addsConstants(first) || node.inputs[3] !== undefined || first.inputs[3] !== undefined)
		return pads;
	const before = constantOf(first.inputs[1])?.tensor;
	if (pads === undefined || before === undefined) return pads;
	return Array.from(numbersOf(before), (amount, at) => amount + pads[at]!);
}

/** A Pad that adds constants behind the last axis and another one, and none in front of the last. */
function wrongEnds(operator: OperatorFacts): string | undefined {
	const { node, inputs } = operator;
	const pads = joinedPads(operator);
	const rank = inputs[0]?.shape?.length;
	if (!addsConstants(node)) return undefined;
	if (pads === undefined || rank === undefined || rank > 4) return undefined;
	const axes = node.inputs[3] === undefined ? [...pads.keys()] : (constantInput(operator, 3) ?? []);
	const count = pads.length / 2;
	const padded = axes.slice(0, count).filter((_, at) => pads[count + at]! > 0);
	const last = axes.findIndex((axis) => axis === rank - 1 || axis === -1);
	if (padded.length < 2 || !padded.includes(axes[last]!) || pads[last] !== 0) return undefined;
	return `it pads axes ${padded.join(" and ")} at their ends, and the last only there`;
}

export const MODE_RULES: RuleGroup = {
	title: "Modes of operators",
	rules: [
		{
			id: "htp/operator-mode",
			about:
				"No ConvTranspose, MaxPool or AveragePool has dilations, no MaxPool a kernel of three dimensions, no RoiAlign the mode max, no ArgMax or ArgMin select_last_index, no CumSum exclusive or reverse; no ScatterElements of floats has a reduction, no ScatterND min or max; no Pad wraps around, or reflects and cuts, repeats elements of rank 5, or has a value beside INT16; no Resize has antialias, the coordinates half_pixel_symmetric, asymmetric ones with ceil or round_prefer_floor, or, where it takes the nearest, makes more channels.",
			consequence: "refused",
			measured:
				"refused between codes of 16 and 8 bits and on floats, on v68 and v81; the same without it is right, a Conv with dilations, AveragePool of three dimensions, Pad with other modes and negative pads too",
			remedy:
				"write it with other operators: what repeats elements as Gather, dilations as Gather and Max or as zeros in the weight; nothing is done about dilations of AveragePool, RoiAlign, antialias and an interpolation with half_pixel_symmetric",
			appliedBy: "legalize-operators",
			broken(operator) {
				const mode = refusedMode(operator);
				return mode && `${operator.node.op.type} with ${mode}`;
			},
		},
		{
			id: "htp/operator-mode-wrong",
			about:
				"A nearest Resize takes the elements that the compiler takes: rounded up at a half with half_pixel and align_corners, down with pytorch_half_pixel, always down with asymmetric coordinates. With ceil_mode no window of an AveragePool reaches beyond its input, and none of a MaxPool begins there. No edge of floats is repeated.",
			consequence: "wrong",
			measured:
				"Resize -3 to 7 dB where it takes other elements, 87 to 142 dB where it takes the same; AveragePool -6 to 2 dB, 89 dB where the windows fit; Pad of edges -88 dB on floats, 140 dB on codes, 73 dB along channels",
			remedy:
				"make Resize and Pad a Gather for each axis, pad with zeros before the AveragePool, and give the MaxPool pads behind",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node } = operator;
				if (isOnnxOp(node, "Resize")) return refusedMode(operator) === undefined ? wrongResize(operator) : undefined;
				if (isOnnxOp(node, ...POOLS)) return wrongPool(operator);
				return isOnnxOp(node, "Pad") ? wrongPad(operator) : undefined;
			},
		},
		{
			id: "htp/resize-scale",
			about:
				"The scales of a linear Resize times the input's lengths are the output's, but with the coordinates align_corners.",
			consequence: "wrong",
			measured:
				"-3 to 25 dB on codes and on floats, on every architecture: 7 elements times 1.5 are 10, and are taken from as far apart as 10 of 7 are; 60 to 90 dB with 8 times 1.5, with sizes, and with align_corners",
			remedy: "repeat the last elements until lengths times scales are whole, and cut off what is too much",
			appliedBy: "legalize-operators",
			broken(operator) {
				return interpolation(operator) === "linear" && coordinateMode(operator) !== "align_corners"
					? describeScale(operator)
					: undefined;
			},
		},
		{
			id: "htp/resize-cubic",
			about: "The scales of a cubic Resize times the input's lengths are the output's.",
			consequence: "refused",
			measured:
				"refused with 7 elements times 1.5, on codes and on floats; 70 to 140 dB with 8 times 1.5 and with sizes",
			remedy:
				"repeat the last elements until lengths times scales are whole, and cut off what is too much; with align_corners, state sizes",
			appliedBy: "legalize-operators",
			broken(operator) {
				return interpolation(operator) === "cubic" ? describeScale(operator) : undefined;
			},
		},
		{
			id: "htp/pad-ends",
			about:
				"A Pad of constants, of rank 4 at most, that adds elements behind the last axis and another one adds some in front of the last, too.",
			consequence: "wrong",
			measured:
				"-14 to 24 dB with pads [0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 1, 0, 0, 0, 1, 2] and [0, 1, 0, 0, 0, 0, 1, 1], of rank 2 to 4, on codes of 16 and 8 bits and on floats, v68, v73 and v79: what is added is not the value; the same with a Pad for each axis, in either order; right behind one axis, with one element in front of the last axis as well, cut in front, of rank 5, with other modes, and in the pads of Conv and MaxPool: 73 to 136 dB",
			remedy: "pad the last axis with a Pad of its own, between Reshapes to [rows, 1, 1, columns]",
			appliedBy: "legalize-operators",
			broken(operator) {
				const what = wrongEnds(operator);
				return what && `Pad is computed wrong: ${what}`;
			},
		},
		{
			id: "htp/pad-signed",
			about: "Signed codes that a Pad adds zeros to, without stating the value, have no negative zero point.",
			consequence: "wrong",
			measured:
				"-12 to -2 dB with zero points of -2, -20 and -100, of INT8 and INT16, of rank 3 and 4, whatever the encoding behind: the largest code is added; 41 to 140 dB with 0 and 20, with the value 0 beside INT8, with unsigned codes in front or behind",
			remedy: "pad unsigned codes",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs }) {
				const { dtype, zeroPoint } = inputs[0]?.quantization ?? {};
				const made = outputs[0]?.quantization?.dtype;
				if (!addsConstants(node) || node.inputs[2] !== undefined || zeroPoint === undefined || zeroPoint >= 0)
					return undefined;
				if ((dtype !== DataType.INT8 && dtype !== DataType.INT16) || made !== dtype) return undefined;
				return `the zero point of its codes is ${zeroPoint}`;
			},
		},
		{
			id: "htp/pad-quantizer",
			about:
				"What a Pad with mode edge or reflect makes of codes is quantized as these are, where the codes in front begin at 0, those behind it below 0, and no Relu makes the first: ONNX Runtime quantizes in front of the Pad with the encoding behind it.",
			consequence: "wrong",
			measured:
				"-6 dB from a Softmax of INT8 into codes with the zero point 0, 1 to 3 dB where the codes in front cut a graph input off, on every architecture, of 8 and 16 bits; 45 dB and more behind Relu, with one encoding, between two types and with mode constant",
			remedy: "quantize as in front first",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs }) {
				const [front, behind] = [inputs[0]?.quantization, outputs[0]?.quantization];
				const isMoved = isOnnxOp(node, "Pad") && ["edge", "reflect"].includes(stringOf(node, "mode") ?? "");
				if (!isMoved || front === undefined || behind === undefined || front.dtype !== behind.dtype) return undefined;
				const source = sourceOf(inputs[0]!.value, []);
				if (source !== undefined && isOnnxOp(source, "Relu")) return undefined;
				const [from, to] = [codeInterval(front), codeInterval(behind)];
				if (from === undefined || to === undefined || front.scale === undefined) return undefined;
				if (from.lo < -front.scale || to.lo >= -front.scale) return undefined;
				return `its codes begin at ${from.lo}, those behind it at ${to.lo}`;
			},
		},
	],
};
