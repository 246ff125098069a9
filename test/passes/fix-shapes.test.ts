import { describe, expect, test } from "vitest";
import { inferTypes } from "../../src/inference/index.js";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { int64Tensor } from "../../src/ir/tensor.js";
import { DataType, type Dimension, tensorType } from "../../src/ir/types.js";
import { fixShapes } from "../../src/passes/fix-shapes.js";
import { foldShapes } from "../../src/passes/fold-shapes.js";
import { runPasses } from "../../src/run-passes.js";
import { modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";

/** Heads split as exporters write it: the target of Reshape is computed out of the input's shape. */
function splitHeads(shape: readonly Dimension[]): Model {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, shape);
		b.initializer("first", int64Tensor([1], [0]));
		b.initializer("rest", int64Tensor([3], [-1, 4, 8]));
		b.node("Shape", ["x"], ["shape"], {}, "shape");
		b.node("Gather", ["shape", "first"], ["batch"], {}, "gather");
		b.node("Concat", ["batch", "rest"], ["target"], { axis: intAttribute(0) }, "concat");
		b.node("Reshape", ["x", "target"], ["heads"], {}, "reshape");
		b.node("Transpose", ["heads"], ["y"], { perm: intsAttribute([0, 2, 1, 3]) }, "transpose");
		b.value("heads").type = tensorType(DataType.FLOAT, ["batch", 7, 4, 8]);
		b.graph.valueInfo.add(b.value("heads"));
		b.value("y").type = tensorType(DataType.FLOAT, ["batch", 4, "seq", 8]);
		b.output("y");
	});
}

/** A branch that reads the outer input, and one whose own type says the name. */
function branches(): Model {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, ["n", 2]);
		b.input("go", DataType.BOOL, []);
		const branch = (op: string) =>
			b.subgraph(op, (inner) => {
				inner.node(op, ["x"], [`${op}_y`]);
				inner.value(`${op}_y`).type = tensorType(DataType.FLOAT, ["n", 2]);
				inner.output(`${op}_y`);
			});
		b.node("If", ["go"], ["y"], { then_branch: branch("Relu"), else_branch: branch("Neg") });
		b.value("y").type = tensorType(DataType.FLOAT, ["n", 2]);
		b.output("y");
	});
}

const failure = (model: Model, dim: readonly string[]) => runPasses(model, [fixShapes({ dim })]);

describe("fix-shapes", () => {
	test("fixes names wherever they stand, and mends what was stale", async () => {
		const model = splitHeads(["batch", "seq", 32]);
		model.graph.outputs[0]!.type = tensorType(DataType.FLOAT, ["batch", 4, "seq", 8]);
		await golden(fixShapes({ dim: ["batch=1", "x:1=128"] }), "names", model);
		expect(inferTypes(model).shapeOf(model.graph.outputs[0]!)).toEqual([1, 4, 128, 8]);
	});

	test("fixes unnamed dimensions by input and axis, and tells what is still dynamic", async () => {
		await golden(fixShapes({ dim: ["x:0=2"] }), "unnamed", splitHeads([undefined, undefined, 32]));
	});

	test("takes a negative length and a name that is none for unnamed dimensions", async () => {
		const model = splitHeads(["?", -1, 32]);
		await expect(failure(model, ["?=1"])).rejects.toThrow("dynamic are 'x:0', 'x:1'");
		await runPasses(model, [fixShapes({ dim: ["x:0=1", "x:1=16"] })]);
		expect(model.graph.inputs[0]!.type).toEqual(tensorType(DataType.FLOAT, [1, 16, 32]));
	});

	test("takes a length of 0, which an empty cache has", async () => {
		const model = modelOf((b) => {
			b.input("past", DataType.FLOAT, [1, "past", 4]);
			b.input("x", DataType.FLOAT, [1, 2, 4]);
			b.node("Concat", ["past", "x"], ["all"], { axis: intAttribute(1) });
			b.output("all");
		});
		const { diagnostics } = await runPasses(model, [fixShapes({ dim: ["past=0"] })]);
		expect(diagnostics).toEqual([]);
		expect(model.graph.inputs[0]!.type).toEqual(tensorType(DataType.FLOAT, [1, 0, 4]));
		expect(inferTypes(model).shapeOf(model.graph.outputs[0]!)).toEqual([1, 2, 4]);
		expect((await runPasses(model, [fixShapes({ dim: ["past:1=0"] })])).diagnostics).toEqual([]);
		await expect(failure(model, ["past:1=3"])).rejects.toThrow("'past:1' is 0 in the model, not 3");
	});

	test("fixes types in subgraphs", async () => {
		await golden(fixShapes({ dim: ["n=3"] }), "subgraphs", branches());
	});

	test("refuses dimensions that are not there, and contradictions", async () => {
		const model = splitHeads(["batch", undefined, 32]);
		await expect(failure(model, ["bach=1"])).rejects.toThrow(
			"no input has a dimension 'bach'; dynamic are 'batch', 'x:1'",
		);
		await expect(failure(model, ["batch=1", "x:0=2"])).rejects.toThrow("'x:0' is to be 1 and 2");
		await expect(failure(model, ["x:2=4"])).rejects.toThrow("'x:2' is 32 in the model, not 4");
		await expect(failure(model, ["x:3=4"])).rejects.toMatchObject({ code: "shapes/unknown-dimension" });
		for (const text of ["batch", "batch=", "batch=-1", "=4", "batch=1.5"]) {
			await expect(failure(model, [text])).rejects.toMatchObject({ code: "shapes/bad-dimension" });
		}
	});
});

/** `Concat(Relu(x[:, :n]), x[:, n:])` with n = `rotated` of 8 columns, as rotary embeddings of part of a head are written. */
function rotatedPart(rotated: number): Model {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, [3, 8]);
		for (const [name, at] of Object.entries({ start: 0, middle: rotated, end: 2 ** 31 - 1, axis: 1 })) {
			b.initializer(name, int64Tensor([1], [at]));
		}
		b.node("Slice", ["x", "start", "middle", "axis"], ["turned"]);
		b.node("Slice", ["x", "middle", "end", "axis"], ["passed"]);
		b.node("Relu", ["turned"], ["done"]);
		b.node("Concat", ["done", "passed"], ["joined"], { axis: intAttribute(1) });
		b.node("Neg", ["joined"], ["y"]);
		b.value("y").type = tensorType(DataType.FLOAT, [3, 8]);
		b.output("y");
	});
}

describe("fold-shapes", () => {
	test("leaves parts of a Concat out that turn out to be empty", () =>
		golden(foldShapes(), "empty-part", rotatedPart(8)));

	test("leaves parts of a Concat that have columns", () => golden(foldShapes(), "full-parts", rotatedPart(6)));

	test("makes constants of what follows from fixed shapes", async () => {
		await golden(foldShapes(), "reshape", splitHeads([2, 16, 32]));
	});

	test("leaves what follows from shapes that are not fixed", async () => {
		await golden(foldShapes(), "dynamic", splitHeads(["batch", 16, 32]));
	});

	test("keeps a shape that the model returns", async () => {
		const model = splitHeads([2, 16, 32]);
		model.graph.addOutput(model.graph.nodes[Symbol.iterator]().next().value!.outputs[0]!);
		await golden(foldShapes(), "returned", model);
	});
});
