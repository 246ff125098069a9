import { describe, expect, it } from "vitest";
import { bytesData, computedData } from "../../src/ir/data.js";
import { tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { repeatedByte } from "../../src/weights/repeated-byte.js";

const int4 = (count: number, ...bytes: number[]) => tensor(DataType.UINT4, [count], bytesData(Uint8Array.from(bytes)));

describe("repeatedByte", () => {
	it("finds the byte that all are", () => {
		expect(repeatedByte(int4(6, 0x88, 0x88, 0x88))).toBe(0x88);
		expect(repeatedByte(int4(6, 0x88, 0x98, 0x88))).toBeUndefined();
		expect(repeatedByte(int4(6, 0x88, 0x88, 0x89))).toBeUndefined();
	});

	it("leaves out what pads the last byte, whatever it is", () => {
		expect(repeatedByte(int4(5, 0x88, 0x88, 0x08))).toBe(0x88);
		expect(repeatedByte(int4(5, 0x88, 0x88, 0xf8))).toBe(0x88);
		expect(repeatedByte(int4(5, 0x88, 0x88, 0x07))).toBeUndefined();
		expect(repeatedByte(int4(1, 0x08))).toBe(0x88);
	});

	it("knows none of no bytes", () => {
		expect(repeatedByte(int4(0))).toBeUndefined();
	});

	it("reads on over many pieces, once", () => {
		let bytesRead = 0;
		const odd = (at: number) => at === 700_000;
		const data = (isOdd: (at: number) => boolean) =>
			computedData(1_000_000, (start, end) => {
				bytesRead += end - start;
				return Uint8Array.from({ length: end - start }, (_, index) => (isOdd(start + index) ? 1 : 0));
			});
		const zeros = tensor(
			DataType.INT8,
			[1_000_000],
			data(() => false),
		);
		expect([repeatedByte(zeros), repeatedByte(zeros)]).toEqual([0, 0]);
		expect(bytesRead).toBe(1_000_000);
		expect(repeatedByte(tensor(DataType.INT8, [1_000_000], data(odd)))).toBeUndefined();
	});
});
