import { expect, test } from "vitest";
import {
	type Attribute,
	floatAttribute,
	intAttribute,
	intsAttribute,
	stringAttribute,
	tensorAttribute,
} from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { CONVERTED } from "../../src/passes/support/opset/conversions.js";
import { upgradeOpset } from "../../src/passes/upgrade-opset.js";
import { runPasses } from "../../src/run-passes.js";
import { ModelBuilder } from "../support/build.js";
import { floatFeed, run } from "../support/ort.js";
import { normals } from "./models.js";

type Attributes = Readonly<Record<string, Attribute>>;
type Constants = Readonly<Record<string, readonly [shape: readonly number[], values: readonly number[]]>>;

interface Case {
	readonly opset: number;
	readonly op: string;
	/** Of input x. */
	readonly shape: readonly number[];
	readonly attributes?: Attributes;
	/** FLOAT constants that the node reads after x; those whose name begins with "i_" are INT64. "_" is an absent input. */
	readonly constants?: Constants;
	readonly outputs?: number;
	/** Element types of the outputs, FLOAT where nothing is said. */
	readonly types?: readonly DataType[];
	/** Give the last constant by way of an Identity. */
	readonly computed?: boolean;
	/** Hide the shape of x from the pass. */
	readonly unknownShape?: boolean;
	/** The conversions that it runs through. */
	readonly covers: readonly string[];
}

const ints = intsAttribute;
const int = intAttribute;
const text = stringAttribute;
const floats = (...value: readonly number[]): Attribute => ({ kind: "floats", value });
const vector = (count: number, at: (index: number) => number): readonly [readonly number[], readonly number[]] => [
	[count],
	Array.from({ length: count }, (_, index) => at(index)),
];
const softmax = (op: string, shape: readonly number[], axis?: number, unknownShape = false): Case => ({
	opset: 11,
	op,
	shape,
	attributes: axis === undefined ? {} : { axis: int(axis) },
	unknownShape,
	covers: [`${op}:13`],
});
const reduce = (op: string, axes: readonly number[] | undefined): Case => ({
	opset: 11,
	op,
	shape: [2, 3, 4],
	attributes: { keepdims: int(0), ...(axes === undefined ? {} : { axes: ints(axes) }) },
	covers: [op === "ReduceSum" ? "ReduceSum:13" : `${op}:18`],
});
const resize10 = (mode: string, ...scales: readonly number[]): Case => ({
	opset: 10,
	op: "Resize",
	shape: [1, 1, 7, 5],
	attributes: { mode: text(mode) },
	constants: { s: [[4], [1, 1, ...scales]] },
	covers: ["Resize:11"],
});
/** The scales are computed: 1, 1 and those given. */
const resize10Computed = (...scales: readonly number[]): Case => ({
	...resize10("nearest", ...scales),
	constants: { s: [[4], [1, 1, ...scales]] },
	computed: true,
});
const resize11 = (attributes: Attributes, sizes: readonly number[]): Case => ({
	opset: 11,
	op: "Resize",
	shape: [1, 1, 5, 6],
	attributes,
	constants: { roi: [[0], []], s: [[0], []], i_sizes: [[4], [1, 1, ...sizes]] },
	covers: ["Resize:13"],
});
const upsample = (opset: number, mode: string): Case => ({
	opset,
	op: "Upsample",
	shape: [1, 2, 3, 4],
	attributes: { mode: text(mode), ...(opset < 9 ? { scales: floats(1, 1, 2, 3) } : {}) },
	...(opset < 9 ? {} : { constants: { s: [[4], [1, 1, 2, 3]] as const } }),
	covers: ["Upsample:9", "Upsample:10", "Resize:11"],
});
const pool = (op: string): Case => ({
	opset: 11,
	op,
	shape: [1, 1, 8, 7],
	attributes: { kernel_shape: ints([3, 3]), strides: ints([2, 2]), pads: ints([1, 1, 1, 1]), ceil_mode: int(1) },
	covers: [`${op}:22`],
});
const batchNormalization = (count: number, spatial?: number): Case => ({
	opset: 7,
	op: "BatchNormalization",
	shape: [2, 3, 4],
	attributes: spatial === undefined ? {} : { spatial: int(spatial) },
	constants: Object.fromEntries(
		["scale", "bias", "mean", "variance"].map((name, index) => {
			const [shape, values] = vector(count, (at) => 0.5 + index + at / count);
			return [name, [spatial === 0 ? [3, 4] : shape, values]] as const;
		}),
	),
	covers: ["BatchNormalization:9", "BatchNormalization:14"],
});
const groupNormalization = (unknownShape: boolean): Case => ({
	opset: 18,
	op: "GroupNormalization",
	shape: [2, 6, 4],
	attributes: { num_groups: int(3) },
	constants: { scale: vector(3, (at) => at + 1), bias: vector(3, (at) => at - 1) },
	unknownShape,
	covers: ["GroupNormalization:21"],
});
const roiAlign = (mode: string): Case => ({
	opset: 11,
	op: "RoiAlign",
	shape: [1, 1, 8, 8],
	attributes: { output_height: int(3), output_width: int(3), sampling_ratio: int(2), mode: text(mode) },
	constants: {
		rois: [
			[2, 4],
			[0, 0, 4, 5, 1, 2, 7, 7],
		],
		i_batch: [[2], [0, 0]],
	},
	covers: ["RoiAlign:16"],
});

