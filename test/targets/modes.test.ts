import { describe, expect, test } from "vitest";
import { type Attribute, intAttribute, intsAttribute, stringAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount, tensorType } from "../../src/ir/types.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { pair } from "../runtime/operator-models.js";
import { ModelBuilder, modelOf } from "../support/build.js";
import { int4Tensor, quantized, randomScales } from "../support/weights.js";

/* Attributes of operators, shapes of biases, and constants with several scales: with the fault, and without, as the emulator showed. */

const { FLOAT, INT8, UINT16 } = DataType;

const findingsOf = (fill: (b: ModelBuilder) => void) => checkModel(modelOf(fill), parseTarget("qnn-htp:v79"));

async function rulesOf(fill: (b: ModelBuilder) => void): Promise<string[]> {
	const findings = await findingsOf(fill);
	return findings.filter(({ consequence }) => consequence !== "slow").map(({ rule }) => rule);
}

const IMAGE = [1, 4, 6, 9];

const titleOf = ([op, attributes, pads]: Case) => `${op} with ${Object.keys(attributes).join(", ")} [${pads ?? ""}]`;

type Case = readonly [op: string, attributes: Readonly<Record<string, Attribute>>, pads?: readonly number[]];
const ints = (...values: number[]) => intsAttribute(values);
const kernel = (...values: number[]) => ({ kernel_shape: ints(...values) });

