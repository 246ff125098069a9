import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { gateEncoding } from "./gate-encoding.js";
import { type Encoding, encodingOf } from "./qdq.js";

/** Operators whose results are elements of their first input, all on its grid. */
export const MOVING: readonly string[] = [
	"DepthToSpace",
	"Expand",
	"Flatten",
	"Gather",
	"GatherElements",
	"GatherND",
	"Identity",
	"MaxPool",
	"ReduceMax",
	"ReduceMin",
	"Reshape",
	"Slice",
	"SpaceToDepth",
	"Split",
	"Squeeze",
	"Tile",
	"Transpose",
	"Unsqueeze",
];

/** Operators whose results lie between elements of their first input, so that its grid does for both. */
const BETWEEN: readonly string[] = ["GlobalMaxPool", "Pad", "Resize", "TopK"];

/** Operators that put elements of several inputs together, with the places of these. */
const JOINING: Readonly<Record<string, readonly number[]>> = { ScatterElements: [0, 2], ScatterND: [0, 2] };

/** The inputs whose grid the first result of `node` has, too: of Reshape the first, of Concat all; none where it computes. */
export function inputsOfOneGrid(node: Node): readonly number[] {
	if (isOnnxOp(node, ...MOVING, ...BETWEEN)) return [0];
	if (isOnnxOp(node, "Concat")) return [...node.inputs.keys()];
	return isOnnxOp(node, ...Object.keys(JOINING)) ? JOINING[node.op.type]! : [];
}

/** What of an operator's results are elements of its input: the second result of MaxPool are indices. */
export function movedOutputs(node: Node): readonly Value[] {
	return isOnnxOp(node, "Split") ? node.outputs : node.outputs.slice(0, 1);
}

/** Inputs that stay constants of their own type beside quantized values: limits, exponents, what pads. */
const PARAMETERS: Readonly<Record<string, readonly number[]>> = {
	Clip: [1, 2],
	Dropout: [1],
	Pad: [2],
	Resize: [1, 2],
};

/** Is input `index` of `node` one that describes what is to be done, not a tensor to compute on? */
export function isParameter(node: Node, index: number): boolean {
	return isOnnxOp(node, ...Object.keys(PARAMETERS)) && PARAMETERS[node.op.type]!.includes(index);
}

/** The encoding that the HTP's kernel gives the result of `node` in codes of type `dtype`; undefined where it takes any. */
export function kernelEncoding(node: Node, dtype: DataType): Encoding | undefined {
	if (isOnnxOp(node, "Sigmoid", "Softmax")) return gateEncoding(dtype);
	if (!isOnnxOp(node, "Tanh")) return undefined;
	return dtype === DataType.UINT16 ? encodingOf(dtype, 2 ** -15, 2 ** 15) : encodingOf(dtype, 2 ** -7, 2 ** 7);
}
