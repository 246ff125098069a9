import { describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { allNodes } from "../../src/ir/walk.js";
import { lowerIf } from "../../src/passes/lower-if.js";
import { runPasses } from "../../src/run-passes.js";
import { type GraphBuilder, type ModelBuilder, modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatFeed } from "../support/ort.js";
import { expectSameOutputs } from "../support/same-outputs.js";

const { FLOAT } = DataType;
const SHAPE = [2, 3];

type Fill = (inner: GraphBuilder) => string;

/** x times a constant of its own; both branches use the same names. */
const scaled =
	(factor: number): Fill =>
	(inner) => {
		inner.initializer("factor", floatTensor([], [factor]));
		inner.node("Mul", ["x", "factor"], ["product"]);
		return "product";
	};

/** Is the mean of x positive? [1, 1]. */
function meanIsPositive(b: ModelBuilder): string {
	b.initializer("axes", int64Tensor([2], [0, 1]));
	b.initializer("none", floatTensor([], [0]));
	b.node("ReduceMean", ["x", "axes"], ["mean"]);
	b.node("Greater", ["mean", "none"], ["positive"]);
	return "positive";
}

function choice(then: Fill, otherwise: Fill, shape: readonly number[] = SHAPE) {
	return modelOf((b) => {
		b.input("x", FLOAT, SHAPE);
		const branch = (name: string, fill: Fill) =>
			b.subgraph(name, (inner) => {
				inner.output(fill(inner)).type = tensorType(FLOAT, shape);
			});
		b.node(
			"If",
			[meanIsPositive(b)],
			["y"],
			{ then_branch: branch("yes", then), else_branch: branch("no", otherwise) },
			"choice",
		);
		b.output("y").type = tensorType(FLOAT, shape);
	});
}

/** Sums of x along its rows, so that the condition of two axes has more than the result. */
const sums =
	(sign: number): Fill =>
	(inner) => {
		inner.initializer("sign", floatTensor([3], [sign, sign, sign]));
		inner.node("Mul", ["x", "sign"], ["signed"]);
		inner.initializer("rows", int64Tensor([1], [0]));
		inner.node("ReduceSum", ["signed", "rows"], ["sums"], { keepdims: intAttribute(0) });
		return "sums";
	};

describe("lower-if", () => {
	test("an If becomes both branches and a choice", () => golden(lowerIf(), "choice", choice(scaled(2), scaled(-1))));

	test.each([0.5, -0.5])("computes the same where the mean of x is around %d", async (offset) => {
		const x = floatFeed(
			SHAPE,
			Float32Array.of(0.1, -0.2, 0.3, 0.05, 0.2, -0.1).map((value) => value + offset),
		);
		await expectSameOutputs(choice(scaled(2), scaled(-1)), lowerIf(), { x });
		await expectSameOutputs(choice(sums(1), sums(-3), [3]), lowerIf(), { x });
	});

	test("a branch that hands out what is around it, and an If within a branch", async () => {
		const nested: Fill = (inner) => {
			inner.node("If", ["positive"], ["inner_y"], {
				then_branch: inner.subgraph("deep", (deep) => {
					deep.node("Abs", ["x"], ["size"]);
					deep.output("size").type = tensorType(FLOAT, SHAPE);
				}),
				else_branch: inner.subgraph("same", (same) => {
					same.node("Identity", ["x"], ["copy"]);
					same.output("copy").type = tensorType(FLOAT, SHAPE);
				}),
			});
			return "inner_y";
		};
		const model = choice(nested, scaled(4));
		const x = floatFeed(SHAPE, Float32Array.of(1, -2, 3, 4, 5, -6));
		await expectSameOutputs(model, lowerIf(), { x });
		expect([...allNodes(model)].map(({ node }) => node.op.type)).not.toContain("If");
	});

	test.each<[string, Fill, RegExp]>([
		[
			"indices that are computed",
			(inner) => {
				inner.node("ArgMax", ["mean"], ["index"]);
				inner.node("Gather", ["x", "index"], ["row"]);
				return "row";
			},
			/Gather .* may fail/,
		],
		[
			"another shape",
			(inner) => {
				inner.initializer("more", int64Tensor([2], [2, 1]));
				inner.node("Tile", ["x", "more"], ["longer"]);
				return "longer";
			},
			/one shape/,
		],
	])("stays with %s", async (_name, fill, message) => {
		const model = choice(fill, scaled(2));
		for (const { node } of allNodes(model)) for (const output of node.graph!.outputs) output.type = undefined;
		const { diagnostics } = await runPasses(model, [lowerIf()]);
		expect(diagnostics.map(({ code }) => code)).toEqual(["if/kept"]);
		expect(diagnostics[0]!.message).toMatch(message);
		expect([...allNodes(model)].map(({ node }) => node.op.type)).toContain("If");
	});
});
