import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
	packedByteLength,
	packInt4,
	packUint2,
	packUint4,
	unpackInt4,
	unpackUint2,
	unpackUint4,
} from "../../src/quant/packing.js";

interface Format<T extends Int8Array | Uint8Array> {
	readonly bits: 2 | 4;
	readonly min: number;
	readonly max: number;
	readonly from: (codes: readonly number[]) => T;
	readonly pack: (codes: T) => Uint8Array;
	readonly unpack: (bytes: Uint8Array, elementOffset: number, count: number, out?: T) => T;
}

const int8 = (codes: readonly number[]) => Int8Array.from(codes);
const uint8 = (codes: readonly number[]) => Uint8Array.from(codes);

describe("int4", () => laws({ bits: 4, min: -8, max: 7, from: int8, pack: packInt4, unpack: unpackInt4 }));
describe("uint4", () => laws({ bits: 4, min: 0, max: 15, from: uint8, pack: packUint4, unpack: unpackUint4 }));
describe("uint2", () => laws({ bits: 2, min: 0, max: 3, from: uint8, pack: packUint2, unpack: unpackUint2 }));

it("puts the first element lowest and pads with zeros", () => {
	expect(packInt4(int8([1, -8, -1]))).toEqual(uint8([0x81, 0x0f]));
	expect(packUint4(uint8([1, 2, 3, 15]))).toEqual(uint8([0x21, 0xf3]));
	expect(packUint2(uint8([0, 1, 2, 3]))).toEqual(uint8([0b11100100]));
	expect(unpackInt4(uint8([0x81, 0xff]), 1, 2)).toEqual(int8([-8, -1]));
	expect(unpackUint2(uint8([0b11100100, 0b01]), 2, 3)).toEqual(uint8([2, 3, 1]));
});

it("knows how many bytes elements take", () => {
	expect([0, 1, 2, 3, 4, 5].map((count) => packedByteLength(count, 4))).toEqual([0, 1, 1, 2, 2, 3]);
	expect([0, 1, 4, 5, 8, 9].map((count) => packedByteLength(count, 2))).toEqual([0, 1, 1, 2, 2, 3]);
});

function laws<T extends Int8Array | Uint8Array>({ bits, min, max, from, pack, unpack }: Format<T>): void {
	const codes = fc.array(fc.integer({ min, max }), { maxLength: 100 });

	it("unpacks what it packed", () => {
		fc.assert(
			fc.property(codes, (list) => {
				const packed = pack(from(list));
				expect(packed.length).toBe(packedByteLength(list.length, bits));
				expect(unpack(packed, 0, list.length)).toEqual(from(list));
			}),
		);
	});

	it("packs what it unpacked", () => {
		const bytes = uint8(Array.from({ length: 256 }, (_, byte) => byte));
		expect(pack(unpack(bytes, 0, (256 * 8) / bits))).toEqual(bytes);
	});

	it("unpacks any range, from bytes at any address, into any place", () => {
		const shift = fc.integer({ min: 0, max: 5 });
		fc.assert(
			fc.property(codes, fc.nat(100), shift, shift, (list, skip, byteShift, outShift) => {
				const packed = pack(from(list));
				const moved = new Uint8Array(packed.length + byteShift).subarray(byteShift);
				moved.set(packed);
				const start = Math.min(skip, list.length);
				const count = list.length - start;
				const place = from(new Array<number>(outShift + count + 3).fill(1));
				const out = place.subarray(outShift, outShift + count) as T;
				expect(unpack(moved, start, count, out)).toBe(out);
				expect(out).toEqual(from(list.slice(start)));
				expect(place.subarray(0, outShift).every((code) => code === 1)).toBe(true);
				expect(place.subarray(outShift + count)).toEqual(from([1, 1, 1]));
			}),
		);
	});

	it("packs codes at any address", () => {
		fc.assert(
			fc.property(codes, fc.integer({ min: 0, max: 3 }), (list, shift) => {
				const place = from([...new Array<number>(shift).fill(0), ...list]);
				expect(pack(place.subarray(shift) as T)).toEqual(pack(from(list)));
			}),
		);
	});

	it("refuses to read or write past the end", () => {
		const bytes = new Uint8Array(2);
		const all = 16 / bits;
		expect(unpack(bytes, 0, all).length).toBe(all);
		expect(() => unpack(bytes, 1, all)).toThrow(RangeError);
		expect(() => unpack(bytes, -1, 1)).toThrow(RangeError);
		expect(() => unpack(bytes, 0, all, from([0]))).toThrow(RangeError);
	});
}
