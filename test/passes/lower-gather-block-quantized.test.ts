import { Tensor } from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { intAttribute, tensorAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { lowerGatherBlockQuantized } from "../../src/passes/lower-gather-block-quantized.js";
import { runPasses } from "../../src/run-passes.js";
import { parseTarget } from "../../src/targets/target.js";
import { type GraphBuilder, modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { loop } from "../support/loop.js";
import { boolFeed, floatFeed, floatsOf, run, sqnrDb } from "../support/ort.js";
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

	type Constants = (b: GraphBuilder) => readonly string[];

	function constants(b: GraphBuilder, name: string): readonly string[] {
		b.initializer(name, tensor(UINT8, [V, K / 2], bytesOf(randomCodes((V * K) / 2, 1, -128, 127))));
		b.initializer(`${name}_scales`, floatTensor([V, 2], randomScales(2 * V, 2)));
		return [name, `${name}_scales`];
	}

	function gather(b: GraphBuilder, [table, scales]: readonly string[], output: string): void {
		const attributes = { bits: intAttribute(4), block_size: intAttribute(32) };
		const op = { domain: "com.microsoft", type: "GatherBlockQuantized" };
		b.node(op, [table!, "ids", scales!], [output], attributes, `${output}_embedding`);
	}

	/** Two embeddings of one table, one of them behind a Reshape, and two in branches: of that table and of another. */
	function shared() {
		return modelOf((b) => {
			b.model.opsetImports.set("com.microsoft", 1);
			b.input("ids", INT64, [2, 2]);
			b.input("choice", DataType.BOOL, []);
			const outer = constants(b, "w");
			gather(b, outer, "y");
			b.initializer("shape", int64Tensor([2], [V, K / 2]));
			b.node("Reshape", [outer[0]!, "shape"], ["w_view"], {}, "reshape");
			gather(b, ["w_view", outer[1]!], "z");
			const branch = (name: string, weight: Constants) =>
				b.subgraph(name, (inner) => {
					gather(inner, weight(inner), `${name}_u`);
					inner.output(`${name}_u`).type = tensorType(FLOAT, [2, 2, K]);
				});
			const branches = {
				then_branch: branch("then", () => outer),
				else_branch: branch("else", (inner) => constants(inner, "v")),
			};
			b.node("If", ["choice"], ["u"], branches, "if");
			for (const name of ["y", "z", "u"]) b.output(name).type = tensorType(FLOAT, [2, 2, K]);
		});
	}

	test("embeddings that share a table go on sharing it, in subgraphs too", async () => {
		await golden(lowerGatherBlockQuantized({ table: "int8" }), "shared", shared());
		for (const choice of [true, false]) {
			await expectSameOutputs(shared(), float, { ...ids, choice: boolFeed(choice) });
		}
		const model = shared();
		const report = await runPasses(model, [lowerGatherBlockQuantized({ table: "uint16" })]);
		expect(report.diagnostics.map(({ code }) => code)).toEqual(["embedding/one-scale", "embedding/one-scale"]);
		await run(serializeModel(model), { ...ids, choice: boolFeed(true) });
	});

	test("in a Loop body", async () => {
		const model = () =>
			modelOf((b) => {
				b.model.opsetImports.set("com.microsoft", 1);
				b.input("ids", INT64, [2, 2]);
				b.input("x", FLOAT, [2, 2, K]);
				const looped = loop(b, "x", [2, 2, K], (body, state) => {
					gather(body, constants(body, "w"), "row");
					body.node("Add", ["row", state], ["next"]);
					return "next";
				});
				b.node("Identity", [looped], ["y"]);
				b.output("y").type = tensorType(FLOAT, [2, 2, K]);
			});
		const report = await expectSameOutputs(model(), float, {
			...ids,
			x: floatFeed([2, 2, K], new Float32Array(4 * K)),
		});
		expect(report.passes[0]?.stats).toEqual({ "embeddings lowered": 1 });
	});

	test("in a function, whose table is a Constant node", async () => {
		const model = modelOf((b) => {
			b.model.opsetImports.set("com.microsoft", 1);
			b.function("local", "Embed", (body) => {
				body.input("ids");
				const names = constants(body, "w");
				for (const name of names) {
					const value = body.value(name);
					const stored = value.initializer!;
					body.graph.removeInitializer(value);
					const attributes = { value: tensorAttribute(stored) };
					body.graph.createNode({ op: "Constant", inputs: [], outputs: [value], attributes });
				}
				gather(body, names, "rows");
				body.output("rows");
			});
			b.input("ids", INT64, [2, 2]);
			b.node({ domain: "local", type: "Embed" }, ["ids"], ["y"], {}, "call");
			b.output("y").type = tensorType(FLOAT, [2, 2, K]);
		});
		await golden(lowerGatherBlockQuantized({ table: "int8" }), "function", model);
	});

	test("for a target a table gets one scale without being asked", async () => {
		const model = embedding("packed");
		const report = await runPasses(model, [lowerGatherBlockQuantized()], { target: parseTarget("qnn-htp:v79") });
		expect(report.diagnostics.map(({ code, message }) => [code, message.includes("uint16")])).toEqual([
			["embedding/one-scale", true],
		]);
		const kept = embedding("packed");
		const keep = lowerGatherBlockQuantized({ table: "keep" });
		expect((await runPasses(kept, [keep], { target: parseTarget("qnn-htp:v79") })).passes[0]?.changed).toBe(false);
	});

	test("float", () => golden(float, "float", embedding("packed")));
	test("int8", () => golden(lowerGatherBlockQuantized({ table: "int8" }), "int8", embedding("packed")));
	test("kept", () => golden(lowerGatherBlockQuantized(), "kept", embedding("packed")));
	test("scales that are no matrix", () => golden(float, "broken", embedding("broken")));
});
