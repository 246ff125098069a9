import { DataType } from "../../ir/types.js";
import type { OperandFacts } from "../operator-facts.js";
import { codeInterval } from "../readers.js";

/** What the codes of an operand stand for. */
export function rangeOf(operand: OperandFacts | undefined) {
	return operand?.quantization && codeInterval(operand.quantization);
}

/** The largest value, without its sign, that the codes of an operand stand for. */
export function reachOf(operand: OperandFacts | undefined): number | undefined {
	const range = rangeOf(operand);
	return range && Math.max(range.hi, -range.lo);
}

/** Are both codes of one type of 16 bits? */
export function areWide(a: OperandFacts | undefined, b: OperandFacts | undefined): boolean {
	const dtype = a?.quantization?.dtype;
	return (dtype === DataType.UINT16 || dtype === DataType.INT16) && b?.quantization?.dtype === dtype;
}

/** Are these codes of two types, between which an operator is computed on floats? */
export function areMixed(a: OperandFacts | undefined, b: OperandFacts | undefined): boolean {
	const [from, to] = [a?.quantization?.dtype, b?.quantization?.dtype];
	return from !== undefined && to !== undefined && from !== to;
}
