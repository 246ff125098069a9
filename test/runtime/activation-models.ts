import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { modelOf } from "../support/build.js";
import { Expression } from "../support/expression.js";
import { normals } from "./models.js";

const { BOOL, FLOAT } = DataType;

/** An encoder's block on [1, rows, 64]: attention of two heads with a causal mask, layer normalizations, GELU written with Erf. */
export function transformerBlock(rows: number): Model {
	const [width, heads] = [64, 2];
	return modelOf((b) => {
		b.input("x", FLOAT, [1, rows, width]);
		const isVisible = Uint8Array.from({ length: rows * rows }, (_, at) => Number(at % rows <= at / rows));
		b.initializer("mask", tensor(BOOL, [rows, rows], isVisible));
		const e = new Expression(b);
		let seed = 1;
		const weight = (depth: number, channels: number) => {
			const scale = 1 / Math.sqrt(depth);
			return e.constant(
				floatTensor(
					[depth, channels],
					normals(depth * channels, seed++).map((value) => value * scale),
				),
			);
		};
		const vector = (count: number, middle: number) =>
			e.vector(normals(count, seed++).map((value) => middle + value / 8));
		const linear = (x: string, depth: number, channels: number) =>
			e.call("Add", e.call("MatMul", x, weight(depth, channels)), vector(channels, 0));
		const norm = (x: string) =>
			e.apply("LayerNormalization", [x, vector(width, 1), vector(width, 0)], { axis: intAttribute(-1) });
		const split = (x: string, perm: readonly number[]) => {
			const shape = e.constant(int64Tensor([4], [1, rows, heads, width / heads]));
			return e.apply("Transpose", [e.call("Reshape", x, shape)], { perm: intsAttribute(perm) });
		};
		const inner = norm("x");
		const q = split(linear(inner, width, width), [0, 2, 1, 3]);
		const k = split(linear(inner, width, width), [0, 2, 3, 1]);
		const v = split(linear(inner, width, width), [0, 2, 1, 3]);
		const scores = e.call("Mul", e.call("MatMul", q, k), Math.sqrt(heads / width));
		const masked = e.call("Where", "mask", scores, -3.4028234663852886e38);
		const mixed = e.call("MatMul", e.apply("Softmax", [masked], { axis: intAttribute(-1) }), v);
		const moved = e.apply("Transpose", [mixed], { perm: intsAttribute([0, 2, 1, 3]) });
		const joined = e.call("Reshape", moved, e.constant(int64Tensor([3], [1, rows, width])));
		const residual = e.call("Add", "x", linear(joined, width, width));
		const hidden = linear(norm(residual), width, 2 * width);
		const half = e.call("Mul", 0.5, e.call("Add", 1, e.call("Erf", e.call("Div", hidden, Math.SQRT2))));
		const sum = e.call("Add", residual, linear(e.call("Mul", hidden, half), 2 * width, width));
		b.node("Identity", [sum], ["y"]);
		b.output("y").type = tensorType(FLOAT, [1, rows, width]);
	});
}

/** Convolutions as vision models have them, on [1, 8, rows, 12]: strided, depthwise, gated by channel, joined, resized. */
export function convolutionBlock(rows: number): Model {
	return modelOf((b) => {
		b.input("x", FLOAT, [1, 8, rows, 12]);
		const e = new Expression(b);
		let seed = 1;
		const conv = (x: string, inputs: number, outputs: number, kernel: number, group = 1, stride = 1) => {
			const count = outputs * (inputs / group) * kernel * kernel;
			const scale = 1 / Math.sqrt(count / outputs);
			const weight = floatTensor(
				[outputs, inputs / group, kernel, kernel],
				normals(count, seed++).map((value) => value * scale),
			);
			const padding = (kernel - 1) / 2;
			return e.apply("Conv", [x, e.constant(weight), e.vector(normals(outputs, seed++).map((value) => value / 4))], {
				group: intAttribute(group),
				pads: intsAttribute([padding, padding, padding, padding]),
				strides: intsAttribute([stride, stride]),
			});
		};
		const stem = e.call("Relu", conv("x", 8, 16, 3));
		const wide = e.call("Clip", conv(stem, 16, 16, 3, 16), 0, 6);
		const gate = e.call("Sigmoid", conv(e.call("GlobalAveragePool", wide), 16, 16, 1));
		const gated = e.call("Mul", wide, gate);
		const silu = conv(gated, 16, 16, 1);
		const activated = e.call("Mul", silu, e.call("Sigmoid", silu));
		const pooled = e.apply("MaxPool", [activated], {
			kernel_shape: intsAttribute([2, 2]),
			strides: intsAttribute([2, 2]),
		});
		const scales = e.constant(floatTensor([4], [1, 1, 2, 2]));
		e.graph.node("Resize", [pooled, "", scales], ["resized"], {}, "resize");
		const joined = e.apply("Concat", ["resized", stem], { axis: intAttribute(1) });
		const result = conv(joined, 32, 8, 1);
		b.node("Identity", [result], ["y"]);
		b.output("y").type = tensorType(FLOAT, [1, 8, rows, 12]);
	});
}

/**
 * Magnitudes of [1, 24, rows], real parts in front of imaginary ones, each of the twelve channels 0.6 times the one before,
 * made equally large again and convolved: what is right for the largest only is wrong for the result.
 */
export function magnitudeBlock(rows: number): Model {
	const channels = 12;
	const sizes = Array.from({ length: 2 * channels }, (_, at) => 0.6 ** (at % channels));
	return modelOf((b) => {
		b.input("x", FLOAT, [1, 2 * channels, rows]);
		const e = new Expression(b);
		const column = (values: readonly number[]) => e.constant(floatTensor([1, values.length, 1], values));
		const spectrum = e.call("Mul", "x", column(sizes));
		const slice = (start: number) => {
			const ends = [start, start + channels, 1].map((value) => e.constant(int64Tensor([1], [value])));
			return e.call("Slice", spectrum, ...ends);
		};
		const squares = [slice(0), slice(channels)].map((side) => e.call("Pow", side, 2));
		const magnitudes = e.call("Sqrt", e.call("Add", squares[0]!, squares[1]!));
		const alike = e.call("Mul", magnitudes, column(sizes.slice(0, channels).map((size) => 1 / size)));
		const weight = floatTensor([8, channels, 1], normals(8 * channels, 2));
		b.node("Conv", [alike, e.constant(weight)], ["y"]);
		b.output("y").type = tensorType(FLOAT, [1, 8, rows]);
	});
}
