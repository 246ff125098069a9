import { type Attribute, intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount, tensorType } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { randomCodes } from "../support/weights.js";
import { normals } from "./models.js";
import { type Builder, K, model, N, node, type OperatorModel, pair, weight } from "./operator-models.js";

/* Pools, ranks and stated shapes, for which legalize-operators has the remedy. */

const { FLOAT, FLOAT16, INT64, UINT8 } = DataType;

type Attributes = Readonly<Record<string, Attribute>>;

const ints = (...values: number[]) => intsAttribute(values);

/** One operator on floats or between UINT16 values; `write` returns what it makes. */
function on(
	form: "floats" | "codes",
	shape: (rows: number) => readonly number[],
	write: (b: Builder, x: string, rows: number) => string,
	scale = 2 ** -10,
	input = 2 ** -13,
) {
	const isFloat = form === "floats";
	return {
		sinceV69: isFloat,
		write: (b: Builder, rows: number) =>
			model(
				b,
				shape(rows),
				(_, x) => {
					const made = write(b, x, rows);
					return isFloat ? made : pair(b, made, { scale });
				},
				{ scale: input },
				isFloat,
			),
	};
}

function apply(b: Builder, op: string, inputs: readonly string[], attributes: Attributes): string {
	b.node(op, inputs, ["y"], attributes, "op");
	return "y";
}

function numbers(b: Builder, name: string, values: readonly number[], shape: readonly number[] = [values.length]) {
	b.initializer(name, int64Tensor(shape, values));
	return name;
}

const image = (rows: number) => [1, 3, rows, 9];

/** A kernel [channels, N, 3, 2] of floats, or of INT8 codes with one scale a channel. */
function kernel(b: Builder, channels: number, isFloat: boolean): string {
	const shape = [channels, N, 3, 2];
	if (isFloat) {
		b.initializer("w", floatTensor(shape, normals(elementCount(shape), 3)));
		return "w";
	}
	b.initializer("w", tensor(DataType.INT8, shape, bytesOf(randomCodes(elementCount(shape), 3, -127, 127))));
	b.initializer("w_scale", floatTensor([N], new Float32Array(N).fill(2 ** -9)));
	b.initializer("w_zero", codesTensor(DataType.INT8, [N], new Array<number>(N).fill(0)));
	b.node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_dq"], { axis: intAttribute(1) }, "w_DQ");
	return "w_dq";
}

