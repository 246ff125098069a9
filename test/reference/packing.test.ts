import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
	interleaveScalesAndZeros,
	NIBBLE_ORDERS,
	packNibbles,
	separateScalesAndZeros,
	transposeScales,
	unpackNibbles,
	weightSums,
} from "../../src/reference/reference.js";

const codes = fc
	.array(fc.integer({ min: -8, max: 7 }), { maxLength: 41 })
	.map((list) => Int8Array.from(list.length % 2 === 0 ? list : list.slice(1)));

describe.each(Object.entries(NIBBLE_ORDERS))("nibbles in the order %s", (_name, order) => {
	it("come back as they went in", () => {
		fc.assert(
			fc.property(codes, (list) => {
				expect(unpackNibbles(packNibbles(list, order), order)).toEqual(list);
			}),
		);
	});

	it("are refused where they do not fit", () => {
		expect(() => packNibbles(Int8Array.of(1), order)).toThrow(/1 codes, expected an even number/);
		expect(() => packNibbles(Int8Array.of(1, 8), order)).toThrow(/the code 8, expected -8 to 7/);
	});
});

describe("the byte of the codes 1 and -2", () => {
	it.each([
		["onnx", 0xe1],
		["onnx-uint4", 0x69],
		["vulkan", 0x96],
		["high-first", 0x1e],
	] as const)("is in the order %s 0x%x", (name, byte) => {
		expect([...packNibbles(Int8Array.of(1, -2), NIBBLE_ORDERS[name])]).toEqual([byte]);
	});
});

describe("scales", () => {
	it("go from [N, K/g] to [K/g, N] and back", () => {
		const byChannel = Float32Array.of(1, 2, 3, 4, 5, 6);
		const byGroup = transposeScales(byChannel, 2, 3);
		expect([...byGroup]).toEqual([1, 4, 2, 5, 3, 6]);
		expect(transposeScales(byGroup, 3, 2)).toEqual(byChannel);
		expect(() => transposeScales(byChannel, 2, 2)).toThrow(/6 scales, expected 4/);
	});

	it("go with zeros into [K/g, N, 2] and back", () => {
		const pairs = interleaveScalesAndZeros(Float32Array.of(1, 2), Float32Array.of(-3, -4));
		expect([...pairs]).toEqual([1, -3, 2, -4]);
		expect(separateScalesAndZeros(pairs)).toEqual({ scales: Float32Array.of(1, 2), zeros: Float32Array.of(-3, -4) });
		expect(() => interleaveScalesAndZeros(Float32Array.of(1), Float32Array.of())).toThrow(/0 zeros, expected 1/);
		expect(() => separateScalesAndZeros(Float32Array.of(1))).toThrow(/1 scales and zeros/);
	});
});

it("weightSums adds up the codes of every group", () => {
	expect([...weightSums(Int8Array.of(1, 2, 3, 4, -8, -8, 7, 7), 4, 2, 2)]).toEqual([3, -16, 7, 14]);
	expect(() => weightSums(Int8Array.of(1), 4, 2, 2)).toThrow(/1 codes, expected 8/);
});
