import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { writeNpz } from "../../src/arrays/npz.js";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { readAll } from "../../src/ir/data.js";
import type { Model } from "../../src/ir/model.js";
import { bytesOf, floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { verifyModel } from "../../src/ir/verify.js";
import { writeModel } from "../../src/onnx/file.js";
import { computeConstants } from "../../src/passes/compute-constants.js";
import { quantizeModel } from "../../src/quantize/quantize-model.js";
import { runPasses } from "../../src/run-passes.js";
import { parseTarget } from "../../src/targets/target.js";
import { constantOf } from "../../src/weights/constant.js";
import { numbersOf } from "../../src/weights/numbers.js";
import { ModelBuilder } from "../support/build.js";
import { golden } from "../support/golden.js";
import { HTP_HOME, prepareHtp } from "../support/htp.js";
import { mixedSource } from "../support/random.js";

const htp = await prepareHtp();
const folder = mkdtempSync(path.join(tmpdir(), "qgraph-constants-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const operators = ({ graph }: Model) => [...graph.nodes].map(({ op }) => op.type);

/** How many values become constants. */
async function compute(model: Model): Promise<number> {
	const { passes } = await runPasses(model, [computeConstants()]);
	return passes[0]!.stats["values computed"] ?? 0;
}

/** Scores that positions, a layer of a table, are added to. */
function positions(): ModelBuilder {
	const builder = new ModelBuilder();
	builder.input("x", DataType.FLOAT, [1, 3]);
	builder.initializer("table", floatTensor([3, 2], [1, 2, 3, 4, 5, 6]));
	builder.initializer("weight", floatTensor([2, 1], [1, -1]));
	builder.initializer("bias", floatTensor([1], [2]));
	builder.initializer("shape", int64Tensor([2], [1, 3]));
	builder.node("MatMul", ["table", "weight"], ["product"]);
	builder.node("Add", ["product", "bias"], ["sum"]);
	builder.node("Relu", ["sum"], ["positions"]);
	builder.node("Reshape", ["positions", "shape"], ["row"]);
	return builder;
}

test("what follows from constants alone becomes a constant, under its name, and what made it goes away", async () => {
	const builder = positions();
	builder.node("Add", ["x", "row"], ["y"]);
	builder.output("y");
	const model = builder.build();
	await golden(computeConstants(), "positions", model);
	expect(operators(model)).toEqual(["Add"]);
	const row = [...model.graph.nodes][0]!.inputs[1]!;
	expect(row.name).toBe("row");
	expect(constantOf(row)?.tensor.shape).toEqual([1, 3]);
	expect([...new Float32Array(readAll(row.initializer!.data).slice().buffer)]).toEqual([1, 1, 1]);
	expect([...model.graph.initializers].map(({ name }) => name)).toEqual(["row"]);
});

test("where nothing runs models, nothing changes", async () => {
	const builder = positions();
	builder.node("Add", ["x", "row"], ["y"]);
	builder.output("y");
	const model = builder.build();
	const { passes } = await runPasses(model, [computeConstants()], { runModel: async () => undefined });
	expect(passes[0]).toMatchObject({ changed: false });
	expect(operators(model)).toHaveLength(5);
});

test("a constant of several readers, one of them computing on, is computed once; others go on reading what they share", async () => {
	const builder = positions();
	builder.node("Add", ["x", "row"], ["a"]);
	builder.node("MatMul", ["a", "table"], ["b"]);
	builder.initializer("ones", floatTensor([1, 2], [1, 1]));
	builder.node("Add", ["b", "ones"], ["c"]);
	builder.node("Mul", ["a", "row"], ["d"]);
	for (const name of ["c", "d"]) builder.output(name);
	const model = builder.build();
	expect(await compute(model)).toBe(1);
	expect(operators(model)).toEqual(["Add", "MatMul", "Add", "Mul"]);
	expect([...model.graph.initializers].map(({ name }) => name).sort()).toEqual(["ones", "row", "table"]);
});

test("positions that are integers, and masks, become constants", async () => {
	const builder = new ModelBuilder();
	builder.input("x", DataType.FLOAT, [1, 3]);
	for (const [name, value] of [
		["from", 0],
		["to", 3],
		["step", 1],
		["limit", 1],
	] as const)
		builder.initializer(name, int64Tensor([], [value]));
	builder.initializer("front", int64Tensor([1], [0]));
	builder.node("Range", ["from", "to", "step"], ["range"]);
	builder.node("Sub", ["limit", "range"], ["away"]);
	builder.node("Abs", ["away"], ["distance"]);
	builder.node("Unsqueeze", ["distance", "front"], ["index"]);
	builder.node("Less", ["index", "limit"], ["mask"]);
	builder.node("GatherElements", ["x", "index"], ["gathered"], { axis: intAttribute(1) });
	builder.node("Where", ["mask", "gathered", "x"], ["y"]);
	builder.output("y");
	const model = builder.build();
	expect(await compute(model)).toBe(2);
	expect(operators(model)).toEqual(["GatherElements", "Where"]);
	const [gather, where] = [...model.graph.nodes];
	const [index, mask] = [constantOf(gather!.inputs[1])!.tensor, constantOf(where!.inputs[0])!.tensor];
	expect([index.dtype, index.shape, Array.from(numbersOf(index))]).toEqual([DataType.INT64, [1, 3], [1, 0, 1]]);
	expect([mask.dtype, mask.shape, Array.from(numbersOf(mask))]).toEqual([DataType.BOOL, [1, 3], [0, 1, 0]]);
	expect(verifyModel(model)).toEqual([]);
});

test("one output of two that something reads becomes a constant, the other stays", async () => {
	const builder = positions();
	builder.node("Split", ["row"], ["left", "right"], { axis: intAttribute(1), num_outputs: intAttribute(2) });
	builder.node("Concat", ["x", "left"], ["y"], { axis: intAttribute(1) });
	for (const name of ["y", "right"]) builder.output(name);
	const model = builder.build();
	expect(await compute(model)).toBe(1);
	expect(operators(model)).toEqual(["MatMul", "Add", "Relu", "Reshape", "Split", "Concat"]);
	expect(verifyModel(model)).toEqual([]);
});

test("weights that are only moved, random numbers, defaults that callers replace and outputs stay as they are", async () => {
	const builder = new ModelBuilder();
	builder.input("x", DataType.FLOAT, [1, 2]);
	builder.input("default", DataType.FLOAT, [2]);
	builder.initializer("default", floatTensor([2], [1, 2]));
	builder.initializer("weight", floatTensor([2, 2], [1, 2, 3, 4]));
	builder.node("Transpose", ["weight"], ["turned"], { perm: intsAttribute([1, 0]) });
	builder.node("MatMul", ["x", "turned"], ["a"]);
	builder.node("RandomNormal", [], ["noise"], { shape: intsAttribute([1, 2]) });
	builder.node("Add", ["a", "noise"], ["b"]);
	builder.node("Neg", ["default"], ["less"]);
	builder.node("Add", ["b", "less"], ["c"]);
	builder.node("Neg", ["weight"], ["fixed"]);
	for (const name of ["c", "fixed"]) builder.output(name);
	const model = builder.build();
	expect(await compute(model)).toBe(0);
	expect(operators(model)).toEqual(["Transpose", "MatMul", "RandomNormal", "Add", "Neg", "Add", "Neg"]);
});

test("what ONNX Runtime does not run stays, for whoever runs the whole model to say why", async () => {
	const builder = new ModelBuilder();
	builder.input("x", DataType.FLOAT, [1, 2]);
	builder.initializer("a", floatTensor([2, 3], [1, 2, 3, 4, 5, 6]));
	builder.initializer("b", floatTensor([2, 2], [1, 2, 3, 4]));
	builder.node("MatMul", ["a", "b"], ["impossible"]);
	builder.node("Add", ["b", "b"], ["twice"]);
	builder.node("Add", ["impossible", "twice"], ["sum"]);
	builder.node("Add", ["x", "twice"], ["y"]);
	builder.node("Add", ["y", "sum"], ["z"]);
	builder.output("z");
	const model = builder.build();
	expect(await compute(model)).toBe(0);
	expect(operators(model)).toEqual(["MatMul", "Add", "Add", "Add", "Add"]);
});

/** Scores of queries against relative positions, which come out of layers and a normalization of a table. */
function relativePositions(rows: number) {
	const random = mixedSource(4);
	const numbers = (count: number) => Float32Array.from({ length: count }, () => random() * 2 - 1);
	const builder = new ModelBuilder();
	builder.input("x", DataType.FLOAT, [1, rows, 32]);
	for (const [name, shape] of Object.entries({
		table: [25, 8],
		up: [8, 64],
		bias: [64],
		down: [64, 32],
		scale: [32],
		query: [32, 32],
	})) {
		builder.initializer(name, floatTensor(shape, numbers(shape.reduce((product, length) => product * length))));
	}
	builder.node("MatMul", ["table", "up"], ["upper"]);
	builder.node("Add", ["upper", "bias"], ["sum"]);
	builder.node("Relu", ["sum"], ["relu"]);
	builder.node("MatMul", ["relu", "down"], ["lower"]);
	builder.node("LayerNormalization", ["lower", "scale"], ["norm"]);
	builder.node("Transpose", ["norm"], ["positions"], { perm: intsAttribute([1, 0]) });
	builder.node("MatMul", ["x", "query"], ["queries"]);
	builder.node("MatMul", ["queries", "positions"], ["scores"]);
	builder.output("scores");
	const samples = { type: "float32", shape: [4, rows, 32], bytes: bytesOf(numbers(4 * rows * 32)) } as const;
	return { model: builder.build(), samples };
}

test.skipIf("missing" in htp).each([
	["qnn-htp:v68", 37],
	["qnn-htp:v73", 37],
	["qnn-htp:v79", 37],
	["qnn-htp:v81", 10],
] as const)("relative positions are as close on %s as on the CPU, %i rows", async (name, rows) => {
	const { model, samples } = relativePositions(rows);
	const place = (file: string) => path.join(folder, `${rows}-${file}`);
	await writeModel(model, place("model.onnx"), { overwrite: true });
	writeNpz(place("data.npz"), new Map([["x", samples]]));
	const options = { data: [place("data.npz")], target: parseTarget(name), htpHome: HTP_HOME, overwrite: true };
	const { onCpu, onTarget } = await quantizeModel(place("model.onnx"), place("out.onnx"), options);
	const [cpu, target] = [onCpu, onTarget].map((result) => result!.outputs[0]!.sqnrDb!);
	expect(target).toBeGreaterThan(30);
	expect(target).toBeGreaterThan(cpu! - 1);
});
