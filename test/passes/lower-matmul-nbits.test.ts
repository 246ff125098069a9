import { writeFileSync } from "node:fs";
import path from "node:path";
import { Tensor } from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import { insertActivationQdq } from "../../src/passes/insert-activation-qdq.js";
import { lowerMatmulNbits } from "../../src/passes/lower-matmul-nbits.js";
import { packUint4 } from "../../src/quant/packing.js";
import { runPasses } from "../../src/run-passes.js";
import { temporaryFolder } from "../repo/run.js";
import { normals } from "../runtime/models.js";
import { type ModelBuilder, modelOf, nodeNamed } from "../support/build.js";
import { golden } from "../support/golden.js";
import { loop } from "../support/loop.js";
import { type NBitsSpec, nbitsNode, nbitsWeight } from "../support/nbits.js";
import { floatFeed, floatsOf, run, sqnrDb } from "../support/ort.js";
import { expectSameOutputs } from "../support/same-outputs.js";
import { quantized } from "../support/weights.js";

const { BOOL, FLOAT, FLOAT16, INT32, INT64, UINT8 } = DataType;
const PASS = lowerMatmulNbits();

function modelWith(spec: NBitsSpec, { opset = 21, irVersion = 10, name = "w" } = {}): Model {
	return modelOf((b) => {
		setUp(b, opset, irVersion);
		const type = spec.half === true ? FLOAT16 : FLOAT;
		b.input("x", type, [2, 3, spec.k]);
		nbitsNode(b, "x", nbitsWeight(b, name, spec), "y", spec);
		b.output("y").type = tensorType(type, [2, 3, spec.n]);
	});
}

function setUp(b: ModelBuilder, opset = 21, irVersion = 10): void {
	b.model.irVersion = irVersion;
	b.model.opsetImports.set("", opset);
	b.model.opsetImports.set("com.microsoft", 1);
}

const feeds = ({ k }: NBitsSpec) => ({ x: floatFeed([2, 3, k], normals(6 * k, 5)) });

/** Group index of a quantizer that sorts rows by importance. */
function shuffledGroups(k: number, blockSize: number): number[] {
	return Array.from({ length: k }, (_, row) => Math.floor(((row * 7) % k) / blockSize));
}

const FORMS: readonly (readonly [string, NBitsSpec])[] = [
	...[16, 32, 64, 128, 256].flatMap((blockSize) =>
		([4, 8] as const).flatMap((bits) => [
			[`${bits} bits, blocks of ${blockSize}`, { k: 512, n: 40, bits, blockSize }] as const,
			[
				`${bits} bits, blocks of ${blockSize}, zero points`,
				{ k: 512, n: 24, bits, blockSize, zeroPoints: "packed" },
			] as const,
		]),
	),
	["odd lengths", { k: 75, n: 13, blockSize: 32 }],
	["odd lengths, zero points", { k: 75, n: 13, blockSize: 16, zeroPoints: "packed" }],
	["8 bits, odd lengths, zero points", { k: 77, n: 5, bits: 8, blockSize: 32, zeroPoints: "packed" }],
	["one short block", { k: 24, n: 8, blockSize: 32, zeroPoints: "packed" }],
	["whole float zero points", { k: 64, n: 8, zeroPoints: Array.from({ length: 16 }, (_, index) => index) }],
	["a group index in order", { k: 64, n: 8, groups: Array.from({ length: 64 }, (_, row) => row >> 5) }],
	[
		"a group index out of order, float zero points",
		{ k: 128, n: 8, groups: shuffledGroups(128, 32), zeroPoints: Array.from({ length: 32 }, (_, index) => index % 16) },
	],
	["a group index out of order, a short group", { k: 75, n: 9, groups: shuffledGroups(75, 32) }],
	["a bias", { k: 64, n: 8, bias: true }],
	["flat scales", { k: 64, n: 8, flatScales: true }],
	["2 bits", { k: 64, n: 8, bits: 2 }],
	["2 bits, zero points", { k: 72, n: 9, bits: 2, blockSize: 16, zeroPoints: "packed" }],
];