describe("modes", () => {
	async function rulesOfMode([op, attributes, pads]: Case, shape: readonly number[], isFloat = false) {
		return rulesOf((b) => {
			b.input("x", FLOAT, shape);
			if (pads !== undefined) b.initializer("pads", int64Tensor([pads.length], pads));
			if (op === "CumSum") b.initializer("axis", int64Tensor([], [3]));
			const rest = pads !== undefined ? ["pads"] : op === "CumSum" ? ["axis"] : [];
			b.node(op, [isFloat ? "x" : quantized(b, "x"), ...rest], ["y"], attributes);
			if (op === "ArgMax") b.output("y").type = tensorType(DataType.INT64, undefined);
			else b.output(isFloat ? "y" : quantized(b, "y"));
		});
	}

	const refused: [Case, readonly number[], boolean][] = [
		[["MaxPool", { ...kernel(2, 2), dilations: ints(2, 2) }], IMAGE, true],
		[["MaxPool", { ...kernel(2, 2), dilations: ints(1, 1) }], IMAGE, false],
		[["MaxPool", kernel(2, 2, 2)], [1, 4, 4, 5, 6], true],
		[["AveragePool", kernel(2, 2, 2)], [1, 4, 4, 5, 6], false],
		[["ArgMax", { axis: intAttribute(1), select_last_index: intAttribute(1) }], IMAGE, true],
		[["ArgMax", { axis: intAttribute(1) }], IMAGE, false],
		[["CumSum", { reverse: intAttribute(1) }], IMAGE, true],
		[["CumSum", {}], IMAGE, false],
		[["Pad", { mode: stringAttribute("wrap") }, [0, 0, 1, 1, 0, 0, 1, 1]], IMAGE, true],
		[["Pad", { mode: stringAttribute("reflect") }, [0, 0, -1, 1, 0, 0, 1, 1]], IMAGE, true],
		[["Pad", { mode: stringAttribute("reflect") }, [0, 0, 1, 1, 0, 0, 1, 1]], IMAGE, false],
		[["Pad", {}, [0, 0, -1, 1, 0, 0, 1, 1]], IMAGE, false],
		[["Pad", { mode: stringAttribute("edge") }, [0, 0, 0, 1, 1, 0, 0, 0, 1, 1]], [1, 4, 3, 4, 5], true],
		[["Pad", {}, [0, 0, 0, 1, 1, 0, 0, 0, 1, 1]], [1, 4, 3, 4, 5], false],
	];
	test.each(refused.map((one) => [titleOf(one[0]), ...one] as const))("%s is refused or not", async (...row) => {
		const [, given, shape, isRefused] = row;
		expect(await rulesOfMode(given, shape)).toEqual(isRefused ? ["htp/operator-mode"] : []);
	});

	const pool = (size: number, stride: number) => ({
		...kernel(size, size),
		strides: ints(stride, stride),
		ceil_mode: intAttribute(1),
	});
	const wrong: [Case, readonly number[], boolean, boolean][] = [
		[["AveragePool", pool(2, 2)], [1, 4, 5, 8], false, true],
		[["AveragePool", pool(3, 2)], [1, 4, 7, 9], false, false],
		[["MaxPool", pool(2, 2)], [1, 4, 5, 8], false, false],
		[["MaxPool", pool(2, 3)], [1, 4, 6, 9], false, true],
		[["Pad", { mode: stringAttribute("edge") }, [0, 0, 1, 1, 0, 0, 1, 1]], IMAGE, true, true],
		[["Pad", { mode: stringAttribute("edge") }, [0, 0, 1, 1, 0, 0, 1, 1]], IMAGE, false, false],
		[["Pad", { mode: stringAttribute("edge") }, [0, 1, 0, 0, 0, 2, 0, 0]], IMAGE, true, false],
	];
	test.each(wrong.map((one) => [titleOf(one[0]), ...one] as const))("%s is wrong or not", async (...row) => {
		const [, given, shape, isFloat, isWrong] = row;
		expect(await rulesOfMode(given, shape, isFloat)).toEqual(isWrong ? ["htp/operator-mode-wrong"] : []);
	});

	test.each([
		[[0, 0, 0, 0, 0, 0, 1, 1], IMAGE, "htp/pad-ends"],
		[[0, 0, 0, 0, 0, 1, 0, 1], IMAGE, "htp/pad-ends"],
		[[0, 0, 1, 0, 0, 0, 1, 1], IMAGE, "htp/pad-ends"],
		[[0, 0, 1, 0, 0, 0, 0, 1], IMAGE, ""],
		[[0, 0, 0, 0, 0, 1, 1, 0], IMAGE, ""],
		[[0, 0, 0, 0, 0, 0, 0, 2], IMAGE, ""],
		[[0, 0, 0, 1, 0, 0, 1, 1], IMAGE, ""],
		[[0, 0, 0, -1, 0, 0, 1, 1], IMAGE, ""],
		[[0, 0, 1, 1], [5, 9], "htp/pad-ends"],
		[[0, 0, 0, 0, 0, 0, 0, 0, 1, 1], [1, 4, 5, 6, 7], ""],
	])("a Pad of constants by [%s]", async (pads, shape, rule) => {
		const rules = await rulesOfMode(["Pad", {}, pads], shape);
		expect(rules).toEqual(rule === "" ? [] : [rule]);
	});

	test.each([
		[[0, 0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0, 2], true],
		[[0, 0, 0, 0, 0, 0, 0, 2], [0, 0, 0, 0, 0, 0, 1, 0], true],
		[[0, 0, 0, 1, 0, 0, 0, 2], [0, 0, 0, 0, 0, 0, 1, 0], false],
		[[0, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 2], false],
	])("a Pad by [%s] and another by [%s]", async (first, second, isBroken) => {
		const rules = await rulesOf((b) => {
			b.input("x", FLOAT, IMAGE);
			b.initializer("first", int64Tensor([8], first));
			b.initializer("second", int64Tensor([8], second));
			b.node("Pad", [quantized(b, "x"), "first"], ["rows"]);
			b.node("Pad", [quantized(b, "rows"), "second"], ["y"]);
			b.output(quantized(b, "y"));
		});
		expect(rules).toEqual(isBroken ? ["htp/pad-ends"] : []);
	});

	test.each([
		["half_pixel", "round_prefer_floor", 2, ""],
		["half_pixel", "round_prefer_floor", 1.5, "htp/operator-mode-wrong"],
		["half_pixel", "round_prefer_ceil", 1.5, ""],
		["half_pixel", "ceil", 0.5, ""],
		["half_pixel", "floor", 0.5, "htp/operator-mode-wrong"],
		["pytorch_half_pixel", "round_prefer_floor", 1.5, ""],
		["pytorch_half_pixel", "round_prefer_ceil", 1.5, "htp/operator-mode-wrong"],
		["pytorch_half_pixel", "floor", 0.5, ""],
		["align_corners", "round_prefer_floor", 2, ""],
		["align_corners", "floor", 2, "htp/operator-mode-wrong"],
		["asymmetric", "floor", 1.5, ""],
		["asymmetric", "round_prefer_ceil", 2, "htp/operator-mode-wrong"],
		["asymmetric", "round_prefer_ceil", 0.5, ""],
		["asymmetric", "ceil", 0.5, "htp/operator-mode"],
	])("a Resize with %s, %s, by %d", async (coordinates, nearest, scale, rule) => {
		const rules = await rulesOf((b) => {
			b.input("x", FLOAT, [1, 4, 6, 10]);
			b.initializer("scales", floatTensor([4], [1, 1, scale, scale]));
			const attributes = {
				coordinate_transformation_mode: stringAttribute(coordinates),
				nearest_mode: stringAttribute(nearest),
			};
			b.node("Resize", [quantized(b, "x"), "", "scales"], ["y"], attributes);
			b.output(quantized(b, "y"));
		});
		expect([...new Set(rules)].at(-1) ?? "").toBe(rule);
	});
});

