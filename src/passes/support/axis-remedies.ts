import { intAttribute, intOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import { elementCount } from "../../ir/types.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import { addConstant } from "../../weights/constant.js";
import { isOutputUsed } from "./node-writer.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { reshapeBehind, reshapeInput } from "./reshape-around.js";
import { smallConstantOf } from "./small-constant.js";

/** Operators along one axis that an attribute names, by the axis that is meant where it does not. */
const NAMED_AXIS: Readonly<Record<string, number>> = {
	ArgMax: 0,
	ArgMin: 0,
	LogSoftmax: -1,
	LpNormalization: -1,
	TopK: -1,
};

/** The axis along which an operator on `rank` axes goes, counted from the front; undefined where that is computed, or there is none. */
function axisOf(node: Node, rank: number): number | undefined {
	const stated = isOnnxOp(node, "CumSum")
		? smallConstantOf(node.inputs[1])?.values[0]
		: intOf(node, "axis", NAMED_AXIS[node.op.type]!);
	return stated !== undefined && stated < 0 ? stated + rank : stated;
}

function setAxis(node: Node, axis: number, fresh: (name: string) => string): void {
	const old = node.inputs[1];
	if (!isOnnxOp(node, "CumSum")) {
		node.attributes.set("axis", intAttribute(axis));
		return;
	}
	node.setInput(1, addConstant(node.graph!, fresh(`${old!.name}_joined`), int64Tensor([], [axis]), node));
	removeUnused(old!);
}

/** An operator along one axis of many: those in front of it are one axis, and those behind it, [before, n, behind]. */
export const joinBesideAxis: Remedy = ({ node, inputs, outputs }, { model, names }) => {
	const input = fixedShape(inputs[0]?.shape);
	const axis = input && axisOf(node, input.length);
	if (!isOnnxOp(node, "CumSum", ...Object.keys(NAMED_AXIS)) || input === undefined || axis === undefined) return false;
	const [before, behind] = [elementCount(input.slice(0, axis)), elementCount(input.slice(axis + 1))];
	const shapes = outputs.map((output) => fixedShape(output.shape));
	if (shapes.some((shape) => shape === undefined)) return false;
	setAxis(node, 1, (name) => names.fresh(name));
	node.attributes.delete("keepdims");
	reshapeInput(node, 0, [before, input[axis]!, behind], names);
	for (const [index, output] of shapes.entries()) {
		const length = elementCount(output!) / (before * behind);
		const result = [before, length, behind];
		if (isOutputUsed(node, index))
			reshapeBehind(model, node, { result, output: output! }, names, false, node.outputs[index]);
	}
	return true;
};
