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

/** Inputs that stay float constants beside quantized values: weights and biases, limits, what pads, statistics. */
const FLOAT_INPUTS: Readonly<Record<string, readonly number[]>> = {
	BatchNormalization: [1, 2, 3, 4],
	Clip: [1, 2],
	Conv: [1, 2],
	ConvTranspose: [1, 2],
	Dropout: [1],
	Gemm: [0, 1, 2],
	MatMul: [0, 1],
	Pad: [2],
	Resize: [1, 2],
};

/**
 * The type of codes in which the HTP computes best with the float constant at input `index` of `node`; undefined where that
 * stays float. Measured between activations of 16 bits, against the CPU: BatchNormalization with float parameters 102 dB, with
 * UINT8 57, UINT16 refused; PRelu with a float slope 82, UINT16 fails; InstanceNormalization with UINT16 scale and INT32 bias 137,
 * with other biases it fails. Between 8 bits: PRelu with a float slope 34, with UINT8 51; Pow with UINT8 55, with UINT16 wrong.
 */
export function constantType(node: Node, index: number, bits: 8 | 16): DataType | undefined {
	if (isOnnxOp(node, ...Object.keys(FLOAT_INPUTS)) && FLOAT_INPUTS[node.op.type]!.includes(index)) return undefined;
	if (isOnnxOp(node, "LayerNormalization") && index > 0) return DataType.UINT16;
	if (isOnnxOp(node, "InstanceNormalization") && index === 2) return DataType.INT32;
	if (isOnnxOp(node, "PRelu") && index === 1 && bits === 16) return undefined;
	return bits === 8 ? DataType.UINT8 : DataType.UINT16;
}

/** The encoding that the HTP's kernel gives the result of `node` in codes of type `dtype`; undefined where it takes any. */
export function kernelEncoding(node: Node, dtype: DataType): Encoding | undefined {
	if (isOnnxOp(node, "Sigmoid", "Softmax")) return gateEncoding(dtype);
	if (!isOnnxOp(node, "Tanh")) return undefined;
	return dtype === DataType.UINT16 ? encodingOf(dtype, 2 ** -15, 2 ** 15) : encodingOf(dtype, 2 ** -7, 2 ** 7);
}
