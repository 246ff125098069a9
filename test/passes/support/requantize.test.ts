import { describe, expect, test } from "vitest";
import { readAll } from "../../../src/ir/data.js";
import { floatTensor, type Tensor, tensor } from "../../../src/ir/tensor.js";
import { DataType, elementCount } from "../../../src/ir/types.js";
import { formScales, formValues } from "../../../src/passes/support/form-values.js";
import { requantizeSymmetric, withoutZeroPoints } from "../../../src/passes/support/requantize.js";
import { Spool } from "../../../src/passes/support/spool.js";
import { layoutOf, type WeightForm } from "../../../src/passes/support/weight-form.js";
import { slabCountOf } from "../../../src/quant/layout.js";
import { errorSum, sqnrDb } from "../../../src/quant/measure.js";
import { randomSource } from "../../support/random.js";
import { randomScales, uint4Tensor } from "../../support/weights.js";

const SHAPES = [
	["MatMul", [96, 10], 0, 1],
	["an odd MatMul with a short last block", [45, 7], 0, 1],
	["Gemm", [10, 96], 1, 0],
	["Conv", [6, 32, 1, 1], 1, 0],
	["a batch", [2, 64, 6], 1, 2],
] as const;

function asymmetric(
	shape: readonly number[],
	blockAxis: number,
	channelAxis: number,
	zeroPointOf: (index: number) => number,
): WeightForm {
	const random = randomSource(3);
	const blocks = shape.map((dim, axis) => (axis === blockAxis ? Math.ceil(dim / 32) : dim));
	const count = elementCount(blocks);
	const codes = (length: number, of: (index: number) => number): number[] =>
		Array.from({ length }, (_, index) => of(index));
	return {
		codes: uint4Tensor(
			shape,
			codes(elementCount(shape), () => Math.floor(random() * 16)),
		),
		blockAxis,
		channelAxis,
		blockSize: 32,
		scale: floatTensor(blocks, randomScales(count, 4)),
		lpbq: undefined,
		zeroPoint: uint4Tensor(blocks, codes(count, zeroPointOf)),
	};
}

function valuesOf(form: WeightForm): Float32Array {
	return formValues(form, { first: 0, count: slabCountOf(layoutOf(form)) });
}

describe.each(SHAPES)("%s", (_, shape, blockAxis, channelAxis) => {
	test("zero points of 6 to 9 cost what half a code more of range costs", () => {
		const before = asymmetric(shape, blockAxis, channelAxis, (index) => 6 + (index % 4));
		const { form, error } = withoutZeroPoints(before, new Spool())!;
		expect(form.codes.dtype).toBe(DataType.INT4);
		expect(form.zeroPoint).toBeUndefined();
		expect(form.scale?.shape).toEqual(before.scale?.shape);
		const measured = errorSum(valuesOf(before), valuesOf(form));
		expect(measured.error).toBeCloseTo(error.error, 6);
		expect(measured.signal).toBeCloseTo(error.signal, 6);
		expect(sqnrDb(error.signal, error.error)).toBeGreaterThan(18);
	});

	test("zero points of 8 cost nothing", () => {
		const before = asymmetric(shape, blockAxis, channelAxis, () => 8);
		const { form, error } = withoutZeroPoints(before, new Spool())!;
		expect(error.error).toBe(0);
		expect(valuesOf(form)).toEqual(valuesOf(before));
		expect(readAll(form.scale!.data)).toEqual(Uint8Array.from(readAll(before.scale!.data)));
	});

	test("ranges read alone are those of the whole", () => {
		const { form } = withoutZeroPoints(
			asymmetric(shape, blockAxis, channelAxis, (index) => index % 16),
			new Spool(),
		)!;
		for (const { data } of [form.codes, form.scale!] as Tensor[]) {
			const whole = readAll(data);
			for (const [start, end] of [
				[0, 1],
				[3, 11],
				[whole.length - 5, whole.length],
			] as const) {
				expect(data.read(start, end)).toEqual(whole.subarray(start, end));
			}
		}
	});
});

test("a scale that is not finite makes the weight none that can be quantized", () => {
	const form = asymmetric([64, 4], 0, 1, () => 8);
	const scale = floatTensor([2, 4], [1, 1, 1, 1, 1, Number.POSITIVE_INFINITY, 1, 1]);
	expect(withoutZeroPoints({ ...form, scale }, new Spool())).toBeUndefined();
});

test("8-bit codes are a source like any other", () => {
	const codes = tensor(
		DataType.UINT8,
		[32, 2],
		Uint8Array.from({ length: 64 }, (_, index) => index * 4),
	);
	const form = {
		...asymmetric([32, 2], 0, 1, () => 8),
		codes,
		zeroPoint: tensor(DataType.UINT8, [1, 2], Uint8Array.of(128, 128)),
	};
	const made = requantizeSymmetric(
		{
			layout: layoutOf(form),
			values: (range) => formValues(form, range),
			scales: (range) => formScales(form, range),
		},
		new Spool(),
	)!;
	expect(sqnrDb(made.error.signal, made.error.error)).toBeGreaterThan(20);
});
