import { describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, type Dimension } from "../../src/ir/types.js";
import { fuseReduceL2 } from "../../src/passes/fuse-reduce-l2.js";
import { runPasses } from "../../src/run-passes.js";
import { normals } from "../runtime/models.js";
import { ModelBuilder } from "../support/build.js";
import { Expression } from "../support/expression.js";
import { golden } from "../support/golden.js";
import { floatFeed } from "../support/ort.js";
import { expectSameOutputs } from "../support/same-outputs.js";
import { quantized } from "../support/weights.js";

type Write = (e: Expression, a: string, b: string) => string;

function model(write: Write, { opset = 21, shape = [3, 8] as readonly Dimension[], qdq = false } = {}) {
	const builder = new ModelBuilder({ opset, irVersion: 9 });
	const inputs = ["a", "b"].map((name) => {
		builder.input(name, DataType.FLOAT, shape);
		return qdq ? quantized(builder, name) : name;
	});
	const result = write(new Expression(builder), inputs[0]!, inputs[1]!);
	builder.node("Identity", [qdq ? quantized(builder, result) : result], ["y"]);
	builder.output("y");
	return builder.build();
}

const feedsOf = (...shape: readonly number[]) =>
	Object.fromEntries(
		["a", "b"].map((name, seed) => [
			name,
			floatFeed(
				shape,
				normals(
					shape.reduce((a, b) => a * b, 1),
					seed + 1,
				),
			),
		]),
	);

const square: (e: Expression, x: string) => string = (e, x) => e.call("Pow", x, 2);
const sumOf: Write = (e, a, b) => e.call("Add", square(e, a), e.call("Mul", b, b));
const magnitude: Write = (e, a, b) => e.call("Sqrt", sumOf(e, a, b));
const axes = (e: Expression, ...values: number[]) => e.constant(int64Tensor([values.length], values));

describe("fuse-reduce-l2", () => {
	test.each<[string, Write]>([
		["Sqrt of Pow and Mul", magnitude],
		["Pow as the root", (e, a, b) => e.call("Pow", sumOf(e, a, b), 0.5)],
		["three squares", (e, a, b) => e.call("Sqrt", e.call("Add", sumOf(e, a, b), square(e, e.call("Add", a, b))))],
		["an epsilon", (e, a, b) => e.call("Sqrt", e.call("Add", 0.25, sumOf(e, a, b)))],
		["an epsilon inside", (e, a, b) => e.call("Sqrt", e.call("Add", square(e, a), e.call("Add", square(e, b), 0.25)))],
		["an epsilon and one square", (e, a) => e.call("Sqrt", e.call("Add", square(e, a), 0.25))],
	])("%s, in three ranks", async (_name, write) => {
		for (const shape of [[7], [3, 8], [2, 3, 4, 5]]) {
			const made = model(write, { shape });
			const report = await expectSameOutputs(made, fuseReduceL2(), feedsOf(...shape));
			expect(report.diagnostics).toEqual([]);
			const left = Array.from(made.graph.nodes, ({ op }) => op.type);
			expect(left.slice(-3)).toEqual(["Concat", "ReduceL2", "Identity"]);
			expect(left).not.toContain("Pow");
			expect(left).not.toContain("Sqrt");
		}
	});

	test("sums of few squares", async () => {
		const spectrum: Write = (e, a) => e.call("Sqrt", e.call("ReduceSum", square(e, a), axes(e, 2)));
		const attributes = { keepdims: intAttribute(0) };
		const flat: Write = (e, a) => e.call("Sqrt", e.apply("ReduceSumSquare", [a, axes(e, -1)], attributes));
		for (const write of [spectrum, flat]) {
			const made = model(write, { shape: [3, 8, 2] });
			await expectSameOutputs(made, fuseReduceL2(), feedsOf(3, 8, 2));
			expect(Array.from(made.graph.nodes, ({ op }) => op.type)).toEqual(["ReduceL2", "Identity"]);
		}
	});

	test("a sum that is read elsewhere, too, stays there", async () => {
		const made = model((e, a, b) => {
			const sum = sumOf(e, a, b);
			return e.call("Mul", sum, e.call("Sqrt", sum));
		});
		await expectSameOutputs(made, fuseReduceL2(), feedsOf(3, 8));
		expect(Array.from(made.graph.nodes, ({ op }) => op.type)).toEqual(
			expect.arrayContaining(["Pow", "Add", "ReduceL2", "Mul"]),
		);
	});

	test("golden", async () => {
		await golden(fuseReduceL2(), "magnitude", model(magnitude, { shape: ["batch", 8] }));
	});

	test.each<[string, ReturnType<typeof model>]>([
		["fuse/opset", model(magnitude, { opset: 17 })],
		["fuse/quantized", model((e, a, b) => e.call("Sqrt", quantized(e.graph, sumOf(e, a, b))), { qdq: true })],
	])("leaves %s", async (code, made) => {
		const report = await runPasses(made, [fuseReduceL2()]);
		expect(report.passes[0]!.changed).toBe(false);
		expect(report.diagnostics).toMatchObject([{ code }]);
	});

	test("drops Q/DQ inside when asked to", async () => {
		const made = model((e, a, b) => e.call("Sqrt", quantized(e.graph, sumOf(e, a, b))), { qdq: true });
		await runPasses(made, [fuseReduceL2({ quantized: "fuse" })]);
		expect(Array.from(made.graph.nodes, ({ op }) => op.type)).not.toContain("Sqrt");
	});

	test.each<[string, Write, (readonly Dimension[])?]>([
		["one square", (e, a) => e.call("Sqrt", square(e, a))],
		["a difference of squares", (e, a, b) => e.call("Sqrt", e.call("Sub", square(e, a), square(e, b)))],
		["a product", (e, a, b) => e.call("Sqrt", e.call("Add", e.call("Mul", a, b), square(e, b)))],
		["another exponent", (e, a, b) => e.call("Sqrt", e.call("Add", e.call("Pow", a, 3), square(e, b)))],
		["another root", (e, a, b) => e.call("Pow", sumOf(e, a, b), 0.25)],
		["a negative constant", (e, a, b) => e.call("Sqrt", e.call("Add", sumOf(e, a, b), -0.25))],
		[
			"an epsilon beside lengths that are not fixed",
			(e, a, b) => e.call("Sqrt", e.call("Add", sumOf(e, a, b), 0.25)),
			["n", 8],
		],
		[
			"another shape",
			(e, a, b) => e.call("Sqrt", e.call("Add", square(e, a), square(e, e.call("ReduceMax", b, axes(e, 1))))),
		],
		[
			"an epsilon of more dimensions",
			(e, a, b) => e.call("Sqrt", e.call("Add", sumOf(e, a, b), e.constant(floatTensor([1, 1, 1], [0.5])))),
		],
		["a sum of many squares", (e, a) => e.call("Sqrt", e.call("ReduceSum", square(e, a), axes(e, 1)))],
	])("leaves %s", async (_name, write, shape = [3, 8]) => {
		const report = await runPasses(model(write, { shape }), [fuseReduceL2()]);
		expect(report.passes[0]!.changed).toBe(false);
	});
});
