import { type Attribute, intAttribute, intsAttribute, stringAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { int4Tensor, randomCodes, randomScales } from "../support/weights.js";
import { normals } from "./models.js";
import { type Builder, K, model, N, type OperatorModel, pair, vector, weight } from "./operator-models.js";

/* Windows, pads and averages over images that the compiler gets wrong or does not take. */

type Attributes = Readonly<Record<string, Attribute>>;

function made(b: Builder, op: string, inputs: readonly string[], name: string, attributes: Attributes = {}): string {
	b.node(op, inputs, [name], attributes, name);
	return name;
}

/** A Conv of one position. */
function convolved(b: Builder, x: string, channels: number): string {
	const w = weight(b, "w", { shape: [channels, channels, 1, 1], isOne: true });
	return pair(b, made(b, "Conv", [x, w], "conv"));
}

function largest(b: Builder, x: string): string {
	return pair(b, made(b, "MaxPool", [x], "pool", { kernel_shape: intsAttribute([2, 2]) }));
}

function padded(b: Builder, x: string, name: string, amounts: readonly number[]): string {
	b.initializer(`${name}_pads`, int64Tensor([8], amounts));
	return made(b, "Pad", [x, `${name}_pads`], name);
}

/** A multiple of 8. */
const sixteenOrMore = (rows: number) => 8 * Math.ceil((rows + 6) / 8);

/** Normalized rows as channels. */
function turnedNorm(b: Builder, x: string, perm: readonly number[]): string {
	const parameters = [vector(b, "gamma", K, 0.2, 1), vector(b, "beta", K, 0.2)];
	const norm = pair(b, made(b, "LayerNormalization", [x, ...parameters], "norm"));
	return pair(b, made(b, "Transpose", [norm], "turned", { perm: intsAttribute(perm) }));
}

/** One element around the image. */
const AROUND = [0, 0, 1, 1, 0, 0, 1, 1];

function depthwise(b: Builder, op: string, x: string, kernel: readonly number[], attributes: Attributes): string {
	const w = weight(b, "w", { shape: [N, 1, ...kernel], isOne: true });
	const common = { group: intAttribute(N), kernel_shape: intsAttribute(kernel) };
	return pair(b, made(b, op, [x, w], "filtered", { ...common, ...attributes }), { scale: 2 ** -15 });
}

function onFloats(b: Builder, shape: readonly number[], fill: (x: string) => string): void {
	model(b, shape, (_, x) => fill(x), {}, true);
}

function resized(b: Builder, x: string, mode: string, scale: number, coordinates = "half_pixel"): string {
	b.initializer("scales", floatTensor([4], [1, 1, scale, scale]));
	const attributes = { mode: stringAttribute(mode), coordinate_transformation_mode: stringAttribute(coordinates) };
	return made(b, "Resize", [x, "", "scales"], "resized", attributes);
}

export const WINDOW_MODELS: readonly OperatorModel[] = [
	{
		rule: "htp/operator-form",
		name: "a depthwise Conv with steps and dilations",
		write: (b, rows) =>
			model(b, [1, N, rows + 6, 9], (_, x) =>
				depthwise(b, "Conv", x, [3, 3], { strides: intsAttribute([2, 2]), dilations: intsAttribute([1, 2]) }),
			),
	},
	{
		rule: "htp/transposed-conv-padding",
		name: "a depthwise ConvTranspose with output_padding",
		write: (b, rows) =>
			model(b, [1, N, rows, 6], (_, x) =>
				depthwise(b, "ConvTranspose", x, [3, 3], {
					strides: intsAttribute([2, 2]),
					pads: intsAttribute([1, 1, 1, 1]),
					output_padding: intsAttribute([1, 1]),
				}),
			),
	},
	{
		rule: "htp/transposed-conv-padding",
		name: "a depthwise ConvTranspose that pads more than it cuts off",
		write: (b, rows) =>
			model(b, [1, N, rows], (_, x) =>
				depthwise(b, "ConvTranspose", x, [2], { strides: intsAttribute([3]), output_padding: intsAttribute([2]) }),
			),
	},
	{
		rule: "htp/pad-average",
		name: "a GlobalAveragePool behind a Pad behind a MaxPool",
		write: (b, rows) =>
			model(b, [1, 4, rows + 4, 10], (_, x) => {
				const image = pair(b, padded(b, largest(b, x), "zeros", AROUND));
				return pair(b, made(b, "GlobalAveragePool", [image], "average"));
			}),
	},
	{
		rule: "htp/pad-average",
		name: "a ReduceMean without the axes behind a Pad behind a MaxPool",
		write: (b, rows) =>
			model(b, [1, 4, rows + 4, 10], (_, x) => {
				const image = pair(b, padded(b, largest(b, x), "zeros", AROUND));
				b.initializer("axes", int64Tensor([2], [-1, 2]));
				return pair(b, made(b, "ReduceMean", [image, "axes"], "average", { keepdims: intAttribute(0) }));
			}),
	},
	{
		rule: "htp/pad-pad",
		name: "a Pad behind a Pad behind a Conv",
		write: (b, rows) =>
			model(b, [1, 4, 7, rows + 3], (_, x) => {
				const image = pair(b, padded(b, convolved(b, x, 4), "zeros", AROUND));
				return pair(b, padded(b, image, "more", AROUND));
			}),
	},
	{
		rule: "htp/max-pool-pads",
		name: "a MaxPool with pads that gives another scale",
		write: (b, rows) =>
			model(b, [1, 4, rows, 6], (_, x) => {
				const window = { kernel_shape: intsAttribute([3, 3]), pads: intsAttribute([1, 1, 1, 1]) };
				return pair(b, made(b, "MaxPool", [x], "pool", window), { scale: 2 ** -12 });
			}),
	},
	{
		rule: "htp/norm-channels",
		name: "a Conv with pads behind a LayerNormalization and a Transpose",
		write: (b, rows) =>
			model(b, [1, sixteenOrMore(rows), K], (_, x) => {
				const w = weight(b, "w", { shape: [N, K, 3], isOne: true });
				const window = { kernel_shape: intsAttribute([3]), pads: intsAttribute([1, 1]) };
				return pair(b, made(b, "Conv", [turnedNorm(b, x, [0, 2, 1]), w], "conv", window), { scale: 2 ** -12 });
			}),
	},
	{
		rule: "htp/norm-channels",
		name: "an AveragePool with pads behind a LayerNormalization and a Transpose",
		write: (b, rows) =>
			model(b, [1, 3, sixteenOrMore(rows), K], (_, x) => {
				const window = { kernel_shape: intsAttribute([3, 3]), pads: intsAttribute([1, 1, 1, 1]) };
				return pair(b, made(b, "AveragePool", [turnedNorm(b, x, [0, 3, 1, 2])], "average", window));
			}),
	},
	{
		rule: "htp/norm-channels",
		name: "a Conv of one position with steps behind a LayerNormalization and a Transpose",
		write: (b, rows) =>
			model(b, [1, sixteenOrMore(rows), K], (_, x) => {
				const w = weight(b, "w", { shape: [N, K, 1], isOne: true });
				const conv = made(b, "Conv", [turnedNorm(b, x, [0, 2, 1]), w], "conv", { strides: intsAttribute([2]) });
				return pair(b, conv, { scale: 2 ** -12 });
			}),
	},
	{
		rule: "htp/global-max-row",
		name: "a GlobalMaxPool of a row behind a Conv",
		write: (b, rows) =>
			model(b, [1, 4, 8 * Math.ceil(rows / 10)], (_, x) => {
				const w = weight(b, "w", { shape: [4, 4, 3], isOne: true });
				const conv = pair(b, made(b, "Conv", [x, w], "conv", { pads: intsAttribute([1, 1]) }));
				return pair(b, made(b, "GlobalMaxPool", [conv], "largest"), { scale: 2 ** -15 });
			}),
	},
	...(
		[
			["a row", [1, 3]],
			["a column", [3, 1]],
		] as const
	).map(
		([name, kernel]): OperatorModel => ({
			rule: "htp/conv-line-pads",
			name: `a kernel of ${name} with pads all around`,
			write: (b, rows) =>
				model(b, [1, 4, rows + 4, 11], (_, x) => {
					const w = weight(b, "w", { shape: [N, 4, ...kernel], axis: 0 });
					const window = { strides: intsAttribute([2, 2]), pads: intsAttribute([1, 1, 1, 1]) };
					return pair(b, made(b, "Conv", [x, w], "conv", window), { scale: 2 ** -12 });
				}),
		}),
	),
	...(
		[
			["steps of [1, 2]", { strides: [1, 2] }],
			["steps of [3, 3] and dilations", { strides: [3, 3], dilations: [2, 2] }],
		] as const
	).map(
		([name, window]): OperatorModel => ({
			rule: "htp/block-conv-steps",
			name: `a Conv with block scales and ${name}`,
			write: (b, rows) =>
				model(b, [1, 32, rows, 7], (_, x) => {
					b.initializer("w", int4Tensor([N, 32, 1, 1], randomCodes(N * 32, 3, -7, 7)));
					b.initializer("w_scale", floatTensor([N, 2, 1, 1], randomScales(N * 2, 4)));
					const blocks = { axis: intAttribute(1), block_size: intAttribute(16) };
					b.node("DequantizeLinear", ["w", "w_scale"], ["w_dq"], blocks, "w_DQ");
					const steps = Object.entries(window).map(([key, values]) => [key, intsAttribute(values)] as const);
					return pair(b, made(b, "Conv", [x, "w_dq"], "conv", Object.fromEntries(steps)), { scale: 2 ** -10 });
				}),
		}),
	),
	{
		rule: "htp/conv-batch-steps",
		name: "a Conv of several images with steps of 2 and 9 columns",
		write: (b, rows) =>
			model(b, [2, 4, rows + 9, 24], (_, x) => {
				const w = weight(b, "w", { shape: [N, 4, 3, 9], isOne: true });
				const window = { strides: intsAttribute([2, 2]), pads: intsAttribute([1, 4, 1, 4]) };
				return pair(b, made(b, "Conv", [x, w], "conv", window), { scale: 2 ** -11 });
			}),
	},
	{
		rule: "htp/conv-empty-window",
		name: "a Conv of floats with pads as wide as its kernel",
		sinceV69: true,
		write: (b, rows) =>
			onFloats(b, [1, 4, rows, 7], (x) => {
				b.initializer("w", floatTensor([N, 4, 3, 3], normals(N * 36, 7)));
				return made(b, "Conv", [x, "w"], "conv", { pads: intsAttribute([3, 3, 1, 3]) });
			}),
	},
	{
		rule: "htp/conv-empty-window",
		name: "a Pad in front of a Conv of floats, across its kernel",
		sinceV69: true,
		write: (b, rows) =>
			onFloats(b, [1, 4, rows, 7], (x) => {
				b.initializer("w", floatTensor([N, 4, 1, 3], normals(N * 12, 7)));
				return made(b, "Conv", [padded(b, x, "zeros", AROUND), "w"], "conv");
			}),
	},
	{
		rule: "htp/resize-scale",
		name: "a linear Resize of an odd number of elements by 1.5",
		write: (b, rows) => model(b, [1, 4, 2 * rows + 1, 7], (_, x) => pair(b, resized(b, x, "linear", 1.5))),
	},
	{
		rule: "htp/resize-scale",
		name: "a linear Resize of floats that takes few of the elements",
		sinceV69: true,
		write: (b, rows) => onFloats(b, [1, 4, rows + 4, 13], (x) => resized(b, x, "linear", 0.3, "asymmetric")),
	},
	{
		rule: "htp/resize-cubic",
		name: "a cubic Resize of an odd number of elements by 1.5",
		write: (b, rows) => model(b, [1, 4, 2 * rows + 1, 7], (_, x) => pair(b, resized(b, x, "cubic", 1.5))),
	},
	{
		rule: "htp/resize-cubic",
		name: "a cubic Resize from corner to corner",
		write: (b, rows) =>
			model(b, [1, 4, 2 * rows + 1, 7], (_, x) => pair(b, resized(b, x, "cubic", 1.5, "align_corners"))),
	},
	{
		rule: "htp/gather-rank",
		name: "a Gather of windows",
		write: (b, rows) =>
			model(b, [2, rows, 3, 5], (_, x) => {
				b.initializer("at", int64Tensor([2, 3], [0, 1, 2, 4, 3, 2]));
				return pair(b, made(b, "Gather", [x, "at"], "taken", { axis: intAttribute(1) }));
			}),
	},
	{
		rule: "htp/gather-rank",
		name: "a Gather of a matrix by indices of rank 4",
		write: (b, rows) =>
			model(b, [rows, 5], (_, x) => {
				b.initializer("at", int64Tensor([2, 1, 3, 1], [1, 4, 0, 2, 3, 1]));
				return pair(b, made(b, "Gather", [x, "at"], "taken"));
			}),
	},
];
