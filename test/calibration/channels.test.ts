import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { bytesFrom, numbersOf } from "../../src/arrays/element-type.js";
import { readNpy, readNpz } from "../../src/arrays/npz.js";
import { calibrate } from "../../src/calibration/calibrate.js";
import type { SampleSource } from "../../src/calibration/calibration.js";
import { momentInputs } from "../../src/calibration/moment-inputs.js";
import { readRows } from "../../src/calibration/row-plan.js";
import { writeImportance } from "../../src/calibration/write-importance.js";
import { intAttribute, intsAttribute, stringAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { printModel } from "../../src/ir/print.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { ImportanceFile, MomentsFolder } from "../../src/passes/support/input-statistics.js";
import { Random } from "../../src/quant/random.js";
import { temporaryFolder } from "../repo/run.js";
import { modelOf } from "../support/build.js";

const weight = (shape: readonly number[]) => {
	const random = new Random(shape.join());
	return floatTensor(
		shape,
		Array.from({ length: elementCount(shape) }, () => random.normal()),
	);
};

/** Samples of `shape`, and all their elements. */
function samplesOf(shape: readonly number[], count: number): { source: SampleSource; values: Float32Array[] } {
	const random = new Random("samples");
	const values = Array.from({ length: count }, () =>
		Float32Array.from({ length: elementCount(shape) }, () => random.normal()),
	);
	const source: SampleSource = {
		name: "test",
		count,
		isRandom: false,
		async *samples(first) {
			for (const [index, elements] of values.entries()) {
				if (index < first) continue;
				const bytes = bytesFrom("float32", elements);
				yield { origin: `sample ${index}`, arrays: new Map([["x", { type: "float32", shape, bytes }]]) };
			}
		},
	};
	return { source, values };
}

/** Sums of products of channels over rows, by the definition. */
function momentsOf(rows: readonly ArrayLike<number>[]): number[][] {
	const depth = rows[0]!.length;
	return Array.from({ length: depth }, (_, i) =>
		Array.from({ length: depth }, (_, j) => rows.reduce((sum, row) => sum + row[i]! * row[j]!, 0) / rows.length),
	);
}

function readMatrix(folder: string, name: string): number[] {
	const { type, bytes } = readNpy(path.join(folder, MomentsFolder.fileName(name)));
	return Array.from(numbersOf(type, bytes.slice().buffer));
}

function expectClose(found: ArrayLike<number>, expected: readonly number[], digits = 5): void {
	expect(found.length).toBe(expected.length);
	for (const [index, value] of expected.entries()) expect(found[index]).toBeCloseTo(value, digits);
}

/** Rows of length `depth`. */
function rowsOf(values: readonly Float32Array[], depth: number): Float32Array[] {
	return values.flatMap((elements) =>
		Array.from({ length: elements.length / depth }, (_, row) => elements.slice(row * depth, (row + 1) * depth)),
	);
}

function rowsOfMoments(folder: string): unknown {
	return JSON.parse(readFileSync(path.join(folder, "rows.json"), "utf8"));
}

/** q, k and a Gemm of x [3, 6]. */
function linears(opset = 21): Model {
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, [3, 6]);
		for (const name of ["q", "k"]) {
			b.initializer(name, weight([6, 4]));
			b.node("MatMul", ["x", name], [`${name}_out`]);
			b.output(`${name}_out`);
		}
		b.initializer("left/weight", weight([5, 3]));
		b.node("MatMul", ["left/weight", "x"], ["left_out"]);
		b.initializer("g", weight([4, 3]));
		b.node("Gemm", ["x", "g"], ["g_out"], { transA: intAttribute(1), transB: intAttribute(1) });
		b.output("left_out");
		b.output("g_out");
	});
	model.opsetImports.set("", opset);
	return model;
}

