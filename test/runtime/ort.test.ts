import { describe, expect, test } from "vitest";
import { tensorAttribute } from "../../src/ir/attribute.js";
import { readAll } from "../../src/ir/data.js";
import type { Model } from "../../src/ir/model.js";
import { DataType } from "../../src/ir/types.js";
import { parseModel, serializeModel } from "../../src/onnx/file.js";
import { annotateBlockQuant } from "../../src/passes/annotate-block-quant.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import { saveAnnotations } from "../../src/passes/save-annotations.js";
import { runPasses } from "../../src/run-passes.js";
import type { GraphBuilder } from "../support/build.js";
import { boolFeed, floatFeed, floatsOf, run, sqnrDb } from "../support/ort.js";
import { quantized } from "../support/weights.js";
import {
	INPUT_STEP,
	inputShape,
	type LinearSpec,
	linearModel,
	linearOp,
	linearOutput,
	linearWeight,
	normals,
	outputStep,
	spreadScales,
	withSigns,
	withZeros,
} from "./models.js";
import { productAt, weightAt } from "./reference.js";

/** A model, with the operator whose result each of its outputs is. */
interface Case {
	readonly name: string;
	readonly spec: Omit<LinearSpec, "activations">;
	readonly build: (spec: LinearSpec) => Model;
	readonly operators: readonly string[];
	/** Places where weights are used. */
	readonly weights: number;
	readonly flag?: boolean;
	/** Too large to be tried with both. */
	readonly floatOnly?: boolean;
}

const matMul = { op: "MatMul", depth: 256, channels: 96, blockSize: 32, rows: 8 } as const;
const gemm = { op: "Gemm", depth: 128, channels: 40, blockSize: 64, rows: 5, bias: true } as const;
const conv = { op: "Conv", depth: 64, channels: 24, blockSize: 16, rows: 12 } as const;
const small = { op: "MatMul", depth: 64, channels: 10, blockSize: 16, rows: 4 } as const;

const CASES: readonly Case[] = [
	single("MatMul", matMul),
	single("MatMul with one channel in blocks of 128", { ...matMul, channels: 1, blockSize: 128 }),
	single("Gemm with a bias", gemm),
	single("Gemm with transB and a bias", { ...gemm, op: "Gemm transB" }),
	single("Conv 1x1", conv),
	single("Conv 1x1 with a bias and an odd number of channels", { ...conv, channels: 7, bias: true }),
	{
		...single("more weights than are worked on at once", {
			...gemm,
			op: "Gemm transB",
			rows: 1,
			depth: 512,
			channels: 2100,
		}),
		floatOnly: true,
	},
	single("scales of 0 in blocks and whole channels", { ...small, scales: withZeros(spreadScales(40, 5), small) }),
	single("negative scales", { ...small, scales: withSigns(spreadScales(40, 6)) }),
	single("negative scales and zeros in Conv", { ...conv, scales: withZeros(withSigns(spreadScales(96, 7)), conv) }),
	{
		name: "one dequantized weight for two operators",
		spec: small,
		build: (spec) =>
			linearModel(spec, (b, x) => {
				const weight = linearWeight(b, "W", spec);
				for (const y of ["a", "b"]) linearOutput(b, spec, linearOp(b, spec, x, weight, y));
			}),
		operators: ["a_op", "b_op"],
		weights: 2,
	},
	{
		name: "one quantized weight dequantized twice",
		spec: small,
		build: (spec) =>
			linearModel(spec, (b, x) => {
				linearOutput(b, spec, linearOp(b, spec, x, linearWeight(b, "W", spec), "a"));
				const { op, inputs, attributes } = b.value("W_dq").producer!;
				b.node(
					op,
					inputs.map((input) => input!.name),
					["W_again"],
					Object.fromEntries(attributes),
				);
				linearOutput(b, spec, linearOp(b, spec, x, "W_again", "b"));
			}),
		operators: ["a_op", "b_op"],
		weights: 2,
	},
	...[true, false].map((flag) => ({
		name: `weights captured by If and in its bodies, ${flag}`,
		spec: small,
		build: choiceModel,
		operators: flag ? ["then_captured_op", "then_own_op"] : ["else_captured_op", "else_own_op"],
		weights: 4,
		flag,
	})),
	{
		name: "Constant nodes in a function",
		spec: small,
		build: functionModel,
		operators: ["inner_op", "outer_op"],
		weights: 2,
	},
];