export const SHAPE_MODELS: readonly OperatorModel[] = [
	{
		rule: "htp/batches-reshaped",
		name: "products of several batches, those of a batch one below the other",
		write: (b, rows) =>
			model(b, [rows, 8, 8, N], (_, x) => {
				const right = weight(b, "w", { shape: [rows, 8, N, 8], isOne: true });
				const product = pair(b, node(b, "MatMul", [x, right], "product"));
				b.initializer("shape", int64Tensor([4], [rows, 1, 64, 8]));
				b.node("Reshape", [product, "shape"], ["joined"], {}, "joined");
				return pair(b, "joined");
			}),
	},
	{
		rule: "htp/concat-product",
		name: "queries on compressed keys, and their positions, of 8 heads",
		write: (b, rows) =>
			model(b, [1, 8, 8 * rows, N], (_, x) => {
				const keys = weight(b, "w", { shape: [1, 8, N, K], isOne: true });
				const product = pair(b, node(b, "MatMul", [x, keys], "product"));
				const positions = pair(b, node(b, "Sin", [x], "positions"));
				b.node("Concat", [product, positions], ["joined"], { axis: intAttribute(3) }, "joined");
				return pair(b, "joined");
			}),
	},
	{
		rule: "htp/tile-ones",
		name: "a Tile of rank 5 that repeats nothing",
		write: (b, rows) =>
			model(b, [1, 1, 3, rows, 8], (_, x) => {
				b.initializer("repeats", int64Tensor([5], [1, 1, 1, 1, 1]));
				b.initializer("shape", int64Tensor([2], [3 * rows, 8]));
				const tiled = pair(b, node(b, "Tile", [x, "repeats"], "tiled"));
				return pair(b, node(b, "Reshape", [tiled, "shape"], "reshaped"));
			}),
	},
	{
		rule: "htp/average-pads",
		name: "zeros of a Pad, which the pool would take over",
		...on("floats", image, (b, x) => {
			const pads = numbers(b, "pads", [0, 0, 1, 1, 0, 0, 0, 1]);
			return apply(b, "AveragePool", [node(b, "Pad", [x, pads], "padded")], { kernel_shape: ints(2, 2) });
		}),
	},
	{
		rule: "htp/average-pads",
		name: "pads that count, of one channel",
		...on(
			"floats",
			(rows) => [1, 1, rows, 9],
			(b, x) =>
				apply(b, "AveragePool", [x], {
					kernel_shape: ints(3, 3),
					pads: ints(1, 1, 1, 1),
					count_include_pad: intAttribute(1),
				}),
		),
	},
	{
		rule: "htp/lp-pool-pads",
		name: "a norm over windows with pads",
		...on("floats", image, (b, x) =>
			apply(b, "LpPool", [x], { kernel_shape: ints(2, 2), pads: ints(0, 0, 1, 1), p: intAttribute(2) }),
		),
	},
	...(["floats", "codes"] as const).flatMap((form): OperatorModel[] => [
		{
			rule: "htp/operator-mode",
			name: `a MaxPool with dilations on ${form}`,
			...on(form, image, (b, x) =>
				apply(b, "MaxPool", [x], {
					kernel_shape: ints(3, 2),
					dilations: ints(2, 3),
					pads: ints(2, 1, 1, 1),
					strides: ints(1, 2),
				}),
			),
		},
		{
			rule: "htp/operator-mode-wrong",
			name: `windows of a MaxPool that ceil_mode leaves out, on ${form}`,
			...on(
				form,
				(rows) => [1, 3, rows + 1, 6],
				(b, x) =>
					apply(b, "MaxPool", [x], {
						kernel_shape: ints(2, 2),
						strides: ints(3, 3),
						ceil_mode: intAttribute(1),
					}),
				2 ** -13,
			),
		},
		{
			rule: "htp/operator-mode",
			name: `a ConvTranspose with dilations on ${form}`,
			...on(form, image, (b, x) =>
				apply(b, "ConvTranspose", [x, kernel(b, 3, form === "floats")], {
					dilations: ints(2, 3),
					strides: ints(2, 1),
				}),
			),
		},
		{
			rule: "htp/rank",
			name: `blocks of pixels as channels, on ${form}`,
			count: 3,
			...on(
				form,
				(rows) => [1, 2, rows * 2, 6],
				(b, x, rows) => {
					const view = (name: string, shape: readonly number[], from: string) => {
						const reshaped = node(b, "Reshape", [from, numbers(b, `${name}_shape`, shape)], name);
						return form === "floats" ? reshaped : pair(b, reshaped);
					};
					const six = view("six", [1, 2, rows, 2, 3, 2], x);
					b.node("Transpose", [six], ["turned"], { perm: ints(0, 1, 3, 5, 2, 4) }, "turn");
					const turned = form === "floats" ? "turned" : pair(b, "turned");
					return node(b, "Reshape", [turned, numbers(b, "blocks", [1, 8, rows, 3])], "y");
				},
			),
			sinceV69: true,
		},
	]),
	{
		rule: "htp/rank",
		name: "windows of several images",
		count: 3,
		...on(
			"codes",
			(rows) => [2, rows * 2, 6, 4],
			(b, x, rows) => {
				const six = pair(b, node(b, "Reshape", [x, numbers(b, "cut", [2, rows, 2, 3, 2, 4])], "six"));
				b.node("Transpose", [six], ["turned"], { perm: ints(0, 1, 3, 2, 4, 5) }, "turn");
				return node(b, "Reshape", [pair(b, "turned"), numbers(b, "windows", [-1, 4, 4])], "y");
			},
		),
	},
	{
		rule: "htp/operator-form",
		name: "a GatherND along batches",
		...on(
			"floats",
			(rows) => [2, rows, K],
			(b, x) =>
				apply(b, "GatherND", [x, numbers(b, "at", [1, 0, 3, 2, 2, 4], [2, 3, 1])], { batch_dims: intAttribute(1) }),
		),
	},
	{
		rule: "htp/operator-form",
		name: "the largest of one input",
		...on("floats", image, (b, x) => node(b, "Exp", [node(b, "Max", [node(b, "Neg", [x], "neg")], "max")], "y")),
	},
	{
		rule: "htp/operator-form",
		name: "a grid of another type",
		sinceV69: true,
		write(b, rows) {
			b.input("x", FLOAT, [1, 2, rows, 9]);
			b.input("grid", FLOAT, [1, 4, 5, 2]);
			b.node("Cast", ["x"], ["half"], { to: intAttribute(FLOAT16) }, "half");
			b.node("GridSample", ["half", "grid"], ["sampled"], {}, "sample");
			b.node("Cast", ["sampled"], ["y"], { to: intAttribute(FLOAT) }, "y");
			b.output("y");
		},
	},
	{
		rule: "htp/computed-parameter",
		name: "pads with a default",
		...on("floats", image, (b, x) => {
			b.input("pads", INT64, [8]);
			return apply(b, "Pad", [x, numbers(b, "pads", [0, 0, 1, 1, 0, 0, 0, 2])], {});
		}),
	},
	{
		rule: "htp/output-shape",
		name: "an output of another shape",
		sinceV69: true,
		write(b, rows) {
			b.input("x", FLOAT, [rows, K]);
			b.node("Exp", ["x"], ["y"], {}, "exp");
			b.output("y").type = tensorType(FLOAT, [rows + 1, K]);
		},
	},
	{
		rule: "htp/raw-codes",
		name: "codes one behind the other",
		write: (b, rows) =>
			model(b, [1, rows, K], (_, x) => {
				pair(b, node(b, "Abs", [x], "abs"));
				b.node("Concat", ["abs_q", "abs_q"], ["both"], { axis: intAttribute(1) }, "concat");
				b.node("DequantizeLinear", ["both", "abs_s", "abs_z"], ["both_dq"], {}, "both_DQ");
				return pair(b, node(b, "Sigmoid", ["both_dq"], "sigmoid"), { scale: 2 ** -16, zero: 0 });
			}),
	},
	{
		rule: "htp/raw-codes",
		name: "an image of bytes in another shape",
		write(b, rows) {
			b.input("x", UINT8, [1, rows, 6]);
			b.node("Reshape", ["x", numbers(b, "flat", [rows * 6])], ["codes"], {}, "reshape");
			b.initializer("s", floatTensor([], [2 ** -4]));
			b.initializer("z", codesTensor(UINT8, [], [100]));
			b.node("DequantizeLinear", ["codes", "s", "z"], ["values"], {}, "values_DQ");
			b.output(pair(b, node(b, "Sigmoid", ["values"], "y"), { dtype: UINT8, scale: 2 ** -8, zero: 0 }));
		},
	},
];
