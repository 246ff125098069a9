import { describe, expect, test } from "vitest";
import { inferTypes } from "../../src/inference/index.js";
import { type Attribute, intAttribute, intsAttribute, tensorAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, int64Tensor, type Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, type Dimension, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { modelOf } from "../support/build.js";
import { run } from "../support/ort.js";

interface Case {
	readonly op: string;
	readonly inputs: readonly Tensor[];
	readonly attributes?: Readonly<Record<string, Attribute>>;
}

const ints = (...values: number[]): Tensor => int64Tensor([values.length], values);
const int = (value: number): Tensor => int64Tensor([], [value]);
const floats = (...values: number[]): Tensor => floatTensor([values.length], values);
const bools = (...values: number[]): Tensor => tensor(DataType.BOOL, [values.length], Uint8Array.from(values));
const int32 = (...values: number[]): Tensor =>
	tensor(DataType.INT32, [values.length], bytesOf(Int32Array.from(values)));

const matrix = int64Tensor([2, 3], [5, -2, 9, 0, 7, -11]);
const pairs: Case[] = "Add Sub Mul Div Mod Max Min Equal Less LessOrEqual Greater GreaterOrEqual"
	.split(" ")
	.flatMap((op) => [
		{ op, inputs: [ints(-15744, 7, 100, 0), ints(3, -2, 7, 5)] },
		{ op, inputs: [matrix, ints(4, -3, 2)] },
		{ op, inputs: [int(62), int(1)] },
	]);
const fractions: Case[] = ["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"].map((op) => ({
	op,
	inputs: [floats(1.5, 0.1, 7), floats(0.5, 3, 2)],
}));
const single: Case[] = ["Abs", "Neg", "Floor", "Ceil", "Round", "Sign", "Reciprocal"].map((op) => ({
	op,
	inputs: [floats(-2.5, -0.2, 0.5, 1.5, 2.6)],
}));
const axis = (value: number) => ({ axis: intAttribute(value) });

const cases: readonly Case[] = [
	...pairs,
	...fractions,
	...single,
	{ op: "Sqrt", inputs: [floats(2, 64, 0.1)] },
	{ op: "And", inputs: [bools(0, 1, 1), bools(1, 1, 0)] },
	{ op: "Or", inputs: [bools(0, 1, 0), bools(1, 1, 0)] },
	{ op: "Xor", inputs: [bools(0, 1, 1), bools(1, 1, 0)] },
	{ op: "Not", inputs: [bools(0, 1)] },
	{ op: "Mod", inputs: [ints(-7, 7), ints(3, -3)], attributes: { fmod: intAttribute(1) } },
	{ op: "Cast", inputs: [floats(-2.7, 3.9, 0)], attributes: { to: intAttribute(DataType.INT64) } },
	{ op: "Cast", inputs: [ints(0, 2, -1)], attributes: { to: intAttribute(DataType.BOOL) } },
	{ op: "Cast", inputs: [ints(16777217)], attributes: { to: intAttribute(DataType.FLOAT) } },
	{ op: "Where", inputs: [bools(1, 0, 1), ints(1, 2, 3), int(9)] },
	{ op: "Clip", inputs: [ints(-4, 4, 40), int(0), int(10)] },
	{ op: "Gather", inputs: [matrix, ints(-1, 0)], attributes: axis(1) },
	{ op: "Gather", inputs: [ints(4, 5, 6), int(1)] },
	{ op: "Slice", inputs: [matrix, ints(0, -1), ints(9, -9), ints(0, 1), ints(1, -2)] },
	{ op: "Slice", inputs: [ints(1, 2, 3, 4), ints(-3), int64Tensor([1], [9223372036854775807n])] },
	{ op: "Concat", inputs: [matrix, int64Tensor([2, 1], [1, 2])], attributes: axis(-1) },
	{ op: "Transpose", inputs: [matrix] },
	{
		op: "Transpose",
		inputs: [int64Tensor([1, 2, 3], [1, 2, 3, 4, 5, 6])],
		attributes: { perm: intsAttribute([2, 0, 1]) },
	},
	{ op: "Tile", inputs: [matrix, ints(2, 2)] },
	{ op: "Expand", inputs: [int64Tensor([2, 1], [3, 4]), ints(2, 2, 3)] },
	{ op: "Reshape", inputs: [matrix, ints(3, -1)] },
	{ op: "Squeeze", inputs: [int64Tensor([1, 2], [3, 4]), ints(0)] },
	{ op: "Unsqueeze", inputs: [ints(3, 4), ints(-1)] },
	{ op: "Flatten", inputs: [matrix], attributes: axis(0) },
	{ op: "Shape", inputs: [matrix], attributes: { start: intAttribute(-1) } },
	{ op: "Size", inputs: [matrix] },
	{ op: "ConstantOfShape", inputs: [ints(2, 2)], attributes: { value: tensorAttribute(int64Tensor([1], [7])) } },
	{ op: "ConstantOfShape", inputs: [ints(3)] },
	{ op: "Range", inputs: [int(10), int(1), int(-3)] },
	...["ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin"].map((op) => ({ op, inputs: [ints(5, -2, 9)] })),
	{ op: "ReduceMax", inputs: [matrix], attributes: { keepdims: intAttribute(0) } },
	{ op: "CumSum", inputs: [ints(1, 2, 3), int(0)] },
	{ op: "NonZero", inputs: [int64Tensor([2, 3], [5, 0, 9, 0, 7, 0])] },
	{ op: "NonZero", inputs: [ints(1, 1, 1)] },
	{ op: "Compress", inputs: [matrix, bools(0, 1, 1, 0, 0, 1)] },
	{ op: "Compress", inputs: [matrix, bools(1, 0, 1)], attributes: axis(-1) },
	{ op: "Compress", inputs: [matrix, bools(0, 1)], attributes: axis(0) },
	{ op: "ScatterND", inputs: [ints(1, 2, 3), int64Tensor([2, 1], [2, 0]), ints(8, 9)] },
	{ op: "Max", inputs: [int32(1, -5, 3), int32(2, -6, 3), int32(0, 0, 0)] },
	{ op: "Identity", inputs: [ints(1)], attributes: {} },
];

describe("what follows from constants", () => {
	test.each(cases.map((each, index) => [`${index} ${each.op}`, each] as const))(
		"%s: ONNX Runtime computes the same",
		async (_, { op, inputs, attributes }) => {
			const model = modelOf((b) => {
				for (const [index, each] of inputs.entries()) b.initializer(`i${index}`, each);
				b.node(
					op,
					inputs.map((_, index) => `i${index}`),
					["y"],
					attributes,
				);
				b.output("y");
			});
			const [output] = model.graph.outputs;
			const types = inferTypes(model);
			const type = types.typeOf(output!);
			const elements = types.elementsOf(output!);
			expect(elements).toBeDefined();
			output!.type = tensorType(type?.kind === "tensor" ? type.elementType : 0, types.shapeOf(output!));
			const { y } = await run(serializeModel(model), {});
			expect(types.shapeOf(output!)).toEqual(y!.dims);
			expect(elements).toEqual(Array.from(y!.data as ArrayLike<number | bigint | boolean>, Number));
		},
	);

	test("takes names of dimensions for lengths that are not negative, and guesses nothing", () => {
		const elementsOf = (op: string, other: number) => {
			const model = modelOf((b) => {
				b.input("x", DataType.FLOAT, ["n"]);
				b.node("Shape", ["x"], ["n"]);
				b.initializer("other", ints(other));
				b.node(op, ["n", "other"], ["y"]);
				b.output("y");
			});
			return inferTypes(model).elementsOf(model.graph.outputs[0]!)?.[0];
		};
		const expected: readonly (readonly [string, number, Dimension])[] = [
			["Add", 0, "n"],
			["Add", 1, undefined],
			["Sub", 0, "n"],
			["Mul", 1, "n"],
			["Mul", 0, 0],
			["Mul", 2, undefined],
			["Div", 1, "n"],
			["Div", 2, undefined],
			["Equal", -1, 0],
			["Equal", 3, undefined],
			["Greater", -1, 1],
			["Greater", 0, undefined],
			["Max", 0, "n"],
			["Max", 1, undefined],
			["Min", 0, 0],
		];
		for (const [op, other, element] of expected) {
			expect([op, other, elementsOf(op, other)]).toEqual([op, other, element]);
		}
	});
});
