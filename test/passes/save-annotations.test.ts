import { expect, test } from "vitest";
import { DataType } from "../../src/ir/types.js";
import { parseModel, serializeModel } from "../../src/onnx/file.js";
import { annotateBlockQuant } from "../../src/passes/annotate-block-quant.js";
import { saveAnnotations } from "../../src/passes/save-annotations.js";
import { weightAnnotation } from "../../src/passes/support/annotation.js";
import { runPasses } from "../../src/run-passes.js";
import { ModelBuilder, nodeNamed } from "../support/build.js";
import { golden } from "../support/golden.js";
import { blockWeight } from "../support/weights.js";

function annotatedModel(irVersion: number) {
	const builder = new ModelBuilder({ irVersion });
	builder.input("x", DataType.FLOAT, [4, 32]);
	const weight = blockWeight(builder, "w", { shape: [32, 8], axis: 0, blockSize: 16 });
	builder.node("MatMul", ["x", weight], ["y"], {}, "matmul");
	builder.output("y");
	return builder.build();
}

test("annotations are in the file, and read from there", async () => {
	const model = annotatedModel(9);
	await runPasses(model, [annotateBlockQuant()]);
	const before = weightAnnotation(nodeNamed(model.graph, "matmul"));
	await golden(saveAnnotations(), "saved", model);
	expect(model.irVersion).toBe(10);
	const reread = parseModel(serializeModel(model));
	expect(weightAnnotation(nodeNamed(reread.graph, "matmul"))).toEqual(before);
});

test("without annotations nothing changes", async () => {
	await golden(saveAnnotations(), "nothing-to-save", annotatedModel(9));
});
