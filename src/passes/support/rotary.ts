import { intAttribute } from "../../ir/attribute.js";
import { computedData } from "../../ir/data.js";
import { floatTensor, int64Tensor, type Tensor, tensor } from "../../ir/tensor.js";
import { bitsPerElement } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { constantOf } from "../../weights/constant.js";
import type { GraphWriter } from "./node-writer.js";

/** How a rotary position embedding turns the elements of a head. */
export interface RotaryForm {
	/** Elements of a head, and how many of these, from the first on, are turned. */
	readonly headSize: number;
	readonly rotatedSize: number;
	/** Are the two numbers of a pair beside each other, or half of `rotatedSize` apart? */
	readonly isInterleaved: boolean;
}

/** Cosines and sines for every turned element, broadcast against what is turned: signs are in the sines. */
export interface RotaryTables {
	readonly cos: Value;
	readonly sin: Value;
}

/**
 * `x cos + swap(x) sin` over the last axis of `x`, [..., headSize], where `swap` exchanges the numbers of each pair and the
 * sine of the first one is negative. What is not turned goes past.
 */
export function rotate(writer: GraphWriter, x: Value, form: RotaryForm, tables: RotaryTables): Value {
	const { headSize, rotatedSize } = form;
	if (rotatedSize === headSize) return turn(writer, x, form, tables);
	const sizes = writer.constant("parts", int64Tensor([2], [rotatedSize, headSize - rotatedSize]));
	const [turned, rest] = writer.emitSeveral("Split", [x, sizes], ["turned", "rest"], LAST_AXIS);
	return writer.emit("Concat", [turn(writer, turned!, form, tables), rest], LAST_AXIS, "rotary");
}

const LAST_AXIS = { axis: intAttribute(-1) };

function turn(writer: GraphWriter, x: Value, form: RotaryForm, { cos, sin }: RotaryTables): Value {
	const product = writer.emit("Mul", [x, cos], {}, "cos_part");
	return writer.emit("Add", [product, writer.emit("Mul", [swap(writer, x, form), sin], {}, "sin_part")], {}, "turned");
}

function swap(writer: GraphWriter, x: Value, { rotatedSize, isInterleaved }: RotaryForm): Value {
	if (isInterleaved) {
		const order = Array.from({ length: rotatedSize }, (_, index) => index ^ 1);
		return writer.emit(
			"Gather",
			[x, writer.constant("pairs", int64Tensor([rotatedSize], order))],
			LAST_AXIS,
			"swapped",
		);
	}
	const half = rotatedSize / 2;
	const sizes = writer.constant("halves", int64Tensor([2], [half, half]));
	const [first, second] = writer.emitSeveral("Split", [x, sizes], ["first", "second"], LAST_AXIS);
	return writer.emit("Concat", [second, first], LAST_AXIS, "swapped");
}

/**
 * Tables with a column for every turned element, of caches [rows, rotatedSize / 2] that have one for every pair. Caches
 * that are constants become constants.
 */
export function wideTables(writer: GraphWriter, caches: RotaryTables, form: RotaryForm): RotaryTables {
	const [cos, sin] = [constantOf(caches.cos), constantOf(caches.sin)];
	const sources = pairOfColumn(form);
	const signs = sources.map((_, column) => (isFirstOfPair(column, form) ? -1 : 1));
	if (cos === undefined || sin === undefined || cos.overridable || sin.overridable) {
		const columns = writer.constant("columns", int64Tensor([sources.length], sources));
		const gather = (cache: Value) => writer.emit("Gather", [cache, columns], LAST_AXIS, "table");
		const type = writer.constant("signs", floatTensor([signs.length], signs));
		const alike = writer.emit("CastLike", [type, caches.sin], {}, "signs_like");
		return { cos: gather(caches.cos), sin: writer.emit("Mul", [gather(caches.sin), alike], {}, "signed_table") };
	}
	return {
		cos: writer.constant(
			"cos",
			widened(
				cos.tensor,
				sources,
				signs.map(() => 1),
			),
		),
		sin: writer.constant("sin", widened(sin.tensor, sources, signs)),
	};
}

/** A cache with other columns, those negated whose sign is -1; made when it is read. */
function widened({ dtype, shape, data }: Tensor, sources: readonly number[], signs: readonly number[]): Tensor {
	const [rows, pairs] = [shape[0]!, shape[1]!];
	const width = bitsPerElement(dtype)! / 8;
	const columns = sources.length;
	const stride = columns * width;
	const wide = computedData(rows * stride, (start, end) => {
		const firstRow = Math.floor(start / stride);
		const lastRow = Math.ceil(end / stride);
		const narrow = data.read(firstRow * pairs * width, lastRow * pairs * width);
		const bytes = new Uint8Array((lastRow - firstRow) * stride);
		for (let row = 0; row < lastRow - firstRow; row++) {
			for (let column = 0; column < columns; column++) {
				const from = (row * pairs + sources[column]!) * width;
				const to = row * stride + column * width;
				for (let byte = 0; byte < width; byte++) bytes[to + byte] = narrow[from + byte]!;
				if (signs[column]! < 0) bytes[to + width - 1]! ^= SIGN_BIT;
			}
		}
		return bytes.subarray(start - firstRow * stride, end - firstRow * stride);
	});
	return tensor(dtype, [rows, columns], wide);
}

/** In the last byte of a number, which is the highest. */
const SIGN_BIT = 0x80;

/** Which column of a cache belongs to each turned element. */
function pairOfColumn({ rotatedSize, isInterleaved }: RotaryForm): number[] {
	const half = rotatedSize / 2;
	return Array.from({ length: rotatedSize }, (_, column) => (isInterleaved ? column >> 1 : column % half));
}

function isFirstOfPair(column: number, { rotatedSize, isInterleaved }: RotaryForm): boolean {
	return isInterleaved ? column % 2 === 0 : column < rotatedSize / 2;
}
