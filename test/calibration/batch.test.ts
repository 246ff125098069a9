import { describe, expect, test } from "vitest";
import { bytesFrom } from "../../src/arrays/element-type.js";
import type { NumpyArray } from "../../src/arrays/npz.js";
import { planBatch } from "../../src/calibration/batch/plan-batch.js";
import { stackSamples } from "../../src/calibration/batch/stack-samples.js";
import { stackArrays, unstackArray } from "../../src/calibration/batch/stacked-arrays.js";
import { calibrate } from "../../src/calibration/calibrate.js";
import type { SampleSource } from "../../src/calibration/calibration.js";
import { floatAttribute, intAttribute, intsAttribute, stringAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { printModel } from "../../src/ir/print.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { Random } from "../../src/quant/random.js";
import { floatsOf, LiveSession } from "../../src/runtime/live-session.js";
import { ModelBuilder } from "../support/build.js";

const SIZE = 3;

interface Case {
	readonly x: readonly number[];
	readonly dtype?: number;
	readonly opset?: number;
	readonly fill: (b: ModelBuilder) => void;
}

function random(shape: readonly number[], seed: string = shape.join()): number[] {
	const source = new Random(seed);
	return Array.from({ length: elementCount(shape) }, () => source.normal());
}

function modelFor({ x, dtype = DataType.FLOAT, opset = 17, fill }: Case): Model {
	const b = new ModelBuilder({ opset });
	b.input("x", dtype, x);
	fill(b);
	b.output("y");
	return b.build();
}

const weight = (b: ModelBuilder, name: string, shape: readonly number[]) =>
	b.initializer(name, floatTensor(shape, random(shape, name)));
const numbers = (b: ModelBuilder, name: string, values: readonly number[]) =>
	b.initializer(name, int64Tensor([values.length], values));

/** Projections, heads, scores, a mask that all samples share, and back. */
function attention(b: ModelBuilder): void {
	for (const name of ["q", "k", "v"]) {
		weight(b, name, [8, 8]);
		b.node("MatMul", ["x", name], [`${name}p`]);
		b.node("Shape", [`${name}p`], [`${name}shape`]);
		numbers(b, `${name}0`, [0]);
		numbers(b, `${name}2`, [2]);
		b.node("Slice", [`${name}shape`, `${name}0`, `${name}2`], [`${name}rows`]);
		numbers(b, `${name}heads`, [2, 4]);
		b.node("Concat", [`${name}rows`, `${name}heads`], [`${name}to`], { axis: intAttribute(0) });
		b.node("Reshape", [`${name}p`, `${name}to`], [`${name}r`]);
		b.node("Transpose", [`${name}r`], [`${name}t`], {
			perm: intsAttribute(name === "k" ? [0, 2, 3, 1] : [0, 2, 1, 3]),
		});
	}
	numbers(b, "flat", [2, 5, 4]);
	numbers(b, "flatk", [2, 4, 5]);
	b.node("Reshape", ["qt", "flat"], ["qf"]);
	b.node("Reshape", ["kt", "flatk"], ["kf"]);
	b.node("Reshape", ["vt", "flat"], ["vf"]);
	b.node("MatMul", ["qf", "kf"], ["scores"]);
	weight(b, "mask", [1, 5, 5]);
	b.node("Add", ["scores", "mask"], ["masked"]);
	b.node("Softmax", ["masked"], ["p"], { axis: intAttribute(-1) });
	b.node("MatMul", ["p", "vf"], ["mixed"]);
	numbers(b, "apart", [1, 2, 5, 4]);
	b.node("Reshape", ["mixed", "apart"], ["heads"]);
	b.node("Transpose", ["heads"], ["back"], { perm: intsAttribute([0, 2, 1, 3]) });
	numbers(b, "joined", [0, 0, -1]);
	b.node("Reshape", ["back", "joined"], ["rows"]);
	weight(b, "scale", [8]);
	b.node("LayerNormalization", ["rows", "scale"], ["y"]);
}

const CASES: Readonly<Record<string, Case>> = {
	attention: { x: [1, 5, 8], fill: attention },
	"samples on the second axis": {
		x: [5, 1, 8],
		fill: (b) => {
			weight(b, "w", [8, 6]);
			b.node("MatMul", ["x", "w"], ["h"]);
			numbers(b, "to", [5, 2, 3]);
			b.node("Reshape", ["h", "to"], ["heads"]);
			b.node("Transpose", ["heads"], ["t"], { perm: intsAttribute([1, 0, 2]) });
			b.node("Transpose", ["heads"], ["u"], { perm: intsAttribute([1, 2, 0]) });
			b.node("MatMul", ["t", "u"], ["s"]);
			b.node("ReduceMean", ["s"], ["y"], { axes: intsAttribute([1]), keepdims: intAttribute(0) });
		},
	},
	convolutions: {
		x: [1, 4, 8, 8],
		fill: (b) => {
			weight(b, "w", [6, 4, 3, 3]);
			b.node("Conv", ["x", "w"], ["c"], { pads: intsAttribute([1, 1, 1, 1]), strides: intsAttribute([2, 2]) });
			for (const name of ["s", "m"]) weight(b, name, [6]);
			b.initializer("v", floatTensor([6], [1, 2, 3, 1, 2, 3]));
			b.node("BatchNormalization", ["c", "s", "m", "m", "v"], ["n"]);
			b.node("MaxPool", ["n"], ["p"], { kernel_shape: intsAttribute([2, 2]), strides: intsAttribute([2, 2]) });
			b.initializer("sizes", int64Tensor([4], [1, 6, 4, 4]));
			b.node("Resize", ["p", "", "", "sizes"], ["r"], { mode: stringAttribute("nearest") });
			b.node("Concat", ["r", "n"], ["j"], { axis: intAttribute(1) });
			b.node("GlobalAveragePool", ["j"], ["g"]);
			b.node("Flatten", ["g"], ["f"]);
			weight(b, "fw", [12, 3]);
			weight(b, "fb", [3]);
			b.node("Gemm", ["f", "fw", "fb"], ["y"]);
		},
	},
	"what all samples share in front": {
		x: [1, 4, 8],
		fill: (b) => {
			weight(b, "cls", [1, 1, 8]);
			b.node("Concat", ["cls", "x"], ["all"], { axis: intAttribute(1) });
			weight(b, "places", [1, 5, 8]);
			b.node("Add", ["all", "places"], ["h"]);
			b.node("Gather", ["h", "first"], ["y"], { axis: intAttribute(1) });
			b.initializer("first", int64Tensor([], [0]));
		},
	},
	recurrent: {
		x: [5, 1, 4],
		fill: (b) => {
			weight(b, "w", [1, 12, 4]);
			weight(b, "r", [1, 12, 3]);
			weight(b, "h", [1, 1, 3]);
			weight(b, "c", [1, 1, 3]);
			b.node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["all", "y", "state"], { hidden_size: intAttribute(3) });
		},
	},
	tokens: {
		x: [1, 6],
		dtype: DataType.INT64,
		fill: (b) => {
			weight(b, "table", [9, 4]);
			b.node("Abs", ["x"], ["ids"]);
			b.node("Gather", ["table", "ids"], ["e"]);
			b.node("Unsqueeze", ["ids", "one"], ["u"]);
			numbers(b, "one", [1]);
			b.node("Cast", ["u"], ["f"], { to: intAttribute(DataType.FLOAT) });
			b.node("MatMul", ["f", "e"], ["y"]);
		},
	},
	movement: {
		x: [1, 2, 6],
		fill: (b) => {
			b.node("Split", ["x"], ["a", "b"], { axis: intAttribute(2) });
			numbers(b, "starts", [0, 1]);
			numbers(b, "ends", [2 ** 31, 3]);
			numbers(b, "axes", [0, 2]);
			b.node("Slice", ["b", "starts", "ends", "axes"], ["s"]);
			numbers(b, "pads", [0, 0, 1, 0, 0, 0]);
			b.node("Pad", ["s", "pads"], ["p"]);
			b.node("Add", ["a", "p"], ["sum"]);
			numbers(b, "to", [1, 4, 2, 3]);
			b.node("Expand", ["sum4", "to"], ["wide"]);
			numbers(b, "one", [1]);
			b.node("Unsqueeze", ["sum", "one"], ["sum4"]);
			numbers(b, "times", [1, 1, 2, 1]);
			b.node("Tile", ["wide", "times"], ["tiled"]);
			b.node("Squeeze", ["thin", "two"], ["y"]);
			numbers(b, "two", [2]);
			b.node("ReduceMax", ["tiled"], ["thin"], { axes: intsAttribute([2]) });
			b.node("ArgMax", ["tiled"], ["index"], { axis: intAttribute(1), keepdims: intAttribute(0) });
		},
	},
	"a softmax of everything behind an axis": {
		x: [1, 2, 3],
		opset: 11,
		fill: (b) => b.node("Softmax", ["x"], ["y"], { axis: intAttribute(1) }),
	},
	"quantized in between": {
		x: [1, 3, 4],
		fill: (b) => {
			b.initializer("s", floatTensor([3], [0.1, 0.2, 0.3]));
			b.node("QuantizeLinear", ["x", "s"], ["q"], { axis: intAttribute(1) });
			b.node("DequantizeLinear", ["q", "s"], ["y"], { axis: intAttribute(1) });
		},
	},
	"a length in a computation": {
		x: [1, 3, 4],
		fill: (b) => {
			b.node("Size", ["x"], ["n"]);
			b.node("Cast", ["n"], ["f"], { to: intAttribute(DataType.FLOAT) });
			b.node("Div", ["x", "f"], ["y"]);
		},
	},
};