function single(name: string, spec: Omit<LinearSpec, "activations">): Case {
	return { name, spec, build: linearModel, operators: ["y_op"], weights: 1 };
}

/** Both bodies of an If multiply with a weight of the main graph and one of their own. */
function choiceModel(spec: LinearSpec): Model {
	return linearModel(spec, (b, x) => {
		b.input("flag", DataType.BOOL, []);
		const captured = linearWeight(b, "captured", spec);
		const branch = (name: string, seed: number) =>
			b.subgraph(name, (inner) => {
				linearOutput(inner, spec, linearOp(inner, spec, x, captured, `${name}_captured`));
				const own = linearWeight(inner, `${name}_weight`, { ...spec, seed });
				linearOutput(inner, spec, linearOp(inner, spec, x, own, `${name}_own`));
			});
		b.node("If", ["flag"], ["y0", "y1"], { then_branch: branch("then", 20), else_branch: branch("else", 30) });
		for (const y of ["y0", "y1"]) linearOutput(b, spec, y);
	});
}

/** A weight in a function body, as Constant nodes, and one in the main graph. */
function functionModel(spec: LinearSpec): Model {
	return linearModel(spec, (b, x) => {
		b.function("local", "Linear", (body) => {
			withoutInitializers(body);
			body.input("a");
			const input = spec.activations === "integer" ? quantized(body, "a", INPUT_STEP) : "a";
			body.output(linearOp(body, spec, input, linearWeight(body, "inner_weight", spec), "inner"));
		});
		b.node({ domain: "local", type: "Linear" }, ["x"], ["y"], {}, "call");
		linearOutput(b, spec, "y");
		linearOutput(b, spec, linearOp(b, spec, x, linearWeight(b, "outer_weight", { ...spec, seed: 9 }), "outer"));
	});
}

/** Function bodies have no initializers: makes Constant nodes of them. */
function withoutInitializers(body: GraphBuilder): void {
	body.initializer = (name, tensor) =>
		body.node("Constant", [], [name], { value: tensorAttribute(tensor) }).outputs[0]!;
}

const OPTIONS = (["double-dq", "exact-bq"] as const).flatMap((form) =>
	(["max", "search"] as const).map((fit) => ({ form, fit })),
);

function scaleCount({ depth, channels, blockSize }: Pick<LinearSpec, "depth" | "channels" | "blockSize">): number {
	return (depth / blockSize) * channels;
}

async function outputsOf(model: Uint8Array, spec: LinearSpec, x: Float32Array, flag?: boolean) {
	const feeds = { x: floatFeed(inputShape(spec), x), ...(flag === undefined ? {} : { flag: boolFeed(flag) }) };
	return Object.values(await run(model, feeds)).map(floatsOf);
}

describe.each(CASES)(
	"bq-to-lpbq in ONNX Runtime: $name",
	({ spec: bare, build, operators, weights, flag, floatOnly }) => {
		describe.each(floatOnly ? (["float"] as const) : (["float", "integer"] as const))(
			"%s activations",
			(activations) => {
				const spec: LinearSpec = { ...bare, activations };
				const x = normals(spec.rows * spec.depth, 99);

				test.each(OPTIONS)("$form, $fit", async (options) => {
					const original = serializeModel(build(spec));
					const model = parseModel(original);
					const report = await runPasses(model, [
						bqToLpbq({ ...options, activations: activations === "float" ? "any" : "integer" }),
					]);
					expect(report.weights.map(({ status, form, fit }) => ({ status, form, fit }))).toEqual(
						Array.from({ length: weights }, () => ({ status: "converted", ...options })),
					);
					const converted = serializeModel(model);

					const before = await outputsOf(original, spec, x, flag);
					const after = await outputsOf(converted, spec, x, flag);
					for (const [index, operator] of operators.entries()) {
						expectProduct(before[index]!, parseModel(original), operator, spec, x);
						expectProduct(after[index]!, parseModel(converted), operator, spec, x);
						const reported = report.weights.find(({ node }) => node === operator)!.sqnrDb;
						const [old, now] = [original, converted].map((bytes) => weightAt(parseModel(bytes), operator, spec).flat());
						const actual = sqnrDb(old!, now!);
						expect(actual).toBeGreaterThan(20);
						expect(reported ?? Number.POSITIVE_INFINITY).toBeCloseTo(actual, 2);
						expectAllowedNoise(before[index]!, after[index]!, old!, reported, spec, x);
					}
				});
			},
		);
	},
);

