import { describe, expect, test } from "vitest";
import type { Model } from "../../src/ir/model.js";
import { floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { allNodes } from "../../src/ir/walk.js";
import { foldConstants } from "../../src/passes/fold-constants.js";
import { runPasses } from "../../src/run-passes.js";
import { type ModelBuilder, modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatFeed } from "../support/ort.js";
import { expectSameOutputs } from "../support/same-outputs.js";

const { FLOAT, INT8 } = DataType;

function model(build: (b: ModelBuilder) => void): Model {
	return modelOf((b) => {
		b.input("x", FLOAT, [2, 4]);
		build(b);
		b.output("y").type = tensorType(FLOAT, [2, 4]);
	});
}

/** Two products with one bias, the second behind Identity. */
function sharedBias(): Model {
	return model((b) => {
		b.initializer("bias", floatTensor([4], [1, 2, 3, 4]));
		b.node("Identity", ["bias"], ["bias_again"]);
		b.node("Add", ["x", "bias"], ["first"]);
		b.node("Mul", ["first", "bias_again"], ["y"]);
	});
}

async function operatorsOf(model: Model): Promise<string[]> {
	await runPasses(model, [foldConstants()]);
	return [...allNodes(model)].map(({ node }) => node.op.type);
}

describe("fold-constants", () => {
	test("a constant that two operators share", () => golden(foldConstants(), "identity", sharedBias()));

	test("views, and arithmetic of small constants", async () => {
		const before = () =>
			model((b) => {
				b.initializer("table", floatTensor([2, 2], [1, 4, 9, 16]));
				b.initializer("shape", int64Tensor([2], [1, -1]));
				b.node("Reshape", ["table", "shape"], ["row"]);
				b.node("Sqrt", ["row"], ["root"]);
				b.node("Mul", ["x", "root"], ["y"]);
			});
		await golden(foldConstants(), "computed", before());
		await expectSameOutputs(before(), foldConstants(), {
			x: floatFeed([2, 4], Float32Array.of(1, -2, 3, -4, 5, -6, 7, -8)),
		});
	});

	test("quantized constants behind Identity are read where they are dequantized", async () => {
		const before = model((b) => {
			b.initializer("codes", tensor(INT8, [4], Uint8Array.of(1, 2, 3, 4)));
			b.initializer("scale", floatTensor([], [0.5]));
			b.node("DequantizeLinear", ["codes", "scale"], ["bias"]);
			b.node("Identity", ["bias"], ["bias_again"]);
			b.node("Add", ["x", "bias_again"], ["y"]);
		});
		expect(await operatorsOf(before)).toEqual(["DequantizeLinear", "Add"]);
	});

	test("in branches, too", async () => {
		const before = model((b) => {
			b.input("flag", DataType.BOOL, []);
			b.initializer("bias", floatTensor([4], [1, 2, 3, 4]));
			const branch = (name: string, operator: string) =>
				b.subgraph(name, (inner) => {
					inner.node("Identity", ["bias"], [`${name}_bias`]);
					inner.node(operator, ["x", `${name}_bias`], [`${name}_y`]);
					inner.output(`${name}_y`).type = tensorType(FLOAT, [2, 4]);
				});
			b.node("If", ["flag"], ["y"], { then_branch: branch("yes", "Add"), else_branch: branch("no", "Mul") });
		});
		expect(await operatorsOf(before)).not.toContain("Identity");
	});

	test("a constant that the model returns, one that its caller may replace, and computed values stay", async () => {
		const before = model((b) => {
			b.input("scale", FLOAT, [4]);
			b.initializer("scale", floatTensor([4], [1, 2, 3, 4]));
			b.initializer("bias", floatTensor([4], [1, 2, 3, 4]));
			b.node("Identity", ["bias"], ["returned"]);
			b.node("Sqrt", ["scale"], ["root"]);
			b.node("Identity", ["x"], ["same"]);
			b.node("Mul", ["same", "root"], ["y"]);
			b.output("returned").type = tensorType(FLOAT, [4]);
		});
		expect(await operatorsOf(before)).toEqual(["Identity", "Sqrt", "Identity", "Mul"]);
	});
});