/** All values of a model, with samples as they come. */
async function run(model: Model, feeds: NumpyArray): Promise<Map<string, NumpyArray>> {
	const added = [...model.graph.nodes].flatMap(({ outputs }) => outputs).filter((value) => !value.isGraphOutput);
	for (const value of added) model.graph.addOutput(value);
	const session = await LiveSession.open(await serializeModel(model), { threads: 1 });
	for (const value of added) model.graph.removeOutput(value);
	const found = await session.run(new Map([["x", feeds]]));
	await session.close();
	return found;
}

function sampleOf({ x, dtype }: Case, seed: number): NumpyArray {
	const values = random(x, `sample ${seed}`);
	return dtype === DataType.INT64
		? {
				type: "int64",
				shape: x,
				bytes: bytesFrom(
					"int64",
					values.map((value) => Math.round(2 * value) % 4),
				),
			}
		: { type: "float32", shape: x, bytes: bytesFrom("float32", values) };
}

describe("several samples at once are computed as each alone", () => {
	test.each(Object.entries(CASES))("%s", async (_, from) => {
		const model = modelFor(from);
		const before = printModel(model);
		const plan = planBatch(model)!;
		expect(plan).toBeDefined();
		const samples = Array.from({ length: SIZE }, (_, seed) => sampleOf(from, seed));
		const alone = await Promise.all(samples.map(async (sample) => run(model, sample)));
		const undo = stackSamples(model, plan, SIZE)!;
		expect(undo).toBeDefined();
		const input = plan.axes.get(model.graph.inputs[0]!)!;
		const together = await run(model, stackArrays(samples, input, SIZE));
		undo();
		expect(printModel(model)).toBe(before);
		let compared = 0;
		for (const [value, axis] of plan.axes) {
			const all = together.get(value.name);
			if (all === undefined) continue;
			for (const [index, own] of alone.entries()) {
				const part = unstackArray(all, axis, SIZE, index);
				expect([value.name, part.shape]).toEqual([value.name, own.get(value.name)!.shape]);
				expect(floatsOf(part)).toEqual(floatsOf(own.get(value.name)!));
				compared++;
			}
		}
		expect(compared).toBeGreaterThanOrEqual(SIZE);
	});
});