const REDUCTIONS = [
	"ReduceL1",
	"ReduceL2",
	"ReduceMax",
	"ReduceMean",
	"ReduceMin",
	"ReduceProd",
	"ReduceSum",
	"ReduceSumSquare",
	"ReduceLogSumExp",
];

const CASES: readonly Case[] = [
	...REDUCTIONS.flatMap((op) => [reduce(op, [0, -1]), reduce(op, undefined)]),
	...["Softmax", "LogSoftmax", "Hardmax"].flatMap((op) => [
		softmax(op, [2, 3, 4]),
		softmax(op, [2, 3, 4], 0),
		softmax(op, [2, 3, 4], -1),
		softmax(op, [2, 3, 1, 1]),
		softmax(op, [2, 3, 4], -2, true),
		softmax(op, [2, 3, 4], undefined, true),
	]),
	...["nearest", "linear"].flatMap((mode) => [
		resize10(mode, 2, 3),
		resize10(mode, 0.6, 0.4),
		resize10(mode, 1.7, 0.6),
		upsample(7, mode),
		upsample(9, mode),
	]),
	resize10Computed(2, 3),
	resize10Computed(0.6, 0.4),
	resize10Computed(0.6, 1.7),
	resize11({ mode: text("linear"), coordinate_transformation_mode: text("align_corners") }, [9, 4]),
	...["floor", "round_prefer_floor"].flatMap((rounding) =>
		[
			[15, 13],
			[3, 4],
		].map((sizes) =>
			resize11({ coordinate_transformation_mode: text("tf_half_pixel_for_nn"), nearest_mode: text(rounding) }, sizes),
		),
	),
	pool("MaxPool"),
	pool("AveragePool"),
	batchNormalization(3),
	batchNormalization(12, 0),
	groupNormalization(false),
	groupNormalization(true),
	roiAlign("avg"),
	{ opset: 11, op: "Squeeze", shape: [1, 3, 1], attributes: { axes: ints([0]) }, covers: ["Squeeze:13"] },
	{ opset: 11, op: "Squeeze", shape: [1, 3, 1], covers: [] },
	{ opset: 11, op: "Unsqueeze", shape: [3], attributes: { axes: ints([0, -1]) }, covers: ["Unsqueeze:13"] },
	{
		opset: 9,
		op: "Slice",
		shape: [4, 5],
		attributes: { starts: ints([1, -3]), ends: ints([100, -1]), axes: ints([0, 1]) },
		covers: ["Slice:10"],
	},
	{ opset: 9, op: "Slice", shape: [4, 5], attributes: { starts: ints([1]), ends: ints([3]) }, covers: ["Slice:10"] },
	{ opset: 11, op: "Split", shape: [6, 2], outputs: 3, covers: ["Split:18"] },
	{
		opset: 11,
		op: "Split",
		shape: [6, 2],
		attributes: { split: ints([1, 5]) },
		outputs: 2,
		covers: ["Split:13", "Split:18"],
	},
	{
		opset: 9,
		op: "TopK",
		shape: [2, 6],
		attributes: { k: int(3) },
		outputs: 2,
		types: [DataType.FLOAT, DataType.INT64],
		covers: ["TopK:10"],
	},
	{
		opset: 10,
		op: "Pad",
		shape: [2, 3],
		attributes: { pads: ints([1, 0, -1, 2]), value: floatAttribute(1.5) },
		covers: ["Pad:11"],
	},
	{ opset: 10, op: "Pad", shape: [4, 3], attributes: { pads: ints([1, 1, 2, 0]), mode: text("reflect") }, covers: [] },
	{
		opset: 10,
		op: "Clip",
		shape: [9],
		attributes: { min: floatAttribute(-0.5), max: floatAttribute(0.25) },
		covers: ["Clip:11"],
	},
	{ opset: 10, op: "Clip", shape: [9], attributes: { max: floatAttribute(0) }, covers: ["Clip:11"] },
	{ opset: 11, op: "Dropout", shape: [9], attributes: { ratio: floatAttribute(0.25) }, covers: ["Dropout:12"] },
	{ opset: 7, op: "Dropout", shape: [9], covers: ["Dropout:10"] },
	{ opset: 17, op: "DFT", shape: [2, 8, 1], attributes: { onesided: int(1) }, covers: ["DFT:20"] },
	{ opset: 17, op: "DFT", shape: [2, 4, 8, 1], attributes: { axis: int(2) }, covers: ["DFT:20"] },
	{ opset: 12, op: "Erf", shape: [9], covers: ["Erf:13"] },
	...["bilinear", "nearest", "bicubic"].map((mode) => ({
		opset: 16,
		op: "GridSample",
		shape: [1, 1, 4, 4],
		attributes: { mode: text(mode) },
		constants: {
			grid: [
				[1, 2, 2, 2],
				[-0.9, 0.1, 0.33, -0.4, 0.7, 0.8, 0.05, 1.2],
			] as const,
		},
		covers: ["GridSample:20"],
	})),
	{
		opset: 10,
		op: "Scatter",
		shape: [3, 3],
		attributes: { axis: int(1) },
		constants: {
			i_indices: [
				[1, 2],
				[0, 2],
			],
			updates: [
				[1, 2],
				[7, 8],
			],
		},
		covers: ["Scatter:11"],
	},
];

