import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { bytesFrom } from "../../src/arrays/element-type.js";
import { type NumpyArray, writeNpz } from "../../src/arrays/npz.js";
import { calibrate } from "../../src/calibration/calibrate.js";
import {
	calibratedGrid,
	calibratedInterval,
	calibrationEncodings,
} from "../../src/calibration/calibration-encodings.js";
import { instrument } from "../../src/calibration/instrument.js";
import { openSamples } from "../../src/calibration/sources/open-samples.js";
import { divideRanges } from "../../src/calibration/stages.js";
import { watchedValues } from "../../src/calibration/watched-values.js";
import { intAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { printModel } from "../../src/ir/print.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, type Dimension } from "../../src/ir/types.js";
import { intervalOf } from "../../src/quant/grid.js";
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

	test("of no elements there is no smallest; then all are handed out", async () => {
		const model = modelOf((b) => {
			b.input("past", DataType.FLOAT, [1, "length", 4]);
			b.input("x", DataType.FLOAT, [1, 1, 4]);
			b.node("Concat", ["past", "x"], ["all"], { axis: intAttribute(1) });
			b.node("Relu", ["all"], ["y"]);
			b.output("y");
		});
		const sample = (length: number, value: number) =>
			npz({ past: floats([1, length, 4], Array(4 * length).fill(value)), x: floats([1, 1, 4], [1, -2, 3, 4]) });
		const files = [sample(2, 5), sample(0, 0), sample(1, 7), sample(0, 0), sample(1, 9)];
		const { values, samples } = await calibrate(model, openSamples(model, files), { meanSquares: true });
		expect(samples).toBe(5);
		expect(values.get("past")).toMatchObject({ min: 5, max: 9 });
		expect(values.get("all")).toMatchObject({ min: -2, max: 9 });
		expect(values.get("y")).toMatchObject({ min: 0, max: 9 });
	});

	test("float16 values", async () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT16, [1, 4]);
			b.node("Cast", ["x"], ["wide"], { to: intAttribute(DataType.FLOAT) });
			b.node("Relu", ["wide"], ["y"]);
			b.output("y");
		});
		for (const histograms of [false, true]) {
			const half: NumpyArray = { type: "float16", shape: [1, 4], bytes: bytesFrom("float16", [1, -2, 3, 0.5]) };
			const { values } = await calibrate(model, openSamples(model, [npz({ x: half })]), { histograms });
			expect([...values.values()].map(({ name, min, max }) => [name, min, max])).toEqual([
				["x", -2, 3],
				["wide", -2, 3],
				["y", 0, 3],
			]);
		}
	});

	test.each([0, 1, 2, 3])("what is no number, at position %i, is left out of the range of others", async (at) => {
		const model = twoSteps();
		const values = [1, 2, 3, 4];
		values[at] = Number.NaN;
		const found = await calibrate(model, openSamples(model, [npz({ x: floats([1, 4], values) })]));
		expect(found.values.get("x")).toMatchObject({ notFinite: 1, min: at === 0 ? 2 : 1, max: at === 3 ? 3 : 4 });
	});

	test("histograms of large values count some elements for all", async () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [1, 300, 300]);
			b.node("Relu", ["x"], ["y"]);
			b.output("y");
		});
		const elements = Array.from({ length: 90000 }, (_, index) => Math.sin(index * 12.9898) * 100);
		elements[17] = 1000;
		const file = npz({ x: floats([1, 300, 300], elements) });
		const { values } = await calibrate(model, openSamples(model, [file, file]), { histograms: true });
		const x = values.get("x")!;
		expect([x.min, x.max]).toEqual([Math.fround(Math.min(...elements)), 1000]);
		const counts = [...x.histogram!.filled().counts];
		expect(counts.every((count) => count % 23 === 0)).toBe(true);
		expect(Math.abs(counts.reduce((sum, count) => sum + count, 0) - 180000)).toBeLessThan(46);
		const sorted = elements.toSorted((a, b) => a - b);
		const { hi } = calibratedInterval(x, { observer: "percentile", percentile: 90 });
		const seen = calibratedInterval(x);
		const further = calibratedInterval(x, { headroom: 0.25 });
		expect(further).toEqual({ lo: seen.lo - (0.25 * (seen.hi - seen.lo)) / 2, hi: 1.25 * seen.hi });
		expect(Math.abs(hi / sorted[Math.floor(0.95 * 90000)]! - 1)).toBeLessThan(0.02);
	});

	test.each([
		["both alike", [-4, 4], [-5, 5]],
		["hardly anything above 0, as logits of what is rare", [-8, 0.5], [-10, 0.5 + 4.25 / 4]],
		["nothing above 0 yet", [-8, -0.5], [-10, -0.5 + 3.75 / 4]],
		["far below 0", [-8, -6], [-10, 0]],
		["nothing below 0", [0, 4], [0, 5]],
		["nothing at 0", [2, 4], [0, 5]],
		["nothing but 0 above", [-4, 0], [-5, 0]],
	] as const)("a quarter of headroom, %s", (_name, [min, max], [lo, hi]) => {
		const seen = { ...{ name: "x", min, max, plain: undefined }, averageMin: min, averageMax: max, notFinite: 0 };
		const statistics = { ...seen, histogram: undefined };
		expect(calibratedInterval(statistics, { headroom: 0.25 })).toEqual({ lo, hi });
		expect(calibratedInterval(statistics)).toEqual({ lo: Math.min(min, 0), hi: Math.max(max, 0) });
		expect(calibratedInterval({ ...statistics, isKnown: true }, { headroom: 0.25 }).hi).toBe(Math.max(max, 0));
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

/** y = x + (1 - mask) * -3.4e38, the mask given. */
function masked(): Model {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, [1, 4]);
		b.input("mask", DataType.FLOAT, [1, 4]);
		b.initializer("one", floatTensor([1], [1]));
		b.initializer("lowest", floatTensor([1], [-3.4e38]));
		b.node("Sub", ["one", "mask"], ["hidden"]);
		b.node("Mul", ["hidden", "lowest"], ["added"]);
		b.node("Add", ["x", "added"], ["y"]);
		b.output("y");
	});
}

