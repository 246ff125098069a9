import { Tensor } from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { lowerGatherBlockQuantized } from "../../src/passes/lower-gather-block-quantized.js";
import { runPasses } from "../../src/run-passes.js";
import { modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatsOf, run, sqnrDb } from "../support/ort.js";
import { expectSameOutputs } from "../support/same-outputs.js";
import { int4Tensor, randomCodes, randomScales } from "../support/weights.js";

const { FLOAT, INT64, UINT8 } = DataType;
const [V, K] = [40, 64];
const ids = { ids: new Tensor("int64", BigInt64Array.from([1n, 0n, 39n, 5n]), [2, 2]) };

type Form = "packed" | "bytes" | "int4" | "columns" | "broken";

function embedding(form: Form, zeroPoints = false) {
	return modelOf((b) => {
		b.model.opsetImports.set("com.microsoft", 1);
		b.input("ids", INT64, [2, 2]);
		const bits = form === "bytes" ? 8 : 4;
		const bytes = (count: number, seed: number) =>
			Uint8Array.from(randomCodes(count, seed, -128, 127), (code) => code & 255);
		const turned = form === "columns";
		const scaleShape = turned ? [2, V] : [V, 2];
		const isPacked = form === "packed" || form === "bytes" || form === "broken";
		b.initializer(
			"w",
			isPacked
				? tensor(UINT8, [V, (K * bits) / 8], bytes((V * K * bits) / 8, 1))
				: int4Tensor(turned ? [K, V] : [V, K], randomCodes(V * K, 1)),
		);
		b.initializer("scales", floatTensor(form === "broken" ? [V * 2] : scaleShape, randomScales(2 * V, 2)));
		const inputs = ["w", "ids", "scales"];
		if (zeroPoints) {
			inputs.push("zeros");
			b.initializer(
				"zeros",
				isPacked
					? tensor(UINT8, [V, (2 * bits) / 8], bytes((V * 2 * bits) / 8, 3))
					: int4Tensor(scaleShape, randomCodes(2 * V, 3)),
			);
		}
		const axes = { gather_axis: intAttribute(turned ? 1 : 0), quantize_axis: intAttribute(turned ? 0 : 1) };
		const attributes = { bits: intAttribute(bits), block_size: intAttribute(32), ...axes };
		b.node({ domain: "com.microsoft", type: "GatherBlockQuantized" }, inputs, ["y"], attributes, "embedding");
		b.output("y").type = tensorType(FLOAT, turned ? [K, 2, 2] : [2, 2, K]);
	});
}

describe("lower-gather-block-quantized", () => {
	const float = lowerGatherBlockQuantized({ table: "float" });

	test.each(["packed", "bytes", "int4", "columns"] as const)("%s: a float table is the same", async (form) => {
		for (const zeroPoints of [false, true]) {
			const report = await expectSameOutputs(embedding(form, zeroPoints), float, ids);
			expect(report.passes[0]?.changed).toBe(true);
		}
	});

	test.each([
		["int8", 30],
		["uint16", 80],
	] as const)("%s with one scale is as close as reported", async (table, least) => {
		const model = embedding("packed", true);
		const before = floatsOf((await run(serializeModel(model), ids)).y);
		const report = await runPasses(model, [lowerGatherBlockQuantized({ table })]);
		const after = floatsOf((await run(serializeModel(model), ids)).y);
		expect(sqnrDb(before, after)).toBeGreaterThan(least);
		expect(report.diagnostics).toMatchObject([{ code: "embedding/one-scale" }]);
	});

	test("float", () => golden(float, "float", embedding("packed")));
	test("int8", () => golden(lowerGatherBlockQuantized({ table: "int8" }), "int8", embedding("packed")));
	test("kept", () => golden(lowerGatherBlockQuantized(), "kept", embedding("packed")));
	test("scales that are no matrix", () => golden(float, "broken", embedding("broken")));
});