/** ONNX Runtime computes what the reference does, to float rounding and, with integer activations, one step. */
function expectProduct(actual: Float32Array, model: Model, operator: string, spec: LinearSpec, x: Float32Array): void {
	const expected = productAt(model, operator, spec, x);
	if (spec.activations === "float") expect(sqnrDb(expected, actual)).toBeGreaterThan(125);
	else {
		const steps = expected.map((value, index) => Math.abs(value - actual[index]!) / outputStep(spec));
		expect(Math.max(...steps)).toBeLessThan(1.01);
		expect(steps.filter((step) => step > 0.5).length).toBeLessThan(steps.length / 50);
	}
}

/** The outputs differ by what weights that are off by the reported error do to inputs of this size, and rounding. */
function expectAllowedNoise(
	before: Float32Array,
	after: Float32Array,
	weight: readonly number[],
	reportedDb: number | null | undefined,
	spec: LinearSpec,
	x: Float32Array,
): void {
	const weightError = energy(weight) * 10 ** (-(reportedDb ?? Number.POSITIVE_INFINITY) / 10);
	const rounding = spec.activations === "float" ? 0 : before.length * outputStep(spec) ** 2;
	const allowed = (energy(x) / spec.depth) * weightError * 1.5 + rounding;
	expect(energy(before.map((value, index) => value - after[index]!))).toBeLessThan(allowed);
}

function energy(values: ArrayLike<number>): number {
	return Array.from(values).reduce((sum, value) => sum + value * value, 0);
}

describe("new weights are made when they are written, in pieces of any size", () => {
	test.each(OPTIONS.flatMap((options) => [matMul, gemm, conv].map((bare) => ({ ...options, ...bare }))))(
		"$op, $form, $fit",
		async ({ form, fit, ...bare }) => {
			const model = linearModel({
				...bare,
				activations: "float",
				scales: withSigns(spreadScales(scaleCount(bare), 8)),
			});
			await runPasses(model, [bqToLpbq({ form, fit, activations: "any" })]);
			for (const { initializer } of model.graph.initializers) {
				const { data } = initializer!;
				const pieces: Uint8Array[] = [];
				for (let at = 0; at < data.byteLength; at += 37) {
					pieces.push(data.read(at, Math.min(at + 37, data.byteLength)).slice());
				}
				expect(Buffer.concat(pieces)).toEqual(Buffer.from(readAll(data)));
			}
		},
	);
});

describe("models that were annotated", () => {
	test.each([matMul, gemm, conv] as const)(
		"$op: the saved annotations do not change what is computed",
		async (bare) => {
			const spec: LinearSpec = { ...bare, activations: "integer" };
			const x = normals(spec.rows * spec.depth, 3);
			const model = linearModel(spec);
			const plain = serializeModel(model);
			await runPasses(model, [annotateBlockQuant(), saveAnnotations()]);
			const annotated = serializeModel(model);
			expect(annotated.byteLength).toBeGreaterThan(plain.byteLength);
			expect(await outputsOf(annotated, spec, x)).toEqual(await outputsOf(plain, spec, x));

			await runPasses(model, [bqToLpbq(), annotateBlockQuant(), saveAnnotations()]);
			const converted = serializeModel(model);
			expect(new TextDecoder("latin1").decode(converted)).toContain("lpbq");
			const [after] = await outputsOf(converted, spec, x);
			expectProduct(after!, parseModel(converted), "y_op", spec, x);
		},
	);

	test("float activations stop the conversion, and nothing changes", async () => {
		const model = linearModel({ ...matMul, activations: "float" });
		const before = serializeModel(model);
		const report = await runPasses(model, [bqToLpbq()]);
		expect(report.weights.map(({ code }) => code)).toEqual(["weight/float-activations"]);
		expect(Buffer.compare(serializeModel(model), before)).toBe(0);
	});
});