describe("masks", () => {
	test("are counted one by one from the sample on in which they first occur", async () => {
		const x = floats([6, 1, 4], [1, 2, 3, 4, -20, 1, 2, 3, -1, -2, 5, 6, 1, 1, 1, 1, 2, 2, 2, 2, 9, 8, 7, -6]);
		const mask = floats([6, 1, 4], [...Array(8).fill(1), 1, 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1]);
		const model = masked();
		const { values, samples, diagnostics } = await calibrate(model, openSamples(model, [npz({ x, mask })]));
		expect(samples).toBe(6);
		expect(diagnostics.map(({ code, at }) => [code, at.value])).toEqual([["calibrate/mask", "y"]]);
		expect(values.get("x")).toMatchObject({ min: -20, max: 9, histogram: undefined });
		const y = values.get("y")!;
		expect([y.min, y.max]).toEqual([Math.fround(-3.4e38), 9]);
		// the mask itself is for those to bound who add it to something
		expect(calibratedInterval(values.get("added")!)).toEqual({ lo: Math.fround(-3.4e38), hi: 0 });
		expect(calibratedInterval(values.get("added")!, { headroom: 1 })).toEqual({ lo: Math.fround(-3.4e38), hi: 0 });
		const counts = y.histogram!.filled().counts.reduce((sum, count) => sum + count, 0);
		expect(counts).toBe(16);
		// 16 below the others: e^-16 is less than a step of 1 / 65535
		const grid = calibratedGrid(y);
		const { lo, hi } = intervalOf(grid);
		expect([lo, hi].map(Math.round)).toEqual([-36, 9]);
		expect(intervalOf(calibratedGrid(y, { bits: 8 })).lo).toBeCloseTo(-28, 0);
		expect(calibratedGrid(values.get("x")!)).not.toEqual(grid);
	});
});

