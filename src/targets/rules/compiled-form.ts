import { bitsPerElement, DataType } from "../../ir/types.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import type { TriedForm } from "../operator-table.js";

function isFloat(operand: OperandFacts | undefined): operand is OperandFacts {
	return operand?.dtype === DataType.FLOAT || operand?.dtype === DataType.FLOAT16;
}

/**
 * How the operator would be compiled: between quantized values of one type, or on floats; undefined where it does not
 * compute on floats.
 */
export function formOf(operator: OperatorFacts): TriedForm | undefined {
	const inputs = operator.inputs.filter((input) => isFloat(input) && input.constant === undefined) as OperandFacts[];
	const first = inputs.find(({ moved }) => moved !== undefined)?.moved;
	if (inputs.length === 0) return undefined;
	const output = operator.outputs[0]?.moved;
	if (first?.dtype === undefined || output?.dtype !== first.dtype) return "float";
	return bitsPerElement(first.dtype) === 16 ? "16 bits" : "8 bits";
}