describe.each([13, 21])("inputs of weights, opset %i", (opset) => {
	test("mean squares and second moments are those of the definition", async () => {
		const hessian = path.join(temporaryFolder(), "hessian");
		const { source, values } = samplesOf([3, 6], 50);
		const { meanSquares } = await calibrate(linears(opset), source, { meanSquares: true, hessian });
		const moments = momentsOf(rowsOf(values, 6));
		const columns = values.flatMap((sample) =>
			Array.from({ length: 6 }, (_, column) => [sample[column]!, sample[column + 6]!, sample[column + 12]!]),
		);
		const byColumn = momentsOf(columns);
		for (const [name, expected] of [
			["q", moments],
			["k", moments],
			["left/weight", byColumn],
			["g", byColumn],
		] as const) {
			expectClose(
				meanSquares.get(name)!,
				expected.map((row, index) => row[index]!),
			);
			expectClose(readMatrix(hessian, name), expected.flat());
		}
		expect(readdirSync(hessian)).toHaveLength(5);
		expect(rowsOfMoments(hessian)).toEqual({ q: 150, k: 150, "left/weight": 300, g: 300 });
		const inode = (name: string) => statSync(path.join(hessian, `${name}.npy`)).ino;
		expect(inode("q")).toBe(inode("k"));
	});
});

test("convolutions: channels, groups, and the positions that strides leave", async () => {
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, [1, 4, 5, 5]);
		const conv = (name: string, shape: number[], attributes = {}) => {
			b.initializer(name, weight(shape));
			b.node("Conv", ["x", name], [`${name}_out`], attributes);
			b.output(`${name}_out`);
		};
		conv("wide", [3, 4, 3, 3]);
		conv("point", [3, 4, 1, 1], { strides: intsAttribute([2, 2]) });
		conv("grouped", [4, 2, 1, 1], { group: intAttribute(2) });
	});
	const hessian = path.join(temporaryFolder(), "hessian");
	const { source, values } = samplesOf([1, 4, 5, 5], 20);
	const { meanSquares } = await calibrate(model, source, { meanSquares: true, hessian });
	const pixels = (isUsed: (y: number, x: number) => boolean) =>
		values.flatMap((sample) =>
			Array.from({ length: 25 }, (_, at) => at)
				.filter((at) => isUsed(Math.floor(at / 5), at % 5))
				.map((at) => [0, 1, 2, 3].map((channel) => sample[channel * 25 + at]!)),
		);
	const all = momentsOf(pixels(() => true));
	const strided = momentsOf(pixels((y, x) => y % 2 === 0 && x % 2 === 0));
	const diagonal = all.map((row, index) => row[index]!);
	expectClose(meanSquares.get("wide")!, diagonal);
	expectClose(
		meanSquares.get("point")!,
		strided.map((row, index) => row[index]!),
	);
	expectClose(meanSquares.get("grouped")!, [(diagonal[0]! + diagonal[2]!) / 2, (diagonal[1]! + diagonal[3]!) / 2]);
	expectClose(readMatrix(hessian, "point"), strided.flat());
	const byGroup = [0, 2].map((first) => {
		const rows = pixels(() => true).map((row) => row.slice(first, first + 2));
		return momentsOf(rows).flat();
	});
	expectClose(readMatrix(hessian, "grouped"), byGroup.flat());
});

/** The rows that a convolution multiplies with its kernel, by the definition of ONNX: [groups][rows][depth]. */
function patchesOf(
	x: Float32Array,
	[channels, height, width]: readonly [number, number, number],
	kernel: readonly [number, number],
	{ strides = [1, 1], dilations = [1, 1], pads = [0, 0, 0, 0], groups = 1 },
): number[][][] {
	const reach = kernel.map((length, axis) => dilations[axis]! * (length - 1) + 1);
	const places = [height, width].map(
		(length, axis) => Math.floor((length + pads[axis]! + pads[axis + 2]! - reach[axis]!) / strides[axis]!) + 1,
	);
	return Array.from({ length: groups }, (_, group) => {
		const rows: number[][] = [];
		for (let top = 0; top < places[0]!; top++) {
			for (let left = 0; left < places[1]!; left++) {
				const row: number[] = [];
				for (let c = 0; c < channels / groups; c++) {
					for (let i = 0; i < kernel[0]; i++) {
						for (let j = 0; j < kernel[1]; j++) {
							const y = top * strides[0]! - pads[0]! + i * dilations[0]!;
							const across = left * strides[1]! - pads[1]! + j * dilations[1]!;
							const isInside = y >= 0 && y < height && across >= 0 && across < width;
							const channel = (group * channels) / groups + c;
							row.push(isInside ? x[(channel * height + y) * width + across]! : 0);
						}
					}
				}
				rows.push(row);
			}
		}
		return rows;
	});
}