describe("lower-matmul-nbits", () => {
	test.each(FORMS)("%s: ONNX Runtime computes the same", async (_, spec) => {
		const model = modelWith(spec);
		const report = await expectSameOutputs(model, PASS, feeds(spec));
		expect(report.passes[0]?.stats["nodes lowered"]).toBe(1);
		expect(report.weights).toEqual([]);
	});

	test("2 bits as INT2 take operator set 25", async () => {
		const spec: NBitsSpec = { k: 72, n: 9, bits: 2, blockSize: 16, zeroPoints: "packed" };
		await golden(lowerMatmulNbits({ twoBits: "int2" }), "int2", modelWith(spec));
	});

	test("plain", () => golden(PASS, "plain", modelWith({ k: 64, n: 8 })));

	test("zero points in the middle go", () =>
		golden(PASS, "middle", modelWith({ k: 96, n: 8, zeroPoints: "middle", bias: true })));

	test("a group index becomes a Gather", () =>
		golden(PASS, "group-index", modelWith({ k: 128, n: 8, groups: shuffledGroups(128, 32) })));

	test("packed zero points count with a group index, too, which ONNX Runtime's kernel forgets", async () => {
		const zeros = Uint8Array.from({ length: 32 }, (_, index) => (index * 5) % 16);
		const spec: NBitsSpec = { k: 128, n: 8, groups: shuffledGroups(128, 32), zeroPoints: [...zeros] };
		const floats = modelWith(spec);
		const packed = modelWith(spec);
		packed.graph.setInitializer(nodeNamed(packed.graph, "y_nbits").inputs[3]!, tensor(UINT8, [8, 2], packUint4(zeros)));
		await runPasses(floats, [PASS]);
		const report = await runPasses(packed, [PASS]);
		expect(serializeModel(packed)).toEqual(serializeModel(floats));
		expect(report.diagnostics).toMatchObject([
			{ code: "nbits/lowered", notes: [expect.stringContaining("zero points")] },
		]);
	});

	test("float16", async () => {
		const model = modelWith({ k: 64, n: 8, half: true, bias: true, zeroPoints: [...Array(16).keys()] });
		await golden(PASS, "float16", model);
	});

	test("an old model gets operator set 21 and IR version 10, its other nodes converted", async () => {
		const model = modelOf((b) => {
			setUp(b, 11, 6);
			b.input("x", FLOAT, [1, 3, 64]);
			b.node("Squeeze", ["x"], ["x2"], { axes: intsAttribute([0]) }, "squeeze");
			nbitsNode(b, "x2", nbitsWeight(b, "w", { k: 64, n: 8 }), "y", { k: 64, n: 8 });
			b.output("y").type = tensorType(FLOAT, [3, 8]);
		});
		await golden(PASS, "old-opset", model);
	});

	test("where the operator set cannot be raised the node stays", async () => {
		const model = modelOf((b) => {
			setUp(b, 8, 6);
			b.input("x", FLOAT, [3, 64]);
			b.node("Upsample", ["x", "scales"], ["x2"], {}, "upsample");
			b.input("scales", FLOAT, [2]);
			b.node("Scan", ["x2"], ["x3"], {}, "scan");
			nbitsNode(b, "x3", nbitsWeight(b, "w", { k: 64, n: 8 }), "y", { k: 64, n: 8 });
			b.output("y").type = tensorType(FLOAT, [3, 8]);
		});
		await golden(PASS, "opset-stuck", model);
	});

	test("a model without standard operators gets an operator set", async () => {
		const model = modelWith({ k: 64, n: 8 });
		model.opsetImports.delete("");
		model.irVersion = 8;
		await golden(PASS, "no-opset", model);
	});

	test("nodes that share constants share the result", async () => {
		const spec: NBitsSpec = { k: 64, n: 64, zeroPoints: "packed" };
		const model = modelOf((b) => {
			setUp(b);
			b.input("x", FLOAT, [3, 64]);
			const weight = nbitsWeight(b, "w", spec);
			nbitsNode(b, "x", weight, "h", spec);
			nbitsNode(b, "h", weight, "y", spec);
			b.output("y").type = tensorType(FLOAT, [3, 64]);
		});
		await golden(PASS, "tied", model);
	});

	test("in an If body, with the weight outside, and behind a Reshape", async () => {
		const spec: NBitsSpec = { k: 64, n: 8 };
		const model = modelOf((b) => {
			setUp(b);
			b.input("x", FLOAT, [3, 64]);
			b.input("choice", BOOL, []);
			const [codes, ...others] = nbitsWeight(b, "w", spec);
			b.initializer("shape", int64Tensor([3], [8, 2, 16]));
			b.node("Reshape", [codes!, "shape"], ["w_view"], {}, "reshape");
			const branch = (name: string, weight: string) =>
				b.subgraph(name, (inner) => {
					nbitsNode(inner, "x", [weight, ...others], `${name}_y`, spec);
					inner.output(`${name}_y`);
				});
			b.node(
				"If",
				["choice"],
				["y"],
				{ then_branch: branch("then", codes!), else_branch: branch("else", "w_view") },
				"if",
			);
			b.output("y").type = tensorType(FLOAT, [3, 8]);
		});
		await golden(PASS, "subgraph", model);
	});

	test("in a Loop body, with a weight inside and one that is read outside, too", async () => {
		const spec: NBitsSpec = { k: 64, n: 64, zeroPoints: "packed" };
		const model = () =>
			modelOf((b) => {
				setUp(b);
				b.input("x", FLOAT, [3, 64]);
				const outer = nbitsWeight(b, "outer", spec);
				const looped = loop(b, "x", [3, 64], (body, state) => {
					nbitsNode(body, state, outer, "a", spec);
					body.node("Tanh", ["a"], ["b"]);
					nbitsNode(body, "b", nbitsWeight(body, "inner", { ...spec, seed: 7 }), "c", spec);
					body.node("Tanh", ["c"], ["d"]);
					return "d";
				});
				nbitsNode(b, looped, outer, "y", spec);
				b.output("y").type = tensorType(FLOAT, [3, 64]);
			});
		await golden(PASS, "loop", model());
		await expectSameOutputs(model(), PASS, { x: floatFeed([3, 64], normals(192, 5)) });
	});

	test("a group index between quantizers keeps the activations quantized", async () => {
		const spec: NBitsSpec = { k: 128, n: 8, groups: shuffledGroups(128, 32) };
		const model = () =>
			modelOf((b) => {
				setUp(b);
				b.input("x", FLOAT, [3, 128]);
				nbitsNode(b, quantized(b, "x"), nbitsWeight(b, "w", spec), "y", spec);
				b.output("y").type = tensorType(FLOAT, [3, 8]);
			});
		await golden(PASS, "group-index-quantized", model());
		await expectSameOutputs(model(), PASS, { x: floatFeed([3, 128], normals(384, 5)) });
	});

	test("in a function, whose weights are Constant nodes", async () => {
		const spec: NBitsSpec = { k: 64, n: 8 };
		const model = modelOf((b) => {
			setUp(b);
			b.function("local", "Layer", (body) => {
				body.input("a");
				const weight = nbitsWeight(body, "w", spec);
				for (const name of weight) {
					const value = body.value(name);
					const stored = value.initializer!;
					body.graph.removeInitializer(value);
					const attributes = { value: { kind: "tensor", value: stored } as const };
					body.graph.createNode({ op: "Constant", inputs: [], outputs: [value], attributes });
				}
				nbitsNode(body, "a", weight, "b", spec);
				body.output("b");
			});
			b.input("x", FLOAT, [3, 64]);
			b.node({ domain: "local", type: "Layer" }, ["x"], ["y"], {}, "call");
			b.output("y").type = tensorType(FLOAT, [3, 8]);
		});
		await golden(PASS, "function", model);
	});

	test("a packed weight that something else reads stays beside the codes", async () => {
		const spec: NBitsSpec = { k: 64, n: 8 };
		const model = modelOf((b) => {
			setUp(b);
			b.input("x", FLOAT, [3, 64]);
			nbitsNode(b, "x", nbitsWeight(b, "w", spec), "y", spec);
			b.node("Identity", ["w"], ["z"], {}, "other");
			b.output("y").type = tensorType(FLOAT, [3, 8]);
			b.output("z").type = tensorType(UINT8, [8, 2, 16]);
		});
		await golden(PASS, "shared", model);
	});

	const table: NBitsSpec = { k: 64, n: 48, blockSize: 32, zeroPoints: "packed" };
	/** `MatMulNBits(Relu(GatherBlockQuantized(w, ids)), w)`, the one weight in both. */
	function tiedModel(spec: NBitsSpec, rank: readonly number[] = [2, 3]) {
		return modelOf((b) => {
			setUp(b);
			b.input("ids", INT64, rank);
			const [codes, scales, zeros] = nbitsWeight(b, "w", spec);
			b.initializer("shape", int64Tensor([2], [spec.n, spec.k / 2]));
			b.node("Reshape", [codes!, "shape"], ["w_rows"], {}, "rows");
			const attributes = { bits: intAttribute(4), block_size: intAttribute(32) };
			const op = { domain: "com.microsoft", type: "GatherBlockQuantized" };
			const inputs = ["w_rows", "ids", scales!, ...(zeros === undefined ? [] : [zeros])];
			b.node(op, inputs, ["embedded"], attributes, "embedding");
			b.node("Relu", ["embedded"], ["h"], {}, "relu");
			nbitsNode(b, "h", zeros === undefined ? [codes!, scales!] : [codes!, scales!, zeros], "y", spec);
			b.output("y").type = tensorType(FLOAT, [...rank, spec.n]);
			b.output("embedded").type = tensorType(FLOAT, [...rank, spec.k]);
		});
	}
	const ids = { ids: new Tensor("int64", BigInt64Array.from([1n, 0n, 47n, 5n, 5n, 30n]), [2, 3]) };

	test("an embedding that shares the weight shares the codes", async () => {
		await golden(PASS, "tied-embedding", tiedModel(table));
		await expectSameOutputs(tiedModel(table), PASS, ids);
	});

	test("an embedding and its MatMul stay one weight as LPBQ", async () => {
		for (const [fit, form] of [
			["search", "double-dq"],
			["max", "double-dq"],
			["search", "exact-bq"],
		] as const) {
			const model = tiedModel({ ...table, zeroPoints: "middle" });
			const before = await run(serializeModel(model), ids);
			const report = await runPasses(model, [PASS, bqToLpbq({ activations: "any", fit, form })]);
			const embedding = nodeNamed(model.graph, "embedding");
			const dequantize = nodeNamed(model.graph, "w_DQ");
			expect([embedding.inputs[0], embedding.inputs[2]]).toEqual(dequantize.inputs.slice(0, 2));
			const tables = [...model.graph.initializers].filter(({ initializer }) => initializer?.shape.join() === "64,48");
			expect(tables).toHaveLength(1);
			const after = await run(serializeModel(model), ids);
			const { sqnrDb: reported } = report.weights[0]!;
			expect(Math.abs(sqnrDb(floatsOf(before.embedded), floatsOf(after.embedded)) - reported!)).toBeLessThan(3);
		}
	});

	test("an embedding whose rank is not known keeps the packed weight", async () => {
		const model = tiedModel(table);
		model.graph.inputs[0]!.type = tensorType(INT64);
		for (const value of model.graph.outputs) value.type = tensorType(FLOAT);
		await golden(PASS, "untied-embedding", model);
	});

	const fractions = (count: number) => Array.from({ length: count }, (_, index) => 7.25 + (index % 3) / 4);

	test("float zero points between the codes stay, or are taken off at a loss", async () => {
		const spec: NBitsSpec = { k: 64, n: 8, zeroPoints: fractions(16) };
		await golden(PASS, "fractions", modelWith(spec));
		const model = modelWith(spec);
		const before = await run(serializeModel(model), feeds(spec));
		const report = await golden(lowerMatmulNbits({ requantize: true }), "requantized", model);
		const after = await run(serializeModel(model), feeds(spec));
		const reported = report.weights[0]!.sqnrDb!;
		expect(report.weights).toMatchObject([{ weight: "w", op: "MatMul", node: "y_nbits", requantizedSqnrDb: reported }]);
		expect(reported).toBeGreaterThan(20);
		expect(Math.abs(sqnrDb(floatsOf(before.y), floatsOf(after.y)) - reported)).toBeLessThan(3);
	});

	test.each([true, false])(
		"what was quantized anew and became LPBQ has one entry with both losses, named: %s",
		async (named) => {
			const model = modelWith({ k: 64, n: 8, zeroPoints: fractions(16), bias: true });
			if (!named) for (const node of model.graph.nodes) node.name = "";
			const report = await runPasses(model, [lowerMatmulNbits({ requantize: true }), bqToLpbq({ activations: "any" })]);
			const loss = /([\d.]+) dB/.exec(report.diagnostics[0]!.message)![1]!;
			expect(report.weights).toMatchObject([
				{ weight: "w", op: "MatMul", code: "weight/converted", form: "double-dq" },
			]);
			expect(report.weights[0]?.requantizedSqnrDb?.toFixed(1)).toBe(loss);
		},
	);

	test("groups of uneven size stay, or are quantized anew", async () => {
		const spec: NBitsSpec = { k: 64, n: 8, groups: Array.from({ length: 64 }, (_, row) => (row % 3 === 0 ? 0 : 1)) };
		await golden(PASS, "uneven-groups", modelWith(spec));
		const model = modelWith(spec);
		const before = await run(serializeModel(model), feeds(spec));
		const report = await runPasses(model, [lowerMatmulNbits({ requantize: true })]);
		const after = await run(serializeModel(model), feeds(spec));
		const reported = report.weights[0]!.sqnrDb!;
		expect(Math.abs(sqnrDb(floatsOf(before.y), floatsOf(after.y)) - reported)).toBeLessThan(3);
	});

	test("nodes that are not what they should be stay, each with its reason", async () => {
		const spec: NBitsSpec = { k: 64, n: 8 };
		const model = modelOf((b) => {
			setUp(b);
			b.input("x", FLOAT, [3, 64]);
			const outputs: string[] = [];
			const broken = (name: string, change: (node: ReturnType<typeof nbitsNode>) => void) => {
				const node = nbitsNode(b, "x", nbitsWeight(b, `${name}_w`, spec), name, spec);
				change(node);
				outputs.push(name);
			};
			broken("three_bits", (node) => node.attributes.set("bits", intAttribute(3)));
			broken("no_k", (node) => node.attributes.delete("K"));
			broken("longer", (node) => node.attributes.set("K", intAttribute(96)));
			broken("computed", (node) => {
				b.input("scales", FLOAT, [8, 2]);
				node.setInput(2, b.value("scales"));
			});
			broken("overridable", (node) => b.graph.addInput(node.inputs[1]!));
			broken("odd_zeros", (node) => node.setInput(3, b.initializer("zeros", int64Tensor([8, 2], Array(16).fill(8)))));
			broken("odd_groups", (node) => {
				node.setInput(4, b.initializer("groups", tensor(INT32, [64], new Uint8Array(256).fill(9))));
			});
			broken("excluded", () => undefined);
			for (const name of outputs) b.output(name).type = tensorType(FLOAT, [3, 8]);
		});
		await golden(lowerMatmulNbits({ exclude: ["excluded*"] }), "kept", model);
	});

	test("a weight-only model becomes LPBQ by the commands that its remark names", async () => {
		const spec: NBitsSpec = { k: 64, n: 8 };
		const remark = await runPasses(modelWith(spec), [PASS, bqToLpbq()]);
		expect(remark.weights).toMatchObject([
			{
				code: "weight/float-activations",
				message: expect.stringMatching(/'qgraph calibrate'.*'--insert-activation-qdq /),
			},
		]);
		const entry = { dtype: "INT", bw: 16, enc_type: "PER_TENSOR", is_sym: false, offset: [-32768] };
		const activations = ["x", "y"].map((name) => ({ name, ...entry, scale: [2 ** -12] }));
		const encodings = path.join(temporaryFolder(), "model.encodings");
		writeFileSync(
			encodings,
			JSON.stringify({ version: "1.0.0", activation_encodings: activations, param_encodings: [] }),
		);
		const report = await runPasses(modelWith(spec), [PASS, insertActivationQdq({ encodings }), bqToLpbq()]);
		expect(report.weights).toMatchObject([{ weight: "w", status: "converted", form: "double-dq" }]);
	});

	test("what comes out becomes LPBQ", async () => {
		const spec: NBitsSpec = { k: 128, n: 16, zeroPoints: "middle" };
		const model = modelWith(spec);
		const report = await runPasses(model, [PASS, bqToLpbq({ activations: "any" })]);
		expect(report.weights).toMatchObject([{ weight: "w", op: "MatMul", status: "converted" }]);
		expect(nodeNamed(model.graph, "w_DQ").inputs[1]?.producer?.op.type).toBe("DequantizeLinear");
	});
});
