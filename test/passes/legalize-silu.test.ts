import { describe, expect, test } from "vitest";
import { floatAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { legalizeSilu } from "../../src/passes/legalize-silu.js";
import { runPasses } from "../../src/run-passes.js";
import { parseTarget } from "../../src/targets/target.js";
import { type GraphBuilder, ModelBuilder } from "../support/build.js";
import { Expression } from "../support/expression.js";
import { golden } from "../support/golden.js";
import { expectSameResults } from "../support/same-results.js";
import { quantized } from "../support/weights.js";

const SHAPE = [3, 8];
const STEP = 2 ** -12;

type Write = (e: Expression, x: string) => string;

/** y = what `write` computes of x, between Q/DQ. */
function model(write: Write, encode = (graph: GraphBuilder, name: string) => quantized(graph, name, STEP)): Model {
	const builder = new ModelBuilder({ opset: 21 });
	builder.input("x", DataType.FLOAT, SHAPE);
	const result = write(new Expression(builder), encode(builder, "x"));
	builder.node("Identity", [encode(builder, result)], ["y"]);
	builder.output("y");
	return builder.build();
}

const second = (e: Expression, x: string): string => {
	const encoding = e.graph
		.value(x)
		.producer!.inputs.slice(1)
		.map((value) => value!.name);
	(e.graph as ModelBuilder).input("u", DataType.FLOAT, SHAPE);
	e.graph.node("QuantizeLinear", ["u", ...encoding], ["u_q"]);
	e.graph.node("DequantizeLinear", ["u_q", ...encoding], ["u_qdq"]);
	return "u_qdq";
};
const silu: Write = (e, x) => e.call("Mul", x, e.call("Sigmoid", x));

const FORMS: Readonly<Record<string, Write>> = {
	SiLU: silu,
	"the Sigmoid first": (e, x) => e.call("Mul", e.call("Sigmoid", x), x),
	"SwiGLU, with no quantizer behind SiLU": (e, x) => e.call("Mul", silu(e, x), second(e, x)),
	"a gate": (e, x) => e.call("Mul", second(e, x), e.call("Sigmoid", x)),
	"a scaled argument": (e, x) => e.call("Mul", x, e.call("Sigmoid", e.call("Mul", 1.702, x))),
	QuickGelu: (e, x) => e.apply("com.microsoft.QuickGelu", [x], { alpha: floatAttribute(1.5) }),
};
const slug = (name: string) => name.toLowerCase().replaceAll(/\W+/g, "-");

describe("legalize-silu", () => {
	test.each(Object.entries(FORMS))("%s", async (name, write) => {
		const report = await golden(legalizeSilu(), slug(name), model(write));
		expect(report.passes[0]!.stats).toEqual({ "Sigmoids quantized": 1 });
		await expectSameResults(model(write), [legalizeSilu()], 75);
	});

	test("a product that is an output of the graph, and one that is read twice", async () => {
		const made = () =>
			model((e, x) => {
				const y = silu(e, x);
				(e.graph as ModelBuilder).output(y);
				return e.call("Add", y, x);
			});
		await golden(legalizeSilu(), "output", made());
		await expectSameResults(made(), [legalizeSilu()], 75);
	});

	test("one Sigmoid for two products", async () => {
		const made = model((e, x) => {
			const gate = e.call("Sigmoid", x);
			return e.call("Add", e.call("Mul", x, gate), e.call("Mul", gate, second(e, x)));
		});
		await expectSameResults(made, [legalizeSilu()], 75);
	});

	test("a Sigmoid in a subgraph, of what comes from outside", async () => {
		const builder = new ModelBuilder({ opset: 21 });
		builder.input("x", DataType.FLOAT, SHAPE);
		builder.input("p", DataType.BOOL, []);
		const x = quantized(builder, "x", STEP);
		const branch = (name: string, factor: number) =>
			builder.subgraph(name, (inner) => {
				const e = new Expression(inner, DataType.FLOAT, name);
				inner.node("Mul", [silu(e, x), e.scalar(factor)], [`${name}_y`]);
				inner.output(`${name}_y`);
			});
		builder.node("If", ["p"], ["y"], { then_branch: branch("then", 1), else_branch: branch("else", -1) });
		builder.output("y");
		await golden(legalizeSilu(), "subgraph", builder.build());
	});

	test.each([
		["INT16", encoded(DataType.INT16, [0, 0])],
		["UINT16 of another zero point", encoded(DataType.UINT16, [0, 0x20])],
	])("takes %s", async (_name, encode) => {
		for (const write of [FORMS["SwiGLU, with no quantizer behind SiLU"]!, FORMS["a scaled argument"]!]) {
			await expectSameResults(model(write, encode), [legalizeSilu()], 70);
		}
	});

	test("takes 8 bits for a target without float operators only", async () => {
		const made = () => model(silu, encoded(DataType.UINT8, [0x80], 2 ** -5));
		for (const target of [undefined, parseTarget("qnn-htp:v79")]) {
			const report = await runPasses(made(), [legalizeSilu()], target && { target });
			expect(report.passes[0]!.changed).toBe(false);
			expect(report.diagnostics).toMatchObject([{ code: "silu/8-bit" }]);
		}
		await golden(legalizeSilu(), "8-bit", made(), { target: parseTarget("qnn-htp:v68") });
	});

	const unquantized = (_graph: GraphBuilder, name: string) => name;
	test.each<[string, Model]>([
		["silu/float", model(silu, unquantized)],
		["silu/float", model((e, x) => e.call("Mul", x, e.call("Sigmoid", e.call("Mul", x, -1.5))))],
		["silu/reader", model((e, x) => e.call("Add", x, e.call("Sigmoid", x)))],
		["silu/reader", model((e, x) => e.call("Mul", e.call("Relu", x), e.call("Sigmoid", x)))],
		[
			"silu/reader",
			model((e, x) => {
				const gate = e.call("Sigmoid", x);
				e.graph.output(gate);
				return e.call("Mul", x, gate);
			}),
		],
	])("leaves %s", async (code, made) => {
		const report = await runPasses(made, [legalizeSilu()]);
		expect(report.passes[0]!.changed).toBe(false);
		expect(report.diagnostics).toMatchObject([{ code }]);
	});

	test("has nothing to say where the Sigmoid is quantized already, or QuickGelu is of float", async () => {
		const done: Write = (e, x) => e.call("Mul", x, quantized(e.graph, e.call("Sigmoid", x), 2 ** -15));
		for (const made of [model(done), model(FORMS.QuickGelu!, unquantized)]) {
			const report = await runPasses(made, [legalizeSilu()]);
			expect(report.passes[0]!.changed).toBe(false);
			expect(report.diagnostics).toEqual([]);
		}
	});
});

/** Q/DQ of another type. */
function encoded(dtype: DataType, zeroPoint: readonly number[], step = STEP) {
	return (graph: GraphBuilder, name: string): string => {
		graph.initializer(`${name}_scale`, floatTensor([], [step]));
		graph.initializer(`${name}_zero`, tensor(dtype, [], Uint8Array.from(zeroPoint)));
		const parameters = [`${name}_scale`, `${name}_zero`];
		graph.node("QuantizeLinear", [name, ...parameters], [`${name}_q`]);
		graph.node("DequantizeLinear", [`${name}_q`, ...parameters], [`${name}_qdq`]);
		return `${name}_qdq`;
	};
}
