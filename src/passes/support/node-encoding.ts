import type { CodeType } from "../../encodings/encoding.js";
import type { PlacedAffine, PlacedEncoding, PlacedLpbq } from "../../encodings/placement.js";
import { intOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Tensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { constantOf } from "../../weights/constant.js";
import { isReadable, numbersOf } from "../../weights/numbers.js";
import type { WeightAxes } from "../../weights/weight-axes.js";

const CODE_TYPES: Readonly<Record<DataType, CodeType>> = {
	[DataType.INT4]: { signed: true, bits: 4 },
	[DataType.UINT4]: { signed: false, bits: 4 },
	[DataType.INT8]: { signed: true, bits: 8 },
	[DataType.UINT8]: { signed: false, bits: 8 },
	[DataType.INT16]: { signed: true, bits: 16 },
	[DataType.UINT16]: { signed: false, bits: 16 },
	[DataType.INT32]: { signed: true, bits: 32 },
};

/** The tensor that a quantizer works on, as far as it is known. */
export interface CodedTensor {
	readonly shape: readonly number[] | undefined;
	readonly axes: WeightAxes | undefined;
	/** Of the stored codes; undefined for activations. */
	readonly dtype: DataType | undefined;
}

/**
 * What a QuantizeLinear or DequantizeLinear does, each scale in its place; a sentence's end that says why not where its
 * parameters are computed, of types without numbers, or do not fit. Scales that do not change along an axis, such as those
 * of a kernel's positions, are there once.
 *
 * @param signs of scales: `any` is enough to dequantize by them.
 */
export function placedEncodingAt(
	node: Node,
	coded: CodedTensor,
	signs: "positive" | "any" = "positive",
): PlacedEncoding | string {
	const zeroPoint = constantOf(node.inputs[2]);
	if (node.inputs[2] !== undefined && zeroPoint === undefined) return "its zero points are computed";
	const dtype = zeroPoint?.tensor.dtype ?? coded.dtype ?? (intOf(node, "output_dtype", 0) || DataType.UINT8);
	const codes = CODE_TYPES[dtype];
	if (codes === undefined) return "its codes are of a type that encodings do not have";
	const zeros = zeroPoint === undefined ? new Float64Array() : numbersOf(zeroPoint.tensor);
	if (zeroPoint !== undefined && !isReadable(zeroPoint.tensor)) return "its zero points cannot be read";
	const isSymmetric = zeros.every((zero) => zero === 0);
	const scaleNode = scaleNodeOf(node.inputs[1]);
	if (scaleNode !== undefined) {
		return isSymmetric ? lpbqAt(node, scaleNode, codes, coded) : "it is LPBQ with zero points that are not 0";
	}
	const scale = constantOf(node.inputs[1])?.tensor;
	if (scale === undefined) return "its scales are computed";
	if (!isReadable(scale)) return "its scales cannot be read";
	if (!isSymmetric && zeros.length !== elementCount(scale.shape)) return "it has fewer zero points than scales";
	const place = placeOf(node, scale, coded);
	if (place === undefined) return `its scales of shape [${scale.shape.join(", ")}] do not fit`;
	const affine = { kind: "affine" as const, codes, ...place, scales: numbersOf(scale) };
	const wrong = affine.scales.find((value) => !Number.isFinite(value) || (signs === "positive" && value <= 0));
	if (wrong !== undefined) return `it has a scale of ${wrong}, expected finite numbers above 0`;
	return collapsed({ ...affine, zeroPoints: isSymmetric ? undefined : zeros });
}

type Place = Pick<PlacedAffine, "shape" | "channelAxis" | "blockAxis" | "blockSize">;

function placeOf(node: Node, scale: Tensor, { shape, axes }: CodedTensor): Place | undefined {
	const count = elementCount(scale.shape);
	const blockSize = intOf(node, "block_size", 0);
	if (blockSize === 0 && count === 1) return { shape: [], channelAxis: undefined, blockAxis: undefined, blockSize: 0 };
	const stated = intOf(node, "axis", 1);
	if (stated < 0 && shape === undefined) return undefined;
	const axis = stated < 0 ? stated + shape!.length : stated;
	if (blockSize === 0) {
		if (scale.shape.length !== 1 || (shape !== undefined && shape[axis] !== count)) return undefined;
		const rank = shape?.length ?? axis + 1;
		const kept = Array.from({ length: rank }, (_, index) => (index === axis ? count : 1));
		return { shape: kept, channelAxis: axis, blockAxis: undefined, blockSize: 0 };
	}
	const expected = shape?.map((dim, index) => (index === axis ? Math.ceil(dim / blockSize) : dim));
	// AIMET writes 1 along axes where scales do not change, which ONNX does not allow but everybody can read
	const fits = scale.shape.every((dim, index) => dim === expected?.[index] || (dim === 1 && index !== axis));
	if (expected === undefined || scale.shape.length !== expected.length || !fits) return undefined;
	const channelAxis = axes?.blockAxis === axis ? axes.channelAxis : expected.length === 2 ? 1 - axis : undefined;
	return { shape: scale.shape, channelAxis, blockAxis: axis, blockSize };
}

function lpbqAt(node: Node, scaleNode: Node, codes: CodeType, coded: CodedTensor): PlacedLpbq | string {
	const [integers, channelScales, zeroPoint] = scaleNode.inputs.map((input) => constantOf(input)?.tensor);
	if (integers === undefined || channelScales === undefined) return "its scales are computed";
	if (!isReadable(integers) || !isReadable(channelScales)) return "its scales cannot be read";
	if (zeroPoint !== undefined && numbersOf(zeroPoint).some((zero) => zero !== 0)) return "its scales have zero points";
	const place = placeOf(node, integers, coded);
	const axis = intOf(scaleNode, "axis", 1);
	const channelAxis = axis < 0 ? axis + integers.shape.length : axis;
	const channels = elementCount(channelScales.shape);
	if (
		place?.blockAxis === undefined ||
		integers.shape[channelAxis] !== channels ||
		intOf(scaleNode, "block_size", 0) !== 0
	) {
		return `its scales of shape [${integers.shape.join(", ")}] do not fit`;
	}
	const numbers = numbersOf(integers);
	const largest = 2 ** codes.bits;
	const wrong = numbers.find((integer) => !(integer >= 1 && integer <= largest));
	if (wrong !== undefined) return `it has an integer block scale of ${wrong}, expected 1 to ${largest}`;
	const { shape, blockAxis, blockSize } = place;
	const scales = numbersOf(channelScales);
	return collapsed({
		...{ kind: "lpbq" as const, codes, expandedBits: 2 * codes.bits, shape, blockAxis, blockSize, channelAxis },
		...{ integers: numbers, channelScales: scales },
	});
}

/** The DequantizeLinear that makes LPBQ's block scales. */
function scaleNodeOf(value: Value | undefined): Node | undefined {
	const producer = value?.producer;
	return producer !== undefined && isOnnxOp(producer, "DequantizeLinear") ? producer : undefined;
}

/** Leaves out axes along which neither scales nor zero points change, but those of channels and blocks. */
function collapsed<P extends PlacedEncoding>(placed: P): P {
	const { shape, blockAxis, channelAxis } = placed;
	const lists =
		placed.kind === "lpbq" ? [placed.integers] : [placed.scales, ...(placed.zeroPoints ? [placed.zeroPoints] : [])];
	if (blockAxis === undefined) return placed;
	let dims = shape;
	let numbers: readonly Float64Array[] = lists;
	for (const [axis, dim] of shape.entries()) {
		if (dim === 1 || axis === blockAxis || axis === channelAxis) continue;
		const shorter = numbers.map((list) => withoutAxis(list, dims, axis));
		if (shorter.some((list) => list === undefined)) continue;
		dims = dims.map((length, index) => (index === axis ? 1 : length));
		numbers = shorter as Float64Array[];
	}
	const [first, second] = numbers;
	if (placed.kind === "lpbq") return { ...placed, shape: dims, integers: first! };
	return { ...placed, shape: dims, scales: first!, zeroPoints: second };
}

/** The numbers at index 0 of an axis; undefined where others differ from them. */
function withoutAxis(numbers: Float64Array, shape: readonly number[], axis: number): Float64Array | undefined {
	const inner = elementCount(shape.slice(axis + 1));
	const length = shape[axis]!;
	const result = new Float64Array(numbers.length / length);
	for (let at = 0; at < numbers.length; at++) {
		const row = Math.floor(at / inner);
		const index = row % length;
		const place = ((row - index) / length) * inner + (at - row * inner);
		if (index === 0) result[place] = numbers[at]!;
		else if (result[place] !== numbers[at]) return undefined;
	}
	return result;
}
