import { describe, expect, test } from "vitest";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, type Dimension, tensorType } from "../../src/ir/types.js";
import { fixInputs } from "../../src/passes/fix-inputs.js";
import { fixShapes } from "../../src/passes/fix-shapes.js";
import { foldIf } from "../../src/passes/fold-if.js";
import { allPasses } from "../../src/passes/index.js";
import { runPasses } from "../../src/run-passes.js";
import { modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";

const { BOOL, FLOAT, INT64 } = DataType;

/** What is computed depends on a sampling rate, which a branch reads, too. */
function byRate() {
	return modelOf((b) => {
		b.input("x", FLOAT, [1, 4]);
		b.input("sr", INT64, []);
		b.initializer("high", int64Tensor([], [16000]));
		b.node("Equal", ["sr", "high"], ["isHigh"]);
		const branch = (name: string, op: string) =>
			b.subgraph(name, (inner) => {
				inner.node(op, ["x"], [`${name}_x`]);
				inner.node("CastLike", ["sr", "x"], [`${name}_rate`]);
				inner.node("Mul", [`${name}_x`, `${name}_rate`], [`${name}_y`]);
				inner.output(`${name}_y`);
			});
		b.node("If", ["isHigh"], ["y"], { then_branch: branch("then", "Relu"), else_branch: branch("else", "Neg") }, "if");
		b.output("y");
	});
}

function given(type: DataType, shape: readonly Dimension[]) {
	return modelOf((b) => {
		b.input("a", type, shape);
		b.node("Identity", ["a"], ["y"]);
		b.output("y");
		b.initializer("c", floatTensor([], [1]));
	});
}

describe("fix-inputs", () => {
	test("what reads an input reads a constant, in subgraphs, too; the input stays", async () => {
		await golden(fixInputs({ inputValue: ["sr=16000"] }), "rate", byRate());
	});

	test("an If that depends on it is known then, and named with the input before", async () => {
		const model = byRate();
		const { diagnostics } = await runPasses(model, [foldIf()]);
		expect(diagnostics.map(({ message }) => message)).toEqual([
			"the condition 'isHigh' is not known before the model runs; it follows from input 'sr': --input-value sr=VALUE settles it",
		]);
		await runPasses(model, [fixInputs({ inputValue: ["sr=16000"] }), foldIf()]);
		expect([...model.graph.nodes].map(({ op }) => op.type)).not.toContain("If");
	});

	test.each<[string, DataType, readonly number[], string]>([
		["vector", INT64, [2], "a=3,4"],
		["one-for-all", FLOAT, [2, 2], "a=0.5"],
		["bool", BOOL, [], "a=true"],
	])("%s", async (name, type, shape, text) => {
		await golden(fixInputs({ inputValue: [text] }), name, given(type, shape));
	});

	test("lengths are fixed before, and shapes follow from the numbers", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [1, 4]);
			b.input("size", INT64, ["rank"]);
			b.node("Expand", ["x", "size"], ["y"]);
			b.output("y").type = tensorType(FLOAT, ["rows", 4]);
		});
		const made = [fixInputs({ inputValue: ["size=3,1"] }), fixShapes({ dim: ["rank=2"] })];
		const order = allPasses.map(({ definition }) => definition.name);
		await runPasses(
			model,
			made.toSorted((a, b) => order.indexOf(a.name) - order.indexOf(b.name)),
		);
		expect(model.graph.outputs[0]!.type).toEqual(tensorType(FLOAT, [3, 4]));
	});

	test("an input that is an output, too", async () => {
		const model = given(FLOAT, []);
		model.graph.addOutput(model.graph.inputs[0]!);
		await golden(fixInputs({ inputValue: ["a=1"] }), "output", model);
	});

	test.each<[string, string, string, readonly Dimension[]]>([
		["b=1", "inputs/unknown", "no input is named 'b'; there are 'a'", []],
		["a", "inputs/bad-value", "'a' is no value of an input; expected 'name=4' or 'name=4,5'", []],
		["a=x", "inputs/bad-value", "'a=x' is no value of an input; expected 'name=4' or 'name=4,5'", []],
		["a=1.5", "inputs/bad-value", "'a=1.5': input 'a' is int64, expected whole numbers", []],
		["a=1,2", "inputs/bad-value", "'a=1,2': input 'a' has 3 elements, not 2", [3]],
		["a=1", "inputs/bad-value", "'a=1': input 'a' has no fixed shape; fix it with --dim first", ["n"]],
	])("%s: %s", async (text, code, message, shape) => {
		const run = runPasses(given(INT64, shape), [fixInputs({ inputValue: [text] })]);
		await expect(run).rejects.toMatchObject({ cause: { code, message } });
	});
});
