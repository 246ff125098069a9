import { intOf } from "../../src/ir/attribute.js";
import { readAll } from "../../src/ir/data.js";
import type { Model } from "../../src/ir/model.js";
import type { Node } from "../../src/ir/node.js";
import { DataType } from "../../src/ir/types.js";
import type { Value } from "../../src/ir/value.js";
import { allNodes } from "../../src/ir/walk.js";
import { constantOf } from "../../src/weights/constant.js";
import { INPUT_STEP, isTransposed, type LinearSpec, outputStep } from "./models.js";

/*
 * What a model with block-quantized weights computes, written out in the plainest way: index by index and in float64,
 * with nothing from src/quant. It holds the rules of layout and axes against which ONNX Runtime and the passes are checked.
 */

/** A weight as [depth][channel], however it is stored. */
export type Matrix = readonly (readonly number[])[];

/** The weight that the operator called `name` reads, as its DequantizeLinear nodes define it. */
export function weightAt(model: Model, name: string, spec: LinearSpec): Matrix {
	const node = nodeCalled(model, name).inputs[1]!.producer!;
	const codes = int4Of(node.inputs[0]);
	const scales = scalesOf(node, spec);
	const { depth, channels, blockSize } = spec;
	const blocks = depth / blockSize;
	const at = (row: number, channel: number) => {
		const block = Math.floor(row / blockSize);
		return isTransposed(spec.op)
			? codes[channel * depth + row]! * scales[channel * blocks + block]!
			: codes[row * channels + channel]! * scales[block * channels + channel]!;
	};
	return Array.from({ length: depth }, (_, row) => Array.from({ length: channels }, (_, channel) => at(row, channel)));
}

/** One scale a block: stored, or integer times channel scale, in the order of the block scales' tensor. */
function scalesOf(node: Node, { op, depth, channels, blockSize }: LinearSpec): Float64Array {
	const stored = constantOf(node.inputs[1]);
	if (stored !== undefined) return Float64Array.from(floatsOf(node.inputs[1]));
	const inner = node.inputs[1]!.producer!;
	const integers = bytesOf(inner.inputs[0], DataType.UINT8);
	const channelScales = floatsOf(inner.inputs[1]);
	const blocks = depth / blockSize;
	const channelAxis = isTransposed(op) ? 0 : 1;
	if (intOf(inner, "axis", -99) !== channelAxis)
		throw new Error(`the channel axis of the scales is not ${channelAxis}`);
	return Float64Array.from(integers, (integer, index) => {
		const channel = isTransposed(op) ? Math.floor(index / blocks) : index % channels;
		return Math.fround(integer * channelScales[channel]!);
	});
}

/** What the operator called `name` makes of `x`; with integer activations rounded to them, going in and coming out. */
export function productAt(model: Model, name: string, spec: LinearSpec, x: Float32Array): Float64Array {
	const { op, rows, depth, channels } = spec;
	const weight = weightAt(model, name, spec);
	const biasValue = nodeCalled(model, name).inputs[2];
	const bias = biasValue === undefined ? undefined : floatsOf(biasValue);
	const input = spec.activations === "integer" ? Float64Array.from(x, (value) => onGrid(value, INPUT_STEP)) : x;
	const result = new Float64Array(rows * channels);
	for (let row = 0; row < rows; row++) {
		for (let channel = 0; channel < channels; channel++) {
			let sum = bias?.[channel] ?? 0;
			for (let k = 0; k < depth; k++)
				sum += input[op === "Conv" ? k * rows + row : row * depth + k]! * weight[k]![channel]!;
			const rounded = spec.activations === "integer" ? onGrid(sum, outputStep(spec)) : sum;
			result[op === "Conv" ? channel * rows + row : row * channels + channel] = rounded;
		}
	}
	return result;
}

/** QuantizeLinear and DequantizeLinear in uint16 with zero point 32768. */
function onGrid(value: number, step: number): number {
	const code = roundHalfToEven(value / step);
	return Math.max(-32768, Math.min(32767, code)) * step;
}

function roundHalfToEven(value: number): number {
	const floor = Math.floor(value);
	const rest = value - floor;
	return rest < 0.5 || (rest === 0.5 && floor % 2 === 0) ? floor : floor + 1;
}

export function nodeCalled(model: Model, name: string): Node {
	for (const { node } of allNodes(model)) if (node.name === name) return node;
	throw new Error(`there is no node '${name}'`);
}

function bytesOf(value: Value | undefined, dtype: DataType): Uint8Array {
	const tensor = constantOf(value)?.tensor;
	if (tensor?.dtype !== dtype) throw new Error(`'${value?.name}' has element type ${tensor?.dtype}, expected ${dtype}`);
	return readAll(tensor.data);
}

function floatsOf(value: Value | undefined): Float32Array {
	return new Float32Array(Uint8Array.from(bytesOf(value, DataType.FLOAT)).buffer);
}

/** The first code of a byte is in its low half. */
function int4Of(value: Value | undefined): Int8Array {
	const bytes = bytesOf(value, DataType.INT4);
	return Int8Array.from({ length: bytes.length * 2 }, (_, index) => {
		const nibble = (bytes[index >> 1]! >> (index % 2 === 0 ? 0 : 4)) & 15;
		return nibble > 7 ? nibble - 16 : nibble;
	});
}