test.each([
	["a wide kernel", [3, 4, 3, 3], { pads: [1, 0, 2, 1], strides: [2, 1] }, {}],
	["a depthwise one", [4, 1, 3, 2], { groups: 4, dilations: [2, 1], pads: [1, 1, 0, 0] }, {}],
	["groups", [6, 2, 2, 2], { groups: 2 }, {}],
	["padding to the same size", [4, 1, 3, 3], { groups: 4, strides: [2, 2], pads: [0, 1, 1, 1] }, { upper: true }],
] as const)(
	"second moments of the kernels of convolutions: %s",
	async (_name, shape, options, { upper }: { upper?: true }) => {
		const {
			strides = [1, 1],
			dilations = [1, 1],
			pads = [0, 0, 0, 0],
			groups = 1,
		} = options as {
			readonly [key in "strides" | "dilations" | "pads"]?: number[];
		} & { groups?: number };
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [1, 4, 6, 5]);
			b.initializer("w", weight(shape));
			b.node("Conv", ["x", "w"], ["y"], {
				strides: intsAttribute(strides),
				dilations: intsAttribute(dilations),
				...(upper ? { auto_pad: stringAttribute("SAME_UPPER") } : { pads: intsAttribute(pads) }),
				group: intAttribute(groups),
			});
			b.output("y");
		});
		const hessian = path.join(temporaryFolder(), "hessian");
		const { source, values } = samplesOf([1, 4, 6, 5], 9);
		await calibrate(model, source, { hessian });
		const of = (x: Float32Array) => patchesOf(x, [4, 6, 5], [shape[2], shape[3]], { strides, dilations, pads, groups });
		const rows = values.map(of);
		const expected = rows[0]!.flatMap((_, group) => momentsOf(rows.flatMap((sample) => sample[group]!)).flat());
		expectClose(readMatrix(hessian, "w"), expected);
		expect(rowsOfMoments(hessian)).toEqual({ w: rows.length * rows[0]![0]!.length });
	},
);

test("of large values some rows are enough, and they are spread over all", async () => {
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, [1, 2, 64, 64]);
		b.initializer("point", weight([3, 2, 1, 1]));
		b.node("Conv", ["x", "point"], ["y"]);
		b.initializer("deep", weight([2, 1, 3, 3]));
		b.node("Conv", ["x", "deep"], ["z"], { group: intAttribute(2) });
		b.output("y");
		b.output("z");
	});
	const hessian = path.join(temporaryFolder(), "hessian");
	const { source } = samplesOf([1, 2, 64, 64], 6);
	await calibrate(model, source, { hessian });
	expect(rowsOfMoments(hessian)).toEqual({ point: 6 * 32, deep: 6 * 32 });
	const found = readMatrix(hessian, "point");
	for (const [index, value] of [1, 0, 0, 1].entries()) expect(Math.abs(found[index]! - value)).toBeLessThan(0.35);
});

test("rows that are picked inside of the model are those that are read out of all elements", async () => {
	const shape = [1, 4, 104, 110];
	const convolutions = {
		wide: { weight: [3, 4, 3, 3], strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], groups: 1, most: 576 },
		same: { weight: [5, 4, 3, 3], strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], groups: 1, most: 576 },
		grouped: { weight: [4, 2, 2, 3], strides: [2, 1], dilations: [1, 3], pads: [0, 4, 1, 4], groups: 2, most: 192 },
		upper: { weight: [4, 1, 3, 3], strides: [2, 2], dilations: [1, 1], pads: "SAME_UPPER", groups: 4, most: 144 },
	} as const;
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, shape);
		for (const [name, { weight: own, strides, dilations, pads, groups }] of Object.entries(convolutions)) {
			b.initializer(name, weight(own));
			b.node("Conv", ["x", name], [`${name}_out`], {
				strides: intsAttribute(strides),
				dilations: intsAttribute(dilations),
				...(typeof pads === "string" ? { auto_pad: stringAttribute(pads) } : { pads: intsAttribute(pads) }),
				group: intAttribute(groups),
			});
			b.output(`${name}_out`);
		}
	});
	const before = printModel(model, { digests: true });
	const hessian = path.join(temporaryFolder(), "hessian");
	const { source, values } = samplesOf(shape, 1);
	await calibrate(model, source, { hessian });
	expect(printModel(model, { digests: true })).toBe(before);
	for (const [name, { weight: own, most, groups, ...windows }] of Object.entries(convolutions)) {
		const plan = { kind: "patches", kernel: own.slice(2), groups, ...windows } as const;
		const rows = readRows(plan, shape, values[0]!, most, 0);
		const depth = own[1] * own[2] * own[3];
		const ofGroup = rowsOf([rows], depth);
		const count = ofGroup.length / groups;
		const expected = Array.from({ length: groups }, (_, group) =>
			momentsOf(ofGroup.slice(group * count, (group + 1) * count)).flat(),
		);
		expectClose(readMatrix(hessian, name), expected.flat());
		expect(rowsOfMoments(hessian)).toMatchObject({ [name]: most });
	}
});

