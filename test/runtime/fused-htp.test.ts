import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { floatAttribute, intAttribute, stringAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { fuseGelu } from "../../src/passes/fuse-gelu.js";
import { fuseHardSwish } from "../../src/passes/fuse-hard-swish.js";
import { fuseLayerNorm } from "../../src/passes/fuse-layer-norm.js";
import { fuseRmsNorm } from "../../src/passes/fuse-rms-norm.js";
import { fuseSigmoid } from "../../src/passes/fuse-sigmoid.js";
import type { Pass } from "../../src/passes/infra/pass.js";
import { legalizeSilu } from "../../src/passes/legalize-silu.js";
import { upgradeOpset } from "../../src/passes/upgrade-opset.js";
import { runPasses } from "../../src/run-passes.js";
import { checkModel } from "../../src/targets/check-model.js";
import { providerOptions } from "../../src/targets/provider-options.js";
import { parseTarget, type Target } from "../../src/targets/target.js";
import { temporaryFolder } from "../repo/run.js";
import { ModelBuilder } from "../support/build.js";
import { Expression } from "../support/expression.js";
import { checkOnHtp, prepareHtp } from "../support/htp.js";
import { quantized } from "../support/weights.js";
import { normals } from "./models.js";

/*
 * What the passes make of subgraphs between Q/DQ, compiled by the Hexagon HTP's compiler and run on its emulator, against
 * ONNX Runtime's CPU. Two shapes each, neither with 16 rows: there other faults hide or show.
 */

const setup = await prepareHtp();
const python = "python" in setup ? setup.python : "";

type Write = (e: Expression, x: string) => string;

interface Case {
	readonly name: string;
	readonly write: Write;
	readonly passes: readonly Pass[];
	/** The operators that are to be there afterwards, Q/DQ aside. */
	readonly operators: readonly string[];
	readonly leastDb: number;
	readonly opset?: number;
}

const ROOT = Math.SQRT2;
const cubic: Write = (e, x) =>
	e.call("Mul", Math.sqrt(2 / Math.PI), e.call("Add", x, e.call("Mul", 0.044715, e.call("Pow", x, 3))));

const mean: Write = (e, x) => e.call("ReduceMean", x, e.constant(int64Tensor([1], [-1])));
const deviation: Write = (e, x) => e.call("Sqrt", e.call("Add", mean(e, e.call("Pow", x, 2)), 1e-5));
const scale = (e: Expression) => {
	const channels = e.graph.value("x").type;
	const length = channels?.kind === "tensor" ? Number(channels.shape?.at(-1)) : 0;
	return e.vector(normals(length, 9).map((value) => 0.5 + value / 8));
};

const CASES: readonly Case[] = [
	{
		name: "GELU with Erf",
		write: (e, x) => e.call("Mul", x, e.call("Mul", 0.5, e.call("Add", 1, e.call("Erf", e.call("Div", x, ROOT))))),
		passes: [fuseGelu()],
		operators: ["Gelu"],
		leastDb: 60,
	},
	{
		name: "GELU with Erf and Q/DQ inside",
		write(e, x) {
			const inner = (name: string) => quantized(e.graph, name, 2 ** -13);
			const sum = e.call("Add", inner(e.call("Erf", inner(e.call("Div", x, ROOT)))), 1);
			return e.call("Mul", x, inner(e.call("Mul", inner(sum), 0.5)));
		},
		passes: [fuseGelu()],
		operators: ["Gelu"],
		leastDb: 60,
	},
	{
		name: "GELU with Tanh",
		write: (e, x) => e.call("Mul", e.call("Mul", 0.5, x), e.call("Add", 1, e.call("Tanh", cubic(e, x)))),
		passes: [fuseGelu()],
		operators: ["Gelu"],
		leastDb: 60,
	},
	{
		name: "HardSwish",
		write: (e, x) =>
			e.call("Mul", x, e.apply("HardSigmoid", [x], { alpha: floatAttribute(1 / 6), beta: floatAttribute(0.5) })),
		passes: [fuseHardSwish()],
		operators: ["HardSwish"],
		leastDb: 60,
	},
	{
		name: "Sigmoid with Exp",
		write: (e, x) => e.call("Reciprocal", e.call("Add", 1, e.call("Exp", e.call("Neg", x)))),
		passes: [fuseSigmoid()],
		operators: ["Sigmoid"],
		leastDb: 60,
	},
	{
		name: "SiLU",
		write: (e, x) => e.call("Mul", x, e.call("Sigmoid", x)),
		passes: [legalizeSilu()],
		operators: ["Sigmoid", "Mul"],
		leastDb: 75,
	},
	{
		name: "SwiGLU",
		write: (e, x) => e.call("Mul", e.call("Mul", x, e.call("Sigmoid", x)), x),
		passes: [legalizeSilu()],
		operators: ["Sigmoid", "Mul", "Mul"],
		leastDb: 72,
	},
	{
		name: "QuickGelu",
		write: (e, x) => e.apply("com.microsoft.QuickGelu", [x], {}),
		passes: [legalizeSilu()],
		operators: ["Mul", "Sigmoid", "Mul"],
		leastDb: 75,
	},
	...[21, 23].map((opset) => ({
		name: `RMS normalization, operator set ${opset}`,
		write: ((e, x) => e.call("Mul", e.call("Div", x, deviation(e, x)), scale(e))) satisfies Write,
		passes: [fuseRmsNorm()],
		operators: [opset === 21 ? "SimplifiedLayerNormalization" : "RMSNormalization"],
		leastDb: 65,
		opset,
	})),
	{
		name: "an RMSNormalization that was there",
		write: (e, x) => e.apply("RMSNormalization", [x, scale(e)], { axis: intAttribute(-1) }),
		passes: [fuseRmsNorm()],
		operators: ["RMSNormalization"],
		leastDb: 65,
		opset: 23,
	},
	{
		name: "layer normalization",
		write(e, x) {
			const centered = e.call("Sub", x, mean(e, x));
			return e.call("Add", e.call("Mul", e.call("Div", centered, deviation(e, centered)), scale(e)), -0.25);
		},
		passes: [fuseLayerNorm()],
		operators: ["LayerNormalization"],
		leastDb: 60,
	},
];

const TARGETS = ["v68", "v73", "v79", "v81", "SM8850"].map((device) => parseTarget(`qnn-htp:${device}`));
const SHAPES = [
	[1, 24, 64],
	[7, 40],
];

/** y = what `write` computes of x, between uint16 Q/DQ. */
async function converted({ write, passes, operators, opset }: Case, shape: readonly number[], target: Target) {
	const builder = new ModelBuilder(opset === undefined ? {} : { opset });
	builder.input("x", DataType.FLOAT, shape);
	const result = write(new Expression(builder), quantized(builder, "x", 2 ** -13));
	builder.node("Identity", [quantized(builder, result, 2 ** -13)], ["y"]);
	builder.output("y").type = tensorType(DataType.FLOAT, shape);
	const model = builder.build();
	await runPasses(model, passes, { target });
	const left = Array.from(model.graph.nodes, ({ op }) => op.type).filter((type) => !NEUTRAL.includes(type));
	expect(left).toEqual(operators);
	return model;
}

const NEUTRAL = ["QuantizeLinear", "DequantizeLinear", "Identity"];

describe.skipIf(python === "").each(CASES)("on the HTP, $name", (given) => {
	test.each(TARGETS)("$architecture $soc.name", async (target) => {
		for (const shape of SHAPES) {
			const file = path.join(temporaryFolder(), "model.onnx");
			writeFileSync(file, serializeModel(await converted(given, shape, target)));
			const report = await checkOnHtp(python, { model: file, options: optionsFor(target) });
			expect(report).toMatchObject({ status: "ok", error: null, unsupported: [] });
			expect(report.outputs[0]!.sqnrDb).toBeGreaterThan(given.leastDb);
		}
	});
});

/** A layer normalization in FLOAT behind a Cast from FLOAT16, x - mean(x) computed twice, as models of half floats have it. */
function halfNorm(shape: readonly number[]) {
	const builder = new ModelBuilder({ opset: 21 });
	builder.input("x", DataType.FLOAT, shape);
	const e = new Expression(builder);
	const half = e.apply("Cast", ["x"], { to: intAttribute(DataType.FLOAT16) });
	const x = e.apply("Cast", [e.apply("Relu", [half], {})], { to: intAttribute(DataType.FLOAT) });
	const centered = () => e.call("Sub", x, mean(e, x));
	const result = e.call("Mul", e.call("Div", centered(), deviation(e, centered())), scale(e));
	const biased = e.call("Add", result, e.vector(normals(shape.at(-1)!, 8)));
	builder.output(e.apply("Cast", [biased], { to: intAttribute(DataType.FLOAT16) }));
	return builder.build();
}

describe.skipIf(python === "")("on the HTP, a layer normalization between Casts of half floats", () => {
	test.each(TARGETS)("$architecture $soc.name", async (target) => {
		for (const shape of SHAPES) {
			const model = halfNorm(shape);
			const run = async () => {
				const file = path.join(temporaryFolder(), "model.onnx");
				writeFileSync(file, serializeModel(model));
				return checkOnHtp(python, { model: file, options: optionsFor(target) });
			};
			expect((await checkModel(model, target)).map(({ rule }) => rule)).toContain("htp/half-norm");
			if (shape === SHAPES[0]) expect((await run()).status).not.toBe("ok");
			await runPasses(model, [fuseLayerNorm()], { target });
			expect(await checkModel(model, target)).toEqual([]);
			const report = await run();
			expect(report).toMatchObject({ status: "ok", error: null, unsupported: [] });
			expect(report.outputs[0]!.sqnrDb ?? Number.POSITIVE_INFINITY).toBeGreaterThan(60);
		}
	});
});

/** What operator set 10 means otherwise, on floats: limits of a Clip, the places of samples of a Resize and, where it is taken, of a RoiAlign. */
function oldForms(shape: readonly number[], hasRoiAlign: boolean) {
	const builder = new ModelBuilder({ opset: 10 });
	builder.input("x", DataType.FLOAT, shape);
	const e = new Expression(builder);
	const scales = e.constant(floatTensor([4], [1, 1, 2, 2]));
	for (const result of [
		e.apply("Clip", ["x"], { min: floatAttribute(-0.5), max: floatAttribute(1) }),
		e.apply("Resize", ["x", scales], { mode: stringAttribute("linear") }),
	])
		builder.output(result);
	if (hasRoiAlign) {
		const boxes = e.constant(floatTensor([2, 4], [0, 1, 5, 4, 2, 0, 8, 5]));
		const batches = e.constant(int64Tensor([2], [0, 0]));
		const size = { output_height: intAttribute(3), output_width: intAttribute(4), sampling_ratio: intAttribute(2) };
		builder.output(e.apply("RoiAlign", ["x", boxes, batches], size));
	}
	return builder.build();
}

describe.skipIf(python === "")("on the HTP, operators of an old set", () => {
	test.each(TARGETS)("$architecture $soc.name", async (target) => {
		const hasRoiAlign = target.architecture !== "v68";
		const model = oldForms([1, 3, 6, 9], hasRoiAlign);
		const run = async () => {
			const file = path.join(temporaryFolder(), "model.onnx");
			writeFileSync(file, serializeModel(model));
			const report = await checkOnHtp(python, { model: file, options: { ...providerOptions(model, target) } });
			expect(report).toMatchObject({ status: "ok", error: null, unsupported: [] });
			return report.outputs.map(({ sqnrDb }) => sqnrDb ?? Number.POSITIVE_INFINITY);
		};
		const broken = (await checkModel(model, target)).map(({ rule }) => rule);
		expect(broken).toEqual(new Array(hasRoiAlign ? 3 : 2).fill("htp/old-form"));
		for (const decibels of await run()) expect(decibels).toBeLessThan(35);
		await runPasses(model, [upgradeOpset()], { target });
		expect(await checkModel(model, target)).toEqual([]);
		for (const decibels of await run()) expect(decibels).toBeGreaterThan(50);
	});
});

function optionsFor({ architecture, soc }: Target): Record<string, string> {
	return soc === undefined ? { htp_arch: architecture.slice(1) } : { soc_model: String(soc.model) };
}
