import { describe, expect, test } from "vitest";
import type { Model } from "../../src/ir/model.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { splitGraph } from "../../src/passes/split-graph.js";
import { runPasses } from "../../src/run-passes.js";
import { modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatsOf, run, type Tensors } from "../support/ort.js";
import { randomSource } from "../support/random.js";

function randomFloats(count: number, seed: number): Float32Array {
	const random = randomSource(seed);
	return Float32Array.from({ length: count }, () => random() - 0.5);
}

/** Three residual blocks with a weight each; the first two also read the same one. */
function blocks(): Model {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, [2, 8]);
		b.input("mask", DataType.FLOAT, [8]);
		b.initializer("shared", floatTensor([8], randomFloats(8, 9)));
		let at = "x";
		for (const block of [0, 1, 2]) {
			b.initializer(`w${block}`, floatTensor([8, 8], randomFloats(64, block + 1)));
			b.node("MatMul", [at, `w${block}`], [`product${block}`], {}, `matmul${block}`);
			b.node("Mul", [`product${block}`, block === 2 ? "mask" : "shared"], [`scaled${block}`], {}, `mul${block}`);
			b.node("Add", [at, `scaled${block}`], [`sum${block}`], {}, `add${block}`);
			at = `sum${block}`;
		}
		b.node("Relu", ["product0"], ["early"], {}, "relu");
		b.output("early");
		b.output("sum2");
	});
}

/** A branch reads a value of the first part. */
function branches(): Model {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, [2, 4]);
		b.input("go", DataType.BOOL, []);
		b.initializer("w", floatTensor([4, 4], randomFloats(16, 3)));
		b.initializer("v", floatTensor([4, 4], randomFloats(16, 4)));
		b.node("MatMul", ["x", "w"], ["h"], {}, "first");
		b.node("Relu", ["h"], ["r"], {}, "relu");
		const branch = (op: string) =>
			b.subgraph(op, (inner) => {
				inner.node("MatMul", ["h", "v"], [`${op}_product`]);
				inner.node(op, [`${op}_product`], [`${op}_y`]);
				inner.output(`${op}_y`);
			});
		b.node("If", ["go"], ["chosen"], { then_branch: branch("Relu"), else_branch: branch("Neg") }, "if");
		b.node("Add", ["r", "chosen"], ["y"], {}, "add");
		b.output("y");
	});
}

async function partOf(model: Model, options: Parameters<typeof splitGraph>[0]): Promise<Model> {
	await runPasses(model, [splitGraph(options)]);
	return model;
}

describe("split-graph", () => {
	test("keeps one of several parts", async () => {
		await golden(splitGraph({ part: "2/3" }), "the second of three parts", blocks());
	});

	test("lets a branch read what goes over", async () => {
		await golden(splitGraph({ part: "2/2" }), "a branch reads what goes over", branches());
	});

	test("keeps what is between values", async () => {
		await golden(splitGraph({ inputs: ["sum0"], outputs: ["scaled1"] }), "between values", blocks());
	});

	test("does nothing unasked", async () => {
		await golden(splitGraph(), "nothing asked", blocks());
	});

	test("parts one behind the other compute what the whole does", async () => {
		const { Tensor } = await import("onnxruntime-node");
		const feeds: Tensors = {
			x: new Tensor("float32", randomFloats(16, 5), [2, 8]),
			mask: new Tensor("float32", randomFloats(8, 6), [8]),
		};
		const expected = await run(serializeModel(blocks()), feeds);
		let known: Tensors = feeds;
		for (const part of ["1/3", "2/3", "3/3"]) {
			const model = await partOf(blocks(), { part });
			const inputs = Object.fromEntries(model.graph.inputs.map(({ name }) => [name, known[name]!]));
			expect(Object.values(inputs)).not.toContain(undefined);
			known = { ...known, ...(await run(serializeModel(model), inputs)) };
		}
		for (const name of ["early", "sum2"]) expect([...floatsOf(known[name]!)]).toEqual([...floatsOf(expected[name]!)]);
	});

	test.each([
		[{ part: "0/2" }, "split/part"],
		[{ part: "half" }, "split/part"],
		[{ part: "1/9" }, "split/parts"],
		[{ inputs: ["nothing"] }, "split/unknown-value"],
	])("refuses %o", async (options, code) => {
		await expect(partOf(blocks(), options)).rejects.toMatchObject({ code });
	});

	test("refuses a value whose type is not known", async () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [2]);
			b.node({ domain: "odd", type: "Odd" }, ["x"], ["h"], {}, "odd");
			b.node("Relu", ["h"], ["y"], {}, "relu");
			b.output("y");
		});
		await expect(partOf(model, { inputs: ["h"] })).rejects.toMatchObject({ code: "split/unknown-type" });
	});
});
