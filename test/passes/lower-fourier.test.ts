import { describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { lowerFourier } from "../../src/passes/lower-fourier.js";
import { normals } from "../runtime/models.js";
import { ModelBuilder, modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatFeed } from "../support/ort.js";
import { expectSameOutputs } from "../support/same-outputs.js";

const { FLOAT, INT64 } = DataType;

interface Frames {
	readonly shape: readonly (number | string)[];
	readonly step?: number;
	readonly window?: number;
	readonly length?: number;
	readonly isOneSided?: boolean;
}

/** An STFT of a signal `x`. */
function frames({ shape, step = 6, window, length, isOneSided = true }: Frames) {
	return modelOf((b) => {
		b.input("x", FLOAT, shape);
		b.initializer("step", int64Tensor([], [step]));
		if (window !== undefined) {
			const values = Array.from({ length: window }, (_, at) => Math.sin((Math.PI * (at + 0.5)) / window) ** 2);
			b.initializer("window", floatTensor([window], values));
		}
		if (length !== undefined) b.initializer("length", int64Tensor([], [length]));
		const inputs = ["x", "step", window === undefined ? "" : "window", ...(length === undefined ? [] : ["length"])];
		b.node("STFT", inputs, ["y"], { onesided: intAttribute(isOneSided ? 1 : 0) }, "stft");
		b.output("y");
	});
}

interface Transform {
	readonly shape: readonly number[];
	readonly axis: number;
	readonly opset?: number;
	readonly length?: number;
	readonly isOneSided?: boolean;
	readonly isInverse?: boolean;
}

/** A DFT of `x`. */
function transform({ shape, axis, opset = 21, length, isOneSided = false, isInverse = false }: Transform) {
	const b = new ModelBuilder({ opset });
	b.input("x", FLOAT, shape);
	if (length !== undefined) b.initializer("length", int64Tensor([], [length]));
	b.initializer("axis", int64Tensor([], [axis]));
	const inputs = ["x", length === undefined ? "" : "length", ...(opset < 20 ? [] : ["axis"])];
	const attributes = { onesided: intAttribute(Number(isOneSided)), inverse: intAttribute(Number(isInverse)) };
	b.node("DFT", inputs, ["y"], opset < 20 ? { ...attributes, axis: intAttribute(axis) } : attributes, "dft");
	b.output("y");
	return b.build();
}

const feed = (...shape: readonly number[]) => ({ x: floatFeed(shape, normals(elementCount(shape), 1)) });

describe("lower-fourier", () => {
	test.each<[string, Frames]>([
		["a window", { shape: [2, 61], window: 16 }],
		["a signal of rank 3", { shape: [2, 61, 1], window: 15 }],
		["a length and no window", { shape: [1, 40, 1], length: 8, step: 8 }],
		["both, and both sides", { shape: [1, 50, 1], window: 12, length: 12, isOneSided: false }],
	])("frames of %s: ONNX Runtime computes the same", async (_name, spec) => {
		const report = await expectSameOutputs(frames(spec), lowerFourier(), feed(...(spec.shape as number[])));
		expect(report.diagnostics).toEqual([]);
	});

	test.each<[string, Transform]>([
		["real numbers along the last axis", { shape: [2, 5, 12, 1], axis: -2, isOneSided: true }],
		["complex numbers along the first", { shape: [2, 9, 3, 2], axis: 1 }],
		["the other way", { shape: [3, 10, 2], axis: 1, isInverse: true }],
		["more than there is", { shape: [2, 6, 1], axis: 1, length: 9 }],
		["less than there is, with an attribute", { shape: [2, 11, 3, 1], axis: 1, length: 8, opset: 17 }],
	])("transforms of %s: ONNX Runtime computes the same", async (_name, spec) => {
		const report = await expectSameOutputs(transform(spec), lowerFourier(), feed(...spec.shape));
		expect(report.diagnostics).toEqual([]);
	});

	test("an STFT becomes a Conv, Transpose and Reshape", () =>
		golden(lowerFourier(), "stft", frames({ shape: [1, 20], window: 4, step: 2 })));

	test("a DFT becomes a MatMul", () =>
		golden(lowerFourier(), "dft", transform({ shape: [1, 4, 2, 1], axis: 1, isOneSided: true })));

	test("what is computed, complex or of one side the other way stays", async () => {
		await golden(lowerFourier(), "complex-signal", frames({ shape: [1, 20, 2], window: 4 }));
		await golden(lowerFourier(), "window-length", frames({ shape: [1, 20], window: 4, length: 6 }));
		await golden(
			lowerFourier(),
			"dft-inverse",
			transform({ shape: [1, 5, 2], axis: 1, isOneSided: true, isInverse: true }),
		);
		const computed = modelOf((b) => {
			b.input("x", FLOAT, [1, 20]);
			b.input("step", INT64, []);
			b.initializer("window", floatTensor([4], [1, 2, 3, 4]));
			b.node("STFT", ["x", "step", "window"], ["y"], {}, "stft");
			b.output("y");
		});
		await golden(lowerFourier(), "computed-step", computed);
	});
});
