import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { readAll } from "../../src/ir/data.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { serializeModel, writeModel } from "../../src/onnx/file.js";
import { type ApplyPrecisionRecipeOptions, applyPrecisionRecipe } from "../../src/passes/apply-precision-recipe.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import type { PipelineReport } from "../../src/passes/infra/report.js";
import { encodeFloat16 } from "../../src/quant/float16.js";
import { unpackInt4 } from "../../src/quant/packing.js";
import { runPasses } from "../../src/run-passes.js";
import { findWeightSites } from "../../src/weights/weight-site.js";
import { committedCases } from "../support/aimet.js";
import { type GraphBuilder, ModelBuilder, modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatFeed, floatsOf, run, sqnrDb } from "../support/ort.js";
import { randomSource } from "../support/random.js";

const { FLOAT, FLOAT16 } = DataType;

function randomFloats(count: number, seed: number, scale = 0.1): Float32Array {
	const random = randomSource(seed);
	return Float32Array.from({ length: count }, () => scale * (random() + random() + random() - 1.5));
}

function weight(b: GraphBuilder, name: string, shape: readonly number[], seed = 1): string {
	b.initializer(name, floatTensor(shape, randomFloats(elementCount(shape), seed)));
	return name;
}

/** One operator of every kind, with weights whose blocks and channels lie on different axes. */
function zoo(b: ModelBuilder, withKernel = true): void {
	b.input("x", FLOAT, [3, 64]);
	b.input("image", FLOAT, [1, 32, 5, 5]);
	b.input("ids", DataType.INT64, [3]);
	b.node("MatMul", ["x", weight(b, "layers.0.q_proj.weight", [64, 12])], ["a"], {}, "/layers.0/q_proj/MatMul");
	const transposed = { transB: intAttribute(1) };
	b.node(
		"Gemm",
		["x", weight(b, "layers.1.down_proj.weight", [10, 64], 2)],
		["g"],
		transposed,
		"/layers.1/down_proj/Gemm",
	);
	b.node("Conv", ["image", weight(b, "conv.weight", [6, 32, 1, 1], 3)], ["c"], {}, "conv");
	if (!withKernel) {
		for (const name of ["a", "g", "c"]) b.output(name);
		b.node("Gather", [weight(b, "embed_tokens.weight", [7, 16], 5), "ids"], ["e"], {}, "/embed_tokens/Gather");
		b.output("e");
		return;
	}
	const same = { pads: { kind: "ints", value: [1n, 1n, 1n, 1n] } } as const;
	b.node("Conv", ["image", weight(b, "conv3.weight", [4, 32, 3, 3], 4)], ["c3"], same, "conv3");
	b.node("Gather", [weight(b, "embed_tokens.weight", [7, 16], 5), "ids"], ["e"], {}, "/embed_tokens/Gather");
	for (const name of ["a", "g", "c", "c3", "e"]) b.output(name);
}

async function apply(model: Model, options: Partial<ApplyPrecisionRecipeOptions>): Promise<PipelineReport> {
	return runPasses(model, [applyPrecisionRecipe(options)]);
}

function recipeFile(text: string): string {
	const folder = mkdtempSync(path.join(tmpdir(), "qgraph-recipe-"));
	onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
	const file = path.join(folder, "recipe.yaml");
	writeFileSync(file, text);
	return file;
}

const FEEDS = {
	x: floatFeed([3, 64], randomFloats(192, 7, 1)),
	image: floatFeed([1, 32, 5, 5], randomFloats(800, 8, 1)),
};

async function outputs(model: Model): Promise<Record<string, Float32Array>> {
	const { Tensor } = await import("onnxruntime-node");
	const ids = new Tensor("int64", BigInt64Array.of(0n, 6n, 2n), [3]);
	const results = await run(serializeModel(model), { ...FEEDS, ids });
	return Object.fromEntries(Object.entries(results).map(([name, value]) => [name, floatsOf(value)]));
}

