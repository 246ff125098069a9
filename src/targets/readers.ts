import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { nodeLabel } from "../ir/walk.js";
import { constantOf } from "../weights/constant.js";
import { clipLimits } from "./clip-limits.js";
import type { OperatorFacts, QuantizationFacts } from "./operator-facts.js";

/** Operators that may stand between an operator with a quantized weight and its QuantizeLinear. */
const VIEWS: readonly string[] = ["Reshape", "Transpose"];

/** Operators that ONNX Runtime moves quantizers across: what is behind them is between quantized values, too. */
export const MOVED_ACROSS: readonly string[] = ["Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice"];

/** The only reader of `value`, where that is its first input. */
function onlyReader(value: Value): Node | undefined {
	const [use, ...others] = value.uses;
	return others.length === 0 && use?.index === 0 && !value.isGraphOutput ? use.node : undefined;
}

/** The QuantizeLinear that alone reads `value`, `views` aside. */
export function quantizerBehind(value: Value, views = VIEWS): Node | undefined {
	const reader = onlyReader(value);
	if (reader === undefined || isOnnxOp(reader, "QuantizeLinear")) return reader;
	return isOnnxOp(reader, ...views) ? quantizerBehind(reader.outputs[0]!, views) : undefined;
}

/** The QuantizeLinear that ONNX Runtime moves to where `value` is made. */
export function movedQuantizer(value: Value): Node | undefined {
	const quantizer = quantizerBehind(value, MOVED_ACROSS);
	return quantizer && isOnnxOp(quantizer, "QuantizeLinear") ? quantizer : undefined;
}

/** The DequantizeLinear that makes `value`, or that ONNX Runtime moves to where it is made. */
export function movedDequantizer(value: Value): Node | undefined {
	let { producer } = value;
	while (producer !== undefined && isOnnxOp(producer, "MaxPool", ...MOVED_ACROSS))
		producer = producer.inputs[0]?.producer;
	return producer !== undefined && isOnnxOp(producer, "DequantizeLinear") ? producer : undefined;
}

/** The Relu or Clip that alone reads `value`. */
export function clampBehind(value: Value): Node | undefined {
	const reader = onlyReader(value);
	return reader !== undefined && isOnnxOp(reader, "Relu", "Clip") ? reader : undefined;
}

/** Does `clamp` leave all values alone that the quantizer behind it can write? ONNX Runtime then drops it. */
export function isSuperfluous(clamp: Node, quantization: QuantizationFacts | undefined): boolean {
	const range = quantization && codeInterval(quantization);
	if (range === undefined) return false;
	if (isOnnxOp(clamp, "Relu")) return range.lo >= 0;
	const limits = clipLimits(clamp);
	return limits !== undefined && limits.lo <= range.lo && range.hi <= limits.hi;
}

/** Of quantized activations. */
export const CODES: Readonly<Partial<Record<DataType, { readonly min: number; readonly max: number }>>> = {
	[DataType.UINT8]: { min: 0, max: 255 },
	[DataType.INT8]: { min: -128, max: 127 },
	[DataType.UINT16]: { min: 0, max: 65535 },
	[DataType.INT16]: { min: -32768, max: 32767 },
};

/** The values that the codes stand for; undefined where there are several scales or other types. */
export function codeInterval({
	dtype,
	scale,
	zeroPoint,
}: QuantizationFacts): { readonly lo: number; readonly hi: number } | undefined {
	const codes = dtype === undefined ? undefined : CODES[dtype];
	if (codes === undefined || scale === undefined || zeroPoint === undefined) return undefined;
	return { lo: Math.fround((codes.min - zeroPoint) * scale), hi: Math.fround((codes.max - zeroPoint) * scale) };
}

/** The operator's result, a Relu or Clip aside that the quantizer behind makes superfluous. */
export function resultOf({ node, clamp }: OperatorFacts): Value {
	return (clamp ?? node).outputs[0]!;
}

/**
 * What reads the result of an operator where a QuantizeLinear should, `views` aside: the first of its readers that is none;
 * "output" of a graph; undefined where the only reader is one.
 */
export function unquantizedReader(output: Value, views = VIEWS): Node | "output" | undefined {
	if (output.isGraphOutput) return "output";
	for (const { node } of output.uses) {
		if (isOnnxOp(node, "QuantizeLinear") && output.uses.length === 1) continue;
		const next = node.outputs[0];
		if (isOnnxOp(node, ...views) && next !== undefined && output.uses.length === 1)
			return unquantizedReader(next, views);
		return node;
	}
	return undefined;
}

export function describeReader(reader: Node | "output"): string {
	return reader === "output" ? "is an output of the graph" : `is read by ${reader.op.type} '${nodeLabel(reader)}'`;
}

/** What between a ConvTranspose and an Add does not keep the compiler from taking both for one operator. */
const JOINED_ACROSS: readonly string[] = ["QuantizeLinear", "Identity", "Relu", "Clip"];

/**
 * The Adds that read the quantized result of an operator as first operand, or what {@link JOINED_ACROSS} makes of it, and, as
 * second, dequantized codes of the same type, one a channel.
 */
export function vectorAddsBehind({ outputs: [output] }: OperatorFacts): Node[] {
	const rank = output?.shape?.length ?? 0;
	const hasOneChannel = output?.shape?.[1] === 1;
	const isVector = (value: Value | undefined, dtype: DataType) => {
		const producer = value?.producer;
		if (producer === undefined || !isOnnxOp(producer, "DequantizeLinear")) return false;
		const codes = constantOf(producer.inputs[0])?.tensor;
		if (codes?.dtype !== dtype || (codes.shape.length < rank - 1 && !hasOneChannel)) return false;
		return codes.shape.every((length, axis) => length === 1 || axis === codes.shape.length - rank + 1);
	};
	const addsBehind = (value: Value, codes?: DataType): Node[] =>
		value.uses
			.filter(({ index }) => index === 0)
			.flatMap(({ node }) => {
				if (isOnnxOp(node, "DequantizeLinear")) return addsBehind(node.outputs[0]!, zeroPointType(node));
				if (isOnnxOp(node, ...JOINED_ACROSS)) return addsBehind(node.outputs[0]!, codes);
				const isAdd = codes !== undefined && isOnnxOp(node, "Add");
				return isAdd && isVector(node.inputs[1], codes) ? [node] : [];
			});
	return rank === 0 ? [] : addsBehind(output!.value);
}

function zeroPointType({ inputs: [, , zeroPoint] }: Node): DataType | undefined {
	return zeroPoint === undefined ? DataType.UINT8 : constantOf(zeroPoint)?.tensor.dtype;
}
