import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor, type Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { packInt4, packUint4 } from "../../src/quant/packing.js";
import type { GraphBuilder } from "./build.js";
import { randomSource } from "./random.js";

export function int4Tensor(shape: readonly number[], codes: ArrayLike<number>): Tensor {
	return tensor(DataType.INT4, shape, packInt4(Int8Array.from(codes)));
}

export function uint4Tensor(shape: readonly number[], codes: ArrayLike<number>): Tensor {
	return tensor(DataType.UINT4, shape, packUint4(Uint8Array.from(codes)));
}

export function randomCodes(count: number, seed: number, min = -7, max = 7): Int8Array {
	const random = randomSource(seed);
	return Int8Array.from({ length: count }, () => min + Math.floor(random() * (max - min + 1)));
}

/** Block scales of which the largest is about eight times the smallest. */
export function randomScales(count: number, seed: number): Float32Array {
	const random = randomSource(seed);
	return Float32Array.from({ length: count }, () => 0.01 * 2 ** (3 * random()));
}

export interface BlockWeightSpec {
	readonly shape: readonly number[];
	readonly axis: number;
	readonly blockSize: number;
	readonly seed?: number;
	/** INT4 zero points, all zero. */
	readonly zeroPoint?: boolean;
	readonly codes?: ArrayLike<number>;
	readonly scales?: ArrayLike<number>;
}

/** `W_DQ(W, W_scale[, W_zero])` with random int4 codes and one scale a block; returns the name of the dequantized weight. */
export function blockWeight(graph: GraphBuilder, name: string, spec: BlockWeightSpec): string {
	const { shape, axis, blockSize, seed = 1 } = spec;
	const scaleShape = shape.map((dim, index) => (index === axis ? Math.ceil(dim / blockSize) : dim));
	graph.initializer(name, int4Tensor(shape, spec.codes ?? randomCodes(elementCount(shape), seed)));
	graph.initializer(
		`${name}_scale`,
		floatTensor(scaleShape, spec.scales ?? randomScales(elementCount(scaleShape), seed + 1)),
	);
	const inputs = [name, `${name}_scale`];
	if (spec.zeroPoint === true) {
		graph.initializer(`${name}_zero`, int4Tensor(scaleShape, new Int8Array(elementCount(scaleShape))));
		inputs.push(`${name}_zero`);
	}
	graph.node(
		"DequantizeLinear",
		inputs,
		[`${name}_dq`],
		{ axis: intAttribute(axis), block_size: intAttribute(blockSize) },
		`${name}_DQ`,
	);
	return `${name}_dq`;
}

/** `W_DQ(W, W_scale)` with random int8 codes and one scale a channel; returns the name of the dequantized weight. */
export function channelWeight(graph: GraphBuilder, name: string, shape: readonly number[], axis: number): string {
	const codes = randomCodes(elementCount(shape), 1, -127, 127);
	graph.initializer(name, tensor(DataType.INT8, shape, new Uint8Array(codes.buffer)));
	graph.initializer(`${name}_scale`, floatTensor([shape[axis]!], randomScales(shape[axis]!, 2)));
	graph.node("DequantizeLinear", [name, `${name}_scale`], [`${name}_dq`], { axis: intAttribute(axis) }, `${name}_DQ`);
	return `${name}_dq`;
}

/** `Q -> DQ` in uint16 behind `source`; returns the name of what comes out. */
export function quantized(graph: GraphBuilder, source: string, scale = 0.001, zeroPoint = 0x8000): string {
	graph.initializer(`${source}_scale`, floatTensor([], [scale]));
	graph.initializer(`${source}_zero`, tensor(DataType.UINT16, [], new Uint8Array([zeroPoint & 0xff, zeroPoint >> 8])));
	const parameters = [`${source}_scale`, `${source}_zero`];
	graph.node("QuantizeLinear", [source, ...parameters], [`${source}_q`], {}, `${source}_Q`);
	graph.node("DequantizeLinear", [`${source}_q`, ...parameters], [`${source}_qdq`], {}, `${source}_DQ`);
	return `${source}_qdq`;
}