/** Codes with one scale a channel, in blocks of 4 inputs, or with one. */
function constant(b: ModelBuilder, shape: readonly number[], scheme: "channel" | "block" | "one"): string {
	const scaleShape = { channel: [shape[1]!], block: [shape[0]! / 4, shape[1]!], one: [] }[scheme];
	const stored = (dims: readonly number[]) =>
		scheme === "block"
			? int4Tensor(dims, new Int8Array(elementCount(dims)))
			: tensor(INT8, dims, new Uint8Array(elementCount(dims)));
	b.initializer("w", stored(shape));
	b.initializer("w_scale", floatTensor(scaleShape, randomScales(elementCount(scaleShape), 2)));
	b.initializer("w_zero", stored(scaleShape));
	const attributes = {
		channel: { axis: intAttribute(1) },
		block: { axis: intAttribute(0), block_size: intAttribute(4) },
		one: {},
	}[scheme];
	b.node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_dq"], attributes);
	return "w_dq";
}

test.each([
	["Add", "channel", ["htp/several-scales"]],
	["Mul", "block", ["htp/several-scales"]],
	["Concat", "channel", ["htp/several-scales"]],
	["Add", "one", []],
] as const)("%s of a constant, scales by %s", async (op, scheme, rules) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [8, 16]);
		b.node(
			op,
			[quantized(b, "x"), constant(b, [8, 16], scheme)],
			["y"],
			op === "Concat" ? { axis: intAttribute(0) } : {},
		);
		b.output(quantized(b, "y"));
	});
	expect(found).toEqual(rules);
});

test.each([
	["Reshape", "channel", ["htp/weight-view"]],
	["Identity", "channel", []],
	["Reshape", "one", []],
	["Slice", "channel", ["htp/several-scales"]],
] as const)("%s between a weight with scales by %s and its MatMul", async (op, scheme, rules) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [5, 8]);
		b.initializer("shape", int64Tensor([2], [8, 16]));
		for (const [name, value] of [
			["starts", 0],
			["ends", 16],
			["axes", 1],
		] as const)
			b.initializer(name, int64Tensor([1], [value]));
		const rest = { Reshape: ["shape"], Identity: [], Slice: ["starts", "ends", "axes"] }[op];
		b.node(op, [constant(b, [8, 16], scheme), ...rest], ["seen"]);
		b.node("MatMul", [quantized(b, "x"), "seen"], ["y"]);
		b.output(quantized(b, "y"));
	});
	expect(found.filter((rule) => rule === "htp/weight-view" || rule === "htp/several-scales")).toEqual(rules);
});

test.each([
	["left operand", true, ["htp/several-scales"]],
	["right operand", false, []],
] as const)("a weight of one scale a channel as %s", async (_name, isLeft, rules) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, isLeft ? [16, 5] : [5, 8]);
		const [activation, weight] = [quantized(b, "x"), constant(b, [8, 16], "channel")];
		b.node("MatMul", isLeft ? [weight, activation] : [activation, weight], ["y"]);
		b.output(quantized(b, "y"));
	});
	expect(found.filter((rule) => rule === "htp/several-scales")).toEqual(rules);
});

