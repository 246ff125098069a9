import { expect, test } from "vitest";
import { floatAttribute } from "../../src/ir/attribute.js";
import { DataType } from "../../src/ir/types.js";
import { fuseHardSwish } from "../../src/passes/fuse-hard-swish.js";
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

const gate = (slope: number): Write => {
	const attributes = { alpha: floatAttribute(slope), beta: floatAttribute(0.5) };
	return (e, x) => e.apply("HardSigmoid", [x], attributes);
};
const clipped: Write = (e, x) => e.call("Clip", e.call("Add", 3, x), 0, 6);

const FORMS: Readonly<Record<string, Write>> = {
	HardSigmoid: (e, x) => e.call("Mul", gate(1 / 6)(e, x), x),
	"Clip, product first": (e, x) => e.call("Div", e.call("Mul", x, clipped(e, x)), 6),
	"Clip, quotient first": (e, x) => e.call("Mul", e.call("Mul", clipped(e, x), 1 / 6), x),
};

function model(write: Write, { opset = 21, qdq = false } = {}) {
	const builder = new ModelBuilder({ opset, irVersion: 9 });
	builder.input("x", DataType.FLOAT, SHAPE);
	const result = write(new Expression(builder), qdq ? quantized(builder, "x") : "x");
	builder.node("Identity", [qdq ? quantized(builder, result) : result], ["y"]);
	builder.output("y");
	return builder.build();
}

test.each(Object.entries(FORMS))("fuse-hard-swish: %s", async (_name, write) => {
	const made = model(write);
	const report = await expectSameOutputs(made, fuseHardSwish(), feeds);
	expect(report.diagnostics).toEqual([]);
	expect(Array.from(made.graph.nodes, ({ op }) => op.type)).toEqual(["HardSwish", "Identity"]);
});

test("fuse-hard-swish between Q/DQ", async () => {
	await golden(fuseHardSwish(), "quantized", model(FORMS.HardSigmoid!, { qdq: true }));
});

const inside: Write = (e, x) => e.call("Mul", x, quantized(e.graph, gate(1 / 6)(e, x), 2 ** -16));

test.each([
	["fuse/opset", model(FORMS.HardSigmoid!, { opset: 13 })],
	["fuse/quantized", model(inside, { qdq: true })],
	[
		"fuse/shared",
		model((e, x) => {
			const factor = gate(1 / 6)(e, x);
			e.graph.output(factor);
			return e.call("Mul", factor, x);
		}),
	],
])("fuse-hard-swish leaves %s", async (code, made) => {
	const report = await runPasses(made, [fuseHardSwish()]);
	expect(report.passes[0]!.changed).toBe(false);
	expect(report.diagnostics).toMatchObject([{ code }]);
});

test("fuse-hard-swish leaves another slope", async () => {
	await golden(
		fuseHardSwish(),
		"other-slope",
		model((e, x) => e.call("Mul", gate(0.2)(e, x), x)),
	);
});
