import { describe, expect, test } from "vitest";
import type { NumpyArray } from "../../src/arrays/npz.js";
import { bytesOf } from "../../src/ir/tensor.js";
import { attentionMaskOf, positionWidth, withoutPadding } from "../../src/runtime/padding.js";

const array = (shape: readonly number[], ...numbers: number[]): NumpyArray => ({
	type: "int32",
	shape,
	bytes: bytesOf(Int32Array.from(numbers)),
});

describe("attentionMaskOf", () => {
	test("finds the mask that leaves something out", () => {
		const mask = attentionMaskOf([
			["input_ids", array([1, 3], 1, 0, 1)],
			["model.attention_mask", array([1, 3], 1, 1, 0)],
		]);
		expect(mask).toEqual({ batch: 1, length: 3, counts: Uint8Array.of(1, 1, 0) });
	});

	test.each([
		["of another name", "mask", array([1, 3], 1, 1, 0)],
		["of another rank", "attention_mask", array([1, 1, 3], 1, 1, 0)],
		["with other numbers", "attention_mask", array([1, 3], 2, 1, 0)],
		["that leaves nothing out", "attention_mask", array([1, 3], 1, 1, 1)],
		["that leaves all out", "attention_mask", array([1, 3], 0, 0, 0)],
	])("takes none %s", (_, name, mask) => {
		expect(attentionMaskOf([[name, mask]])).toBeUndefined();
	});
});

describe("withoutPadding", () => {
	const mask = { batch: 1, length: 3, counts: Uint8Array.of(1, 0, 1) };
	const elements = Float32Array.of(1, 2, 3, 4, 5, 6);

	test("leaves the elements of other positions", () => {
		expect([...withoutPadding(elements, [1, 3, 2], mask)]).toEqual([1, 2, 5, 6]);
		expect(positionWidth(mask, [1, 3, 2])).toBe(2);
	});

	test.each([[[1, 6]], [[1, 2, 3]], [[2, 3, 1]]])("of a tensor %j leaves all", (shape) => {
		expect(withoutPadding(elements, shape, mask)).toBe(elements);
		expect(withoutPadding(elements, [1, 3, 2], undefined)).toBe(elements);
	});
});