test.each([
	[16, ["htp/activation-scales"]],
	[1, []],
] as const)("an activation with %i scales", async (count, rules) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [8, 16]);
		b.initializer("s", floatTensor([count], new Array(count).fill(0.001)));
		b.initializer("z", tensor(UINT16, [count], new Uint8Array(2 * count)));
		b.node("QuantizeLinear", ["x", "s", "z"], ["codes"], { axis: intAttribute(1) });
		b.node("DequantizeLinear", ["codes", "s", "z"], ["values"], { axis: intAttribute(1) });
		b.node("Relu", ["values"], ["y"]);
		b.output(quantized(b, "y"));
	});
	expect(found).toEqual(rules);
});

test.each([
	[[16], "channel", false],
	[[1], "channel", true],
	[[], "channel", true],
	[[1, 16], "channel", true],
	[[5, 1], "channel", true],
	[[1], "one", true],
	[[], "one", false],
	[[5, 16], "one", false],
] as const)("a bias of %j beside scales by %s", async (shape, scheme, isBroken) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [5, 8]);
		b.initializer("bias", floatTensor(shape, new Array(elementCount(shape)).fill(0.01)));
		b.node("Gemm", [quantized(b, "x"), constant(b, [8, 16], scheme), "bias"], ["y"]);
		b.output(quantized(b, "y"));
	});
	expect(found).toEqual(isBroken ? ["htp/gemm-bias-shape"] : []);
});

test.each([
	["int4", [6, 4, 2, 2, 2], true],
	["int8", [6, 4, 2, 2, 2], false],
	["int4", [6, 4, 2, 2], false],
] as const)("a convolution with %s %j", async (bits, shape, isBroken) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [1, 4, ...shape.slice(2).map(() => 5)]);
		const stored = (dims: readonly number[]) =>
			bits === "int4"
				? int4Tensor(dims, new Int8Array(elementCount(dims)))
				: tensor(INT8, dims, new Uint8Array(elementCount(dims)));
		b.initializer("w", stored(shape));
		b.initializer("w_scale", floatTensor([6], randomScales(6, 2)));
		b.initializer("w_zero", stored([6]));
		b.node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_dq"], { axis: intAttribute(0) });
		b.node("Conv", [quantized(b, "x"), "w_dq"], ["y"]);
		b.output(quantized(b, "y"));
	});
	expect(found).toEqual(isBroken ? ["htp/conv-int4-volume"] : []);
});

describe("scales of a Resize", () => {
	async function rulesOfResize(length: number, scale: number, mode: string, coordinates: string): Promise<string[]> {
		return rulesOf((b) => {
			b.input("x", FLOAT, [1, 4, length, 8]);
			b.initializer("scales", floatTensor([4], [1, 1, scale, 2]));
			const attributes = { mode: stringAttribute(mode), coordinate_transformation_mode: stringAttribute(coordinates) };
			b.node("Resize", [quantized(b, "x"), "", "scales"], ["y"], attributes);
			b.output(quantized(b, "y"));
		});
	}

	test.each([
		[7, 1.5, "linear", "half_pixel", ["htp/resize-scale"]],
		[7, 1.5, "linear", "asymmetric", ["htp/resize-scale"]],
		[9, 0.5, "linear", "pytorch_half_pixel", ["htp/resize-scale"]],
		[7, 1.5, "linear", "align_corners", []],
		[8, 1.5, "linear", "half_pixel", []],
		[10, 0.6, "linear", "half_pixel", []],
		[7, 1.5, "cubic", "half_pixel", ["htp/resize-cubic"]],
		[7, 1.5, "cubic", "align_corners", ["htp/resize-cubic"]],
		[7, 3, "cubic", "half_pixel", []],
		[7, 3, "linear", "half_pixel_symmetric", ["htp/operator-mode"]],
	] as const)("%d elements times %d, %s, %s", async (length, scale, mode, coordinates, expected) => {
		expect(await rulesOfResize(length, scale, mode, coordinates)).toEqual(expected);
	});
});