describe("ranges that follow from others", () => {
	const x = [0.3, -1.7, 2.9, 0, -0.1, 5.3, 1e-3, -7.1, 0.7, 3.3, -2.2, 1.1];
	const f = Math.fround;
	const cases: Readonly<Record<string, (value: number) => number>> = {
		relu: (value) => Math.max(value, 0),
		neg: (value) => -value,
		leaky: (value) => (value < 0 ? f(value * f(0.3)) : value),
		clip: (value) => Math.min(Math.max(value, -1.5), f(2.1)),
		above: (value) => Math.max(value, -1.5),
		add: (value) => f(value + f(0.1)),
		less: (value) => f(value - f(0.1)),
		from: (value) => f(f(0.1) - value),
		times: (value) => f(value * -1.5),
		over: (value) => f(value / f(0.1)),
		most: (value) => Math.min(value, f(0.1)),
		least: (value) => Math.max(f(0.1), value),
		chain: (value) => Math.max(f(f(value * -1.5) + f(0.1)), 0),
		under: (value) => f(f(0.1) / value),
		none: () => 0,
	};

	/** Operators that turn [4] into [4]; those of the second kind keep the order of elements and are not looked at. */
	function elementwise(): Model {
		return modelOf((b) => {
			b.input("x", DataType.FLOAT, [4]);
			for (const [name, value] of Object.entries({ a: 0.1, b: -1.5, c: 2.1, zero: 0 })) {
				b.initializer(name, floatTensor([], [value]));
			}
			b.node("Relu", ["x"], ["relu"]);
			b.node("Neg", ["x"], ["neg"]);
			b.node("LeakyRelu", ["x"], ["leaky"], { alpha: { kind: "float", value: f(0.3) } });
			b.node("Clip", ["x", "b", "c"], ["clip"]);
			b.node("Clip", ["x", "b"], ["above"]);
			b.node("Add", ["a", "x"], ["add"]);
			b.node("Sub", ["x", "a"], ["less"]);
			b.node("Sub", ["a", "x"], ["from"]);
			b.node("Mul", ["x", "b"], ["times"]);
			b.node("Div", ["x", "a"], ["over"]);
			b.node("Min", ["x", "a"], ["most"]);
			b.node("Max", ["a", "x"], ["least"]);
			b.node("Reshape", ["times", "shape"], ["turned"]);
			b.initializer("shape", int64Tensor([2], [2, 2]));
			b.node("Add", ["turned", "a"], ["moved"]);
			b.node("Relu", ["moved"], ["chain"]);
			b.node("Div", ["a", "x"], ["under"]);
			b.node("Mul", ["x", "zero"], ["none"]);
			for (const name of Object.keys(cases)) b.output(name);
		});
	}

	test("are those of the elements, to the last bit", async () => {
		const model = elementwise();
		const data = x.map((value) => (value === 0 ? 0.01 : value));
		const found = await calibrate(model, openSamples(model, [npz({ x: floats([3, 4], data) })]));
		for (const [name, step] of Object.entries(cases)) {
			const all = data.map((value) => step(f(value)) + 0);
			const { min, max } = found.values.get(name)!;
			expect([name, min + 0, max + 0]).toEqual([name, Math.min(...all), Math.max(...all)]);
		}
	});

	test("cost no reductions of their own", () => {
		const model = elementwise();
		const { ranges, derived } = divideRanges(watchedValues(model, 1).filter(({ source }) => source === undefined));
		expect(ranges.map(({ value }) => value.name)).toEqual(["x", "under", "none"]);
		expect(derived.find(({ name }) => name === "moved")).toMatchObject({ source: "times" });
	});

	test("are looked at where the value before is counted", async () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [4]);
			b.initializer("a", floatTensor([], [0.001]));
			b.node("Mul", ["x", "a"], ["small"]);
			b.node("Relu", ["small"], ["y"]);
			b.output("y");
		});
		const data = [1, 2, 3, 4, -20000, 5, 6, 7, Number.NEGATIVE_INFINITY, 1, 2, 9, 1, 1, 1, Number.NaN];
		const { values } = await calibrate(model, openSamples(model, [npz({ x: floats([4, 4], data) })]));
		const [small, y] = [values.get("small")!, values.get("y")!];
		expect([small.min, small.max, small.notFinite]).toEqual([-20000, 9].map((value) => f(value * f(0.001))).concat(2));
		expect([y.min, y.max]).toEqual([0, f(9 * f(0.001))]);
	});
});

