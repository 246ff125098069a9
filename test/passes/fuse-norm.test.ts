import { describe, expect, test } from "vitest";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { fuseLayerNorm } from "../../src/passes/fuse-layer-norm.js";
import { fuseRmsNorm } from "../../src/passes/fuse-rms-norm.js";
import { runPasses } from "../../src/run-passes.js";
import { parseTarget } from "../../src/targets/target.js";
import { normals } from "../runtime/models.js";
import { ModelBuilder } from "../support/build.js";
import { Expression } from "../support/expression.js";
import { golden } from "../support/golden.js";
import { floatFeed } from "../support/ort.js";
import { expectSameOutputs } from "../support/same-outputs.js";
import { quantized } from "../support/weights.js";

const SHAPE = [2, 3, 8];
const SCALE = normals(8, 1).map((value) => 1 + value / 4);
const BIAS = normals(8, 2);
const feeds = { x: floatFeed(SHAPE, normals(48, 3)) };

type Write = (e: Expression, x: string) => string;
/** The operator that divides, given the centered value and the variance with epsilon. */
type Divide = (e: Expression, value: string, variance: string) => string;

function mean(e: Expression, value: string, axis = -1, asAttribute = false): string {
	if (asAttribute) return e.apply("ReduceMean", [value], { axes: intsAttribute([axis]), keepdims: intAttribute(1) });
	return e.call("ReduceMean", value, e.constant(int64Tensor([1], [axis])));
}

const bySqrt: Divide = (e, value, variance) => e.call("Div", value, e.call("Sqrt", variance));
const byReciprocal: Divide = (e, value, variance) =>
	e.call("Mul", e.call("Reciprocal", e.call("Sqrt", variance)), value);
const byOneOver: Divide = (e, value, variance) => e.call("Mul", value, e.call("Div", 1, e.call("Sqrt", variance)));
const byPower = (e: Expression, value: string) => e.call("Pow", value, 2);
const byProduct = (e: Expression, value: string) => e.call("Mul", value, value);

function rms(divide = bySqrt, square = byPower, axis = -1, asAttribute = false): Write {
	return (e, x) => divide(e, x, e.call("Add", mean(e, square(e, x), axis, asAttribute), 1e-3));
}

function layer(divide = bySqrt, square = byPower, axis = -1, asAttribute = false): Write {
	return (e, x) => rms(divide, square, axis, asAttribute)(e, e.call("Sub", x, mean(e, x, axis, asAttribute)));
}

/** x - mean(x) computed twice, for the square and for the quotient. */
function twiceCentered(divide = bySqrt): Write {
	return (e, x) => {
		const squared = byPower(e, e.call("Sub", x, mean(e, x)));
		return divide(e, e.call("Sub", x, mean(e, x)), e.call("Add", mean(e, squared), 1e-3));
	};
}

const scaled =
	(normalize: Write): Write =>
	(e, x) =>
		e.call("Mul", normalize(e, x), e.vector(SCALE));
const biased =
	(normalize: Write): Write =>
	(e, x) =>
		e.call("Add", e.vector(BIAS), scaled(normalize)(e, x));

function model(write: Write, { opset = 21, qdq = false, shape = SHAPE as readonly (number | string)[] } = {}) {
	const builder = new ModelBuilder({ opset, irVersion: 9 });
	builder.input("x", DataType.FLOAT, shape);
	const result = write(new Expression(builder), qdq ? quantized(builder, "x") : "x");
	builder.node("Identity", [qdq ? quantized(builder, result) : result], ["y"]);
	builder.output("y");
	return builder.build();
}

const types = ({ graph }: ReturnType<typeof model>) => Array.from(graph.nodes, ({ op }) => op.type);
const isView = (type: string) => type !== "Identity";

const LAYERS: Readonly<Record<string, Write>> = {
	"Div, Pow": biased(layer()),
	"Reciprocal, Mul": biased(layer(byReciprocal, byProduct)),
	"1 /": biased(layer(byOneOver)),
	"axis counted from the front": biased(layer(bySqrt, byPower, 2)),
	"centered twice": biased(twiceCentered()),
	"centered twice, Reciprocal": biased(twiceCentered(byReciprocal)),
	"no bias": scaled(layer()),
	"neither scale nor bias": layer(),
	"bias only": (e, x) => e.call("Add", layer()(e, x), e.vector(BIAS)),
	"one scale for all, bias of three dimensions": (e, x) =>
		e.call("Add", e.call("Mul", 3, layer()(e, x)), e.constant(floatTensor([1, 1, 8], BIAS))),
};
const RMS: Readonly<Record<string, Write>> = {
	"Div, Pow": scaled(rms()),
	"Reciprocal, Mul": scaled(rms(byReciprocal, byProduct)),
	"1 /": scaled(rms(byOneOver, byPower, 2)),
	"no scale": rms(),
};