describe("a Conv of floats", () => {
	async function rulesOfConv(kernel: readonly number[], pads: readonly number[], fill: Record<string, Attribute> = {}) {
		return rulesOf((b) => {
			b.input("x", FLOAT, IMAGE);
			b.initializer("w", floatTensor([4, 4, ...kernel], new Float32Array(16 * elementCount(kernel))));
			b.node("Conv", ["x", "w"], ["y"], { pads: ints(...pads), ...fill });
			b.output("y");
		});
	}
	const found = ["htp/conv-empty-window"];

	test.each([
		[[3, 3], [3, 1, 1, 1], {}, found],
		[[3, 3], [1, 3, 1, 1], {}, found],
		[[1, 3], [1, 1, 1, 1], {}, found],
		[[3, 3], [2, 2, 3, 3], {}, []],
		[[1, 1], [2, 2, 2, 2], {}, []],
		[[3, 3], [4, 4, 4, 4], { strides: ints(2, 2) }, []],
		[[3, 3], [5, 5, 5, 5], { dilations: ints(2, 2) }, []],
	] as const)("of %j with pads %j and %o", async (kernel, pads, attributes, expected) => {
		expect(await rulesOfConv(kernel, pads, attributes as Record<string, Attribute>)).toEqual(expected);
	});
});

test("a Gather of rank 5 by a matrix, no axes, scales that are an input, small types and no elements are refused", async () => {
	const gathered = (shape: readonly number[], indices: readonly number[]) =>
		rulesOf((b) => {
			b.input("x", FLOAT, shape);
			b.initializer("at", int64Tensor(indices, new Array<number>(elementCount(indices)).fill(0)));
			b.node("Gather", ["x", "at"], ["y"]);
			b.output("y");
		});
	expect(await gathered([3, 4, 5, 6], [2, 3])).toEqual(["htp/gather-rank"]);
	expect(await gathered([3, 4, 5, 6, 2], [2])).toEqual([]);
	expect(await gathered([3, 4, 5], [2, 3])).toEqual([]);
	expect(await gathered([3, 4, 5], [0])).toEqual(["htp/empty"]);
	const ranges = await rulesOf((b) => {
		b.input("x", FLOAT, IMAGE);
		b.node("Shape", ["x"], ["y"], { start: intAttribute(2), end: intAttribute(1) });
		b.output("y").type = tensorType(DataType.INT64, [0]);
	});
	expect(ranges).toEqual([]);
	const reduced = await rulesOf((b) => {
		b.input("x", FLOAT, IMAGE);
		b.initializer("axes", int64Tensor([0], []));
		b.node("ReduceSum", ["x", "axes"], ["y"], { noop_with_empty_axes: intAttribute(1) });
		b.output("y");
	});
	expect(reduced).toEqual(["htp/operator-form"]);
	const scaled = await rulesOf((b) => {
		b.input("x", FLOAT, IMAGE);
		b.input("scale", FLOAT, []);
		b.node("QuantizeLinear", ["x", "scale"], ["q"]);
		b.node("DequantizeLinear", ["q", "scale"], ["y"]);
		b.output("y");
	});
	expect(scaled).toEqual(["htp/computed-parameter", "htp/computed-parameter"]);
	const small = await rulesOf((b) => {
		b.input("x", DataType.BFLOAT16, IMAGE);
		b.node("Cast", ["x"], ["y"], { to: intAttribute(FLOAT) });
		b.output("y");
	});
	expect(small).toEqual(["htp/element-type"]);
	const doubled = await rulesOf((b) => {
		b.input("x", DataType.DOUBLE, IMAGE);
		b.node("Neg", ["x"], ["y"]);
		b.output("y");
	});
	expect(doubled).toEqual(["htp/double"]);
	const chosen = await rulesOf((b) => {
		b.input("x", FLOAT, IMAGE);
		b.input("positive", DataType.BOOL, [1]);
		const branch = (operator: string) =>
			b.subgraph(operator, (inner) => {
				inner.node(operator, ["x"], [operator]);
				inner.output(operator);
			});
		b.node("If", ["positive"], ["y"], { then_branch: branch("Abs"), else_branch: branch("Neg") });
		b.output("y");
	});
	expect(chosen).toEqual(["htp/control-flow"]);
});

/** All rules about samples and boxes, those of precision too. */
async function samplingRules(fill: (b: ModelBuilder) => void): Promise<string[]> {
	const findings = await checkModel(modelOf(fill), parseTarget("qnn-htp:v79"));
	return findings.filter(({ rule }) => /grid-sample|roi|operator-mode/.test(rule)).map(({ rule }) => rule);
}

