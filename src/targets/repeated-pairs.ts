import { isOnnxOp } from "../ir/node.js";
import { inputFacts, type OperandFacts, type QuantizationFacts } from "./operator-facts.js";
import { codeInterval } from "./readers.js";
import type { TypeSource } from "./type-source.js";

/** Several pairs of QuantizeLinear and DequantizeLinear of one type, one directly behind the other. */
export interface RepeatedPairs {
	/** The first one's DequantizeLinear. */
	readonly first: QuantizationFacts;
	/** What all of them let through, which ONNX Runtime makes one pair for. */
	readonly interval: { readonly lo: number; readonly hi: number };
}

/** The pairs that `operand` comes out of, where ONNX Runtime makes one of them; undefined where it is one already. */
export function repeatedPairs(operand: OperandFacts | undefined, types: TypeSource): RepeatedPairs | undefined {
	const last = operand?.quantization;
	let first = last;
	let interval = last && codeInterval(last);
	while (first !== undefined && interval !== undefined) {
		const quantize = first.node.inputs[0]?.producer;
		const source = quantize !== undefined && isOnnxOp(quantize, "QuantizeLinear") ? quantize.inputs[0] : undefined;
		const isOnly = source?.uses.length === 1 && !source.isGraphOutput;
		const before = isOnly && source.producer !== undefined ? inputFacts(source, types).quantization : undefined;
		const range = before?.dtype === last?.dtype && before !== undefined ? codeInterval(before) : undefined;
		if (range === undefined) break;
		interval = { lo: Math.max(interval.lo, range.lo), hi: Math.min(interval.hi, range.hi) };
		first = before;
	}
	return first === undefined || first === last || interval === undefined ? undefined : { first, interval };
}
