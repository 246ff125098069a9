import { intOf, stringOf } from "../../ir/attribute.js";
import { broadcastAxis, spansOne } from "./elementwise-rules.js";
import { type BatchEdit, type BatchRule, fromFront, stackedAt } from "./rule.js";

/** Samples in matrices of a batch, in rows of the left one or in columns of the right one. */
const matmul: BatchRule = (call) => {
	const [left, right, shape] = [call.shape(0), call.shape(1), call.outputShape(0)];
	if (left === undefined || right === undefined || shape === undefined) return undefined;
	if (left.length < 2 || right.length < 2) return undefined;
	const [a, b] = [call.axis(0), call.axis(1)];
	if (b === undefined && a === left.length - 2) return stackedAt(call, shape.length - 2);
	if (a === undefined && b === right.length - 1) return stackedAt(call, shape.length - 1);
	if ((a ?? 0) >= left.length - 2 && a !== undefined) return undefined;
	if ((b ?? 0) >= right.length - 2 && b !== undefined) return undefined;
	return stackedAt(call, broadcastAxis(call, shape));
};

const gemm: BatchRule = (call) => {
	const shape = call.outputShape(0);
	const rows = intOf(call.node, "transA", 0) === 1 ? 1 : 0;
	if (call.axis(0) !== rows || call.axis(1) !== undefined || shape === undefined) return undefined;
	if (!call.has(2)) return stackedAt(call, 0);
	const bias = call.shape(2);
	if (call.axis(2) === undefined) return spansOne(bias, shape, 0) ? stackedAt(call, 0) : undefined;
	return call.axis(2) === 0 && bias?.length === 2 && bias[0] === shape[0] ? stackedAt(call, 0) : undefined;
};

/** Of ONNX Runtime's products with integer weights. */
const rows: BatchRule = (call) => {
	const [axis, shape] = [call.axis(0), call.shape(0)];
	if (axis === undefined || shape === undefined || axis === shape.length - 1 || !call.shares(1)) return undefined;
	return stackedAt(call, axis);
};

/** Operators on images [N, C, ...], of which each is computed alone. */
const images: BatchRule = (call) => {
	const isAlone = call.axis(0) === 0 && call.shape(0)?.[0] === 1 && call.shares(1) && call.node.outputs.length === 1;
	return isAlone ? stackedAt(call, 0) : undefined;
};

const batchNormalization: BatchRule = (call) =>
	intOf(call.node, "training_mode", 0) === 0 && call.opset >= 7 ? images(call) : undefined;

const resize: BatchRule = (call) => {
	const stacked = images(call);
	const mode = stringOf(call.node, "coordinate_transformation_mode");
	if (stacked === undefined || mode === "tf_crop_and_resize" || call.node.attributes.has("axes")) return undefined;
	if (!call.has(3)) return stacked;
	const lengths = call.numbers(3);
	return lengths?.[0] === 1 ? { ...stacked, edits: [{ input: 3, lengths, axis: 0 }] } : undefined;
};

/** [length, samples, features]; states are [directions, samples, features]. */
const recurrent: BatchRule = (call) => {
	const { node } = call;
	if (call.axis(0) !== 1 || call.shape(0)?.[1] !== 1 || intOf(node, "layout", 0) !== 0 || call.has(4)) return undefined;
	if ([1, 2, 3, 7].some((input) => call.axis(input) !== undefined)) return undefined;
	const edits: BatchEdit[] = [];
	for (const input of [5, 6]) {
		if (!call.has(input)) continue;
		if (call.axis(input) === undefined) edits.push({ input, repeated: 1 });
		else if (call.axis(input) !== 1) return undefined;
	}
	return { axes: node.outputs.map((_, output) => (output === 0 ? 2 : 1)), edits };
};

/** Normalizations of what lies behind an axis; other inputs are weights. */
const normalizeBehind: BatchRule = (call) => {
	const [axis, shape] = [call.axis(0), call.shape(0)];
	if (axis === undefined || shape === undefined || !call.shares(1)) return undefined;
	return axis < fromFront(intOf(call.node, "axis", -1), shape.length) ? stackedAt(call, axis) : undefined;
};

/** Both summands have the samples on the same axis, the sum as a last output has them, too. */
const skipNormalization: BatchRule = (call) => {
	const [axis, shape] = [call.axis(0), call.shape(0)];
	if (axis === undefined || shape === undefined || axis !== call.axis(1) || !call.shares(2)) return undefined;
	return call.shape(1)?.length === shape.length && axis < shape.length - 1 ? stackedAt(call, axis) : undefined;
};

/** Before operator set 13 everything from the axis on was one row. */
const softmax: BatchRule = (call) => {
	const [stacked, shape] = [call.axis(0), call.shape(0)];
	if (stacked === undefined || shape === undefined) return undefined;
	const axis = fromFront(intOf(call.node, "axis", call.opset >= 13 ? -1 : 1), shape.length);
	const isApart = call.opset >= 13 ? axis !== stacked : stacked < axis;
	return isApart ? stackedAt(call, stacked) : undefined;
};

export const LINEAR_RULES: readonly (readonly [string, BatchRule])[] = [
	["MatMul", matmul],
	["Gemm", gemm],
	["com.microsoft.MatMulNBits", rows],
	...[
		"AveragePool Conv ConvTranspose DepthToSpace GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization",
		"InstanceNormalization LRN LpPool MaxPool SpaceToDepth Upsample",
	].flatMap((names) => names.split(" ").map((name) => [name, images] as const)),
	["BatchNormalization", batchNormalization],
	["Resize", resize],
	["GRU", recurrent],
	["LSTM", recurrent],
	["RNN", recurrent],
	["LayerNormalization", normalizeBehind],
	["RMSNormalization", normalizeBehind],
	["SimplifiedLayerNormalization", normalizeBehind],
	["com.microsoft.SkipLayerNormalization", skipNormalization],
	["com.microsoft.SkipSimplifiedLayerNormalization", skipNormalization],
	["Hardmax", softmax],
	["LogSoftmax", softmax],
	["Softmax", softmax],
];
