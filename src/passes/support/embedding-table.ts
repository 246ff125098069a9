import { intOf } from "../../ir/attribute.js";
import { computedData } from "../../ir/data.js";
import type { Node } from "../../ir/node.js";
import { bytesOf, floatTensor, type Tensor, tensor } from "../../ir/tensor.js";
import { DataType, rawByteLength } from "../../ir/types.js";
import { sqnrDb } from "../../quant/measure.js";
import { roundHalfEven } from "../../quant/rounding.js";
import { asFloatType, isFloatType } from "../../weights/derived-tensor.js";
import { elementsOf } from "../../weights/numbers.js";
import type { Refusal } from "./eligibility.js";
import { storedConstant } from "./nbits-form.js";

/** Values made at a time. */
const PIECE_VALUES = 2 ** 20;

/** What a GatherBlockQuantized reads rows or columns of, as numbers. */
export interface EmbeddingTable {
	readonly gatherAxis: number;
	readonly shape: readonly [number, number];
	/** Of the type of the scales. Made when it is read. */
	readonly float: Tensor;
	/** Rows [first, first + count). */
	rows(first: number, count: number): Float32Array;
}

/** The table of a GatherBlockQuantized of rank 2, with codes of 4 or 8 bits; or what is odd about it. */
export function embeddingTable(node: Node): EmbeddingTable | Refusal {
	const refusal: Refusal = {
		code: "embedding/unsupported",
		message: `the table of '${node.name}' is no matrix of 4-bit or 8-bit codes with constant scales of its blocks`,
	};
	const [data, scales, zeroPoints] = [0, 2, 3].map((index) => storedConstant(node.inputs[index]));
	const bits = intOf(node, "bits", 4);
	const blockSize = intOf(node, "block_size", 128);
	const scaleShape = scales?.tensor.shape ?? [];
	if (data === undefined || scales === undefined || scaleShape.length !== 2 || (bits !== 4 && bits !== 8))
		return refusal;
	if ([data, scales, zeroPoints].some((constant) => constant?.overridable === true)) return refusal;
	if ((zeroPoints === undefined) !== (node.inputs[3] === undefined) || !isFloatType(scales.tensor.dtype))
		return refusal;
	const [gatherAxis, quantizeAxis] = [axisOf(node, "gather_axis", 0), axisOf(node, "quantize_axis", 1)];
	const { dtype } = data.tensor;
	const isPacked = dtype === DataType.UINT8;
	const type = isPacked && bits === 4 ? DataType.UINT4 : dtype;
	const known = [DataType.UINT8, DataType.UINT4, DataType.INT4] as readonly number[];
	if (!known.includes(dtype) || gatherAxis === quantizeAxis || blockSize < 1) return refusal;
	if (isPacked && quantizeAxis !== 1) return refusal;
	const other = scaleShape[1 - quantizeAxis]!;
	const length = ((data.tensor.data.byteLength * 8) / (type === DataType.UINT8 ? 8 : 4) / other) | 0;
	const shape: [number, number] = quantizeAxis === 1 ? [other, length] : [length, other];
	if (rawByteLength(type, shape) !== data.tensor.data.byteLength) return refusal;
	if (Math.ceil(length / blockSize) !== scaleShape[quantizeAxis]) return refusal;

	const codes = tensor(type, shape, data.tensor.data);
	// zero points of packed codes are packed alike, each row in whole bytes
	const perByte = isPacked && bits === 4 ? 2 : 1;
	const zeroColumns = perByte === 2 ? Math.ceil(scaleShape[1]! / 2) * 2 : scaleShape[1]!;
	const zeros = zeroPoints && tensor(type, [scaleShape[0]!, zeroColumns], zeroPoints.tensor.data);
	if (zeros !== undefined && rawByteLength(type, zeros.shape) !== zeros.data.byteLength) return refusal;
	const middle = isPacked ? 2 ** (bits - 1) : 0;
	const columns = shape[1];
	const rows = (first: number, count: number): Float32Array => {
		const elements = elementsOf(codes, first * columns, count * columns)!;
		const result = new Float32Array(count * columns);
		for (let row = 0; row < count; row++) {
			const scaleRow = quantizeAxis === 1 ? first + row : Math.floor((first + row) / blockSize);
			const scale = elementsOf(scales.tensor, scaleRow * scaleShape[1]!, scaleShape[1]!)!;
			const zero = zeros && elementsOf(zeros, scaleRow * zeroColumns, zeroColumns)!;
			for (let column = 0; column < columns; column++) {
				const block = quantizeAxis === 1 ? Math.floor(column / blockSize) : column;
				result[row * columns + column] =
					(elements[row * columns + column]! - (zero?.[block] ?? middle)) * scale[block]!;
			}
		}
		return result;
	};
	const float = tensor(
		DataType.FLOAT,
		shape,
		rowData(shape, 4, (first, count) => bytesOf(rows(first, count))),
	);
	return { gatherAxis, shape, float: asFloatType(float, scales.tensor.dtype), rows };
}

function axisOf(node: Node, name: string, fallback: number): number {
	const axis = intOf(node, name, fallback);
	return axis < 0 ? axis + 2 : axis;
}

/** Data of whole rows. */
function rowData(
	[rows, columns]: readonly [number, number],
	width: number,
	make: (first: number, count: number) => Uint8Array,
) {
	const rowBytes = columns * width;
	return computedData(rows * rowBytes, (start, end) => {
		const first = Math.floor(start / rowBytes);
		const count = Math.ceil(end / rowBytes) - first;
		return make(first, count).subarray(start - first * rowBytes, end - first * rowBytes);
	});
}

/** The table in integers with one scale, the largest magnitude at the end of the range. Reads it twice. */
export function perTensorTable(table: EmbeddingTable, type: "int8" | "uint16") {
	const { shape, rows, float } = table;
	const [most, middle] = type === "int8" ? [127, 0] : [32767, 32768];
	let largest = 0;
	eachPiece(table, (values) => {
		for (const value of values) largest = Math.max(largest, Math.abs(value));
	});
	const scale = Math.fround(largest / most) || 1;
	let [signal, error] = [0, 0];
	eachPiece(table, (values) => {
		for (const value of values) {
			signal += value * value;
			error += (value - roundHalfEven(value / scale) * scale) ** 2;
		}
	});
	const codes = (first: number, count: number) => {
		const values = rows(first, count);
		const integers = type === "int8" ? new Int8Array(values.length) : new Uint16Array(values.length);
		for (let at = 0; at < values.length; at++) {
			integers[at] = Math.max(-most, Math.min(most, roundHalfEven(values[at]! / scale))) + middle;
		}
		return bytesOf(integers);
	};
	const dtype = type === "int8" ? DataType.INT8 : DataType.UINT16;
	const zero = type === "int8" ? new Uint8Array(1) : bytesOf(Uint16Array.of(middle));
	return {
		codes: tensor(dtype, shape, rowData(shape, type === "int8" ? 1 : 2, codes)),
		scale: asFloatType(floatTensor([], [scale]), float.dtype),
		zeroPoint: tensor(dtype, [], zero),
		decibels: sqnrDb(signal, error),
	};
}

function eachPiece({ shape: [count, columns], rows }: EmbeddingTable, visit: (values: Float32Array) => void): void {
	const step = Math.max(1, Math.floor(PIECE_VALUES / columns));
	for (let row = 0; row < count; row += step) visit(rows(row, Math.min(step, count - row)));
}
