import { intOf, intsOf, stringOf } from "../ir/attribute.js";
import { isOnnxOp } from "../ir/node.js";
import { fixedShape } from "./fixed-shape.js";
import { fusedPads } from "./fused-pad.js";
import type { OperatorFacts } from "./operator-facts.js";

/** The kernel of a Conv, and the pads that it has once ONNX Runtime has taken over a Pad in front: in front of each axis, then behind each. */
export interface ConvWindows {
	readonly kernel: readonly number[];
	readonly pads: readonly number[];
}

/** undefined where these are not known, and where an auto_pad makes them. */
export function convWindows({ node, inputs }: OperatorFacts): ConvWindows | undefined {
	const kernel = fixedShape(inputs[1]?.shape)?.slice(2);
	if (!isOnnxOp(node, "Conv") || kernel === undefined || (stringOf(node, "auto_pad") ?? "NOTSET") !== "NOTSET")
		return undefined;
	const [given, fused] = [intsOf(node, "pads"), fusedPads(node)];
	return { kernel, pads: [...kernel, ...kernel].map((_, at) => (given[at] ?? 0) + (fused?.[at] ?? 0)) };
}

/** Rows and columns of a Conv, its last two axes: of one dimension, one row. */
export interface ConvPlane {
	/** How high and how wide the kernel is. */
	readonly kernel: readonly [number, number];
	/** Above and to the left. */
	readonly pads: readonly [number, number];
	readonly strides: readonly [number, number];
	readonly dilations: readonly [number, number];
}

/** undefined where {@link convWindows} is. */
export function convPlane(operator: OperatorFacts): ConvPlane | undefined {
	const windows = convWindows(operator);
	if (windows === undefined) return undefined;
	const rank = windows.kernel.length;
	const lastTwo = (numbers: readonly number[], otherwise: number): readonly [number, number] => [
		(rank > 1 ? numbers[rank - 2] : undefined) ?? otherwise,
		numbers[rank - 1] ?? otherwise,
	];
	return {
		kernel: lastTwo(windows.kernel, 1),
		pads: lastTwo(windows.pads, 0),
		strides: lastTwo(intsOf(operator.node, "strides"), 1),
		dilations: lastTwo(intsOf(operator.node, "dilations"), 1),
	};
}

/** Does a Conv compute every channel from one of its own? */
export function isDepthwise({ node, weight, inputs }: OperatorFacts): boolean {
	const [channels] = weight?.shape ?? fixedShape(inputs[1]?.shape) ?? [];
	const group = intOf(node, "group", 1);
	return group > 1 && group === channels;
}

/** The axis in front of which so much is padded that the first window lies in the pads wholly, for kernels of more than one position without steps. */
export function axisOfEmptyWindow(operator: OperatorFacts): number | undefined {
	const windows = convWindows(operator);
	const isOne = (name: string) => intsOf(operator.node, name).every((step) => step === 1);
	if (windows === undefined || !isOne("strides") || !isOne("dilations")) return undefined;
	const { kernel, pads } = windows;
	const axis = kernel.findIndex((length, at) => pads[at]! >= length);
	return axis === -1 || kernel.every((length) => length === 1) ? undefined : axis;
}
