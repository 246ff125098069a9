import { type Attribute, intAttribute, intsAttribute, stringAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { int4Tensor, randomCodes, randomScales } from "../support/weights.js";
import { normals } from "./models.js";
import { type Builder, K, model, N, node, type OperatorModel, pair } from "./operator-models.js";

/* Modes of operators, and stored constants, for which legalize-operators has the remedy. */

const { FLOAT, INT8, INT32, INT64, UINT16, UINT8 } = DataType;

type Attributes = Readonly<Record<string, Attribute>>;

const ints = (...values: number[]) => intsAttribute(values);

/** One operator on an image between UINT16 values, or on floats; `rest` are integer vectors that it reads too, by input. */
function mode(
	rule: string,
	name: string,
	op: string,
	attributes: Attributes,
	rest: Readonly<Record<number, readonly number[]>> = {},
	form: { readonly shape?: readonly number[]; readonly isFloat?: boolean; readonly scales?: readonly number[] } = {},
): OperatorModel {
	const { shape = [1, 6], isFloat = false, scales } = form;
	return {
		rule: `htp/${rule}`,
		name,
		sinceV69: isFloat,
		write(b, rows) {
			const inputs = ["x"];
			for (const [index, numbers] of Object.entries(rest)) {
				while (inputs.length < Number(index)) inputs.push("");
				b.initializer(`p${index}`, int64Tensor(op === "CumSum" ? [] : [numbers.length], numbers));
				inputs[Number(index)] = `p${index}`;
			}
			if (scales !== undefined) {
				b.initializer("scales", floatTensor([scales.length], scales));
				inputs.push("", "scales");
			}
			model(
				b,
				[...shape, rows, 9],
				(_, x) => {
					b.node(op, [x, ...inputs.slice(1)], ["y"], attributes, "mode");
					return isFloat || op.startsWith("Arg") ? "y" : pair(b, "y", { scale: 2 ** -10 });
				},
				{},
				isFloat,
			);
		},
	};
}

const nearest = (coordinates: string, nearestMode: string) => ({
	coordinate_transformation_mode: stringAttribute(coordinates),
	nearest_mode: stringAttribute(nearestMode),
});

const kernel = (size: number, stride: number, rank = 2) => ({
	kernel_shape: ints(...Array<number>(rank).fill(size)),
	strides: ints(...Array<number>(rank).fill(stride)),
});

const padMode = (text: string) => ({ mode: stringAttribute(text) });

/** Codes of a table behind a DequantizeLinear, one scale a row or in blocks of a quarter of the columns. */
function table(b: Builder, name: string, [rows, columns]: readonly [number, number], isBlock = false): string {
	b.initializer(name, int4Tensor([rows, columns], randomCodes(rows * columns, 3, -7, 7)));
	const scaleShape = isBlock ? [rows, 4] : [rows];
	b.initializer(`${name}_scale`, floatTensor(scaleShape, randomScales(isBlock ? rows * 4 : rows, 4)));
	const attributes: Attributes = isBlock
		? { axis: intAttribute(1), block_size: intAttribute(columns / 4) }
		: { axis: intAttribute(0) };
	b.node("DequantizeLinear", [name, `${name}_scale`], [`${name}_dq`], attributes, `${name}_DQ`);
	return `${name}_dq`;
}

const EQUATIONS: readonly [
	name: string,
	equation: string,
	left: (rows: number) => readonly number[],
	right?: readonly number[],
][] = [
	["scores of heads", "bqhd,bkhd->bhqk", (rows) => [1, rows, 2, 24], [1, 7, 2, 24]],
	["a matrix beside several", "btd,dk->btk", (rows) => [2, rows, 24], [24, 6]],
	["axes in another order", "ijk->kji", (rows) => [3, rows, 4]],
	["axes of an ellipsis", "...qhd,...khd->...hqk", (rows) => [1, rows, 2, 24], [1, 7, 2, 24]],
	["nothing is summed", "ij,j->ji", (rows) => [rows, 24], [24]],
];

const IDS = [3, 0, 7, 7, 1];

export const MODE_MODELS: readonly OperatorModel[] = [
	mode(
		"operator-mode-wrong",
		"a nearest Resize that rounds down",
		"Resize",
		nearest("half_pixel", "floor"),
		{},
		{
			scales: [1, 1, 2, 3],
		},
	),
	mode(
		"operator-mode-wrong",
		"scales that are not the lengths'",
		"Resize",
		nearest("asymmetric", "floor"),
		{},
		{
			scales: [1, 1, 1, 0.6],
			isFloat: true,
		},
	),
	mode(
		"operator-mode",
		"a nearest Resize that rounds up",
		"Resize",
		nearest("asymmetric", "ceil"),
		{},
		{
			scales: [1, 1, 2, 2],
		},
	),
	mode(
		"operator-mode-wrong",
		"edges of floats",
		"Pad",
		padMode("edge"),
		{ 1: [0, 0, 1, 2, 0, 0, 0, 3] },
		{ isFloat: true },
	),
	mode("operator-mode", "a Pad that wraps around", "Pad", padMode("wrap"), { 1: [0, 0, 1, 2, 0, 0, 0, 11] }),
	mode("operator-mode", "a Pad that reflects and cuts", "Pad", padMode("reflect"), { 1: [0, 0, -1, 2, 0, 0, 1, 3] }),
	mode("operator-mode", "a CumSum from the end", "CumSum", { reverse: intAttribute(1) }, { 1: [3] }),
	mode(
		"operator-mode",
		"a CumSum from the end without its own element",
		"CumSum",
		{ reverse: intAttribute(1), exclusive: intAttribute(1) },
		{ 1: [-2] },
	),
	mode("operator-mode", "the last of the largest", "ArgMax", {
		axis: intAttribute(1),
		select_last_index: intAttribute(1),
	}),
	mode("operator-mode", "a MaxPool of three dimensions", "MaxPool", kernel(2, 2, 3), {}, { shape: [1, 3, 5] }),
	mode("operator-mode-wrong", "an AveragePool that reaches beyond its input", "AveragePool", {
		...kernel(3, 2),
		pads: ints(0, 0, 1, 1),
		ceil_mode: intAttribute(1),
	}),
	mode("pad-ends", "zeros behind two axes", "Pad", {}, { 1: [0, 0, 0, 0, 0, 0, 1, 2] }),
	mode("pad-ends", "zeros around the rows, and behind them", "Pad", {}, { 1: [0, 0, 1, 0, 0, 0, 2, 1] }),
	mode("pad-ends", "zeros behind a matrix", "Pad", {}, { 1: [0, 0, 1, 3] }, { shape: [] }),
	{
		rule: "htp/pad-ends",
		name: "zeros behind the rows, then behind the columns",
		write: (b, rows) =>
			model(b, [1, 6, rows, 9], (_, x) => {
				b.initializer("first", int64Tensor([8], [0, 0, 0, 0, 0, 0, 1, 0]));
				b.initializer("second", int64Tensor([8], [0, 0, 0, 0, 0, 0, 0, 2]));
				b.node("Pad", [x, "first"], ["longer"], {}, "longer");
				b.node("Pad", [pair(b, "longer"), "second"], ["wider"], {}, "wider");
				return pair(b, "wider");
			}),
	},
	mode("pad-ends", "zeros behind two axes of floats", "Pad", {}, { 1: [0, 0, 0, 0, 0, 0, 1, 2] }, { isFloat: true }),
	mode(
		"operator-mode",
		"edges of rank 5",
		"Pad",
		padMode("edge"),
		{ 1: [0, 0, 0, 0, 0, 0, 0, 0, 1, 2] },
		{ shape: [1, 2, 3] },
	),
	mode(
		"average-pads",
		"floats padded on one side",
		"AveragePool",
		{ ...kernel(3, 1), pads: ints(0, 0, 1, 1) },
		{},
		{ isFloat: true },
	),
	mode("average-pads", "pads of 2 with a kernel of 3", "AveragePool", { ...kernel(3, 1), pads: ints(2, 2, 2, 2) }),
	...EQUATIONS.map(
		([name, equation, left, right]): OperatorModel => ({
			rule: "htp/einsum",
			sinceV69: true,
			name,
			write: (b, rows) =>
				model(b, left(rows), (_, x) => {
					const operands = [x];
					if (right !== undefined) {
						b.input("w", FLOAT, right);
						operands.push(pair(b, "w", right.length === 1 ? {} : { dtype: UINT8, scale: 2 ** -5 }));
					}
					b.node("Einsum", operands, ["y"], { equation: stringAttribute(equation) }, "einsum");
					return pair(b, "y", { scale: 2 ** -11 });
				}),
		}),
	),
	{
		rule: "htp/operator-never",
		name: "a Dropout that drops nothing",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => node(b, "Dropout", [pair(b, node(b, "Abs", [x], "abs"))], "dropout")),
	},
	{
		rule: "htp/int4-asymmetric",
		name: "INT4 codes far from their zero point",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				b.initializer("w", int4Tensor([K, N], randomCodes(K * N, 3, -8, 7)));
				b.initializer("w_scale", floatTensor([], [2 ** -5]));
				b.initializer("w_zero", int4Tensor([], Int8Array.of(3)));
				b.node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_dq"], {}, "w_DQ");
				return pair(b, node(b, "MatMul", [x, "w_dq"], "mm"));
			}),
	},
	...[false, true].map(
		(isBlock): OperatorModel => ({
			rule: "htp/gather-table",
			sinceV69: true,
			name: isBlock ? "a table in blocks" : "a table with one scale a row",
			write(b) {
				const name = table(b, "table", [9, 32], isBlock);
				b.input("ids", INT64, IDS.length === 0 ? [] : [IDS.length]);
				b.node("Gather", [name, "ids"], ["rows"], {}, "gather");
				b.output(pair(b, "rows", { scale: 2 ** -11 }));
			},
		}),
	),
	{
		rule: "htp/several-scales",
		name: "a factor with one scale a channel",
		write: (b, rows) =>
			model(b, [rows, K], (_, x) => {
				b.initializer("f", int4Tensor([1, K], randomCodes(K, 3, -7, 7)));
				b.initializer("f_scale", floatTensor([K], randomScales(K, 4)));
				b.node("DequantizeLinear", ["f", "f_scale"], ["f_dq"], { axis: intAttribute(1) }, "f_DQ");
				return pair(b, node(b, "Mul", [x, "f_dq"], "product"), { scale: 2 ** -10 });
			}),
	},
	{
		rule: "htp/norm-scale-type",
		name: "a norm of 8 bits with a scale of 16",
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => {
					const codes = Array.from(normals(K, 5), (value) => Math.round(0x8000 + value * 2 ** 10 + 2 ** 12));
					b.initializer("gamma", codesTensor(UINT16, [K], codes));
					b.initializer("gamma_s", floatTensor([], [2 ** -12]));
					b.initializer("gamma_z", codesTensor(UINT16, [], [0x8000]));
					b.node("DequantizeLinear", ["gamma", "gamma_s", "gamma_z"], ["gamma_dq"], {}, "gamma_DQ");
					b.node("SimplifiedLayerNormalization", [x, "gamma_dq"], ["norm"], {}, "norm");
					return pair(b, "norm", { dtype: UINT8, scale: 2 ** -5 });
				},
				{ dtype: UINT8, scale: 2 ** -5 },
			),
	},
	{
		rule: "htp/batch-norm-parameters",
		name: "a BatchNormalization with an INT8 scale and an INT32 bias",
		write: (b, rows) =>
			model(b, [1, K, rows, 9], (_, x) => {
				const [factors, steps] = [Int8Array.from(normals(K, 7), (value) => 80 + 20 * value), normals(K, 8)];
				const bias = Int32Array.from(steps, (value) => 2 ** 12 * value);
				b.initializer("scale_c", tensor(INT8, [K], new Uint8Array(factors.buffer)));
				b.initializer("bias_c", tensor(INT32, [K], new Uint8Array(bias.buffer)));
				for (const [name, step] of [["scale", 2 ** -6] as const, ["bias", 2 ** -12] as const]) {
					b.initializer(`${name}_s`, floatTensor([], [step]));
					b.node("DequantizeLinear", [`${name}_c`, `${name}_s`], [name], {}, `${name}_DQ`);
				}
				b.initializer(
					"mean",
					floatTensor(
						[K],
						normals(K, 9).map((value) => 10 * value),
					),
				);
				b.initializer(
					"variance",
					floatTensor(
						[K],
						Float32Array.from(normals(K, 10), (value) => 4 ** (value - 2)),
					),
				);
				b.node("BatchNormalization", [x, "scale", "bias", "mean", "variance"], ["normal"], {}, "normalize");
				return pair(b, "normal", { scale: 2 ** -9 });
			}),
	},
	{
		rule: "htp/scatter-updates",
		name: "updates and a result beyond the data",
		sinceV69: true,
		write: (b, rows) =>
			model(
				b,
				[rows, K],
				(_, x) => {
					const at = Array.from({ length: rows * 2 }, (_, index) => 3 + 5 * (index % 2));
					b.initializer("indices", int64Tensor([rows, 2], at));
					b.input("updates", FLOAT, [rows, 2]);
					const updates = pair(b, "updates", { scale: 2 ** -10 });
					b.node("ScatterElements", [x, "indices", updates], ["y"], { axis: intAttribute(1) }, "scatter");
					return pair(b, "y", { scale: 2 ** -10 });
				},
				{ scale: 2 ** -12 },
			),
	},
];