test("a weight of several operators has the moments of all their inputs; float16 inputs are cast", async () => {
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, [2, 4]);
		b.initializer("w", weight([4, 4]));
		b.node("MatMul", ["x", "w"], ["y"]);
		b.node("MatMul", ["y", "w"], ["z"]);
		b.output("z");
	});
	const { source, values } = samplesOf([2, 4], 10);
	const w = model.graph.nodes[Symbol.iterator]().next().value!.inputs[1]!.initializer!;
	const elements = Array.from(numbersOf("float32", w.data.read(0, 64).slice().buffer));
	const rows: number[][] = rowsOf(values, 4).map((row) => [...row]);
	const next = rows.map((row) => [0, 1, 2, 3].map((n) => row.reduce((sum, x, k) => sum + x * elements[k * 4 + n]!, 0)));
	const { meanSquares } = await calibrate(model, source, { meanSquares: true });
	expectClose(
		meanSquares.get("w")!,
		momentsOf([...rows, ...next]).map((row, index) => row[index]!),
		3,
	);
});

test("little memory means more rounds, with the same results", async () => {
	const results = await Promise.all(
		[undefined, 300].map(async (memory) => {
			const hessian = path.join(temporaryFolder(), "hessian");
			const { source } = samplesOf([3, 6], 30);
			const rounds: number[] = [];
			const options = { meanSquares: true, histograms: true, hessian, memory };
			const { values } = await calibrate(linears(), source, {
				...options,
				onProgress: (_done, total) => rounds.push(total! / 30),
			});
			const bins = [...values.values()].map(({ histogram }) => histogram!.filled());
			return {
				rounds: rounds[0]!,
				bins,
				files: readdirSync(hessian).map((file) => readFileSync(path.join(hessian, file))),
			};
		}),
	);
	expect(results[0]!.rounds).toBe(1);
	expect(results[1]!.rounds).toBeGreaterThan(2);
	expect(results[1]!.bins).toEqual(results[0]!.bins);
	expect(results[1]!.files).toEqual(results[0]!.files);
});

test.each(["importance.npz", "importance.json"])("%s is read as it is written", (name) => {
	const file = path.join(temporaryFolder(), name);
	writeImportance(new Map([["layer/w", Float64Array.of(1, 2, 3)]]), file);
	const unit = { weight: "layer/w", role: undefined, layer: undefined } as Parameters<ImportanceFile["find"]>[0];
	expect(new ImportanceFile(file).find(unit, 3)).toEqual(Float64Array.of(0.5, 1, 1.5));
	if (!name.endsWith("npz")) return;
	expect([...readNpz(file).keys()]).toEqual(["layer/w"]);
	const timeAndDate = readFileSync(file).subarray(10, 14);
	expect([...timeAndDate]).toEqual([0, 0, 0x21, 0]);
});

test("layers of too many inputs for a matrix have none", () => {
	const model = (depth: number) =>
		modelOf((b) => {
			b.input("x", DataType.FLOAT, [1, depth]);
			b.initializer("w", floatTensor([depth, 2], new Float32Array(2 * depth)));
			b.node("MatMul", ["x", "w"], ["y"]);
			b.output("y");
		});
	expect(momentInputs(model(8192)).map(({ weights }) => weights)).toEqual([["w"]]);
	expect(momentInputs(model(8193))).toEqual([]);
});
