import path from "node:path";
import { describe, expect, test } from "vitest";
import { bytesFrom } from "../../src/arrays/element-type.js";
import { type NumpyArray, writeNpz } from "../../src/arrays/npz.js";
import { calibrate } from "../../src/calibration/calibrate.js";
import { calibratedGrid, calibrationEncodings } from "../../src/calibration/calibration-encodings.js";
import { openSamples } from "../../src/calibration/sources/open-samples.js";
import type { Model } from "../../src/ir/model.js";
import { printModel } from "../../src/ir/print.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType, type Dimension } from "../../src/ir/types.js";
import { temporaryFolder } from "../repo/run.js";
import { modelOf } from "../support/build.js";

/** y = (x + [1, 2, 3, 4]) * 2. */
function twoSteps(shape: readonly Dimension[] = [1, 4]): Model {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, shape);
		b.initializer("b", floatTensor([4], [1, 2, 3, 4]));
		b.initializer("c", floatTensor([1], [2]));
		b.node("Add", ["x", "b"], ["sum"]);
		b.node("Mul", ["sum", "c"], ["y"]);
		b.output("y");
	});
}

function floats(shape: readonly number[], values: readonly number[]): NumpyArray {
	return { type: "float32", shape, bytes: bytesFrom("float32", values) };
}

function npz(arrays: Readonly<Record<string, NumpyArray>>): string {
	const file = path.join(temporaryFolder(), "samples.npz");
	writeNpz(file, new Map(Object.entries(arrays)));
	return file;
}

const samples = () => npz({ x: floats([2, 1, 4], [0, 1, 2, 3, -9, -2, -3, 8]) });

describe("calibrate", () => {
	test("finds the range of every value, and leaves the model as it was", async () => {
		const model = twoSteps();
		const before = printModel(model);
		const { values, samples: count, diagnostics } = await calibrate(model, openSamples(model, [samples()]));
		expect([count, diagnostics]).toEqual([2, []]);
		expect([...values.values()].map(({ name, min, max }) => [name, min, max])).toEqual([
			["x", -9, 8],
			["sum", -8, 12],
			["y", -16, 24],
		]);
		expect(printModel(model)).toBe(before);
	});

	test("averages move by a hundredth of the way to each further sample", async () => {
		const model = twoSteps();
		const { values } = await calibrate(model, openSamples(model, [samples()]));
		expect(values.get("x")).toMatchObject({ averageMin: -0.09, averageMax: 3.05 });
	});

	test("samples of different lengths, where the model is dynamic", async () => {
		const model = twoSteps([1, "n", 4]);
		const file = npz({ x: floats([1, 3, 4], Array(12).fill(5)) });
		const { values } = await calibrate(model, openSamples(model, [file, npz({ x: floats([1, 1, 4], [1, 1, 1, 20]) })]));
		expect(values.get("x")).toMatchObject({ min: 1, max: 20 });
	});

	test("values that are not finite are counted and left out", async () => {
		const model = twoSteps();
		const file = npz({ x: floats([1, 4], [1, Number.POSITIVE_INFINITY, 3, Number.NaN]) });
		const { values, diagnostics } = await calibrate(model, openSamples(model, [file]));
		expect(values.get("y")).toMatchObject({ min: 4, max: 12, notFinite: 2 });
		expect(diagnostics.map(({ code }) => code)).toEqual(Array(3).fill("calibrate/not-finite"));
	});

	test("random samples come with a warning", async () => {
		const model = twoSteps();
		const { samples, diagnostics } = await calibrate(model, openSamples(model, ["random:3"]));
		expect([samples, diagnostics.map(({ code }) => code)]).toEqual([3, ["calibrate/random"]]);
	});

	test("says which sample and input do not fit, and that a model does not load", async () => {
		const model = twoSteps();
		const wrong = (arrays: Readonly<Record<string, NumpyArray>>) => async () =>
			calibrate(model, openSamples(model, [npz(arrays)]));
		await expect(wrong({ z: floats([1, 4], [1, 2, 3, 4]) })).rejects.toThrow(/samples.npz' has no array 'x', only 'z'/);
		await expect(wrong({ x: floats([2, 5], Array(10).fill(0)) })).rejects.toThrow(
			/array 'x' is \[2, 5\], but the input is \[1, 4\]; samples are counted along an axis in front/,
		);
		const integers: NumpyArray = { type: "int32", shape: [1, 4], bytes: bytesFrom("int32", [1, 2, 3, 4]) };
		await expect(wrong({ x: integers })).rejects.toThrow("array 'x' is int32, but the input is float32");
		await expect(wrong({ x: floats([0, 1, 4], []) })).rejects.toMatchObject({ code: "runtime/inputs" });
		const bad = modelOf((b) => {
			b.input("x", DataType.FLOAT, [1, 4]);
			b.node("NoSuchOperator", ["x"], ["y"]);
			b.output("y");
		});
		await expect(calibrate(bad, openSamples(bad, ["random:1"]))).rejects.toMatchObject({ code: "calibrate/failed" });
		await expect(async () => openSamples(model, ["samples.txt"])).rejects.toMatchObject({ code: "calibrate/data" });
	});
});

describe("encodings of a calibration", () => {
	const statistics = { name: "x", min: -1, max: 3, averageMin: -0.5, averageMax: 2, notFinite: 0 };
	const seen = { ...statistics, histogram: undefined };

	test("reach over what was seen, with 0 among their values", () => {
		expect(calibratedGrid(seen, { bits: 8 })).toEqual({ scale: Math.fround(4 / 255), zeroPoint: 64, min: 0, max: 255 });
		expect(calibratedGrid({ ...seen, min: 1 }, { bits: 8 })).toMatchObject({ zeroPoint: 0 });
		expect(calibratedGrid(seen, { observer: "moving-average" })).toMatchObject({ scale: Math.fround(2.5 / 65535) });
	});

	test("symmetric ones have their zero point in the middle", () => {
		expect(calibratedGrid(seen, { bits: 8, symmetric: true })).toMatchObject({
			zeroPoint: 128,
			scale: Math.fround(3 / 127),
		});
	});

	test("are those of a file", () => {
		const { entries } = calibrationEncodings({
			samples: 1,
			values: new Map([["x", seen]]),
			meanSquares: new Map(),
			diagnostics: [],
		});
		expect(entries).toMatchObject([{ name: "x", section: "activation", codes: { signed: false, bits: 16 } }]);
	});
});
