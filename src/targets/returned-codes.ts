import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import { isView } from "../weights/activation.js";
import { inputFacts, type OperandFacts, type QuantizationFacts } from "./operator-facts.js";
import { codeInterval, isSuperfluous } from "./readers.js";
import type { TypeSource } from "./type-source.js";

/** Pairs of QuantizeLinear and DequantizeLinear of 16 bits, one behind the other, that leave a type and come back to it. */
export interface ReturnedCodes {
	/** The DequantizeLinear of the first pair of the last one's type. */
	readonly first: QuantizationFacts;
	/** What the pairs between the first and the last let through. */
	readonly between: { readonly lo: number; readonly hi: number };
}

/** The quantized value in front of `quantize`, a Relu or Clip that it makes superfluous aside. */
function pairInFront(quantize: Node, behind: QuantizationFacts, types: TypeSource): QuantizationFacts | undefined {
	let source = quantize.inputs[0];
	let { producer } = source ?? {};
	while (
		producer !== undefined &&
		(isOnnxOp(producer, "Identity") || (isOnnxOp(producer, "Relu", "Clip") && isSuperfluous(producer, behind)))
	) {
		source = producer.inputs[0];
		producer = source?.producer;
	}
	return source === undefined ? undefined : inputFacts(source, types).quantization;
}

/** The pairs that `operand` comes out of; undefined where all are of one type, or an input, a view or an Add is in front. */
export function returnedCodes(operand: OperandFacts | undefined, types: TypeSource): ReturnedCodes | undefined {
	const last = operand?.quantization;
	let at = last;
	let found: ReturnedCodes | undefined;
	let interval = { lo: Number.NEGATIVE_INFINITY, hi: Number.POSITIVE_INFINITY };
	let isOther = false;
	while (at !== undefined) {
		const quantize = at.node.inputs[0]?.producer;
		if (quantize === undefined || !isOnnxOp(quantize, "QuantizeLinear")) break;
		const before = pairInFront(quantize, at, types);
		const range = before && codeInterval(before);
		if (range === undefined || (before?.dtype !== DataType.UINT16 && before?.dtype !== DataType.INT16)) break;
		const source = before.node.inputs[0]?.producer?.inputs[0]?.producer;
		if (before.dtype !== last!.dtype) isOther = true;
		else if (isOther && source !== undefined && !isView(source) && !isOnnxOp(source, "Add"))
			found = { first: before, between: interval };
		interval = { lo: Math.max(interval.lo, range.lo), hi: Math.min(interval.hi, range.hi) };
		at = before;
	}
	return found;
}