test.each([
	["linear", [1, 2, 128, 64], false, []],
	["linear", [1, 2, 64, 129], false, ["htp/grid-sample-floats"]],
	["linear", [1, 2, 64, 512], true, []],
	["nearest", [1, 2, 8, 8], false, ["htp/grid-sample-floats"]],
	["nearest", [1, 2, 64, 64], true, []],
] as const)("a %s GridSample of %j, between codes: %s", async (mode, shape, isQuantized, rules) => {
	const found = await samplingRules((b) => {
		const wrap = (name: string) => (isQuantized ? quantized(b, name) : name);
		b.input("x", FLOAT, shape);
		b.input("grid", FLOAT, [1, 5, 7, 2]);
		b.node("GridSample", [wrap("x"), wrap("grid")], ["y"], { mode: stringAttribute(mode) });
		b.output(wrap("y"));
	});
	expect(found).toEqual(rules);
});

test.each([
	["inputs", [1, 2, 200, 300], "avg", []],
	["reshaped", [1, 2, 200, 300], "avg", []],
	["multiplied", [1, 2, 200, 300], "avg", ["htp/roi-boxes"]],
	["quantized", [1, 2, 200, 300], "avg", ["htp/roi-boxes"]],
	["multiplied", [1, 2, 64, 64], "avg", []],
	["inputs", [1, 2, 20, 30], "max", ["htp/operator-mode"]],
] as const)("a RoiAlign whose boxes are %s, over %j, %s", async (boxes, shape, mode, rules) => {
	const found = await samplingRules((b) => {
		b.input("x", FLOAT, shape);
		b.input("boxes", FLOAT, boxes === "reshaped" ? [1, 5, 4] : [5, 4]);
		b.initializer("images", int64Tensor([5], [0, 0, 0, 0, 0]));
		b.initializer("shape", int64Tensor([2], [5, 4]));
		b.initializer("two", floatTensor([], [2]));
		if (boxes === "reshaped") b.node("Reshape", ["boxes", "shape"], ["given"]);
		if (boxes === "multiplied") b.node("Mul", ["boxes", "two"], ["given"]);
		const given = boxes === "inputs" ? "boxes" : boxes === "quantized" ? quantized(b, "boxes") : "given";
		b.node("RoiAlign", ["x", given, "images"], ["y"], { mode: stringAttribute(mode) });
		b.output("y");
	});
	expect(found).toEqual(rules);
});

test.each([
	["v79", 255, []],
	["v79", 256, ["htp/channel-scale-large"]],
	["v68", 16, []],
	["v68", 17, ["htp/channel-scale-large"]],
] as const)(
	"on %s, a product of 8 bits with steps %i times those of the result",
	async (architecture, ratio, rules) => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [3, 16]);
			b.initializer("w", int4Tensor([16, 6], new Int8Array(96).fill(1)));
			b.initializer("w_scale", floatTensor([], [ratio * 2 ** -10]));
			b.initializer("w_zero", int4Tensor([], Int8Array.of(0)));
			b.node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_dq"]);
			const x = pair(b, "x", { dtype: DataType.UINT8, scale: 2 ** -5 });
			b.node("MatMul", [x, "w_dq"], ["y"]);
			b.output(pair(b, "y", { dtype: DataType.UINT8, scale: 2 ** -15 }));
		});
		const findings = await checkModel(model, parseTarget(`qnn-htp:${architecture}`));
		expect(findings.filter(({ rule }) => rule.includes("channel-scale")).map(({ rule }) => rule)).toEqual(rules);
	},
);

test("strings, and a NegativeLogLikelihoodLoss of rank 5, are refused", async () => {
	const strings = await rulesOf((b) => {
		b.input("x", DataType.STRING, [2]);
		b.node("Identity", ["x"], ["y"]);
		b.output("y").type = tensorType(DataType.STRING, [2]);
	});
	const loss = (shape: readonly number[]) =>
		rulesOf((b) => {
			b.input("x", FLOAT, shape);
			b.input("classes", DataType.INT64, [shape[0]!, ...shape.slice(2)]);
			b.node("NegativeLogLikelihoodLoss", ["x", "classes"], ["y"], { reduction: stringAttribute("none") });
			b.output("y");
		});
	expect(strings).toEqual(["htp/element-type"]);
	expect(await loss([3, 5, 6, 6, 5])).toEqual(["htp/operator-form"]);
	expect(await loss([3, 5, 6, 6])).toEqual([]);
});

