import type { TensorData } from "../../ir/data.js";
import { bytesOf } from "../../ir/tensor.js";
import { bitsPerElement, type DataType, dataTypeName, elementCount } from "../../ir/types.js";
import { packUint2, packUint4, unpackUint2, unpackUint4 } from "../../quant/packing.js";
import { type Elements, transposeInto } from "../../quant/transpose.js";
import { stripwise } from "./strips.js";
import { hasWholeWords, transposedNibbles } from "./transposed-nibbles.js";

/** Elements read at a time. */
const PIECE_ELEMENTS = 2 ** 20;

/** Bytes that are made at a time; of elements below a byte, each of which takes one meanwhile, fewer. */
const STRIP_BYTES = 2 ** 24;
const PACKED_STRIP_BYTES = 2 ** 22;

/** Rows are read whole where at least one in so many of their elements is wanted: then that is faster than many small reads. */
const WHOLE_ROW_SHARE = 16;

/**
 * The transpose [columns, rows] of the matrix [rows, columns] in `data`, made when it is asked for: of elements of 2, 4,
 * 8, 16, 32 or more bits. It is made in strips, some of which are kept, so that small pieces take no longer than large ones.
 */
export function transposedData(data: TensorData, dtype: DataType, rows: number, columns: number): TensorData {
	return permutedData(data, dtype, [rows, columns], [1, 0]);
}

/**
 * `data` of shape `shape` with its axes in the order `permutation`, as ONNX's Transpose puts them: axis i of the result is
 * axis `permutation[i]` of the source. The same object where no element moves.
 */
export function permutedData(
	data: TensorData,
	dtype: DataType,
	shape: readonly number[],
	permutation: readonly number[],
): TensorData {
	const bits = bitsPerElement(dtype);
	if (bits === undefined || (bits !== 2 && bits !== 4 && bits % 8 !== 0))
		throw new Error(`transposing ${dataTypeName(dtype)}`);
	let result = data;
	const order = shape.map((_, axis) => axis).filter((axis) => shape[axis] !== 1);
	const wanted = permutation.filter((axis) => shape[axis] !== 1);
	for (let place = 0; place < wanted.length; place++) {
		if (order[place] === wanted[place]) continue;
		const found = order.indexOf(wanted[place]!);
		const length = runLength(order, found, wanted, place);
		const moved = order.splice(found, length);
		const sizes = [order.slice(0, place), order.slice(place, found), moved, order.slice(found)];
		const [outer, rows, columns, run] = sizes.map((axes) => elementCount(axes.map((axis) => shape[axis]!)));
		result = swapped(result, bits, { outer: outer!, rows: rows!, columns: columns!, run: run! });
		order.splice(place, 0, ...moved);
	}
	return result;
}

/** How many axes from `found` on are together already as they are to be together from `place` on. */
function runLength(order: readonly number[], found: number, wanted: readonly number[], place: number): number {
	let length = 1;
	while (found + length < order.length && order[found + length] === wanted[place + length]) length++;
	return length;
}

/** [outer, rows, columns, run], to become [outer, columns, rows, run]. */
interface Matrices {
	readonly outer: number;
	readonly rows: number;
	readonly columns: number;
	readonly run: number;
}

function swapped(data: TensorData, bits: number, matrices: Matrices): TensorData {
	if (bits > 32) return swapped(data, 32, { ...matrices, run: (matrices.run * bits) / 32 });
	const { outer, rows, columns, run } = matrices;
	if (bits === 4 && outer * run === 1 && hasWholeWords(rows, columns)) return transposedNibbles(data, rows, columns);
	const total = outer * rows * columns * run;
	return stripwise(data.byteLength, bits < 8 ? PACKED_STRIP_BYTES : STRIP_BYTES, (start, end) => {
		const first = (start * 8) / bits;
		const last = Math.min(total, (end * 8) / bits);
		return packed(gather(data, bits, matrices, first, last), bits);
	});
}

function packed(elements: Elements, bits: number): Uint8Array {
	if (bits === 2) return packUint2(elements as Uint8Array);
	return bits === 4 ? packUint4(elements as Uint8Array) : bytesOf(elements);
}

/** The elements [first, last) of the swapped matrices. */
function gather(data: TensorData, bits: number, matrices: Matrices, first: number, last: number): Elements {
	const { rows, columns, run } = matrices;
	const size = rows * columns * run;
	const result = newElements(bits, last - first);
	for (let matrix = Math.floor(first / size); matrix * size < last; matrix++) {
		const from = Math.max(first - matrix * size, 0);
		const to = Math.min(last - matrix * size, size);
		const firstColumn = Math.floor(from / (rows * run));
		const columnEnd = Math.min(columns, Math.ceil(to / (rows * run)));
		const strip = newElements(bits, (columnEnd - firstColumn) * rows * run);
		readStrip(data, bits, matrices, matrix * size, firstColumn, columnEnd, strip);
		const skipped = from - firstColumn * rows * run;
		result.set(strip.subarray(skipped, skipped + to - from), matrix * size + from - first);
	}
	return result;
}

/** Transposes the columns [firstColumn, columnEnd) of the matrix that begins at element `origin` into `strip`. */
function readStrip(
	data: TensorData,
	bits: number,
	{ rows, columns, run }: Matrices,
	origin: number,
	firstColumn: number,
	columnEnd: number,
	strip: Elements,
): void {
	const width = columnEnd - firstColumn;
	const readsWholeRows = width * WHOLE_ROW_SHARE >= columns;
	const rowsAtOnce = readsWholeRows ? Math.max(1, Math.floor(PIECE_ELEMENTS / (columns * run))) : 1;
	for (let row = 0; row < rows; row += rowsAtOnce) {
		const count = Math.min(rowsAtOnce, rows - row);
		const start = origin + row * columns * run;
		const wanted = readsWholeRows
			? columnsOf(readElements(data, bits, start, count * columns * run), columns * run, firstColumn * run, width * run)
			: readElements(data, bits, start + firstColumn * run, width * run);
		transposeInto(wanted, width, run, strip, rows, row);
	}
}

/** `count` elements from `first` on of every row. */
function columnsOf<T extends Elements>(elements: T, rowLength: number, first: number, count: number): T {
	if (count === rowLength) return elements;
	const rows = elements.length / rowLength;
	const cut = elements.slice(0, rows * count) as T;
	for (let row = 0; row < rows; row++) {
		cut.set(elements.subarray(row * rowLength + first, row * rowLength + first + count), row * count);
	}
	return cut;
}

function newElements(bits: number, count: number): Elements {
	if (bits <= 8) return new Uint8Array(count);
	return bits === 16 ? new Uint16Array(count) : new Uint32Array(count);
}

function readElements(data: TensorData, bits: number, first: number, count: number): Elements {
	if (bits < 8) {
		const perByte = 8 / bits;
		const bytes = data.read(Math.floor(first / perByte), Math.ceil((first + count) / perByte));
		return (bits === 2 ? unpackUint2 : unpackUint4)(bytes, first % perByte, count);
	}
	const bytes = data.read((first * bits) / 8, ((first + count) * bits) / 8);
	if (bits === 8) return bytes;
	const aligned = Uint8Array.from(bytes);
	return bits === 16 ? new Uint16Array(aligned.buffer) : new Uint32Array(aligned.buffer);
}
