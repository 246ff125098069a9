import { intOf, intsOf, stringOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { numbersOf } from "../../weights/numbers.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";

const POOLS = ["MaxPool", "AveragePool"];

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
	if (isOnnxOp(node, "MaxPool") && intsOf(node, "kernel_shape").length === 3) return "a kernel of three dimensions";
	if (isOnnxOp(node, "ArgMax", "ArgMin") && intOf(node, "select_last_index", 0) === 1) return "select_last_index 1";
	if (isOnnxOp(node, "CumSum")) {
		for (const name of ["exclusive", "reverse"]) if (intOf(node, name, 0) === 1) return `${name} 1`;
	}
	if (isOnnxOp(node, "Pad")) {
		const mode = stringOf(node, "mode") ?? "constant";
		if (mode === "wrap") return "mode wrap";
		const isCutting = constantInput(operator, 1)?.some((amount) => amount < 0) === true;
		if (mode === "reflect" && isCutting) return "mode reflect and negative pads";
	}
	return isOnnxOp(node, "Resize") ? refusedResize(operator) : undefined;
}

function refusedResize(operator: OperatorFacts): string | undefined {
	const { node, inputs, outputs } = operator;
	if (intOf(node, "antialias", 0) === 1) return "antialias 1";
	const coordinates = stringOf(node, "coordinate_transformation_mode") ?? "half_pixel";
	const nearest = nearestMode(operator);
	if (coordinates === "asymmetric" && (nearest === "ceil" || nearest === "round_prefer_floor"))
		return `coordinates asymmetric and nearest_mode ${nearest}`;
	const [from, to] = [inputs[0]?.shape, outputs[0]?.shape];
	const channels = [from?.[1], to?.[1]];
	if (from?.length !== 4 || nearest === undefined || channels.some((count) => typeof count !== "number"))
		return undefined;
	return channels[0] === channels[1] ? undefined : `${channels[0]} channels and ${channels[1]} behind`;
}

/** undefined where the Resize interpolates. */
function nearestMode({ node }: OperatorFacts): string | undefined {
	return (stringOf(node, "mode") ?? "nearest") === "nearest"
		? (stringOf(node, "nearest_mode") ?? "round_prefer_floor")
		: undefined;
}

/** How the compiler rounds, whatever nearest_mode says, by coordinate_transformation_mode. */
const ROUNDED: Readonly<Record<string, string>> = {
	half_pixel: "round_prefer_ceil",
	pytorch_half_pixel: "round_prefer_floor",
	align_corners: "round_prefer_ceil",
	asymmetric: "floor",
};

const ROUNDING: Readonly<Record<string, (x: number) => number>> = {
	round_prefer_floor: (x) => Math.ceil(x - 0.5),
	round_prefer_ceil: (x) => Math.floor(x + 0.5),
	floor: Math.floor,
	ceil: Math.ceil,
};

/** The place between `length` elements that element `at` of `count` is taken from. */
function place(at: number, coordinates: string, length: number, count: number, scale: number): number {
	if (coordinates === "asymmetric") return at / scale;
	if (coordinates === "align_corners") return count === 1 ? 0 : (at * (length - 1)) / (count - 1);
	return coordinates === "pytorch_half_pixel" && count === 1 ? 0 : (at + 0.5) / scale - 0.5;
}

/** A nearest Resize that takes other elements than ONNX says. */
function wrongResize(operator: OperatorFacts): string | undefined {
	const { node, inputs, outputs } = operator;
	const nearest = nearestMode(operator);
	const coordinates = stringOf(node, "coordinate_transformation_mode") ?? "half_pixel";
	const rounded = ROUNDED[coordinates];
	const [from, to] = [inputs[0]?.shape, outputs[0]?.shape];
	const [asked, done] = [ROUNDING[nearest ?? ""], ROUNDING[rounded ?? ""]];
	if (from === undefined || to === undefined || asked === undefined || done === undefined) return undefined;
	const scales = constantInput(operator, 2) ?? [];
	for (const [axis, length] of from.entries()) {
		const count = to[axis];
		if (typeof length !== "number" || typeof count !== "number" || length === count) continue;
		const scale = scales.length === from.length ? scales[axis]! : count / length;
		const inside = (index: number) => Math.min(Math.max(index, 0), length - 1);
		for (let at = 0; at < count; at++) {
			const x = place(at, coordinates, length, count, scale);
			if (inside(asked(x)) === inside(done(x))) continue;
			return `element ${at} of axis ${axis} is number ${inside(asked(x))} with nearest_mode ${nearest}, and number ${inside(done(x))} as the compiler rounds, with ${rounded}`;
		}
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

export const MODE_RULES: RuleGroup = {
	title: "Modes of operators",
	rules: [
		{
			id: "htp/operator-mode",
			about:
				"No ConvTranspose, MaxPool or AveragePool has dilations, no MaxPool a kernel of three dimensions, no ArgMax or ArgMin select_last_index, no CumSum exclusive or reverse; no Pad wraps around, or reflects and cuts; no Resize has antialias, asymmetric coordinates with ceil or round_prefer_floor, or, where it takes the nearest, makes more channels.",
			consequence: "refused",
			measured:
				"refused between codes of 16 and 8 bits and on floats, on v68 and v81; the same without it is right, a Conv with dilations, AveragePool of three dimensions, Pad with other modes and negative pads too",
			remedy: "write it with other operators",
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
				"give Resize the nearest_mode that the compiler has, pad before the AveragePool, quantize what goes into the Pad",
			broken(operator) {
				const { node } = operator;
				if (isOnnxOp(node, "Resize")) return wrongResize(operator);
				if (isOnnxOp(node, ...POOLS)) return wrongPool(operator);
				return isOnnxOp(node, "Pad") ? wrongPad(operator) : undefined;
			},
		},
	],
};
