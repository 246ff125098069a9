import { expect, test } from "vitest";
import { DataType } from "../../src/ir/types.js";
import { fuseSigmoid } from "../../src/passes/fuse-sigmoid.js";
import { runPasses } from "../../src/run-passes.js";
import { normals } from "../runtime/models.js";
import { ModelBuilder } from "../support/build.js";
import { Expression } from "../support/expression.js";
import { golden } from "../support/golden.js";
import { floatFeed } from "../support/ort.js";
import { expectSameOutputs } from "../support/same-outputs.js";
import { quantized } from "../support/weights.js";

const SHAPE = [3, 8];
const feeds = {
	x: floatFeed(
		SHAPE,
		normals(24, 3).map((value) => 3 * value),
	),
};

type Write = (e: Expression, x: string) => string;

const negative: Write = (e, x) => e.call("Exp", e.call("Neg", x));
const steep: Write = (e, x) => e.call("Exp", e.call("Mul", x, -50));

const FORMS: Readonly<Record<string, readonly [write: Write, operators: readonly string[]]>> = {
	Reciprocal: [(e, x) => e.call("Reciprocal", e.call("Add", 1, negative(e, x))), ["Sigmoid"]],
	Div: [(e, x) => e.call("Div", 1, e.call("Add", negative(e, x), 1)), ["Sigmoid"]],
	"a step, as DBNet has it": [(e, x) => e.call("Reciprocal", e.call("Add", 1, steep(e, x))), ["Mul", "Neg", "Sigmoid"]],
};

function model(write: Write, qdq = false) {
	const builder = new ModelBuilder({ opset: 21, irVersion: 9 });
	builder.input("x", DataType.FLOAT, SHAPE);
	const result = write(new Expression(builder), qdq ? quantized(builder, "x") : "x");
	builder.node("Identity", [qdq ? quantized(builder, result) : result], ["y"]);
	builder.output("y");
	return builder.build();
}

test.each(Object.entries(FORMS))("fuse-sigmoid: %s", async (_name, [write, operators]) => {
	const made = model(write);
	const report = await expectSameOutputs(made, fuseSigmoid(), feeds);
	expect(report.diagnostics).toEqual([]);
	expect(Array.from(made.graph.nodes, ({ op }) => op.type)).toEqual([...operators, "Identity"]);
});

test("fuse-sigmoid between Q/DQ", async () => {
	await golden(fuseSigmoid(), "quantized", model(FORMS.Reciprocal![0], true));
});

test.each([
	[
		"fuse/quantized",
		model((e, x) => e.call("Reciprocal", quantized(e.graph, e.call("Add", 1, negative(e, x)), 2 ** -8)), true),
	],
	[
		"fuse/shared",
		model((e, x) => {
			const sum = e.call("Add", 1, negative(e, x));
			e.graph.output(sum);
			return e.call("Reciprocal", sum);
		}),
	],
])("fuse-sigmoid leaves %s", async (code, made) => {
	const report = await runPasses(made, [fuseSigmoid()]);
	expect(report.passes[0]!.changed).toBe(false);
	expect(report.diagnostics).toMatchObject([{ code }]);
});

test.each([
	["another sum", (e, x) => e.call("Reciprocal", e.call("Add", 2, negative(e, x)))],
	["another dividend", (e, x) => e.call("Div", 2, e.call("Add", 1, negative(e, x)))],
	["another function", (e, x) => e.call("Reciprocal", e.call("Add", 1, e.call("Neg", x)))],
] satisfies [string, Write][])("fuse-sigmoid leaves %s", async (_name, write) => {
	const report = await runPasses(model(write), [fuseSigmoid()]);
	expect(report.passes[0]!.changed).toBe(false);
	expect(report.diagnostics).toEqual([]);
});
