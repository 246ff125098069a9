import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesData, computedData, readAll } from "../../../src/ir/data.js";
import { DataType, elementCount } from "../../../src/ir/types.js";
import { permutedData, transposedData } from "../../../src/passes/support/transposed-data.js";
import { transposedNibbles } from "../../../src/passes/support/transposed-nibbles.js";
import { packUint2, packUint4, unpackUint2, unpackUint4 } from "../../../src/quant/packing.js";
import { randomSource } from "../../support/random.js";

const TYPES = [DataType.INT2, DataType.INT4, DataType.INT8, DataType.FLOAT16, DataType.FLOAT, DataType.INT64];
const BYTES: Readonly<Record<number, number>> = {
	[DataType.INT8]: 1,
	[DataType.FLOAT16]: 2,
	[DataType.FLOAT]: 4,
	[DataType.INT64]: 8,
};

/** Elements as lists of bytes; of two or four bits, of their value. */
function elementsOf(bytes: Uint8Array, dtype: number, count: number): number[][] {
	if (dtype === DataType.INT4) return [...unpackUint4(bytes, 0, count)].map((value) => [value]);
	if (dtype === DataType.INT2) return [...unpackUint2(bytes, 0, count)].map((value) => [value]);
	const width = BYTES[dtype]!;
	return Array.from({ length: count }, (_, index) => [...bytes.subarray(index * width, (index + 1) * width)]);
}

function randomBytes(dtype: number, count: number): Uint8Array {
	const random = randomSource(count);
	if (dtype === DataType.INT4) return packUint4(Uint8Array.from({ length: count }, () => random() * 16));
	if (dtype === DataType.INT2) return packUint2(Uint8Array.from({ length: count }, () => random() * 4));
	return Uint8Array.from({ length: count * BYTES[dtype]! }, () => random() * 256);
}

/** Element by element, by the definition of ONNX's Transpose. */
function permuted<T>(elements: readonly T[], shape: readonly number[], permutation: readonly number[]): T[] {
	const result = permutation.map((axis) => shape[axis]!);
	return elements.map((_, index) => {
		const at = new Array<number>(shape.length);
		let rest = index;
		for (let axis = result.length - 1; axis >= 0; axis--) {
			at[permutation[axis]!] = rest % result[axis]!;
			rest = Math.floor(rest / result[axis]!);
		}
		return elements[at.reduce((sum, position, axis) => sum * shape[axis]! + position, 0)]!;
	});
}

describe("permutedData", () => {
	const lengths = fc.oneof(fc.integer({ min: 1, max: 7 }), fc.constantFrom(8, 16, 24));
	const shapes = fc.array(lengths, { minLength: 1, maxLength: 4 });
	const cases = fc.tuple(fc.constantFrom(...TYPES), shapes).chain(([dtype, shape]) =>
		fc.record({
			dtype: fc.constant(dtype),
			shape: fc.constant(shape),
			permutation: fc.shuffledSubarray([...shape.keys()], { minLength: shape.length }),
			pieces: fc.array(fc.nat(), { maxLength: 4 }),
		}),
	);

	test("is ONNX's Transpose, in whatever pieces it is read", () => {
		fc.assert(
			fc.property(cases, ({ dtype, shape, permutation, pieces }) => {
				const count = elementCount(shape);
				const bytes = randomBytes(dtype, count);
				const data = permutedData(bytesData(bytes), dtype, shape, permutation);
				const expected = permuted(elementsOf(bytes, dtype, count), shape, permutation);
				expect(data.byteLength).toBe(bytes.byteLength);
				expect(elementsOf(readAll(data), dtype, count)).toEqual(expected);
				const cuts = [0, ...pieces.map((piece) => piece % (bytes.byteLength + 1)), bytes.byteLength].sort(
					(a, b) => a - b,
				);
				const joined = cuts.slice(1).flatMap((end, index) => [...data.read(cuts[index]!, end)]);
				expect(joined).toEqual([...readAll(data)]);
			}),
		);
	});

	test("nothing is read of an empty range, at the end of an odd number of half bytes too", () => {
		const data = permutedData(bytesData(new Uint8Array(8)), DataType.INT4, [3, 5], [1, 0]);
		expect(data.read(8, 8)).toEqual(new Uint8Array());
	});

	test("data in which no element moves stay as they are", () => {
		const data = bytesData(new Uint8Array(12));
		expect(permutedData(data, DataType.INT8, [1, 12, 1], [2, 1, 0])).toBe(data);
	});
});

describe("transposedData", () => {
	test("reads the matrix once, in whatever small pieces it is asked for", () => {
		for (const [rows, columns] of [
			[1000, 2400],
			[1001, 2401],
		] as const) {
			const bytes = randomBytes(DataType.INT4, rows * columns);
			let total = 0;
			const source = computedData(bytes.byteLength, (start, end) => {
				total += end - start;
				return bytes.subarray(start, end);
			});
			const data = transposedData(source, DataType.INT4, rows, columns);
			for (let at = 0; at < data.byteLength; at += 99_999) data.read(at, Math.min(at + 99_999, data.byteLength));
			expect(total).toBeLessThanOrEqual(bytes.byteLength + 1);
			expect(total).toBeGreaterThanOrEqual(bytes.byteLength);
		}
	});

	test("matrices of many strips come out right, whole rows read or parts of them", () => {
		for (const [rows, columns] of [
			[64, 20_000],
			[640, 200],
		] as const) {
			const bytes = randomBytes(DataType.INT4, rows * columns);
			for (const strip of [1, 1000, 30_000]) {
				const made = transposedNibbles(bytesData(bytes), rows, columns, strip);
				expect(Buffer.compare(readAll(transposedData(made, DataType.INT4, columns, rows)), bytes)).toBe(0);
			}
		}
	});

	test("large matrices come out right", () => {
		const [rows, columns] = [1500, 1100];
		const bytes = randomBytes(DataType.INT4, rows * columns);
		const data = transposedData(bytesData(bytes), DataType.INT4, rows, columns);
		const back = transposedData(data, DataType.INT4, columns, rows);
		expect(Buffer.compare(readAll(back), bytes)).toBe(0);
		expect(Buffer.compare(readAll(data), bytes)).not.toBe(0);
	});
});
