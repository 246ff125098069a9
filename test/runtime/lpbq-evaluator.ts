import { intOf } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { isOnnxOp, type Node } from "../../src/ir/node.js";
import type { Value } from "../../src/ir/value.js";
import { blockLayout } from "../../src/quant/layout.js";
import { decomposeScales } from "../../src/quant/lpbq.js";
import { type htpLpbq, NIBBLE_ORDERS, packNibbles, transposeScales } from "../../src/reference/reference.js";
import { constantOf } from "../../src/weights/constant.js";
import { numbersOf, scalarOf } from "../../src/weights/numbers.js";
import { findWeightSites, type WeightSite } from "../../src/weights/weight-site.js";

/* Small models with uint16 activations, computed with linear_lpbq where they have LPBQ weights. */

interface Numbers {
	readonly shape: readonly number[];
	readonly data: Float64Array;
}

/** The output of `model` for the input `x`; of all operators only those that the models of known fate have. */
export function evaluate(model: Model, x: Numbers, lpbq: typeof htpLpbq): Numbers {
	const [output] = model.graph.outputs;
	const values = new Map<Value, Numbers>([[model.graph.inputs[0]!, x]]);
	const sites = new Map(findWeightSites(model).map((site) => [site.node, site]));
	const numbers = (value: Value | undefined): Numbers => {
		const known = values.get(value!);
		if (known !== undefined) return known;
		const { tensor } = constantOf(value)!;
		return { shape: tensor.shape, data: numbersOf(tensor) };
	};
	for (const node of model.graph.nodes) {
		const [result] = node.outputs;
		const site = sites.get(node);
		if (site !== undefined && isOnnxOp(node, "MatMul", "Gemm", "Conv")) {
			const quantizer = result!.uses[0]!.node;
			values.set(quantizer.outputs[0]!, lpbqCodes(site, numbers(node.inputs[0]!.producer!.inputs[0]), quantizer, lpbq));
		} else if (isOnnxOp(node, "QuantizeLinear") && !values.has(result!)) {
			const { shape, data } = numbers(node.inputs[0]);
			const { scale, zeroPoint } = encodingOf(node);
			const codes = data.map((value) => clamp(halfEven(Math.fround(value) / scale) + zeroPoint));
			values.set(result!, { shape, data: codes });
		} else if (isOnnxOp(node, "DequantizeLinear") && intOf(node, "block_size", 0) === 0) {
			const { shape, data } = numbers(node.inputs[0]);
			const { scale, zeroPoint } = encodingOf(node);
			values.set(result!, { shape, data: data.map((code) => (code - zeroPoint) * scale) });
		} else if (isOnnxOp(node, "Transpose")) {
			const perm = node.attributes.get("perm");
			values.set(result!, transpose(numbers(node.inputs[0]), perm?.kind === "ints" ? perm.value.map(Number) : []));
		} else if (isOnnxOp(node, "Add")) {
			const [a, b] = [numbers(node.inputs[0]), numbers(node.inputs[1])];
			values.set(result!, {
				shape: a.shape,
				data: a.data.map((value, index) => value + b.data[index % b.data.length]!),
			});
		}
	}
	return values.get(output!)!;
}

/** The codes that the quantizer behind an LPBQ operator gives. */
function lpbqCodes(site: WeightSite, codes: Numbers, quantizer: Node, lpbq: typeof htpLpbq): Numbers {
	const { node } = site;
	const isConv = isOnnxOp(node, "Conv");
	const input = isConv ? transpose(codes, [0, 2, 3, 1]) : codes;
	const { weight, blockScales, channelScales, blockSize } = lpbqOf(site);
	const depth = input.shape.at(-1)!;
	const channels = channelScales.length;
	const rows = input.data.length / depth;
	const x = encodingOf(node.inputs[0]!.producer!);
	const y = encodingOf(quantizer);
	const { output } = lpbq(
		{ rows, depth, channels, groupSize: blockSize, activation: "uint16", bias: false, rounding: "half-even" },
		{
			input: Uint16Array.from(input.data),
			input_scale: Float32Array.of(x.scale),
			input_zero_point: Uint16Array.of(x.zeroPoint),
			weight: packNibbles(weight, NIBBLE_ORDERS.onnx),
			block_scales: blockScales,
			channel_scales: channelScales,
			output_scale: Float32Array.of(y.scale),
			output_zero_point: Uint16Array.of(y.zeroPoint),
		},
	);
	const result = { shape: [...input.shape.slice(0, -1), channels], data: Float64Array.from(output) };
	return isConv ? transpose(result, [0, 3, 1, 2]) : result;
}

/** Codes [N, K], block scales [K/g, N] and channel scales [N] of LPBQ weights, stored so or as exact BQ. */
function lpbqOf({ stored, axes, dequantization }: WeightSite) {
	const { blockSize, scale, scaleNode } = dequantization!;
	const isOutputFirst = axes!.channelAxis === 0;
	const channels = stored.tensor.shape[axes!.channelAxis]!;
	const depth = stored.tensor.shape[axes!.blockAxis]!;
	const codes = numbersOf(stored.tensor);
	const weight = Int8Array.from({ length: codes.length }, (_, index) =>
		isOutputFirst ? codes[index]! : codes[(index % depth) * channels + Math.floor(index / depth)]!,
	);
	const scales =
		scaleNode === undefined
			? decomposeScales(
					numbersOf(scale!.tensor),
					blockLayout(
						isOutputFirst ? [channels, depth] : [depth, channels],
						isOutputFirst ? 1 : 0,
						isOutputFirst ? 0 : 1,
						blockSize,
					),
				)
			: {
					blockScaleInts: Uint8Array.from(numbersOf(constantOf(scaleNode.inputs[0])!.tensor)),
					channelScales: numbersOf(constantOf(scaleNode.inputs[1])!.tensor),
				};
	const integers = scales.blockScaleInts;
	return {
		weight,
		blockSize,
		blockScales: isOutputFirst ? transposeScales(integers, channels, depth / blockSize) : integers,
		channelScales: Float32Array.from(scales.channelScales),
	};
}

function encodingOf(node: Node): { readonly scale: number; readonly zeroPoint: number } {
	return { scale: scalarOf(constantOf(node.inputs[1])) ?? 0, zeroPoint: scalarOf(constantOf(node.inputs[2])) ?? 0 };
}

function transpose({ shape, data }: Numbers, perm: readonly number[]): Numbers {
	const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
	const to = perm.map((axis) => shape[axis]!);
	const out = data.map((_, index) => {
		let from = 0;
		let rest = index;
		for (let axis = to.length - 1; axis >= 0; axis--) {
			from += (rest % to[axis]!) * strides[perm[axis]!]!;
			rest = Math.floor(rest / to[axis]!);
		}
		return data[from]!;
	});
	return { shape: to, data: out };
}

function clamp(code: number): number {
	return Math.max(0, Math.min(65535, code));
}

function halfEven(value: number): number {
	const down = Math.floor(value);
	return value - down === 0.5 ? down + (down % 2) : Math.round(value);
}
