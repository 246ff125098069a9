import { bytesFrom, type ElementType, isFloat } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { isOnnxOp } from "../ir/node.js";
import { elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { type Encoding, encodingAt } from "../passes/support/qdq.js";
import { Random } from "../quant/random.js";
import { constantOf } from "../weights/constant.js";

/** Ranges of integer types that quantized activations have. */
const CODE_RANGES: Partial<Record<ElementType, readonly [min: number, max: number]>> = {
	int8: [-128, 127],
	uint8: [0, 255],
	int16: [-32768, 32767],
	uint16: [0, 65535],
};

/** Standard deviations that fit between the middle of a range and its end, as in calibrated activations. */
const RANGE_DEVIATIONS = 4;

/**
 * Values for a model's input that suit what it is: masks are all ones, positions count up, indices lie within the table
 * that they are looked up in (else they are 0 or 1), what is quantized fills the quantizer's range, other floats are
 * standard normal. The same seed, sample and name give the same values.
 */
export function randomValues(
	input: { readonly value: Value; readonly name: string; readonly type: ElementType },
	shape: readonly number[],
	seed: number,
	sample: number,
): Float64Array {
	const random = new Random(`${seed} ${sample} ${input.name}`);
	const values = new Float64Array(elementCount(shape));
	const { type, name } = input;
	if (isFloat(type) && !/mask/i.test(name)) {
		const encoding = quantizerOf(input.value);
		return values.map(() => (encoding === undefined ? random.normal() : withinRange(random, encoding)));
	}
	if (/mask/i.test(name)) return values.fill(1);
	const codes = CODE_RANGES[type];
	if (codes !== undefined) return values.map(() => withinCodes(random, codes[0], codes[1]));
	const length = shape.at(-1) ?? 1;
	if (/position/i.test(name)) return values.map((_, index) => index % length);
	if (/token_type|segment/i.test(name)) return values;
	const limit = type === "bool" ? 2 : (tableLength(input.value) ?? 2);
	return values.map(() => Math.floor(random.uniform() * limit));
}

/** {@link randomValues} as an array of the input's type. */
export function randomArray(
	input: Parameters<typeof randomValues>[0],
	shape: readonly number[],
	seed: number,
	sample: number,
): NumpyArray {
	return { type: input.type, shape, bytes: bytesFrom(input.type, randomValues(input, shape, seed, sample)) };
}

/** The encoding to which `value` is rounded at once. */
function quantizerOf(value: Value): Encoding | undefined {
	for (const { node, index } of value.uses) {
		const encoding = index === 0 && isOnnxOp(node, "QuantizeLinear") ? encodingAt(node) : undefined;
		if (encoding !== undefined) return encoding;
	}
	return undefined;
}

function withinRange(random: Random, { scale, zeroPoint, min, max }: Encoding): number {
	return (withinCodes(random, min, max) - zeroPoint) * scale;
}

function withinCodes(random: Random, min: number, max: number): number {
	const middle = (min + max) / 2;
	const value = middle + (random.normal() * (max - min)) / 2 / RANGE_DEVIATIONS;
	return Math.round(Math.min(max, Math.max(min, value)));
}

/** Operators through which indices pass on their way to the table. */
const INDEX_OPS = ["Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten"];

/** How long the table is that `value` holds indices of; undefined where it is looked up in none. */
function tableLength(value: Value): number | undefined {
	for (const { node, index } of value.uses) {
		const [table] = node.inputs;
		if (index === 1 && isOnnxOp(node, "Gather")) {
			const dequantized = table?.producer;
			const stored =
				dequantized !== undefined && isOnnxOp(dequantized, "DequantizeLinear") ? dequantized.inputs[0] : table;
			const axis = node.attributes.get("axis");
			const length = constantOf(stored)?.tensor.shape.at(axis?.kind === "int" ? Number(axis.value) : 0);
			if (length !== undefined) return length;
		}
		const next = index === 0 && isOnnxOp(node, ...INDEX_OPS) ? node.outputs[0] : undefined;
		const length = next === undefined ? undefined : tableLength(next);
		if (length !== undefined) return length;
	}
	return undefined;
}
