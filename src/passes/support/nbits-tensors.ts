import { computedData, everyPiece, type TensorData } from "../../ir/data.js";
import { type Tensor, tensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import { blockLayout } from "../../quant/layout.js";
import type { ErrorSum } from "../../quant/measure.js";
import { packInt4, packUint2, packUint4 } from "../../quant/packing.js";
import { asFloatType } from "../../weights/derived-tensor.js";
import { eachNumber, elementsOf } from "../../weights/numbers.js";
import type { SlabRange } from "./block-weight.js";
import type { Refusal } from "./eligibility.js";
import type { NBitsForm, NBitsSite } from "./nbits-form.js";
import { requantizeSymmetric } from "./requantize.js";
import { signedCodes } from "./signed-codes.js";
import type { Spool } from "./spool.js";
import { transposedData } from "./transposed-data.js";

/** What DequantizeLinear reads in place of what MatMulNBits did. All data is made when it is read. */
export interface NBitsTensors {
	/** INT4, INT8 or INT2, [K, N]. */
	readonly codes: Tensor;
	/** [blocks, N], of the type of the activations. */
	readonly scale: Tensor;
	/** Of the type of the codes and the shape of the scales; undefined where all are 0. */
	readonly zeroPoint: Tensor | undefined;
	readonly blockSize: number;
	/** Which element of the activations each row of the codes is multiplied with; undefined where they are in order. */
	readonly order: Int32Array | undefined;
	/** What it cost; undefined where the weight is the same as before. */
	readonly error: ErrorSum | undefined;
}

export interface NBitsChoices {
	/** May a weight that has no exact equal be made symmetric 4-bit? */
	readonly requantize: boolean;
	/** What 2-bit codes become. */
	readonly twoBits: "int4" | "int2";
}

const UNSIGNED = { 2: DataType.UINT2, 4: DataType.UINT4, 8: DataType.UINT8 } as const;
const SIGNED = { 2: DataType.INT2, 4: DataType.INT4, 8: DataType.INT8 } as const;

/** The weight as DequantizeLinear takes it, or why there is no equal. Reads zero points, and all of it where it requantizes. */
export function nbitsTensors(
	form: NBitsForm,
	{ requantize, twoBits }: NBitsChoices,
	spool: () => Spool,
): NBitsTensors | Refusal {
	const { depth, channels, bits, blocks } = form;
	const order = orderOf(form);
	const zeroPoints = zeroPointsOf(form);
	const obstacle = obstacleTo(form, zeroPoints, order);
	if (obstacle !== undefined && requantize && bits < 8) return requantized(form, spool());
	if (obstacle !== undefined || order === "uneven" || zeroPoints === "fractions") return obstacle!;
	const codes = codesOf(form, order);
	const blockSize = Math.min(form.blockSize, depth);
	const scale = scalesOf(form);
	if (bits === 2 && twoBits === "int4") {
		const shape = [depth, channels];
		return {
			codes: tensor(DataType.INT4, shape, widened(form, codes)),
			scale,
			zeroPoint: undefined,
			blockSize,
			order,
			error: undefined,
		};
	}
	return {
		codes: tensor(SIGNED[bits], [depth, channels], signedCodes(codes.data, bits, depth * channels)),
		scale,
		zeroPoint: zeroPoints && tensor(SIGNED[bits], [blocks, channels], zeroPoints),
		blockSize,
		order,
		error: undefined,
	};
}

/** Why a weight that is still packed could not become LPBQ: that it is packed, or what stands in the way of unpacking it. */
export function packedRefusalOf({ form, weightName }: NBitsSite): Refusal {
	if ("code" in form) return form;
	const obstacle = obstacleTo(form, zeroPointsOf(form), orderOf(form));
	if (obstacle !== undefined) return obstacle;
	return {
		code: "weight/packed",
		message: `weight '${weightName}' is packed for MatMulNBits: --lower-matmul-nbits unpacks it`,
	};
}

/** Are the codes around 2^(bits - 1)? Reads the zero points. */
export function hasMiddleZeroPoints(form: NBitsForm): boolean {
	return zeroPointsOf(form) === undefined;
}

function obstacleTo(
	form: NBitsForm,
	zeroPoints: ReturnType<typeof zeroPointsOf>,
	order: ReturnType<typeof orderOf>,
): Refusal | undefined {
	if (order === "uneven") {
		return refuse(form, "nbits/group-index", "the groups of its group index are no blocks, however rows are sorted");
	}
	if (zeroPoints !== "fractions") return undefined;
	return refuse(form, "nbits/zero-point", `it has float zero points that are no ${form.bits}-bit integers`);
}

function refuse({ packed }: NBitsForm, code: Refusal["code"], why: string): Refusal {
	return { code, message: `weight '${packed.value.name}' of MatMulNBits has no exact equal: ${why}` };
}

/** The rows sorted by group; `uneven` where the groups are not the blocks of rows so sorted. */
function orderOf({ groups, blockSize }: NBitsForm): Int32Array | "uneven" | undefined {
	if (groups === undefined) return undefined;
	const order = Int32Array.from(groups.keys()).sort((a, b) => groups[a]! - groups[b]! || a - b);
	return order.every((row, place) => groups[row] === Math.floor(place / blockSize)) ? order : "uneven";
}

/** Unsigned codes [blocks * blockSize, channels], rows in the given order. */
function codesOf(
	{ depth, channels, bits, blocks, blockSize, packed }: NBitsForm,
	order: Int32Array | undefined,
): Tensor {
	const rows = blocks * blockSize;
	const { data } = packed.tensor;
	const sorted = order === undefined ? data : withColumns(data, bits, channels, rows, order, depth);
	return tensor(UNSIGNED[bits], [rows, channels], transposedData(sorted, UNSIGNED[bits], channels, rows));
}

/** [rows, columns] of so many bits an element, with column i that of `order[i]`; from `ordered` on they stay. */
function withColumns(
	data: TensorData,
	bits: 2 | 4 | 8,
	rows: number,
	columns: number,
	order: Int32Array,
	ordered: number,
): TensorData {
	const rowBytes = (columns * bits) / 8;
	const dtype = UNSIGNED[bits];
	const source = tensor(dtype, [rows, columns], data);
	return computedData(data.byteLength, (start, end) => {
		const first = Math.floor(start / rowBytes);
		const last = Math.ceil(end / rowBytes);
		const elements = elementsOf(source, first * columns, (last - first) * columns) as Uint8Array;
		const sorted = Uint8Array.from(elements);
		for (let row = 0; row < sorted.length; row += columns) {
			for (let column = 0; column < ordered; column++) sorted[row + column] = elements[row + order[column]!]!;
		}
		const bytes = bits === 2 ? packUint2(sorted) : bits === 4 ? packUint4(sorted) : sorted;
		return bytes.subarray(start - first * rowBytes, end - first * rowBytes);
	});
}

function scalesOf({ channels, blocks, scales }: NBitsForm): Tensor {
	const { dtype, data } = scales.tensor;
	return tensor(dtype, [blocks, channels], transposedData(data, dtype, channels, blocks));
}

/**
 * Zero points for signed codes, [blocks, channels]; undefined where all are 0, `fractions` where numbers are no codes. Reads
 * all of them.
 */
function zeroPointsOf(form: NBitsForm): TensorData | "fractions" | undefined {
	const { channels, bits, blocks, zeroPoints } = form;
	if (zeroPoints === undefined) return undefined;
	const middle = 2 ** (bits - 1);
	const count = blocks * channels;
	if (zeroPoints.tensor.dtype !== DataType.UINT8) {
		let [isMiddle, isCode] = [true, true];
		eachNumber(zeroPoints.tensor, (zero) => {
			isMiddle &&= zero === middle;
			isCode &&= Number.isInteger(zero) && zero >= 0 && zero < 2 * middle;
			return isCode;
		});
		if (!isCode) return "fractions";
		return isMiddle ? undefined : signedCodes(packedZeroPoints(form), bits, count);
	}
	const codes = signedCodes(zeroRows(form).data, bits, count);
	return everyPiece(codes, (bytes) => bytes.every((byte) => byte === 0)) ? undefined : codes;
}

/** Zero points as stored, [blocks or a few more, channels]. */
function zeroRows({ channels, bits, blocks, zeroPoints }: NBitsForm): Tensor {
	const { dtype, data } = zeroPoints!.tensor;
	const isPacked = dtype === DataType.UINT8;
	const rows = isPacked ? (Math.ceil((blocks * bits) / 8) * 8) / bits : blocks;
	const type = isPacked ? UNSIGNED[bits] : dtype;
	return tensor(type, [rows, channels], transposedData(data, type, channels, rows));
}

/** Whole numbers as unsigned codes. */
function packedZeroPoints(form: NBitsForm): TensorData {
	const { bits } = form;
	const numbers = zeroRows(form);
	const count = elementCount(numbers.shape);
	const perByte = 8 / bits;
	return computedData(Math.ceil(count / perByte), (start, end) => {
		const last = Math.min(count, end * perByte);
		const codes = Uint8Array.from(elementsOf(numbers, start * perByte, last - start * perByte)!);
		return bits === 2 ? packUint2(codes) : bits === 4 ? packUint4(codes) : codes;
	});
}

/** Gives rows [first, first + count) of the zero points, [count, channels]. */
function zeroReader(form: NBitsForm): (first: number, count: number) => ArrayLike<number> {
	const { channels, bits, zeroPoints } = form;
	if (zeroPoints === undefined) return (_, count) => new Uint8Array(count * channels).fill(2 ** (bits - 1));
	const rows = zeroRows(form);
	return (first, count) => elementsOf(rows, first * channels, count * channels)!;
}

/** 2-bit codes less their zero points, which 4 bits hold: INT4, [depth, channels]. */
function widened(form: NBitsForm, codes: Tensor): TensorData {
	const { depth, channels, blockSize } = form;
	const count = depth * channels;
	const zeros = zeroReader(form);
	return computedData(Math.ceil(count / 2), (start, end) => {
		const [first, last] = [start * 2, Math.min(end * 2, count)];
		const result = Int8Array.from(elementsOf(codes, first, last - first)!);
		const perBlock = blockSize * channels;
		for (let at = first; at < last; ) {
			const block = Math.floor(at / perBlock);
			const stop = Math.min(last, (block + 1) * perBlock);
			const row = zeros(block, 1);
			for (let channel = at % channels; at < stop; at++) {
				result[at - first]! -= row[channel]!;
				if (++channel === channels) channel = 0;
			}
		}
		return packInt4(result);
	});
}

/** The weight in symmetric int4, rows in order. */
function requantized(form: NBitsForm, spool: Spool): NBitsTensors | Refusal {
	const { depth, channels, blockSize, blocks, groups, scales } = form;
	const layout = blockLayout([depth, channels], 0, 1, Math.min(blockSize, depth));
	const codes = codesOf(form, undefined);
	const stored = scalesOf(form);
	const zeros = zeroReader(form);
	const scalesIn = ({ first, count }: SlabRange) =>
		Float32Array.from(elementsOf(stored, first * channels, count * channels)!);
	const values = ({ first, count }: SlabRange) => {
		const start = first * layout.blockSize;
		const rows = Math.min(depth, start + count * layout.blockSize) - start;
		const elements = elementsOf(codes, start * channels, rows * channels)!;
		const result = new Float32Array(elements.length);
		const whole = groups !== undefined ? { first: 0, count: blocks } : { first, count };
		const [scale, zero] = [scalesIn(whole), zeros(whole.first, whole.count)];
		for (let row = 0, at = 0; row < rows; row++) {
			const group = groups === undefined ? Math.floor((start + row) / blockSize) : groups[start + row]!;
			let from = (group - whole.first) * channels;
			for (let channel = 0; channel < channels; channel++, at++, from++) {
				result[at] = (elements[at]! - zero[from]!) * scale[from]!;
			}
		}
		return result;
	};
	const made = requantizeSymmetric({ layout, values, scales: scalesIn }, spool);
	if (made === undefined)
		return refuse(form, "weight/scale-not-finite", "a scale or zero point is infinite or no number");
	const { dtype } = scales.tensor;
	return {
		codes: tensor(DataType.INT4, [depth, channels], made.codes),
		scale: asFloatType(tensor(DataType.FLOAT, [blocks, channels], made.scales), dtype),
		zeroPoint: undefined,
		blockSize: layout.blockSize,
		order: undefined,
		error: made.error,
	};
}