describe("apply-precision-recipe", () => {
	test.each(["16a4w_block", "16a8w", "8a4w", "16a16w", "fp16", "keep"])(
		"golden: %s for every operator",
		async (recipe) => {
			await golden(
				applyPrecisionRecipe({ recipe }),
				recipe,
				modelOf((b) => zoo(b)),
			);
		},
	);

	test("golden: rules decide, and what they cannot have is said", async () => {
		const recipe = recipeFile(`default: { precision: 16a4w_block, blockSize: 64 }
rules:
  - match: { role: embedding }
    precision: 16a4w
  - match: { layers: last }
    precision: 16a8w
    granularity: per-tensor
  - match: { weight: conv3* }
    precision: 16a4w_block
    blockSize: 32
    blockScales: bq
  - match: { role: lm_head }
    precision: 16a8w
`);
		const pass = applyPrecisionRecipe({ recipe });
		await golden(
			{ ...pass, options: { ...pass.options, recipe: "rules" } },
			"rules",
			modelOf((b) => zoo(b)),
		);
	});

	test.each([
		["16a4w_block", 16],
		["16a4w", 10],
		["8a8w", 35],
		["16a16w", 80],
		["fp16", 60],
	])("%s computes what its weights stand for, above %d dB", async (precision, least) => {
		const rules = `rules: [{ match: { role: embedding }, precision: ${precision === "16a4w_block" ? "16a8w" : precision} }]`;
		const blocks = precision === "16a4w_block" ? ", blockSize: 16" : "";
		const recipe = recipeFile(`default: { precision: ${precision}${blocks} }\n${rules}\n`);
		// kernels of more than one position have block scales that ONNX Runtime does not compute
		const fill = (b: ModelBuilder) => zoo(b, precision !== "16a4w_block");
		const before = await outputs(modelOf(fill));
		const model = modelOf(fill);
		const report = await apply(model, { recipe });
		const after = await outputs(model);
		for (const [name, values] of Object.entries(before))
			expect(sqnrDb(values, after[name]!), name).toBeGreaterThan(least);
		for (const { weight: name, status, sqnrDb: db } of report.weights) {
			expect(status, name).toBe("converted");
			expect(db, name).toBeGreaterThan(least);
		}
	});

	describe.each(committedCases())(
		"$name with fit max",
		({ name, weight: values, layout, codes, channelScales, blockScaleInts }) => {
			test("gives AIMET's integers, channel scales and codes", async () => {
				if (codes === undefined || name.startsWith("convtranspose")) return;
				const shape = shapeOf(name);
				const model = modelOf((b) => {
					b.initializer("w", floatTensor(shape, values));
					b.input("x");
					const op = name.startsWith("conv") ? "Conv" : name.startsWith("gemm") ? "Gemm" : "MatMul";
					b.node(
						op,
						["x", "w"],
						["y"],
						op === "Gemm" ? { transB: intAttribute(name.includes("transB1") ? 1 : 0) } : {},
					);
					b.output("y");
				});
				const recipe = recipeFile(`default: { precision: 16a4w_block, blockSize: ${layout.blockSize} }`);
				await apply(model, { recipe, fit: "max" });
				const [site] = findWeightSites(model);
				const stored = site!.stored.tensor;
				expect(unpackInt4(readAll(stored.data), 0, elementCount(stored.shape))).toEqual(codes);
				if (site!.scheme !== "lpbq") return;
				const [ints, channels] = site!.dequantization!.scaleNode!.inputs.map((input) =>
					readAll(input!.initializer!.data),
				);
				expect(Uint8Array.from(ints!)).toEqual(blockScaleInts);
				expect(new Float32Array(Uint8Array.from(channels!).buffer)).toEqual(Float32Array.from(channelScales));
			});
		},
	);

	test("converts a weight that two operators read once", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [2, 32]);
			weight(b, "w", [32, 32]);
			b.node("MatMul", ["x", "w"], ["a"], {}, "first");
			b.node("MatMul", ["a", "w"], ["b"], {}, "second");
			b.output("b");
		});
		const report = await apply(model, { recipe: "16a8w" });
		expect(report.weights.map(({ node, status }) => `${node} ${status}`)).toEqual([
			"first converted",
			"second converted",
		]);
		expect([...model.graph.nodes].filter(({ op }) => op.type === "DequantizeLinear")).toHaveLength(1);
		expect([...model.graph.initializers].map(({ name }) => name)).not.toContain("w");
	});

	test("gives a weight that rules see differently the more bits", async () => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [2, 32]);
			weight(b, "w", [32, 32]);
			b.node("MatMul", ["x", "w"], ["a"], {}, "first");
			b.node("MatMul", ["a", "w"], ["b"], {}, "second");
			b.output("b");
		});
		const recipe = recipeFile("default: { precision: 16a4w }\nrules: [{ match: { node: second }, precision: 16a8w }]");
		const report = await apply(model, { recipe });
		expect(report.weights.map(({ precision }) => precision)).toEqual(["16a8w", "16a8w"]);
	});

	test("keeps the float table of an embedding that shares its weight with a head in another order", async () => {
		const model = modelOf((b) => {
			b.input("ids", DataType.INT64, [2]);
			weight(b, "embed_tokens.weight", [32, 32]);
			b.node("Gather", ["embed_tokens.weight", "ids"], ["e"], {}, "embed");
			b.node("MatMul", ["e", "embed_tokens.weight"], ["y"], {}, "/lm_head/MatMul");
			b.output("y");
		});
		await apply(model, { recipe: "16a8w" });
		expect([...model.graph.nodes].find(({ name }) => name === "embed")?.inputs[0]?.name).toBe("embed_tokens.weight");
	});

	test.each(["16a4w", "16a4w_block:16", "16a8w"])(
		"%s: works in subgraphs and casts back to the type of 16-bit weights",
		async (recipe) => {
			const half = encodeFloat16(randomFloats(32 * 8, 9));
			const model = modelOf((b) => {
				b.input("x", FLOAT16, [2, 32]);
				b.input("c", DataType.BOOL, []);
				b.initializer("w", tensor(FLOAT16, [32, 8], half));
				const branch = (name: string) =>
					b.subgraph(name, (inner) => {
						inner.node("MatMul", ["x", "w"], [`${name}_y`], {}, name);
						inner.output(`${name}_y`);
					});
				b.node("If", ["c"], ["y"], { then_branch: branch("then"), else_branch: branch("else") }, "if");
				b.output("y");
			});
			const report = await apply(model, { recipe });
			expect(report.weights.map(({ status }) => status)).toEqual(["converted", "converted"]);
			const { Tensor } = await import("onnxruntime-node");
			const x = new Tensor("float16", new Uint16Array(64).fill(0x3c00), [2, 32]);
			const { y } = await run(serializeModel(model), { x, c: new Tensor("bool", [true], []) });
			expect(y?.type).toBe("float16");
		},
	);

	test.each<[reason: string, code: string, fill: (b: ModelBuilder) => void]>([
		[
			"values that are not finite",
			"weight/not-finite",
			(b) => {
				b.initializer("w", floatTensor([64, 1], new Array(64).fill(Number.NaN)));
				b.node("MatMul", ["x", "w"], ["y"]);
			},
		],
		[
			"a weight that the caller may replace",
			"weight/overridable",
			(b) => {
				b.graph.addInput(b.initializer("w", floatTensor([64, 1], new Float32Array(64))));
				b.node("MatMul", ["x", "w"], ["y"]);
			},
		],
		[
			"a weight behind an operator",
			"weight/indirect",
			(b) => {
				b.initializer("w", floatTensor([1, 64], new Float32Array(64)));
				b.node("Transpose", ["w"], ["t"]);
				b.node("MatMul", ["x", "t"], ["y"]);
			},
		],
		[
			"a weight of another type",
			"weight/not-float",
			(b) => {
				b.initializer("w", tensor(DataType.DOUBLE, [64, 1], new Uint8Array(512)));
				b.node("MatMul", ["x", "w"], ["y"]);
			},
		],
	])("leaves %s alone: %s", async (_reason, code, fill) => {
		for (const recipe of ["16a4w_block", "16a8w"]) {
			const model = modelOf((b) => {
				b.input("x", FLOAT, [2, 64]);
				fill(b);
				b.output("y");
			});
			const report = await apply(model, { recipe });
			expect(report.weights.map(({ status, code }) => [status, code])).toEqual([["kept", code]]);
			expect(report.passes[0]?.changed).toBe(false);
		}
	});

	test("needs an operator set that has the codes", async () => {
		const old = new ModelBuilder({ opset: 17, irVersion: 8 });
		zoo(old);
		const model = old.build();
		const report = await apply(model, { recipe: "16a4w" });
		expect(new Set(report.weights.map(({ code }) => code))).toEqual(new Set(["weight/opset"]));
		expect((await apply(model, { recipe: "16a8w" })).passes[0]?.changed).toBe(true);
	});

	test.each(["search", "max"] as const)(
		"makes the LPBQ that bq-to-lpbq makes of BQ and the float weights: %s",
		async (fit) => {
			const linear = (b: ModelBuilder): void => {
				b.input("x", FLOAT, [3, 64]);
				b.node("MatMul", ["x", weight(b, "w", [64, 16])], ["y"], {}, "MatMul");
				b.output("y");
				b.input("image", FLOAT, [1, 64, 5, 5]);
				b.node("Conv", ["image", weight(b, "c", [6, 64, 1, 1], 3)], ["z"], {}, "Conv");
				b.output("z");
			};
			const folder = mkdtempSync(path.join(tmpdir(), "qgraph-float-"));
			onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
			const floatWeights = path.join(folder, "float.onnx");
			await writeModel(modelOf(linear), floatWeights);
			const [direct, viaBq] = [modelOf(linear), modelOf(linear)];
			const blocks = "{ precision: 16a4w_block, blockSize: 32";
			await apply(direct, { recipe: recipeFile(`default: ${blocks} }`), fit });
			await apply(viaBq, { recipe: recipeFile(`default: ${blocks}, blockScales: bq }`), fit });
			const report = await runPasses(viaBq, [bqToLpbq({ fit, floatWeights, activations: "any" })]);
			const constants = (model: Model): string[] =>
				[...model.graph.initializers]
					.map((value) => Buffer.from(readAll(value.initializer!.data)).toString("hex"))
					.sort();
			expect(constants(viaBq)).toEqual(constants(direct));
			expect(report.weights.map(({ reference }) => reference)).toEqual(["float", "float"]);
		},
	);

	test("refuses recipes and options that do not exist", async () => {
		await expect(
			apply(
				modelOf((b) => zoo(b)),
				{},
			),
		).rejects.toMatchObject({ code: "recipe/unknown" });
		await expect(
			apply(
				modelOf((b) => zoo(b)),
				{ recipe: "16a5w" },
			),
		).rejects.toMatchObject({ code: "recipe/unknown" });
		await expect(
			apply(
				modelOf((b) => zoo(b)),
				{ recipe: "16a8w", exponent: 9 },
			),
		).rejects.toMatchObject({ code: "pass/unknown-option" });
	});
});

/** `matmul_128x32_b32` -> [128, 32]. */
function shapeOf(name: string): number[] {
	const sizes = /_(\d+)x(\d+)_/.exec(name)!.slice(1).map(Number);
	return name.startsWith("conv") ? [...sizes, 1, 1] : sizes;
}
