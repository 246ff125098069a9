import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
	bfloat16ToFloat32,
	decodeBfloat16,
	decodeFloat16,
	encodeBfloat16,
	encodeFloat16,
	float16ToFloat32,
	float32ToBfloat16,
	float32ToFloat16,
} from "../../src/quant/float16.js";

const allBits = Uint16Array.from({ length: 0x10000 }, (_, bits) => bits);
const allBytes = new Uint8Array(allBits.buffer);
const float32 = fc.float({ noNaN: true });

describe.each([
	{ name: "float16", widen: float16ToFloat32, narrow: float32ToFloat16, decode: decodeFloat16, encode: encodeFloat16 },
	{
		name: "bfloat16",
		widen: bfloat16ToFloat32,
		narrow: float32ToBfloat16,
		decode: decodeBfloat16,
		encode: encodeBfloat16,
	},
])("$name", ({ name, widen, narrow, decode, encode }) => {
	it("gives all 65536 values back, NaN as NaN", () => {
		const values = decode(allBytes);
		const bits = new Uint16Array(encode(values).buffer);
		const wrong = allBits.filter((before) => {
			return Number.isNaN(values[before]) ? !Number.isNaN(widen(bits[before]!)) : bits[before] !== before;
		});
		expect(Array.from(wrong)).toEqual([]);
		expect(values.filter((value) => Number.isNaN(value)).length).toBe(name === "float16" ? 2046 : 254);
	});

	it("decodes as it widens", () => {
		expect(decode(allBytes)).toEqual(Float32Array.from(allBits, (bits) => widen(bits)));
	});

	it("narrows to the nearest of all values, a tie to the even one", () => {
		fc.assert(
			fc.property(float32, (value) => {
				const bits = narrow(value);
				const result = widen(bits);
				if (!Number.isFinite(result)) {
					const largest = widen(bits - 1);
					const next = largest + (largest - widen(bits - 2));
					expect(Math.abs(value)).toBeGreaterThanOrEqual((Math.abs(largest) + Math.abs(next)) / 2);
					return;
				}
				const error = Math.abs(value - result);
				for (const neighbour of [bits - 1, bits + 1]) {
					if ((neighbour & 0x7fff) === 0x7fff || (bits & 0x7fff) === 0) continue;
					const other = Math.abs(value - widen(neighbour));
					if (!Number.isFinite(other)) continue;
					expect(error).toBeLessThanOrEqual(other);
					if (error === other) expect(bits % 2).toBe(0);
				}
			}),
			{ numRuns: 3000 },
		);
	});

	it("refuses an odd number of bytes", () => {
		expect(() => decode(new Uint8Array(3))).toThrow(RangeError);
	});
});

describe("float16 by hand", () => {
	it.each([
		[0x3c00, 1],
		[0x3555, 0.333251953125],
		[0xc000, -2],
		[0x7bff, 65504],
		[0x0400, 2 ** -14],
		[0x03ff, 1023 * 2 ** -24],
		[0x0001, 2 ** -24],
		[0xfc00, -Infinity],
	])("%s is %d", (bits, value) => {
		expect(float16ToFloat32(bits)).toBe(value);
		expect(float32ToFloat16(value)).toBe(bits);
	});

	it.each([
		[65519.99609375, 0x7bff],
		[65520, 0x7c00],
		[2 ** -25, 0],
		[2 ** -25 * (1 + 2 ** -20), 1],
		[3 * 2 ** -25, 2],
		[-(2 ** -25) * 3, 0x8002],
		[1023.5 * 2 ** -24, 0x0400],
		[1 + 2 ** -11, 0x3c00],
		[1 + 3 * 2 ** -11, 0x3c02],
		[1e-45, 0],
	])("%d rounds to %s", (value, bits) => {
		expect(float32ToFloat16(value)).toBe(bits);
	});

	it("keeps the sign of zero", () => {
		expect(Object.is(float16ToFloat32(0x8000), -0)).toBe(true);
		expect(float32ToFloat16(-0)).toBe(0x8000);
	});
});

describe("bfloat16 by hand", () => {
	it.each([
		[1 + 2 ** -8, 0x3f80],
		[1 + 3 * 2 ** -8, 0x3f82],
		[3.4e38, 0x7f80],
		[-Infinity, 0xff80],
		[-1.5, 0xbfc0],
	])("%d rounds to %s", (value, bits) => {
		expect(float32ToBfloat16(value)).toBe(bits);
	});
});