/** Of each the operator looks across samples, or nobody knows whether it does. */
const MIXED: Readonly<Record<string, Case>> = {
	"a mean over the batch": {
		x: [1, 4],
		fill: (b) => b.node("ReduceMean", ["x"], ["y"], { axes: intsAttribute([0]) }),
	},
	"a mean over everything": { x: [1, 4], fill: (b) => b.node("ReduceMean", ["x"], ["y"]) },
	"a softmax over everything": {
		x: [1, 2, 3],
		opset: 11,
		fill: (b) => b.node("Softmax", ["x"], ["y"], { axis: intAttribute(0) }),
	},
	"rows of the right factor": {
		x: [1, 4],
		fill: (b) => {
			weight(b, "w", [3, 1]);
			b.node("MatMul", ["w", "x"], ["y"]);
		},
	},
	"a product with itself turned round": {
		x: [1, 4],
		fill: (b) => {
			b.node("Transpose", ["x"], ["t"]);
			b.node("MatMul", ["x", "t"], ["y"]);
		},
	},
	"joined along the batch": {
		x: [1, 4],
		fill: (b) => b.node("Concat", ["x", "x"], ["y"], { axis: intAttribute(0) }),
	},
	"a length of one that goes": { x: [1, 1, 4], fill: (b) => b.node("Squeeze", ["x"], ["y"]) },
	"places in all of a batch": {
		x: [1, 1, 4, 4],
		fill: (b) => {
			b.node("MaxPool", ["x"], ["m", "i"], { kernel_shape: intsAttribute([2, 2]) });
			b.node("Cast", ["i"], ["y"], { to: intAttribute(DataType.FLOAT) });
		},
	},
	"what varies along the batch": {
		x: [1, 4],
		fill: (b) => {
			weight(b, "w", [3, 4]);
			b.node("Add", ["x", "w"], ["y"]);
		},
	},
	"elements pushed over to the next": {
		x: [1, 4],
		fill: (b) => {
			numbers(b, "pads", [1, 0, 0, 0]);
			b.node("Pad", ["x", "pads"], ["y"]);
		},
	},
	"random numbers": {
		x: [1, 4],
		fill: (b) => {
			b.node("RandomNormalLike", ["x"], ["r"], { seed: floatAttribute(1) });
			b.node("Add", ["x", "r"], ["y"]);
		},
	},
	"a number of elements that depends on what they are": {
		x: [1, 4],
		fill: (b) => {
			b.node("NonZero", ["x"], ["i"]);
			b.node("Cast", ["i"], ["y"], { to: intAttribute(DataType.FLOAT) });
		},
	},
	"an operator that is not known": {
		x: [1, 4],
		fill: (b) => b.node("Einsum", ["x"], ["y"], { equation: stringAttribute("ij->ij") }),
	},
	"no axis for samples": { x: [2, 4], fill: (b) => b.node("Relu", ["x"], ["y"]) },
};

