import { describe, expect, test } from "vitest";
import { floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { allNodes } from "../../src/ir/walk.js";
import { foldIf } from "../../src/passes/fold-if.js";
import { runPasses } from "../../src/run-passes.js";
import { type GraphBuilder, type ModelBuilder, modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatFeed } from "../support/ort.js";
import { randomSource } from "../support/random.js";
import { expectSameOutputs } from "../support/same-outputs.js";

const { FLOAT, INT64, BOOL } = DataType;
const SHAPE = [2, 3];

function known(b: ModelBuilder, name: string, value: boolean): string {
	b.initializer(name, tensor(BOOL, [], Uint8Array.of(value ? 1 : 0)));
	return name;
}

/** x times a constant of its own. */
function scaled(b: GraphBuilder, name: string, factor: number) {
	return b.subgraph(name, (inner) => {
		inner.initializer("factor", floatTensor([], [factor]));
		inner.node("Mul", ["x", "factor"], ["product"]);
		inner.node("Relu", ["product"], [`${name}_y`]);
		inner.output(`${name}_y`).type = tensorType(FLOAT, SHAPE);
	});
}

/** `If` of two products with x; names of constants and values inside are the same in both branches. */
function choice(condition: (b: ModelBuilder) => string) {
	return modelOf((b) => {
		b.input("x", FLOAT, SHAPE);
		b.initializer("factor_of_all", floatTensor([], [3]));
		const branches = { then_branch: scaled(b, "yes", 2), else_branch: scaled(b, "no", -1) };
		b.node("If", [condition(b)], ["chosen"], branches, "choice");
		b.node("Mul", ["chosen", "factor_of_all"], ["y"]);
		b.output("y").type = tensorType(FLOAT, SHAPE);
	});
}

/** Is the rank of x 2? Computed out of its shape. */
function rankIs(b: ModelBuilder, rank: number): string {
	b.initializer("rank", int64Tensor([1], [rank]));
	b.node("Shape", ["x"], ["shape"]);
	b.node("Shape", ["shape"], ["x_rank"]);
	b.node("Equal", ["x_rank", "rank"], ["same"]);
	b.node("Squeeze", ["same"], ["condition"]);
	return "condition";
}

/** A branch that hands out x itself, and an If within it whose condition is known, too. */
function nested() {
	return modelOf((b) => {
		b.input("x", FLOAT, SHAPE);
		b.input("flag", BOOL, []);
		const outer = b.subgraph("outer", (branch) => {
			branch.node("Neg", ["x"], ["negated"]);
			const inner = (name: string, value: string) =>
				branch.subgraph(name, (body) => {
					if (value !== "negated") body.node("Abs", ["negated"], [value]);
					body.output(value).type = tensorType(FLOAT, SHAPE);
				});
			branch.node("If", ["flag"], ["open"], {
				then_branch: inner("a", "negated"),
				else_branch: inner("b", "absolute"),
			});
			branch.node("If", [known(b, "off", false)], ["closed"], {
				then_branch: inner("c", "unused"),
				else_branch: branch.subgraph("d", (body) => {
					body.node("Exp", ["open"], ["exponential"]);
					body.output("exponential").type = tensorType(FLOAT, SHAPE);
				}),
			});
			branch.output("closed").type = tensorType(FLOAT, SHAPE);
			branch.output("x").type = tensorType(FLOAT, SHAPE);
		});
		const other = b.subgraph("other", (branch) => {
			branch.node("Identity", ["x"], ["same"]);
			branch.output("same").type = tensorType(FLOAT, SHAPE);
			branch.output("same").type = tensorType(FLOAT, SHAPE);
		});
		b.node("If", [known(b, "on", true)], ["first", "second"], { then_branch: outer, else_branch: other }, "whole");
		b.output("first").type = tensorType(FLOAT, SHAPE);
		b.output("second").type = tensorType(FLOAT, SHAPE);
	});
}

const feed = () => {
	const random = randomSource(3);
	return floatFeed(
		SHAPE,
		Float32Array.from({ length: 6 }, () => random() - 0.5),
	);
};

describe("fold-if", () => {
	test("a constant condition", () =>
		golden(
			foldIf(),
			"constant",
			choice((b) => known(b, "on", true)),
		));

	test("one that follows from shapes", () =>
		golden(
			foldIf(),
			"shapes",
			choice((b) => rankIs(b, 2)),
		));

	test("one that is not known before the model runs", () =>
		golden(
			foldIf(),
			"open",
			choice((b) => {
				b.input("flag", BOOL, []);
				return "flag";
			}),
		));

	test("within one another, outputs of the graph, and values from around", () => golden(foldIf(), "nested", nested()));

	test("in the body of a Loop", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, SHAPE);
			known(b, "on", true);
			b.initializer("times", int64Tensor([], [3]));
			const body = b.subgraph("body", (inner) => {
				inner.input("i", INT64, []);
				inner.input("goes_on", BOOL, []);
				inner.input("state", FLOAT, SHAPE);
				const branch = (name: string, op: string) =>
					inner.subgraph(name, (taken) => {
						taken.node(op, ["state", "x"], [`${name}_result`]);
						taken.output(`${name}_result`).type = tensorType(FLOAT, SHAPE);
					});
				inner.node("If", ["on"], ["next"], { then_branch: branch("add", "Add"), else_branch: branch("sub", "Sub") });
				inner.node("Identity", ["goes_on"], ["still"]);
				inner.output("still");
				inner.output("next");
			});
			b.node("Loop", ["times", "on", "x"], ["y"], { body });
			b.output("y").type = tensorType(FLOAT, SHAPE);
		});
		await expectSameOutputs(model, foldIf(), { x: feed() });
		expect([...allNodes(model)].map(({ node }) => node.op.type)).toEqual(["Loop", "Add", "Identity", "Identity"]);
	});

	test.each([
		["then", (b: ModelBuilder) => known(b, "on", true)],
		["else", (b: ModelBuilder) => known(b, "off", false)],
		["shapes, then", (b: ModelBuilder) => rankIs(b, 2)],
		["shapes, else", (b: ModelBuilder) => rankIs(b, 4)],
	] as const)("computes what the If did: %s", async (_name, condition) => {
		const model = choice(condition);
		await expectSameOutputs(model, foldIf(), { x: feed() });
		expect([...model.graph.nodes].map(({ op }) => op.type)).not.toContain("If");
		expect([...model.graph.initializers].map(({ name }) => name)).not.toContain("rank");
	});

	test("nothing of a default that a caller may replace", async () => {
		const model = choice((b) => {
			b.input("on", BOOL, []);
			return known(b, "on", true);
		});
		const { diagnostics } = await runPasses(model, [foldIf()]);
		expect(diagnostics.map(({ code }) => code)).toEqual(["fold/condition"]);
	});
});