const CLIP = { min: { kind: "float", value: 0 }, max: { kind: "float", value: 6 } } as const;

test.each([
	[9, "Clip", CLIP, true],
	[11, "Clip", {}, false],
	[10, "Resize", { mode: stringAttribute("linear") }, true],
	[10, "Resize", { mode: stringAttribute("nearest") }, false],
] as const)("in operator set %i, a %s, case %#", async (opset, op, attributes, isWrong) => {
	const builder = new ModelBuilder({ opset });
	builder.input("x", FLOAT, [1, 3, 6, 8]);
	builder.initializer("scales", floatTensor([4], [1, 1, 2, 2]));
	builder.node(op, op === "Resize" ? ["x", "scales"] : ["x"], ["y"], attributes);
	builder.output("y");
	const findings = await checkModel(builder.build(), parseTarget("qnn-htp:v79"));
	expect(findings.some(({ rule }) => rule === "htp/old-form")).toBe(isWrong);
});

test.each([
	[6, ["htp/first-set"]],
	[7, []],
] as const)("a Relu in operator set %i", async (opset, expected) => {
	const builder = new ModelBuilder({ opset });
	builder.input("x", FLOAT, [1, 3, 6, 8]);
	builder.node("Relu", ["x"], ["y"]);
	builder.output("y");
	const findings = await checkModel(builder.build(), parseTarget("qnn-htp:v79"));
	expect(findings.map(({ rule }) => rule)).toEqual(expected);
});

test.each([["values"], ["indices"]])("a TopK of which the %s are read", async (output) => {
	const findings = await findingsOf((b) => {
		b.input("x", FLOAT, [2, 40]);
		b.initializer("k", int64Tensor([1], [3]));
		b.node("TopK", ["x", "k"], ["values", "indices"]);
		b.output(output);
	});
	expect(findings.map(({ rule }) => rule)).toEqual(output === "indices" ? ["htp/top-k-ties"] : []);
});

test.each([[true], [false]])("a GatherElements whose indices are an input of the graph: %s", async (isInput) => {
	const findings = await findingsOf((b) => {
		b.input("x", FLOAT, [2, 3]);
		if (isInput) b.input("indices", DataType.INT64, [2, 2]);
		else b.initializer("indices", int64Tensor([2, 2], [-1, 0, 1, -2]));
		b.node("GatherElements", ["x", "indices"], ["y"], { axis: intAttribute(1) });
		b.output("y");
	});
	expect(findings.map(({ rule }) => rule)).toEqual(isInput ? ["htp/negative-indices"] : []);
});

test("values that are no tensors, and operators without outputs", async () => {
	const sequences = await rulesOf((b) => {
		const type = { kind: "sequence", element: tensorType(FLOAT, [2]) } as const;
		b.input("x", FLOAT, [2]).type = type;
		b.node("Identity", ["x"], ["y"]);
		b.output("y").type = type;
	});
	expect(sequences).toEqual(["htp/element-type"]);
	const silent = await rulesOf((b) => {
		b.input("x", FLOAT, [2, 8]);
		b.node({ domain: "com.microsoft", type: "MultiHeadAttention" }, [], []);
		b.node("Relu", ["x"], ["y"]);
		b.output("y");
	});
	expect(silent).toEqual(["htp/operator-domain"]);
});

test.each([
	["Neg", {}, [0, 0, 1, 1, 0, 0, 1, 1], true],
	["Relu", {}, [0, 0, 1, 1, 0, 0, 1, 1], false],
	["Neg", { auto_pad: stringAttribute("VALID") }, [0, 0, 1, 1, 0, 0, 1, 1], false],
	["Neg", {}, [0, 0, 0, 0, 0, 0, 0, 0], false],
] as const)("a MaxPool behind a %s and zeros, case %#", async (op, attributes, pads, isWrong) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, IMAGE);
		b.initializer("pads", int64Tensor([8], pads));
		b.node(op, ["x"], ["before"]);
		b.node("Pad", ["before", "pads"], ["padded"]);
		b.node("MaxPool", ["padded"], ["y"], { ...kernel(2, 2), ...attributes });
		b.output("y");
	});
	expect(rules).toEqual(isWrong ? ["htp/pad-maximum"] : []);
});
