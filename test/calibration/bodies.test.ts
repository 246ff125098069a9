import path from "node:path";
import { describe, expect, test } from "vitest";
import { bytesFrom, type ElementType } from "../../src/arrays/element-type.js";
import { type NumpyArray, writeNpz } from "../../src/arrays/npz.js";
import { calibrate } from "../../src/calibration/calibrate.js";
import { calibratedInterval } from "../../src/calibration/calibration-encodings.js";
import { openSamples } from "../../src/calibration/sources/open-samples.js";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { printModel } from "../../src/ir/print.js";
import { floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { temporaryFolder } from "../repo/run.js";
import { type GraphBuilder, modelOf } from "../support/build.js";

const { BOOL, FLOAT, INT64 } = DataType;

function array(type: ElementType, shape: readonly number[], values: readonly number[]): NumpyArray {
	return { type, shape, bytes: bytesFrom(type, values) };
}

const floats = (...values: number[]) => array("float32", [values.length], values);
const flag = (value: boolean) => array("bool", [], [value ? 1 : 0]);

/** A folder with a file for each sample. */
function folder(samples: readonly Readonly<Record<string, NumpyArray>>[]): string {
	const directory = temporaryFolder();
	for (const [index, arrays] of samples.entries()) {
		writeNpz(path.join(directory, `${index}.npz`), new Map(Object.entries(arrays)));
	}
	return directory;
}

async function rangesOf(model: Model, samples: readonly Readonly<Record<string, NumpyArray>>[], histograms = false) {
	const before = printModel(model);
	const { values, diagnostics } = await calibrate(model, openSamples(model, [folder(samples)]), { histograms });
	expect(printModel(model)).toBe(before);
	const ranges = new Map([...values.values()].map(({ name, min, max }) => [name, [min, max]] as const));
	return { values, ranges, diagnostics: diagnostics.map(({ code, message, at }) => [code, at.graph, message]) };
}

/** An If on the input `c`. */
function branches(then: (b: GraphBuilder) => void, otherwise: (b: GraphBuilder) => void): Model {
	return modelOf((b) => {
		b.input("x", FLOAT, [3]);
		b.input("c", BOOL, []);
		const [then_branch, else_branch] = [b.subgraph("then", then), b.subgraph("else", otherwise)];
		b.node("If", ["c"], ["y"], { then_branch, else_branch }, "if");
		b.output("y");
	});
}

function chain(b: GraphBuilder, op: string, name: string): void {
	b.node(op, ["x"], [name]);
	b.node("Exp", [name], [`${name}_exp`]);
	b.output(`${name}_exp`);
}

describe("values inside of bodies", () => {
	test("each branch of an If has the ranges of the samples that take it", async () => {
		const model = branches(
			(b) => chain(b, "Abs", "a"),
			(b) => chain(b, "Neg", "n"),
		);
		const { ranges, diagnostics } = await rangesOf(model, [
			{ x: floats(-1, 0.5, 2), c: flag(true) },
			{ x: floats(-3, 0, 1), c: flag(false) },
			{ x: floats(-4, 4, 1), c: flag(true) },
		]);
		expect(diagnostics).toEqual([]);
		expect(ranges.get("a")).toEqual([0.5, 4]);
		expect(ranges.get("n")).toEqual([-1, 3]);
		expect(ranges.get("n_exp")![1]).toBeCloseTo(Math.exp(3), 4);
	});

	test("a branch that no sample takes is named; observers of histograms take the range there is", async () => {
		const model = branches(
			(b) => chain(b, "Abs", "a"),
			(b) => chain(b, "Neg", "n"),
		);
		const { values, diagnostics } = await rangesOf(model, [{ x: floats(-1, 0.5, 2), c: flag(true) }], true);
		expect(diagnostics).toEqual([
			[
				"calibrate/hidden",
				"main/if.then_branch",
				"2 values ('a', 'a_exp') inside of 'main/if.then_branch' have ranges and no histograms, so that every observer but moving-average is min-max there",
			],
			[
				"calibrate/hidden",
				"main/if.else_branch",
				"2 values ('n', 'n_exp') inside of 'main/if.else_branch' not observed: no sample takes this branch of 'if'; add samples that do, or make the condition a constant and take the branch out with 'convert --fold-if'",
			],
		]);
		expect([values.has("n"), values.get("a")!.histogram]).toEqual([false, undefined]);
		expect(calibratedInterval(values.get("a")!, { observer: "mse" })).toEqual({ lo: 0, hi: 2 });
	});

	test("masks, what is no number, and values without elements do not count", async () => {
		const model = branches(
			(b) => {
				b.initializer("parts", floatTensor([3], [-1e9, 0, Number.NaN]));
				b.initializer("none", floatTensor([0], []));
				b.node("Add", ["x", "parts"], ["masked"]);
				b.node("Mul", ["none", "none"], ["empty"]);
				b.node("Concat", ["masked", "empty"], ["both"], { axis: intAttribute(0) });
				b.output("both");
			},
			(b) => chain(b, "Neg", "n"),
		);
		const { ranges } = await rangesOf(model, [{ x: floats(5, 7, 9), c: flag(true) }]);
		expect([ranges.get("masked"), ranges.has("empty")]).toEqual([[7, 7], false]);
	});

	/** Doubles `x` `n` times; inside of it an If. */
	function loop(): Model {
		return modelOf((b) => {
			b.input("x", FLOAT, [2]);
			b.input("n", INT64, []);
			b.initializer("go", tensor(BOOL, [], Uint8Array.of(1)));
			const body = b.subgraph("body", (inner) => {
				inner.input("i", INT64, []);
				inner.input("goes", BOOL, []);
				inner.input("state", FLOAT, [2]);
				inner.node("Add", ["state", "state"], ["twice"]);
				inner.node("ReduceMax", ["twice"], ["most"], { keepdims: intAttribute(0) });
				inner.initializer("limit", floatTensor([], [9]));
				inner.node("Greater", ["most", "limit"], ["large"]);
				const branch = (name: string, op: string) =>
					inner.subgraph(name, (deep) => {
						deep.node(op, ["twice"], [name]);
						deep.output(name);
					});
				const [then_branch, else_branch] = [branch("halved", "Sqrt"), branch("kept", "Identity")];
				inner.node("If", ["large"], ["next"], { then_branch, else_branch }, "if");
				inner.node("Identity", ["goes"], ["on"]);
				inner.node("Neg", ["next"], ["row"]);
				for (const output of ["on", "next", "row"]) inner.output(output);
			});
			b.node("Loop", ["n", "go", "x"], ["last", "rows"], { body }, "loop");
			b.output("last");
			b.output("rows");
		});
	}

	test("a Loop's over all of its turns, and bodies within bodies", async () => {
		const sample = (turns: number, ...x: number[]) => ({ x: floats(...x), n: array("int64", [], [turns]) });
		const { ranges, diagnostics } = await rangesOf(loop(), [sample(3, 1, 3), sample(0, 50, 60), sample(1, 0, 1)]);
		// 1 3 -> 2 6 -> 4 12 -> 2 3.46 -> 4 6.9
		expect(ranges.get("twice")).toEqual([0, 12]);
		expect(ranges.get("state")).toEqual([0, 6]);
		expect(ranges.get("halved")).toEqual([2, Math.fround(Math.sqrt(12))]);
		expect(ranges.get("kept")![0]).toBe(0);
		expect(ranges.get("row")![0]).toBeCloseTo(-4 * Math.sqrt(3), 4);
		expect(diagnostics).toEqual([]);
	});

	test("no turn at all is named", async () => {
		const { diagnostics } = await rangesOf(loop(), [{ x: floats(1, 2), n: array("int64", [], [0]) }]);
		expect(diagnostics.map(([, graph]) => graph)).toEqual([
			"main/loop.body",
			"main/loop.body/if.then_branch",
			"main/loop.body/if.else_branch",
		]);
		expect(diagnostics[0]![2]).toContain("no sample runs the body of 'loop'; add samples that do");
	});

	test.each([false, true])("a Scan's over all rows, with directions stated: %s", async (stated) => {
		const model = modelOf((b) => {
			b.input("s", FLOAT, [2]);
			b.input("x", FLOAT, [3, 2]);
			const body = b.subgraph("body", (inner) => {
				inner.input("sum", FLOAT, [2]);
				inner.input("row", FLOAT, [2]);
				inner.node("Add", ["sum", "row"], ["next"]);
				inner.node("Neg", ["next"], ["out"]);
				inner.output("next");
				inner.output("out");
			});
			const directions = stated ? { scan_output_directions: intsAttribute([1]) } : {};
			b.node("Scan", ["s", "x"], ["last", "rows"], { body, num_scan_inputs: intAttribute(1), ...directions }, "scan");
			b.output("last");
			b.output("rows");
		});
		const { ranges } = await rangesOf(model, [{ s: floats(1, 2), x: array("float32", [3, 2], [1, 1, 1, 1, -9, 5]) }]);
		expect([ranges.get("next"), ranges.get("out"), ranges.get("row")]).toEqual([
			[-6, 9],
			[-9, 6],
			[-9, 5],
		]);
	});
});
