import { isOnnxOp } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { isView } from "../../weights/activation.js";
import { type WeightAxes, weightAxes, weightInputs } from "../../weights/weight-axes.js";
import { composed, identityView, type View, viewOf, viewShape } from "./tensor-view.js";

/**
 * The axes of the constant `value` of shape `shape` that the operators reading it give a meaning, through Transpose, other
 * views of its axes and Q/DQ; undefined for what is no weight of MatMul, Gemm, Conv or ConvTranspose.
 */
export function constantAxes(value: Value, shape: readonly number[]): WeightAxes | undefined {
	return axesThrough(value, shape, identityView(shape.length));
}

/** `view` is what of the constant's axes is left at `value`. */
function axesThrough(value: Value, shape: readonly number[], view: View): WeightAxes | undefined {
	for (const { node, index } of value.uses) {
		let axes: WeightAxes | undefined;
		if (weightInputs(node).includes(index)) axes = throughView(weightAxes(node, index, view.length), view);
		else if (index === 0 && isOnnxOp(node, "QuantizeLinear", "DequantizeLinear")) {
			axes = axesThrough(node.outputs[0]!, shape, view);
		} else if (index === 0 && isView(node)) {
			const next = viewOf(node, viewShape(view, shape));
			const behind = next && composed(view, next);
			axes = behind && axesThrough(node.outputs[0]!, shape, behind);
		}
		if (axes !== undefined) return axes;
	}
	return undefined;
}

function throughView(axes: WeightAxes | undefined, view: View): WeightAxes | undefined {
	const blockAxis = axes && view[axes.blockAxis];
	const channelAxis = axes && view[axes.channelAxis];
	return blockAxis === undefined || channelAxis === undefined ? undefined : { blockAxis, channelAxis };
}
