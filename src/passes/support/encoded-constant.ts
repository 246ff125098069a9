import type { PlacedEncoding } from "../../encodings/placement.js";
import { intAttribute } from "../../ir/attribute.js";
import { computedData } from "../../ir/data.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { bytesOf, type Tensor, tensor } from "../../ir/tensor.js";
import { bitsPerElement, DataType, elementCount, rawByteLength, tensorType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { packInt4, packUint4 } from "../../quant/packing.js";
import { dequantizeOnGrid, quantizeOnGrid, type ScaleGrid } from "../../quant/scale-grid.js";
import { addConstant, replaceConstant } from "../../weights/constant.js";
import { elementsOf } from "../../weights/numbers.js";
import { expandedData } from "./expanded-data.js";

/** The element type of codes; undefined for widths that ONNX's quantizers do not have. */
export function codesType({ signed, bits }: PlacedEncoding["codes"]): DataType | undefined {
	return (signed ? SIGNED : UNSIGNED)[bits];
}

const SIGNED: Readonly<Record<number, DataType>> = {
	4: DataType.INT4,
	8: DataType.INT8,
	16: DataType.INT16,
	32: DataType.INT32,
};
const UNSIGNED: Readonly<Record<number, DataType>> = { 4: DataType.UINT4, 8: DataType.UINT8, 16: DataType.UINT16 };

/**
 * `W` -> `DequantizeLinear(W as codes, scale, zero point)`: every reader gets what the codes stand for. The codes keep the
 * name of the constant, unless the graph gives it out; codes and the scales of blocks are made when they are read.
 */
export function quantizeConstant(
	value: Value,
	floats: Tensor,
	placed: PlacedEncoding,
	dtype: DataType,
	names: NameScope,
): Node {
	const { graph, name } = value;
	const readers = [...value.uses];
	const before = value.producer?.next ?? firstReader(value);
	const home = value.producer ?? before;
	const codes = tensor(dtype, floats.shape, codesData(floats, placed, dtype));
	const constant = (suffix: string, made: Tensor) => addConstant(graph, names.fresh(name + suffix), made, home);
	const stored = value.isGraphOutput ? constant("_codes", codes) : value;
	if (stored === value) {
		replaceConstant(value, codes);
		if (value.type !== undefined) value.type = tensorType(dtype, floats.shape);
	}
	const scale = scaleOf(value, floats, placed, constant, names, before);
	const zeroPoint = constant("_zero_point", zeroPointTensor(floats, placed, dtype));
	const result = graph.createValue(names.fresh(`${name}_dq`), tensorType(DataType.FLOAT, floats.shape));
	for (const { node, index } of readers) node.setInput(index, result);
	return graph.createNode(
		{
			op: "DequantizeLinear",
			name: names.fresh(`${name}_DQ`),
			inputs: [stored, scale, zeroPoint],
			outputs: [result],
			attributes: axisAttributes(placed),
		},
		before,
	);
}

/** The node in front of which a constant must be ready: the first of its graph that reads it, or of all where others do. */
function firstReader({ graph, uses }: Value): Node | undefined {
	const readers = new Set(uses.map(({ node }) => node));
	const isOwn = uses.every(({ node }) => node.graph === graph);
	for (const node of graph.nodes) if (!isOwn || readers.has(node)) return node;
	return undefined;
}

function axisAttributes({ shape, channelAxis, blockAxis, blockSize }: PlacedEncoding) {
	if (shape.length === 0) return {};
	if (blockAxis === undefined) return { axis: intAttribute(channelAxis!) };
	return { axis: intAttribute(blockAxis), block_size: intAttribute(blockSize) };
}

/** The scale as a constant; of LPBQ what a DequantizeLinear makes of integers and channel scales. */
function scaleOf(
	{ graph, name }: Value,
	floats: Tensor,
	placed: PlacedEncoding,
	constant: (suffix: string, made: Tensor) => Value,
	names: NameScope,
	before: Node | undefined,
): Value {
	if (placed.kind === "affine") {
		const scales = Float32Array.from(placed.scales);
		return constant("_scale", parameterTensor(floats, placed, DataType.FLOAT, bytesOf(scales)));
	}
	const { integers, channelScales, channelAxis } = placed;
	const dtype = integers.some((integer) => integer > 255) ? DataType.UINT16 : DataType.UINT8;
	const inputs = [
		constant("_block_scale", parameterTensor(floats, placed, dtype, encode(integers, dtype))),
		constant(
			"_channel_scale",
			tensor(DataType.FLOAT, [channelScales.length], bytesOf(Float32Array.from(channelScales))),
		),
	];
	const result = graph.createValue(names.fresh(`${name}_scale_dq`));
	const attributes = { axis: intAttribute(channelAxis) };
	graph.createNode(
		{ op: "DequantizeLinear", name: names.fresh(`${name}_scale_DQ`), inputs, outputs: [result], attributes },
		before,
	);
	return result;
}

function zeroPointTensor(floats: Tensor, placed: PlacedEncoding, dtype: DataType): Tensor {
	const count = elementCount(placed.shape);
	const zeros =
		placed.kind === "affine" && placed.zeroPoints !== undefined ? placed.zeroPoints : new Float64Array(count);
	return parameterTensor(floats, placed, dtype, encode(zeros, dtype));
}

/** Scales or zero points in the shape that DequantizeLinear wants: of blocks one for every element beside the block axis. */
function parameterTensor({ shape }: Tensor, placed: PlacedEncoding, dtype: DataType, bytes: Uint8Array): Tensor {
	const { blockAxis, blockSize } = placed;
	if (placed.shape.length === 0) return tensor(dtype, [], bytes);
	if (blockAxis === undefined) return tensor(dtype, [elementCount(placed.shape)], bytes);
	const wanted = shape.map((dim, axis) => (axis === blockAxis ? Math.ceil(dim / blockSize) : dim));
	return tensor(dtype, wanted, expandedData(bytes, bitsPerElement(dtype)!, placed.shape, wanted));
}

/** What stands in the tensor `floats`, as codes of `placed`, made when they are read. */
export function codesData({ shape, data }: Tensor, placed: PlacedEncoding, dtype: DataType) {
	const bits = bitsPerElement(dtype)!;
	const total = elementCount(shape);
	const grid = scaleGridOf(shape, placed);
	const gridCodes = { ...placed.codes, zeroPoints: zeroPointsOf(placed), scaleAt: scaleReader(placed) };
	return computedData(rawByteLength(dtype, shape)!, (start, end) => {
		const first = Math.floor((start * 8) / bits);
		const last = Math.max(first, Math.min(total, Math.ceil((end * 8) / bits)));
		const floats = new Float32Array(Uint8Array.from(data.read(first * 4, last * 4)).buffer);
		const bytes = encode(quantizeOnGrid(floats, first, grid, gridCodes), dtype);
		const skipped = start - (first * bits) / 8;
		return bytes.subarray(skipped, skipped + end - start);
	});
}

/** What codes stand for, as FLOAT, made when it is read. */
export function dequantizedTensor(codes: Tensor, placed: PlacedEncoding): Tensor {
	const { shape } = codes;
	const grid = scaleGridOf(shape, placed);
	const parameters = { scaleAt: scaleReader(placed), zeroPoints: zeroPointsOf(placed) };
	const data = computedData(elementCount(shape) * 4, (start, end) => {
		const first = Math.floor(start / 4);
		const values = elementsOf(codes, first, Math.ceil(end / 4) - first)!;
		const bytes = bytesOf(dequantizeOnGrid(values, first, grid, parameters));
		return bytes.subarray(start - first * 4, end - first * 4);
	});
	return tensor(DataType.FLOAT, shape, data);
}

export function scaleGridOf(shape: readonly number[], placed: PlacedEncoding): ScaleGrid {
	const { blockAxis, blockSize } = placed;
	return { shape, scaleShape: placed.shape, blockAxis, blockSize };
}

export function zeroPointsOf(placed: PlacedEncoding): Float64Array | undefined {
	return placed.kind === "affine" ? placed.zeroPoints : undefined;
}

/** The scale of a place of the grid, of LPBQ the product. */
export function scaleReader(placed: PlacedEncoding): (index: number) => number {
	if (placed.kind === "affine") return (index) => placed.scales[index]!;
	const { shape, channelAxis, integers, channelScales } = placed;
	const inner = elementCount(shape.slice(channelAxis + 1));
	const channels = shape[channelAxis]!;
	return (index) => integers[index]! * channelScales[Math.floor(index / inner) % channels]!;
}

/** Whole numbers as the bytes of a tensor. */
function encode(numbers: Float64Array, dtype: DataType): Uint8Array {
	switch (dtype) {
		case DataType.INT4:
			return packInt4(Int8Array.from(numbers));
		case DataType.UINT4:
			return packUint4(Uint8Array.from(numbers));
		case DataType.INT8:
			return bytesOf(Int8Array.from(numbers));
		case DataType.UINT8:
			return Uint8Array.from(numbers);
		case DataType.INT16:
			return bytesOf(Int16Array.from(numbers));
		case DataType.UINT16:
			return bytesOf(Uint16Array.from(numbers));
		default:
			return bytesOf(Int32Array.from(numbers));
	}
}

/** Is the constant read by a QuantizeLinear, as a float weight that is quantized already? */
export function isQuantizedConstant(value: Value, { dtype }: Tensor): boolean {
	const isCodes = [...Object.values(SIGNED), ...Object.values(UNSIGNED)].includes(dtype);
	const reads = (op: string) => value.uses.some(({ node, index }) => index === 0 && isOnnxOp(node, op));
	return isCodes ? reads("DequantizeLinear") : reads("QuantizeLinear");
}
