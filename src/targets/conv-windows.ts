import { intsOf, stringOf } from "../ir/attribute.js";
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

/** The axis in front of which so much is padded that the first window lies in the pads wholly, for kernels of more than one position without steps. */
export function axisOfEmptyWindow(operator: OperatorFacts): number | undefined {
	const windows = convWindows(operator);
	const isOne = (name: string) => intsOf(operator.node, name).every((step) => step === 1);
	if (windows === undefined || !isOne("strides") || !isOne("dilations")) return undefined;
	const { kernel, pads } = windows;
	const axis = kernel.findIndex((length, at) => pads[at]! >= length);
	return axis === -1 || kernel.every((length) => length === 1) ? undefined : axis;
}