describe("fuse-layer-norm", () => {
	test.each(Object.entries(LAYERS))("%s", async (_name, write) => {
		const made = model(write);
		const report = await expectSameOutputs(made, fuseLayerNorm(), feeds);
		expect(report.diagnostics).toEqual([]);
		expect(types(made).filter(isView)).toEqual(["LayerNormalization"]);
	});

	test("axes as attribute", async () => {
		const made = model(biased(layer(bySqrt, byPower, -1, true)), { opset: 17 });
		await expectSameOutputs(made, fuseLayerNorm(), feeds);
		expect(types(made).filter(isView)).toEqual(["LayerNormalization"]);
	});

	test("between Q/DQ", async () => {
		await golden(fuseLayerNorm(), "quantized", model(LAYERS["Div, Pow"]!, { qdq: true }));
	});

	test("float16 that is computed as float", async () => {
		const builder = new ModelBuilder();
		builder.input("x", DataType.FLOAT16, SHAPE);
		const half = new Expression(builder, DataType.FLOAT16, "half_");
		const wide = half.apply("Cast", ["x"], { to: intAttribute(DataType.FLOAT) });
		const normal = layer()(new Expression(builder), wide);
		const narrow = half.apply("Cast", [normal], { to: intAttribute(DataType.FLOAT16) });
		builder.output(half.call("Add", half.call("Mul", narrow, half.vector(SCALE)), half.vector(BIAS)));
		await golden(fuseLayerNorm(), "float16", builder.build());
	});

	test("a bias that another node reads, too, and a scale of a subgraph", async () => {
		const builder = new ModelBuilder();
		builder.input("x", DataType.FLOAT, SHAPE);
		builder.input("choice", DataType.BOOL, []);
		const e = new Expression(builder);
		const bias = e.vector(BIAS);
		const branch = (name: string) =>
			builder.subgraph(name, (inner) => {
				const body = new Expression(inner, DataType.FLOAT, `${name}_`);
				inner.output(body.call("Add", scaled(layer())(body, "x"), bias));
			});
		builder.node("If", ["choice"], ["chosen"], { then_branch: branch("then"), else_branch: branch("else") });
		builder.output(e.call("Add", "chosen", bias));
		await golden(fuseLayerNorm(), "places", builder.build());
	});
});

describe("fuse-layer-norm leaves", () => {
	test.each([
		["fuse/opset", model(biased(layer(bySqrt, byPower, -1, true)), { opset: 13 })],
		["fuse/axis", model(biased(layer(bySqrt, byPower, 1)))],
		["fuse/parameter", model(biased(layer()), { shape: [2, 3, "channels"] })],
		["fuse/parameter", model((e, x) => e.call("Mul", layer()(e, x), e.constant(floatTensor([1, 1, 1, 8], SCALE))))],
		[
			"fuse/quantized",
			model((e, x) => e.call("Mul", quantized(e.graph, layer()(e, x)), e.vector(SCALE)), { qdq: true }),
		],
		[
			"fuse/shared",
			model((e, x) => {
				const centered = e.call("Sub", x, mean(e, x));
				e.graph.output(centered);
				return rms()(e, centered);
			}),
		],
	])("%s", async (code, made) => {
		const report = await runPasses(made, [fuseLayerNorm()]);
		expect(report.passes[0]!.changed).toBe(false);
		expect(report.diagnostics).toMatchObject([{ code }]);
	});

	test("Q/DQ inside, unless it is told not to", async () => {
		const made = model((e, x) => e.call("Mul", quantized(e.graph, layer()(e, x)), e.vector(SCALE)), { qdq: true });
		await expectSameOutputs(made, fuseLayerNorm({ quantized: "fuse" }), feeds, { tolerance: 1e-3 });
		expect(types(made)).toContain("LayerNormalization");
	});

	test("RMS normalization", async () => {
		await golden(fuseLayerNorm(), "rms", model(RMS["Div, Pow"]!));
	});
});

describe("fuse-rms-norm", () => {
	test.each(Object.entries(RMS))("%s", async (_name, write) => {
		for (const [opset, operator] of [
			[21, "SimplifiedLayerNormalization"],
			[23, "RMSNormalization"],
		] as const) {
			const made = model(write, { opset });
			const report = await expectSameOutputs(made, fuseRmsNorm(), feeds);
			expect(report.diagnostics).toEqual([]);
			expect(types(made).filter(isView)).toEqual([operator]);
		}
	});

	test("between Q/DQ", async () => {
		await golden(fuseRmsNorm(), "quantized", model(RMS["Div, Pow"]!, { qdq: true }));
	});

	test("for a target the scale is quantized as x is", async () => {
		const made = model(RMS["Div, Pow"]!, { qdq: true });
		const target = parseTarget("qnn-htp:v73");
		await expectSameOutputs(made, fuseRmsNorm(), feeds, { tolerance: 1e-3, target });
		const norm = [...made.graph.nodes].find(({ op }) => op.type === "SimplifiedLayerNormalization");
		expect(norm!.inputs[1]!.producer!.op.type).toBe("DequantizeLinear");
	});

	test("leaves other axes, and layer normalization", async () => {
		await golden(fuseRmsNorm(), "kept-fuse-axis", model(scaled(rms(bySqrt, byPower, 1))));
		expect((await runPasses(model(layer()), [fuseRmsNorm()])).passes[0]!.changed).toBe(false);
	});
});

describe("fuse-rms-norm, operators that are there already", () => {
	const operator = (name: string, opset: number, stored = true) =>
		model(
			(e, x) => {
				const scale = e.vector(SCALE);
				return e.apply(name, [x, stored ? scale : e.call("Relu", scale)], { axis: intAttribute(-1) });
			},
			{ opset, qdq: true },
		);

	test("get a quantized scale for a target", async () => {
		const target = parseTarget("qnn-htp:v68");
		await golden(fuseRmsNorm(), "operator", operator("RMSNormalization", 23), { target });
		const made = operator("SimplifiedLayerNormalization", 21);
		const report = await expectSameOutputs(made, fuseRmsNorm(), feeds, { target, tolerance: 1e-3 });
		expect(report.passes[0]!.stats).toEqual({ "scales quantized": 1 });
	});

	test("keep it without a target, and where it is computed", async () => {
		for (const [made, options] of [
			[operator("RMSNormalization", 23), {}],
			[operator("RMSNormalization", 23, false), { target: parseTarget("qnn-htp:v68") }],
		] as const) {
			expect((await runPasses(made, [fuseRmsNorm()], options)).passes[0]!.changed).toBe(false);
		}
	});
});