describe("samples are run one by one where an operator may mix them", () => {
	test.each(Object.entries(MIXED))("%s", (_, from) => {
		expect(planBatch(modelFor(from))).toBeUndefined();
	});
});

function source(from: Case, count: number): SampleSource {
	return {
		name: "test",
		count,
		isRandom: false,
		async *samples(first) {
			for (let index = first; index < count; index++) {
				yield { origin: `${index}`, arrays: new Map([["x", sampleOf(from, index)]]) };
			}
		},
	};
}

test.each(["attention", "samples on the second axis", "convolutions", "what all samples share in front"])(
	"%s: the same is seen of samples alone and together, the last ones being fewer",
	async (name) => {
		const from = CASES[name]!;
		const blocked = {
			...from,
			fill: (b: ModelBuilder) => {
				b.node("NonZero", ["x"], ["unknown"]);
				from.fill(b);
			},
		};
		expect(planBatch(modelFor(blocked))).toBeUndefined();
		const [together, alone] = await Promise.all(
			[from, blocked].map(async (each) =>
				calibrate(modelFor(each), source(from, 11), { histograms: true, meanSquares: true }),
			),
		);
		const told = ({ samples, values, meanSquares }: NonNullable<typeof alone>) => ({
			samples,
			meanSquares,
			values: [...values.values()].map(({ histogram, ...ranges }) => [ranges, histogram!.filled()]),
		});
		expect(told(together!)).toEqual(told(alone!));
		expect(together!.values.size).toBeGreaterThan(3);
	},
);

test("arrays are stacked along any axis, the last one filling up", () => {
	const array = (shape: readonly number[], values: readonly number[]): NumpyArray => {
		return { type: "float32", shape, bytes: bytesFrom("float32", values) };
	};
	const [a, b] = [array([2, 1, 2], [1, 2, 3, 4]), array([2, 1, 2], [5, 6, 7, 8])];
	const stacked = stackArrays([a, b], 1, 3);
	expect([stacked.shape, [...floatsOf(stacked)]]).toEqual([
		[2, 3, 2],
		[1, 2, 5, 6, 5, 6, 3, 4, 7, 8, 7, 8],
	]);
	expect([...floatsOf(unstackArray(stacked, 1, 3, 0))]).toEqual([1, 2, 3, 4]);
	expect([...floatsOf(unstackArray(stacked, 1, 3, 2))]).toEqual([5, 6, 7, 8]);
});