test("reductions stand behind the model, those of the first values last", () => {
	const model = twoSteps();
	const [x, sum, y] = watchedValues(model, 1);
	const { outputs, remove } = instrument(model, {
		ranges: [x!, y!],
		elements: [],
		sampled: [sum!],
		squares: [],
		rows: [],
		bodies: [],
	});
	const added = [...model.graph.nodes].slice(2);
	expect(added.map(({ op, inputs }) => [op.type, inputs[0]!.name.replace(/^qgraph_/, "")])).toEqual([
		["Reshape", "y"],
		["ReduceMin", "Reshape"],
		["ReduceMax", "Reshape"],
		["Reshape", "sum"],
		["Reshape", "x"],
		["ReduceMin", "Reshape_2"],
		["ReduceMax", "Reshape_2"],
		["ReduceSum", "Reshape_2"],
		["Concat", "ReduceMin"],
	]);
	const sections = [...outputs.ranges, ...outputs.sampled].map(({ name, section }) => [
		name,
		section.start,
		section.length,
	]);
	expect(sections).toEqual([
		["y", 0, 2],
		["x", 6, 3],
		["sum", 2, 4],
	]);
	remove();
	expect(printModel(model)).toBe(printModel(twoSteps()));
});

describe("interrupted", () => {
	test("goes on where it ended, with the same results", async () => {
		const model = twoSteps();
		const state = path.join(temporaryFolder(), "state");
		const source = openSamples(model, ["random:40"]);
		const all = await calibrate(model, source, { histograms: true, meanSquares: true });
		const controller = new AbortController();
		const options = { histograms: true, meanSquares: true, state };
		const onProgress = (done: number) => done === 17 && controller.abort();
		await expect(calibrate(model, source, { ...options, signal: controller.signal, onProgress })).rejects.toThrow();
		const runs: number[] = [];
		const rest = await calibrate(model, source, { ...options, resume: true, onProgress: (done) => runs.push(done) });
		expect(runs[0]).toBeGreaterThan(17);
		expect(runs.at(-1)).toBe(40);
		const told = ({ values, samples }: typeof all) => [
			samples,
			...[...values.values()].map(({ histogram, ...ranges }) => [ranges, histogram!.filled()]),
		];
		expect(told(rest)).toEqual(told(all));
		expect(existsSync(state)).toBe(false);
	});

	test("a state of something else is refused", async () => {
		const model = twoSteps();
		const state = path.join(temporaryFolder(), "state");
		const controller = new AbortController();
		const onProgress = () => controller.abort();
		const stop = { state, signal: controller.signal, onProgress };
		await expect(calibrate(model, openSamples(model, ["random:40"]), stop)).rejects.toThrow();
		const go = { state, resume: true };
		for (const [other, data, options, problem] of [
			[model, "random:41", go, "it belongs to other samples"],
			[model, "random:40", { ...go, histograms: true }, "it belongs to other options"],
			[twoSteps([2, 4]), "random:40", go, "it belongs to another model"],
		] as const) {
			await expect(calibrate(other, openSamples(other, [data]), options)).rejects.toThrow(problem);
		}
		writeFileSync(state, "nonsense");
		await expect(calibrate(model, openSamples(model, ["random:40"]), go)).rejects.toMatchObject({
			code: "calibrate/state",
		});
	});
});

test("says of views what holds for their source", async () => {
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, [2, 4]);
		b.node("Neg", ["x"], ["y"]);
		b.node("Transpose", ["y"], ["turned"]);
		b.node("Relu", ["turned"], ["z"]);
		b.output("z");
	});
	const { values } = await calibrate(model, openSamples(model, ["random:3"]));
	expect([...values.keys()]).toEqual(["x", "y", "turned", "z"]);
	expect(values.get("turned")).toEqual({ ...values.get("y"), name: "turned" });
});

describe("encodings of a calibration", () => {
	const statistics = { name: "x", min: -1, max: 3, averageMin: -0.5, averageMax: 2, notFinite: 0 };
	const seen = { ...statistics, plain: { lo: -1, hi: 3 }, histogram: undefined };

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