/** Not run: it only casts what nobody has in FLOAT, an operator of no use without positive sums, or is always refused. */
const ELSEWHERE = ["QuantizeLinear:19", "ReduceLogSum:18", "Scan:9"];

function modelOf(spec: Case) {
	const b = new ModelBuilder({ opset: spec.opset, irVersion: 6 });
	const shape = spec.unknownShape ? undefined : spec.shape;
	b.input("x", DataType.FLOAT, shape);
	const names = Object.entries(spec.constants ?? {}).map(([name, [dimensions, values]]) => {
		b.initializer(name, name.startsWith("i_") ? int64Tensor(dimensions, values) : floatTensor(dimensions, values));
		return name;
	});
	if (spec.computed === true) names.push(b.node("Identity", [names.pop()!], ["computed"]).outputs[0]!.name);
	const outputs = Array.from({ length: spec.outputs ?? 1 }, (_, index) => `y${index}`);
	b.node(spec.op, ["x", ...names], outputs, spec.attributes ?? {}, "node");
	for (const [index, name] of outputs.entries()) {
		b.output(name).type = tensorType(spec.types?.[index] ?? DataType.FLOAT);
	}
	return b.build();
}

const named = CASES.map((spec, index) => [`${index} ${spec.op} ${spec.opset} of [${spec.shape}]`, spec] as const);

test.each(named)("%s computes the same afterwards", async (_name, spec) => {
	const feeds = {
		x: floatFeed(
			spec.shape,
			normals(
				spec.shape.reduce((a, b) => a * b, 1),
				1,
			),
		),
	};
	const before = await run(serializeModel(modelOf(spec)), feeds);
	const model = modelOf(spec);
	await runPasses(model, [upgradeOpset({ to: spec.covers.some((entry) => entry.endsWith(":22")) ? 22 : 21 })]);
	const after = await run(serializeModel(model), feeds);
	expect(Object.keys(after)).toEqual(Object.keys(before));
	for (const [name, { dims, data }] of Object.entries(before)) {
		expect(after[name]?.dims, name).toEqual(dims);
		const other = Array.from(after[name]!.data as Float32Array, Number);
		for (const [index, value] of Array.from(data as Float32Array, Number).entries()) {
			expect(other[index], `${name}[${index}]`).toBeCloseTo(value, 5);
		}
	}
});

test("every conversion is run", () => {
	const covered = new Set([...CASES.flatMap(({ covers }) => covers), ...ELSEWHERE]);
	expect(CONVERTED.filter((entry) => !covered.has(entry))).toEqual([]);
});

test("attributes of functions, given by their callers", async () => {
	const build = () => {
		const b = new ModelBuilder({ opset: 11, irVersion: 8 });
		b.input("x", DataType.FLOAT, [2, 1, 6]);
		b.function("local", "Trim", (body) => {
			const reference = (to: string): Attribute => ({ kind: "reference", to, of: undefined });
			body.input("a");
			body.node("Squeeze", ["a"], ["s"], { axes: { kind: "reference", to: "axes", of: "ints" } }, "squeeze");
			body.node("Softmax", ["s"], ["p"], { axis: { ...reference("axis"), of: "int" } as Attribute }, "softmax");
			body.node("Constant", [], ["one"], { value: tensorAttribute(floatTensor([], [1])) });
			body.node("Add", ["p", "one"], ["b"]);
			body.output("b");
		});
		b.model.functions[0]!.attributeNames = ["axes", "axis"];
		b.node({ domain: "local", type: "Trim" }, ["x"], ["y"], { axes: ints([1]), axis: int(0) }, "call");
		b.output("y").type = tensorType(DataType.FLOAT);
		return b.build();
	};
	const feeds = { x: floatFeed([2, 1, 6], normals(12, 1)) };
	const model = build();
	await runPasses(model, [upgradeOpset()]);
	const [before, after] = [await run(serializeModel(build()), feeds), await run(serializeModel(model), feeds)];
	expect(Array.from(after.y!.data as Float32Array)).toEqual(
		Array.from(before.y!.data as Float32Array, (value) => expect.closeTo(value, 5)),
	);
});
