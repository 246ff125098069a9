import { describe, expect, test } from "vitest";
import { floatAttribute, intAttribute } from "../../src/ir/attribute.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { parseModel, serializeModel } from "../../src/onnx/file.js";
import { foldAffine } from "../../src/passes/fold-affine.js";
import { runPasses } from "../../src/run-passes.js";
import { normals } from "../runtime/models.js";
import { type GraphBuilder, modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatFeed, floatsOf, run, sqnrDb } from "../support/ort.js";
import { channelWeight } from "../support/weights.js";

const { FLOAT } = DataType;

const SHAPE = [1, 4, 5, 5];

function constant(b: GraphBuilder, name: string, shape: readonly number[], seed: number, middle = 0): string {
	const count = shape.reduce((product, dim) => product * dim, 1);
	b.initializer(
		name,
		floatTensor(
			shape,
			normals(count, seed).map((value) => middle + value / 4),
		),
	);
	return name;
}

function normalize(b: GraphBuilder, input: string, output: string, channels: number): void {
	const parameters = ["scale", "shift", "mean", "variance"].map((name, index) =>
		constant(b, name, [channels], index + 7, name === "variance" || name === "scale" ? 2 : 0),
	);
	b.node("BatchNormalization", [input, ...parameters], [output], { epsilon: floatAttribute(0.001) });
}

/** `x -> ... -> y`, of 4 channels. */
const block = (fill: (b: GraphBuilder) => void, channels = 6) =>
	modelOf((b) => {
		b.input("x", FLOAT, SHAPE);
		fill(b);
		b.output("y").type = tensorType(FLOAT, [1, channels, "h", "w"]);
	});

const batchNormalization = () =>
	block((b) => {
		b.node("Conv", ["x", constant(b, "w", [6, 4, 3, 3], 1), constant(b, "b", [6], 2)], ["c"]);
		normalize(b, "c", "y", 6);
	});

const products = () =>
	block((b) => {
		b.node("Conv", ["x", constant(b, "w", [6, 4, 1, 1], 1)], ["c"]);
		b.node("Mul", ["c", constant(b, "m", [6, 1, 1], 2, 1)], ["p"]);
		b.node("Add", ["p", constant(b, "a", [1], 3)], ["s"]);
		b.node("Sub", [constant(b, "d", [1, 6, 1, 1], 4), "s"], ["t"]);
		b.node("Div", ["t", constant(b, "e", [], 5, 3)], ["y"]);
	});

const transposed = () =>
	block((b) => {
		const weight = constant(b, "w", [4, 3, 2, 2], 1);
		b.node("ConvTranspose", ["x", weight], ["c"], { group: intAttribute(2) });
		b.node("Add", ["c", constant(b, "a", [6, 1, 1], 3)], ["s"]);
		normalize(b, "s", "y", 6);
	});

const shared = () =>
	block((b) => {
		constant(b, "w", [4, 4, 1, 1], 1);
		b.node("Conv", ["x", "w"], ["c"]);
		b.node("Mul", ["c", constant(b, "m", [4, 1, 1], 2, 1)], ["p"]);
		b.node("Conv", ["p", "w"], ["y"]);
	}, 4);

describe("fold-affine", () => {
	test("BatchNormalization", () => golden(foldAffine(), "batch-normalization", batchNormalization()));
	test("products and sums", () => golden(foldAffine(), "products", products()));
	test("a transposed convolution with groups", () => golden(foldAffine(), "transposed", transposed()));
	test("a weight that another convolution reads, too", () => golden(foldAffine(), "shared", shared()));

	test("a result that is read elsewhere, too", () =>
		golden(
			foldAffine(),
			"read-elsewhere",
			block((b) => {
				b.node("Conv", ["x", constant(b, "w", [6, 4, 3, 3], 1)], ["c"]);
				normalize(b, "c", "n", 6);
				b.node("Add", ["n", "c"], ["y"]);
			}),
		));

	test("a quantized weight", () =>
		golden(
			foldAffine(),
			"quantized",
			block((b) => {
				b.node("Conv", ["x", channelWeight(b, "w", [6, 4, 3, 3], 0)], ["c"]);
				normalize(b, "c", "y", 6);
			}),
		));

	test("in a subgraph, and what is no number a channel", () =>
		golden(
			foldAffine(),
			"subgraph",
			modelOf((b) => {
				b.input("x", FLOAT, SHAPE);
				b.input("c", DataType.BOOL, []);
				constant(b, "w", [4, 4, 1, 1], 1);
				const branch = (name: string, shape: readonly number[]) =>
					b.subgraph(name, (inner) => {
						inner.node("Conv", ["x", "w"], [`${name}_c`]);
						inner.node("Mul", [`${name}_c`, constant(inner, `${name}_m`, shape, 2, 1)], [name]);
						inner.output(name).type = tensorType(FLOAT, SHAPE);
					});
				b.node("If", ["c"], ["y"], { then_branch: branch("yes", [4, 1, 1]), else_branch: branch("no", [5]) });
				b.output("y").type = tensorType(FLOAT, SHAPE);
			}),
		));

	test.each([
		["BatchNormalization", batchNormalization],
		["products and sums", products],
		["a transposed convolution with groups", transposed],
		["a shared weight", shared],
	])("computes the same: %s", async (_, build) => {
		const model = build();
		const feeds = { x: floatFeed(SHAPE, normals(100, 8)) };
		const before = floatsOf((await run(serializeModel(model), feeds)).y);
		await runPasses(model, [foldAffine()]);
		const folded = parseModel(serializeModel(model));
		expect(Array.from(folded.graph.nodes, ({ op }) => op.type).filter((type) => !type.startsWith("Conv"))).toEqual([]);
		expect(sqnrDb(before, floatsOf((await run(serializeModel(folded), feeds)).y))).toBeGreaterThan(110);
	});
});
